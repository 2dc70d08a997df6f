"""The addresses behind a Service, from its EndpointSlices. healer uses them to recognise its other replicas."""

import msgspec

from healer.cluster.api import Api, Unreadable, pages

_PAGE = 100


class _ServiceEndpoint(msgspec.Struct):
    addresses: list[str]


class _Port(msgspec.Struct):
    port: int | None = None


class _ServiceSlice(msgspec.Struct):
    endpoints: list[_ServiceEndpoint] | None = None
    ports: list[_Port] | None = None


class ServiceEndpoints:
    """The endpoints of one Service. They are read on demand, at most once in `fresh` seconds."""

    def __init__(self, api: Api, namespace: str, service: str, *, fresh: float = 2.0) -> None:
        self._api = api
        self._path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        self._query = {"labelSelector": f"kubernetes.io/service-name={service}"}
        self._fresh = fresh
        self._clock = api.clock.steady
        self._known: frozenset[str] = frozenset()
        self._read: float | None = None

    async def addresses(self) -> frozenset[str]:
        """The addresses as "host:port", of all endpoints, ready or not. Raises ClusterError."""
        if self._read is None or self._clock() - self._read >= self._fresh:
            self._known = frozenset(await self._list())
            self._read = self._clock()
        return self._known

    async def _list(self) -> list[str]:
        found: list[str] = []
        async for page in pages(self._api, self._path, page=_PAGE, query=self._query):
            for raw in page.items or ():
                try:
                    part = msgspec.json.decode(raw, type=_ServiceSlice)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise Unreadable(f"{self._path}: one of them is no EndpointSlice: {error}") from error
                ports = [port.port for port in part.ports or () if port.port is not None]
                hosts = [host for endpoint in part.endpoints or () for host in endpoint.addresses]
                found += [joined(host, port) for host in hosts for port in ports]
        return found


def joined(host: str, port: int) -> str:
    """host:port, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
