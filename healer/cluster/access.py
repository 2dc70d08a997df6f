"""The configuration, credentials and HTTP session for the API server. The only file that uses kubernetes.aio."""
# mypy: disable-error-code="no-untyped-call"
# (kubernetes.aio is marked as typed, but the functions that are used here have no types.)

import os
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import aiohttp
import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, incluster_config, load_kube_config
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from healer.clock import Clock
from healer.cluster.errors import ClusterConfigError

REFRESH = 60.0
"""Seconds after which the credentials of a kubeconfig are read again, because token files rotate. The in-cluster loader does the
same."""

# The loaders validate little. A kubeconfig of a wrong shape raises any of these.
_BROKEN = (ConfigException, OSError, yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError)


_Load = Callable[[Configuration], Awaitable[None]]


_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Connection(Protocol):
    """What requests are sent by: `Access`, or a simulation's wire to a cluster in this process."""

    @property
    def origin(self) -> str:
        """Where the configuration comes from; "" when nobody needs to know."""

    @property
    def url(self) -> str:
        """The API server's base URL."""

    async def authorization(self) -> str | None:
        """The Authorization header to send now. Raises ClusterConfigError."""

    async def renew(self) -> None:
        """Read the credentials again at once. Raises ClusterConfigError."""

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: object, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Send a request. Returns when the headers of the response have arrived. Raises what aiohttp raises."""

    async def aclose(self) -> None:
        """Close what is open."""


class Access:
    """The connection to one API server: its base URL, credentials that are refreshed, and an HTTP session with TLS."""

    def __init__(self, configuration: Configuration, load: _Load, origin: str = "") -> None:
        self.origin = origin
        """Where the configuration comes from: the pod's service account, or a context of a kubeconfig."""
        self._configuration = configuration
        self._load = load
        if _is_loopback(str(configuration.host)):
            # No proxy of the environment for loopback. Go's http.ProxyFromEnvironment, and so kubectl, does the same.
            configuration.client_session_kwargs = {"trust_env": False}
        self._rest = RESTClientObject(configuration)

    @classmethod
    async def find(cls, *, context: str | None = None, kubeconfig: str | None = None, clock: Clock) -> "Access":
        """Use the service account inside a pod, and otherwise the kubeconfig. With `context` or `kubeconfig`, use the kubeconfig.

        Raises ClusterConfigError when there is neither, or when the configuration cannot be used.
        """
        origin, load = _choose(context, kubeconfig, clock)
        configuration = Configuration()
        try:
            await load(configuration)
            return cls(configuration, load, origin)
        except _BROKEN as error:
            raise ClusterConfigError(f"{origin} cannot be used: {error}") from error

    @property
    def url(self) -> str:
        """The API server's base URL."""
        return str(self._configuration.host)

    async def authorization(self) -> str | None:
        """The Authorization header to send now. Reads the credentials again when REFRESH has passed."""
        try:
            token = await self._configuration.get_api_key_with_prefix("BearerToken")
        except _BROKEN as error:
            raise ClusterConfigError(f"credentials cannot be read again: {error}") from error
        return token.strip() if token else None  # a token file may end with a newline

    async def renew(self) -> None:
        """Read the credentials again at once, because the server has refused the current ones."""
        try:
            await self._load(self._configuration)
        except _BROKEN as error:
            raise ClusterConfigError(f"credentials cannot be read again: {error}") from error

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: object, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Send a request. Returns when the headers of the response have arrived. Raises what aiohttp raises."""
        answer = await self._rest.request(method, url, headers=dict(headers), body=body, _request_timeout=limits)
        return cast(aiohttp.ClientResponse, answer.response)

    async def aclose(self) -> None:
        """Close the session."""
        await self._rest.close()


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _choose(context: str | None, kubeconfig: str | None, clock: Clock) -> tuple[str, _Load]:
    in_pod = os.environ.get(incluster_config.SERVICE_HOST_ENV_NAME) and Path(incluster_config.SERVICE_TOKEN_FILENAME).exists()
    if context is None and kubeconfig is None and in_pod:
        return "the pod's service account", _load_service_account
    paths = kubeconfig or os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    named = f"context {context}" if context else "current context"
    return f"{named} of kubeconfig {paths}", _kubeconfig_loader(paths, context, clock)


async def _load_service_account(configuration: Configuration) -> None:
    """Load the service account. The loader also sets a hook that reads the token file again each minute."""
    InClusterConfigLoader(incluster_config.SERVICE_TOKEN_FILENAME, incluster_config.SERVICE_CERT_FILENAME).load_and_set(
        configuration
    )


def _kubeconfig_loader(paths: str, context: str | None, clock: Clock) -> _Load:
    if not any(Path(path).expanduser().exists() for path in paths.split(os.pathsep) if path):
        raise ClusterConfigError(
            f"no cluster to talk to: not inside a pod with a service account, and there is no kubeconfig at {paths}. "
            "Set KUBECONFIG, or make ~/.kube/config; inside a pod, set automountServiceAccountToken. "
            "To practise without a cluster: `healer lab run`."
        )

    async def load(configuration: Configuration) -> None:
        # No persist_config: healer does not write to the user's file.
        loader = await load_kube_config(paths, context, configuration, persist_config=False)
        read_at = clock.steady()

        async def refresh(current: Any) -> None:
            nonlocal read_at
            if clock.steady() - read_at >= REFRESH:
                read_at = clock.steady()
                await loader.load_and_set(current)  # reads token files again, and exec and OIDC tokens when they expire

        configuration.refresh_api_key_hook = refresh  # type: ignore[assignment]  # declared None, awaited when set

    return load


def own_namespace() -> str:
    """The namespace of the pod that this process runs in. Outside a cluster it is "default", as for kubectl."""
    try:
        return _NAMESPACE_FILE.read_text("utf-8").strip() or "default"
    except OSError:
        return "default"
