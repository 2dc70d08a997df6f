"""The client of the API server: single requests, watch streams, and paged lists."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec

from healer.clock import SYSTEM, Clock
from healer.cluster.access import Access, Connection
from healer.cluster.contact import Contact, RbacRequest, rbac_request
from healer.cluster.decode import UNDECODABLE, ListPage, page_of_deep_items
from healer.cluster.errors import ApiError, ApiUnavailable, ClusterConfigError, ClusterError, Unreadable

__all__ = ["METADATA_LIST", "Api", "ApiError", "ApiUnavailable", "ClusterConfigError", "ClusterError", "Unreadable"]

T = TypeVar("T")

METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""Accept a list of the metadata alone, where the objects themselves are large."""
_JSON = "application/json"
_LARGEST = 256 * 1024 * 1024
"""Bytes. The largest response body that is accepted, after decompression. A page of a list is far smaller."""


class Api:
    """Requests to one API server, each with a timeout. A 401 reads the credentials again and repeats the request once.

    Every method raises ApiError when the server refuses the request, ApiUnavailable when it does not answer in time, and
    ClusterConfigError when the credentials cannot be read. All three are ClusterErrors. Times are in seconds.
    """

    def __init__(
        self, access: Connection, *, request_timeout: float = 10.0, connect_timeout: float = 5.0, clock: Clock = SYSTEM
    ) -> None:
        self.contact = Contact(f"{access.url} ({access.origin})" if access.origin else access.url, clock.steady)
        """The health of the connection. All users of this client share it."""
        self.clock = clock
        """The clock that all users of this client share."""
        self._access = access
        self._request_timeout = aiohttp.ClientTimeout(total=request_timeout, sock_connect=connect_timeout)
        self._connect_timeout = connect_timeout
        self._renewal = asyncio.Lock()

    @classmethod
    async def connect(
        cls,
        *,
        context: str | None = None,
        kubeconfig: str | None = None,
        request_timeout: float = 10.0,
        connect_timeout: float = 5.0,
        clock: Clock = SYSTEM,
    ) -> "Api":
        """Find the cluster as `Access.find` does, without sending a request. Raises ClusterConfigError."""
        access = await Access.find(context=context, kubeconfig=kubeconfig, clock=clock)
        return cls(access, request_timeout=request_timeout, connect_timeout=connect_timeout, clock=clock)

    @property
    def url(self) -> str:
        """The API server's base URL."""
        return self._access.url

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object | None = None,
        content_type: str = _JSON,
        within: float | None = None,
        accept: str = _JSON,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body of a 2xx response. msgspec encodes `body` as JSON. `within` (seconds) shortens the timeout; `headers` are sent
        as well."""
        content = None if body is None else msgspec.to_builtins(body)
        with self._recorded(rbac_request(method, path, query)):
            try:
                async with asyncio.timeout(within):
                    response = await self._send(
                        method, path, query, content, content_type, self._request_timeout, accept=accept, more=headers
                    )
                    return await _read_body(response)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise _unavailable(f"{method} {path}", error) from error

    async def get(self, path: str, type: type[T], query: Mapping[str, str] | None = None, *, accept: str = _JSON) -> T:
        """The response to a GET, decoded into `type`. Raises Unreadable when it does not have that shape."""
        body = await self.request("GET", path, query=query, accept=accept)
        try:
            return msgspec.json.decode(body, type=type)
        except UNDECODABLE as error:
            raise Unreadable(f"GET {path}: the answer is no {type.__name__}: {error}") from error

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], *, read_timeout: float
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """A 2xx response whose body is still open. The caller reads its `content`, which raises aiohttp's errors.

        `read_timeout` is the longest wait, in seconds, for the headers and between two reads.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout, sock_read=read_timeout)
        with self._recorded(rbac_request("GET", path, query)):
            response = await self._send("GET", path, query, None, _JSON, limits, compressed=False)
        try:
            yield response
        finally:
            response.close()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._access.aclose()

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        content: object,
        content_type: str,
        limits: aiohttp.ClientTimeout,
        *,
        compressed: bool = True,
        accept: str = _JSON,
        more: Mapping[str, str] | None = None,
    ) -> aiohttp.ClientResponse:
        """A 2xx response whose body has not been read yet. Credentials that the server refuses are renewed once."""
        request = f"{method} {path}"
        url = f"{self._access.url}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": "healer", **(more or {})}
        if not compressed:
            headers["Accept-Encoding"] = "identity"
        for renewed in (False, True):
            token = await self._access.authorization()
            if token:
                headers["Authorization"] = token
            try:
                response = await self._access.send(method, url, headers, content, limits)
                if response.ok:
                    return response
                refusal = await self._read_refusal(response)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise _unavailable(request, error) from error
            if renewed or response.status != 401:
                break
            await self._renew(token)
        raise ApiError.of_body(response.status, refusal, retry_after=response.headers.get("Retry-After"), request=request)

    @contextmanager
    def _recorded(self, what: RbacRequest) -> Generator[None]:
        """Record the result of a request in the contact."""
        try:
            yield
        except ClusterError as error:
            self.contact.failed(what, error)
            raise
        self.contact.answered(what)

    async def _read_refusal(self, response: aiohttp.ClientResponse) -> bytes:
        """The body of a refusal. A stream's timeout limits only single reads, so this limits the whole body."""
        async with asyncio.timeout(self._request_timeout.total):
            try:
                return await response.read()
            finally:
                response.release()

    async def _renew(self, refused: str | None) -> None:
        async with self._renewal:
            if await self._access.authorization() == refused:  # otherwise another request has renewed it meanwhile
                await self._access.renew()


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    """The body of a response. Raises Unreadable when it is longer than `_LARGEST`."""
    try:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > _LARGEST:
                raise Unreadable(f"{response.method} {response.url.path}: the answer is longer than {_LARGEST} bytes")
        return bytes(body)
    finally:
        response.release()


