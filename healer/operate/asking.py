"""Reads the running daemon's recent decisions and rules, at a URL or through the API server's proxy."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import aiohttp

from healer.cluster.api import Api
from healer.cluster.errors import ApiError, ApiUnavailable
from healer.http.decisions import DECISIONS_PATH, read_decisions
from healer.http.health import without_election
from healer.http.rules import RULES_PATH, RuleRow, read_rules
from healer.model.effects import Decision
from healer.model.text import body_text
from healer.operate.objects import is_name

T = TypeVar("T")

_SERVICE = "healer"
_PORT = "8080"
"""The same as in deploy/healer/base/service.yaml."""
_NO_ANSWER = (ApiError, ApiUnavailable, aiohttp.ClientError, TimeoutError, OSError, ValueError)
_TIMEOUT = aiohttp.ClientTimeout(total=5.0)


@dataclass(frozen=True, slots=True)
class DaemonClient:
    """Reads from the daemon at `url`, or through the API server's proxy from the `leader` in healer's namespace."""

    api: Api
    healer_namespace: str
    leader: str
    url: str | None

    async def get(self, path: str, query: dict[str, str]) -> bytes:
        """Return the body of a GET. Raises the errors of `_NO_ANSWER`."""
        if self.url:
            return await _direct(f"{self.url.rstrip('/')}{path}", query)
        return await _proxied(self.api, self.healer_namespace, self.leader, path, query)


async def recent_decisions(daemon: DaemonClient, namespace: str) -> list[Decision] | str:
    """Return the recent decisions on objects of a namespace, oldest first, or a message that says why they are not available."""
    return await _ask(daemon, DECISIONS_PATH, {"namespace": namespace}, read_decisions)


async def rules(daemon: DaemonClient) -> list[RuleRow] | str:
    """Return the loaded rules, or a message that says why they are not available."""
    return await _ask(daemon, RULES_PATH, {}, read_rules)


async def acts_without_election(daemon: DaemonClient) -> bool:
    """Whether the daemon answers and runs without leader election, so that it holds no Lease."""
    try:
        return without_election(await daemon.get("/readyz", {}))
    except _NO_ANSWER:
        return False


async def _ask(daemon: DaemonClient, path: str, query: dict[str, str], read: Callable[[bytes], list[T]]) -> list[T] | str:
    try:
        return read(await daemon.get(path, query))
    except _NO_ANSWER as error:
        reason = "timed out" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        way = "" if daemon.url else "; --url names where it answers"
        return f"the daemon cannot be reached, so this is from the journal alone: {' '.join(reason.split())}{way}"


async def _direct(url: str, query: dict[str, str]) -> bytes:
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.get(url, params=query) as answer:
        body = await answer.read()
        if answer.status != 200:
            raise ValueError(f"GET {answer.url}: {answer.status} {body_text(body, 300)}")
        return body


async def _proxied(api: Api, healer_namespace: str, leader: str, path: str, query: dict[str, str]) -> bytes:
    """Read from the leader's pod, because the leader decides. If that fails, read from the Service: any replica may answer."""
    base = f"/api/v1/namespaces/{healer_namespace}"
    pod, port = _pod_of(leader)
    async with asyncio.timeout(_TIMEOUT.total):
        if is_name(pod):
            with suppress(ApiError):  # the identity may not be a pod's, or RBAC may allow only the Service
                return await api.request("GET", f"{base}/pods/http:{pod}:{port}/proxy{path}", query=query)
        return await api.request("GET", f"{base}/services/http:{_SERVICE}:{_PORT}/proxy{path}", query=query)


def _pod_of(identity: str) -> tuple[str, str]:
    """Return a replica's pod and port, from its identity in the Lease: "pod-pid@host:port"."""
    process, _, address = identity.partition("@")
    port = address.rpartition(":")[2]
    return process.rpartition("-")[0], port if port.isdecimal() else _PORT
