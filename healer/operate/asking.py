"""Asking the running daemon for its recent decisions: at a URL, else through the API server's proxy."""

import asyncio
from contextlib import suppress

import aiohttp

from healer.cluster.api import Api
from healer.cluster.errors import ApiError, ApiUnavailable
from healer.http.decisions import PATH, read
from healer.model.decision import Decision
from healer.operate.objects import is_name

_SERVICE = "healer"
_PORT = "8080"
"""As in deploy/healer/service.yaml."""
_PATIENCE = aiohttp.ClientTimeout(total=5.0)


async def recent(api: Api, namespace: str, healer_namespace: str, leader: str, url: str | None) -> list[Decision] | str:
    """The recent decisions on objects of a namespace, oldest first; or in words why they cannot be had."""
    query = {"namespace": namespace}
    try:
        body = await (_direct(url, query) if url else _proxied(api, healer_namespace, leader, query))
        return read(body)
    except (ApiError, ApiUnavailable, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        said = "timed out" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return f"the daemon cannot be reached, so this is from the journal alone: {' '.join(said.split())}"


async def _direct(url: str, query: dict[str, str]) -> bytes:
    async with (
        aiohttp.ClientSession(timeout=_PATIENCE) as session,
        session.get(f"{url.rstrip('/')}{PATH}", params=query) as answer,
    ):
        body = await answer.read()
        if answer.status != 200:
            raise ValueError(f"GET {answer.url}: {answer.status} {body[:300].decode(errors='replace')}")
        return body


async def _proxied(api: Api, healer_namespace: str, leader: str, query: dict[str, str]) -> bytes:
    """The leader decides, so its pod is asked first; else the Service, behind which any replica may answer."""
    base = f"/api/v1/namespaces/{healer_namespace}"
    pod, port = _pod_of(leader)
    async with asyncio.timeout(_PATIENCE.total):
        if is_name(pod):
            with suppress(ApiError):  # the identity may be no pod's, or only the Service may be asked
                return await api.request("GET", f"{base}/pods/http:{pod}:{port}/proxy{PATH}", query=query)
        return await api.request("GET", f"{base}/services/http:{_SERVICE}:{_PORT}/proxy{PATH}", query=query)


def _pod_of(identity: str) -> tuple[str, str]:
    """A replica's pod and port, from its identity in the Lease: "pod-pid@host:port", as the daemon makes it."""
    process, _, address = identity.partition("@")
    port = address.rpartition(":")[2]
    return process.rpartition("-")[0], port if port.isdecimal() else _PORT
