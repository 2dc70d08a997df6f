"""Alertmanager's API, version 2: the alerts that fire now, and the silences."""

import re
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from healer.secret import SecretError, SecretFile
from healer.sources.alertmanager.alert import Alert, Moment

_MOST_BYTES = 8 << 20
_MOST_NAMES = 50
"""The most names in a request; with more names all alerts are asked for, because a request line has a limit."""
_MOST_SILENCES = 100

T = TypeVar("T")


class NoAnswer(Exception):
    """An Alertmanager gave no usable answer; the message says which one and why."""


class AlertStatus(msgspec.Struct, rename="camel"):
    """Whether Alertmanager notifies receivers of an alert: `active`, `suppressed` (and by what), or `unprocessed` (not decided
    yet)."""

    state: str = "active"
    silenced_by: tuple[str, ...] = ()
    inhibited_by: tuple[str, ...] = ()
    muted_by: tuple[str, ...] = ()


class Listed(msgspec.Struct, rename="camel"):
    """An alert as Alertmanager's API lists it: it has not ended."""

    labels: dict[str, str]
    starts_at: Moment
    status: AlertStatus
    annotations: dict[str, str] | None = None
    fingerprint: str = ""

    @property
    def alert(self) -> Alert:
        """The alert as Alertmanager would send it."""
        return Alert("firing", self.labels, self.starts_at, self.annotations, self.fingerprint)


class MadeSilence(msgspec.Struct, rename="camel"):
    """Who has made a silence, and why."""

    created_by: str = ""
    comment: str = ""

    def __str__(self) -> str:
        return f"{self.created_by} ({self.comment})"


Own = Callable[[MadeSilence], bool]
"""Whether a silence is healer's own, of an incident that it treats now."""


class Alertmanagers:
    """The API of one Alertmanager, or of each of a pair: a method asks one of `urls`, and raises NoAnswer. Close it when done.

    `timeout` is in seconds, for one request.
    """

    def __init__(
        self, urls: Sequence[str], *, token_file: Path | None = None, ca_file: Path | None = None, timeout: float = 10.0
    ) -> None:
        self.urls = tuple(url.rstrip("/") for url in urls)
        self._token = None if token_file is None else SecretFile(token_file)
        self._ca_file = ca_file
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None
        self._silences: dict[str, MadeSilence] = {}

    async def aclose(self) -> None:
        """Send no further request."""
        if self._session is not None:
            await self._session.close()

    async def listed(self, url: str, names: set[str]) -> dict[str, Listed]:
        """The alerts of these names, and perhaps others, that have not ended, by key."""
        params = [(state, "true") for state in ("active", "silenced", "inhibited", "unprocessed")]
        if len(names) <= _MOST_NAMES:
            any_of = msgspec.json.encode("|".join(map(re.escape, sorted(names)))).decode()
            params.append(("filter", f"alertname=~{any_of}"))
        found = await self._get(url, "/api/v2/alerts", params, list[Listed])
        return {each.alert.key: each for each in found}

    async def suppression(self, url: str, status: AlertStatus, own: Own = lambda _: False) -> str:
        """Why Alertmanager notifies nobody of a firing alert; "" when it does, and when that is for a silence of healer's `own`
        alone."""
        if status.state != "suppressed":
            return ""
        for each in status.silenced_by:
            silence = await self._silence(url, each)
            if not own(silence):
                return f"it is silenced by {silence}"
        if status.inhibited_by:
            return "it is inhibited by another alert"
        if status.silenced_by and not status.muted_by:
            return ""
        return f"it is muted by {', '.join(status.muted_by[:3]) or 'Alertmanager'}"

    async def _silence(self, url: str, silence: str) -> MadeSilence:
        """The author and the comment of a silence, as far as Alertmanager has them."""
        if silence not in self._silences:
            if len(self._silences) >= _MOST_SILENCES:
                self._silences.clear()
            self._silences[silence] = await self._get(url, f"/api/v2/silence/{quote(silence, safe='')}", [], MadeSilence)
        return self._silences[silence]

    async def _get(self, url: str, path: str, params: list[tuple[str, str]], kind: type[T]) -> T:
        return decoded(url, await self.request("GET", url, path, params=params), kind)

    async def request(
        self, method: str, url: str, path: str, *, params: Sequence[tuple[str, str]] = (), content: object = None
    ) -> bytes:
        """The body of the answer to a request; `content` is sent as JSON."""
        try:
            headers = {} if self._token is None else {"Authorization": f"Bearer {self._token.read()}"}
            asked = self._opened().request(
                method, url + path, params=list(params), headers=headers, json=content, allow_redirects=False
            )
            async with asked as answer:
                if answer.status != 200:
                    raise NoAnswer(f"Alertmanager at {_address(url)} answers {answer.status} {answer.reason}")
                return await _whole(answer)
        except SecretError as error:
            raise NoAnswer(f"Alertmanager is not asked: {error}") from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise NoAnswer(f"Alertmanager at {_address(url)}: {error or 'no answer in time'}") from error

    def _opened(self) -> aiohttp.ClientSession:
        """The session. The certificates are read when it is first needed."""
        if self._session is None:
            trusted = True if self._ca_file is None else ssl.create_default_context(cafile=str(self._ca_file))
            self._session = aiohttp.ClientSession(timeout=self._timeout, connector=aiohttp.TCPConnector(ssl=trusted))
        return self._session


def decoded(url: str, body: bytes, kind: type[T]) -> T:
    """An answer from an Alertmanager at that URL. Raises NoAnswer for one that does not have that shape."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoAnswer(f"the answer from {_address(url)} is not one of Alertmanager's API, version 2") from error


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise NoAnswer(f"an answer of more than {_MOST_BYTES >> 20} MiB from {_address(str(answer.url))}")
    return bytes(body)


def _address(url: str) -> str:
    """The host and port of a URL, without a password, for messages."""
    return urlsplit(url).netloc.rpartition("@")[2]
