"""One HTTP POST of a sink, and what its failure means: try again, or refused."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from healer.clock import SYSTEM
from healer.model.text import free_text
from healer.sinks.delivery import MessageRefused, TryAgain

_SHOWN = 200
"""The most characters of an answer in a message."""
_READ = 16 * 1024
"""The most bytes of an answer that are read."""
_LIMIT = 30.0
"""Seconds to wait after 429 when the other side says nothing."""
_PASSING = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class PostAnswer:
    """An answer 2xx: its body, which is text of others."""

    status: int
    body: bytes

    def __str__(self) -> str:
        text = free_text(self.body.decode("utf-8", "replace"), _SHOWN)
        return f"HTTP {self.status} {text}".rstrip()


class Poster:
    """Posts over one session, from entry to exit. It never says a URL: many hold a secret. Redirects are not followed."""

    def __init__(self, timeout: float, ca_file: Path | None) -> None:
        self._timeout = timeout
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None

    def problems(self) -> list[str]:
        """What keeps it from any post, a sentence each."""
        if self._ca_file is None or self._ca_file.is_file():
            return []
        return [f"the file {self._ca_file} (ca_file) with the certificates to trust is not there: nothing is sent"]

    async def __aenter__(self) -> Self:
        limit = aiohttp.ClientTimeout(total=self._timeout)
        trusted = True if self._ca_file is None else await asyncio.to_thread(ssl.create_default_context, cafile=self._ca_file)
        self._session = aiohttp.ClientSession(timeout=limit, trust_env=True, connector=aiohttp.TCPConnector(ssl=trusted))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], hint: str) -> PostAnswer:
        """Post JSON. `hint` says what to do when it is refused. Raises TryAgain or MessageRefused."""
        if self._session is None:
            raise RuntimeError("it is not connected")
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "healer", **headers}
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                answer = PostAnswer(response.status, await response.content.read(_READ))
                retry_after = response.headers.get("Retry-After")
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
            hint = "name the authority of its certificate in ca_file"
            raise MessageRefused(f"the connection is not trusted ({type(error).__name__})", hint) from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise MessageRefused("the URL is not usable", "it must begin with https:// or http:// and name a host") from error
        except TimeoutError as error:
            raise TryAgain(f"no answer within {self._timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise TryAgain(f"{type(error).__name__}: {free_text(str(error), _SHOWN)}") from error
        if answer.status in _PASSING or answer.status >= 500:
            raise TryAgain(str(answer), _seconds(retry_after, _LIMIT if answer.status == 429 else None))
        if answer.status >= 300:
            raise MessageRefused(str(answer), hint)
        return answer


def _seconds(header: str | None, default: float | None) -> float | None:
    """Retry-After: whole seconds, or a date."""
    if header is None:
        return default
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - SYSTEM.wall())
    except (TypeError, ValueError):
        return default