def _unavailable(request: str, error: Exception) -> ApiUnavailable:
    return ApiUnavailable(f"{request}: {'timed out' if isinstance(error, TimeoutError) else error or type(error).__name__}")


_MOST_OBJECTS = 200_000
"""The largest number of objects in one list. Kubernetes is tested with 150,000 pods."""


async def _page(api: Api, path: str, parameters: Mapping[str, str]) -> ListPage:
    """One page. An item that is nested too deep for the decoder hides none of the others. Raises ClusterError."""
    body = await api.request("GET", path, query=parameters)
    try:
        try:
            return msgspec.json.decode(body, type=ListPage)
        except RecursionError:
            return await asyncio.to_thread(page_of_deep_items, body)
    except UNDECODABLE as error:
        raise Unreadable(f"GET {path}: the answer is no {ListPage.__name__}: {error}") from error


async def pages(
    api: Api, path: str, *, page: int, query: Mapping[str, str] | None = None, most: int = _MOST_OBJECTS
) -> AsyncGenerator[ListPage, None]:
    """Yield every page, from the first to the one without a continue token. `page` is the number of objects on a page.

    Raises Unreadable when the list does not end: a token repeats, a page is empty and is not the last, or there are more objects
    than `most` or twice as many as the first page estimated. Raises ClusterError.
    """
    parameters = {"limit": str(page), **(query or {})}
    tokens: set[str] = set()
    found, expected = 0, most
    while True:
        part = await _page(api, path, parameters)
        meta, items = part.metadata, len(part.items or ())
        if not tokens and meta.remaining_item_count is not None and meta.continue_:
            expected = min(most, 2 * (items + meta.remaining_item_count) + page)
        found += items
        token = meta.continue_
        if found > expected or (found == expected and token):
            raise Unreadable(f"LIST {path}: has no end: {found} objects and more to come, where at most {expected} were expected")
        yield part
        if not token:
            return
        if not items or token in tokens:
            raise Unreadable(f"LIST {path}: has no end: {'an empty page' if not items else 'a page again'} that is not the last")
        tokens.add(token)
        parameters["continue"] = token
