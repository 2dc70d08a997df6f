"""Reads the running daemon's recent decisions and rules, at a URL or through the API server's proxy."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import aiohttp

from healer.cluster.api import Api
from healer.cluster.errors import ApiError, ApiUnavailable
from healer.http.access import TOKEN_HEADER
from healer.http.decisions import DECISIONS_PATH, read_decisions
from healer.http.health import without_election
from healer.http.rules import RULES_PATH, RuleRow, read_rules
from healer.http.state import STATE_PATH, StateBody, read_state
from healer.http.tls import client_context
from healer.model.effects import Decision
from healer.model.text import body_text
from healer.operate.objects import is_name
from healer.secret import SecretError, TokenFiles

T = TypeVar("T")

_SERVICE = "healer"
_PORT = "8080"
"""The same as in deploy/healer/base/service.yaml."""
_NOT_LET_IN = (401, 403)
_UNREADY = 503
_TIMEOUT = aiohttp.ClientTimeout(total=5.0)


@dataclass(frozen=True, slots=True)
class DaemonCredentials:
    """What the daemon is shown: a token of HEALER_HTTP__READ_TOKEN_FILE, the first in `token_file`; and what it is trusted by."""

    token_file: Path | None = None
    ca_file: Path | None = None

    def token(self) -> str:
        """The token, "" without one. Raises SecretError."""
        return "" if self.token_file is None else TokenFiles(self.token_file).read()[0]


NO_CREDENTIALS = DaemonCredentials()


@dataclass(frozen=True, slots=True)
class DaemonClient:
    """Reads from the daemon at `url`, or through the API server's proxy from the `leader` in healer's namespace."""

    api: Api
    healer_namespace: str
    leader: str
    url: str | None
    credentials: DaemonCredentials = NO_CREDENTIALS
    named: bool = True
    """Whether its namespace was named, and not found by a Lease, which anybody may have written: then it is shown no token."""

    @property
    def withholds(self) -> bool:
        """Whether there is a token that it is not shown."""
        return not (self.named or self.url) and self.credentials.token_file is not None

    @property
    def asked(self) -> str:
        """Where it is asked, in words."""
        if self.url:
            return self.url
        pod, _ = _pod_of(self.leader)
        service = f"service/{_SERVICE} in namespace {self.healer_namespace}"
        return f"pod/{pod} and {service}" if is_name(pod) else service

    async def get(self, path: str, query: dict[str, str]) -> bytes:
        """Return the body of a GET. Raises the errors of `NO_ANSWER`."""
        token = "" if self.withholds else self.credentials.token()
        if self.url:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return await _direct(f"{self.url.rstrip('/')}{path}", query, headers, self.credentials.ca_file)
        # The proxy takes Authorization for itself and forwards the other headers.
        headers = {TOKEN_HEADER: token} if token else {}
        return await _proxied(self.api, self.healer_namespace, self.leader, path, query, headers)


class _DaemonRefusal(Exception):
    """The daemon itself answers with an error."""

    def __init__(self, status: int, said: str, body: bytes) -> None:
        super().__init__(said)
        self.status = status
        self.body = body


NO_ANSWER = (ApiError, ApiUnavailable, _DaemonRefusal, SecretError, aiohttp.ClientError, TimeoutError, OSError, ValueError)


async def recent_decisions(daemon: DaemonClient, namespace: str) -> list[Decision] | str:
    """Return the recent decisions on objects of a namespace, oldest first, or a message that says why they are not available."""
    said = await _ask(daemon, DECISIONS_PATH, {"namespace": namespace}, read_decisions)
    return f"{said}; this is from the journal alone" if isinstance(said, str) else said


async def rules(daemon: DaemonClient) -> list[RuleRow] | str:
    """Return the loaded rules, or a message that says why they are not available."""
    return await _ask(daemon, RULES_PATH, {}, read_rules)


async def state(daemon: DaemonClient) -> StateBody | str:
    """Return the state of healer, or a message that says why it is not available."""
    return await _ask(daemon, STATE_PATH, {}, read_state)


async def acts_without_election(daemon: DaemonClient) -> bool:
    """Whether the daemon says that it acts without leader election, so that it holds no Lease. False also without an answer."""
    try:
        return await acts(daemon.get("/readyz", {}))
    except NO_ANSWER:
        return False


async def acts(ready: Awaitable[bytes]) -> bool:
    """Whether an answer of /readyz says that its daemon acts without an election. Raises the errors of `NO_ANSWER`."""
    try:
        return without_election(await ready)
    except (ApiError, _DaemonRefusal) as error:
        if error.status != _UNREADY or not error.body:
            raise
        try:
            return without_election(error.body)  # a daemon that is not ready may act nevertheless
        except ValueError:
            raise error from None


async def _ask(daemon: DaemonClient, path: str, query: dict[str, str], read: Callable[[bytes], T]) -> T | str:
    try:
        return read(await daemon.get(path, query))
    except NO_ANSWER as error:
        reason = _reason(daemon, error)
        if _is_daemons(error) and daemon.withholds:
            way = f"; to show it the token, name its namespace, if it is yours: --healer-namespace {daemon.healer_namespace}"
        elif _is_daemons(error):
            way = "; --token-file names a token of HEALER_HTTP__READ_TOKEN_FILE; `kubectl port-forward` and --url need none"
        else:
            way = (
                ""
                if daemon.url
                else "; --healer-namespace names where healer is, or --url where it answers (`kubectl port-forward`)"
            )
        return f"the daemon cannot be reached: {' '.join(reason.split())}{way}"


def _reason(daemon: DaemonClient, error: Exception) -> str:
    """What was asked and what came of it. The daemon's own refusal is named as it is."""
    if isinstance(error, TimeoutError):
        return f"{daemon.asked} did not answer in {_TIMEOUT.total:.0f} s"
    if isinstance(error, ApiError) and not _is_daemons(error):
        said = error.message if error.reason else f"HTTP {error.status} {error.message}"
        return f"tried {daemon.asked} through the API server, by http and https: {said}"
    return str(error) or type(error).__name__


