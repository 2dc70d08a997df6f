"""The client: one request, one answer; or one request and a stream of lines."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec

from healer.cluster.access import Access
from healer.cluster.errors import ApiError, ApiUnavailable, ClusterConfigError, ClusterError, Unreadable

__all__ = ["Api", "ApiError", "ApiUnavailable", "ClusterConfigError", "ClusterError", "Unreadable"]

T = TypeVar("T")


class Api:
    """Requests to one API server, each with a timeout. A 401 reads the credentials again and asks once more.

    Every method raises ApiError when the server says no, ApiUnavailable when it says nothing (in time), ClusterConfigError
    when the credentials cannot be read any more; all three are ClusterErrors. Times are in seconds.
    """

    def __init__(self, access: Access, *, request_timeout: float = 10.0, connect_timeout: float = 5.0) -> None:
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
    ) -> "Api":
        """Find the cluster as Access.find says; sends nothing yet. Raises ClusterConfigError."""
        access = await Access.find(context=context, kubeconfig=kubeconfig)
        return cls(access, request_timeout=request_timeout, connect_timeout=connect_timeout)

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
        content_type: str = "application/json",
    ) -> bytes:
        """The body of a 2xx answer. `body` is anything that msgspec can turn into JSON."""
        asked = f"{method} {path}"
        content = None if body is None else msgspec.to_builtins(body)
        response = await self._answer(method, path, query, content, content_type, self._request_timeout)
        try:
            return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unavailable(asked, error) from error
        finally:
            response.release()

    async def get(self, path: str, type: type[T], query: Mapping[str, str] | None = None) -> T:
        """GET, decoded into `type`. Raises Unreadable when the answer does not have that shape."""
        body = await self.request("GET", path, query=query)
        try:
            return msgspec.json.decode(body, type=type)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unreadable(f"GET {path}: the answer is no {type.__name__}: {error}") from error

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], *, read_timeout: float
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """A 2xx answer, still open: its `content` is for the caller to read, and raises aiohttp's errors.

        `read_timeout` is the longest silence allowed, before the headers and between any two reads.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout, sock_read=read_timeout)
        response = await self._answer("GET", path, query, None, "application/json", limits)
        try:
            yield response
        finally:
            response.close()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._access.aclose()

    async def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        content: object,
        content_type: str,
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """A 2xx answer whose body has not been read yet; credentials that are refused are renewed once."""
        asked = f"{method} {path}"
        url = f"{self._access.url}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": "healer"}
        for renewed in (False, True):
            token = await self._access.authorization()
            if token:
                headers["Authorization"] = token
            try:
                response = await self._access.send(method, url, headers, content, limits)
                if response.ok:
                    return response
                said = await self._refusal(response)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise _unavailable(asked, error) from error
            if renewed or response.status != 401:
                break
            await self._renew(token)
        raise ApiError.of_body(response.status, said, retry_after=response.headers.get("Retry-After"), request=asked)

    async def _refusal(self, response: aiohttp.ClientResponse) -> bytes:
        """What the server says of it; a stream's timeout is for silence, so the whole gets a limit here."""
        async with asyncio.timeout(self._request_timeout.total):
            try:
                return await response.read()
            finally:
                response.release()

    async def _renew(self, refused: str | None) -> None:
        async with self._renewal:
            if await self._access.authorization() == refused:  # else another request has renewed it meanwhile
                await self._access.renew()


def _unavailable(asked: str, error: Exception) -> ApiUnavailable:
    return ApiUnavailable(f"{asked}: {'timed out' if isinstance(error, TimeoutError) else error or type(error).__name__}")