async def _direct(url: str, query: dict[str, str], headers: dict[str, str], ca_file: Path | None) -> bytes:
    trusted = client_context(ca_file) if url.startswith("https:") else True
    async with (
        aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers) as session,
        session.get(url, params=query, ssl=trusted, allow_redirects=False) as answer,
    ):
        body = await answer.read()
        if answer.status != 200:
            raise _DaemonRefusal(answer.status, f"GET {answer.url}: {answer.status} {body_text(body, 300)}", body)
        return body


async def _proxied(
    api: Api, healer_namespace: str, leader: str, path: str, query: dict[str, str], headers: dict[str, str]
) -> bytes:
    """Read from the leader's pod, because the leader decides. If that fails, read from the Service: any replica may answer."""
    pod, port = _pod_of(leader)
    places = [pod_place(pod, port)] if is_name(pod) else []  # the identity may not be a pod's
    places.append(service_place())  # RBAC may allow only this one
    return await through(api, healer_namespace, places, path, query, headers)


def pod_place(pod: str, port: str = _PORT) -> str:
    """The path of a pod in its namespace, for `through`."""
    return f"pods/{{}}:{pod}:{port}"


def service_place() -> str:
    """The same of healer's Service."""
    return f"services/{{}}:{_SERVICE}:{_PORT}"


async def through(
    api: Api, healer_namespace: str, places: Sequence[str], path: str, query: dict[str, str], headers: dict[str, str]
) -> bytes:
    """Read through the API server's proxy from the first of the places that answers. Raises the errors of `NO_ANSWER`.

    Whether the port speaks https shows only when it is asked. The error of a daemon itself is raised before others, else the
    first: what follows is as a rule its consequence.
    """
    base = f"/api/v1/namespaces/{healer_namespace}"
    errors: list[ApiError] = []
    async with asyncio.timeout(_TIMEOUT.total):
        for scheme in ("http", "https"):
            for place in places:
                try:
                    return await api.request("GET", f"{base}/{place.format(scheme)}/proxy{path}", query=query, headers=headers)
                except ApiError as error:
                    errors.append(error)
    raise next(filter(_is_daemons, errors), next(filter(_is_unready, errors), errors[0]))


def _is_unready(error: ApiError) -> bool:
    """Whether the daemon's own check says that it is not ready."""
    return error.status == _UNREADY and not error.reason


def _is_daemons(error: Exception) -> bool:
    """Whether the daemon itself does not let us in. What the API server refuses has a reason in Kubernetes' words."""
    if isinstance(error, ApiError):
        return error.status in _NOT_LET_IN and not error.reason
    return isinstance(error, _DaemonRefusal) and error.status in _NOT_LET_IN


def _pod_of(identity: str) -> tuple[str, str]:
    """Return a replica's pod and port, from its identity in the Lease: "pod-pid@host:port"."""
    process, _, address = identity.partition("@")
    port = address.rpartition(":")[2]
    return process.rpartition("-")[0], port if port.isdecimal() else _PORT
