"""What servers say of a model: `GET /v1/models/NAME`.

Source: tensorflow_serving/apis/get_model_status.proto, g3doc/api_rest.md, model_servers/get_model_status_impl.cc.
"""

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import quote

import aiohttp
import msgspec

from healer.model.text import said_in

PORT = 8501
"""Where the REST API usually is."""
_LONGEST = 1 << 20
"""Bytes of an answer."""
_NONE = "Could not find any versions of model"
"""What a 404 says of a model that is not served, or has no version at all."""


class ModelState(StrEnum):
    """The life of a version in a server, in its order."""

    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


class StatusError(Exception):
    """No answer, or one that is not TensorFlow Serving's; says which."""


class VersionStatus(msgspec.Struct, frozen=True):
    """One version. `code` is "OK" or a gRPC status like "NOT_FOUND", `message` what went wrong."""

    version: int
    state: ModelState
    code: str = "OK"
    message: str = ""

    def __str__(self) -> str:
        wrong = f" ({self.code}{f': {self.message}' if self.message else ''})" if self.code != "OK" else ""
        return f"{self.version} {self.state}{wrong}"


Versions = tuple[VersionStatus, ...]
"""An answer: the versions that the server knows, ascending; none when it serves no such model."""


class _LoadStatus(msgspec.Struct):
    error_code: str = "OK"
    error_message: str = ""


class _VersionEntry(msgspec.Struct):
    state: ModelState
    version: str | int = 0
    """A string, as JSON has the 64-bit integers of protobuf."""
    status: _LoadStatus = msgspec.field(default_factory=_LoadStatus)


class _StatusAnswer(msgspec.Struct):
    model_version_status: list[_VersionEntry]


class _ServerError(msgspec.Struct):
    error: str = ""


def parse(status: int, body: bytes) -> Versions:
    """An answer. Raises StatusError."""
    try:
        if status == 404 and msgspec.json.decode(body, type=_ServerError).error.startswith(_NONE):
            return ()
        if status != 200:
            raise StatusError(f"it answers {status}: {_shown(body)}")
        answer = msgspec.json.decode(body, type=_StatusAnswer)
        found = [
            VersionStatus(int(v.version), v.state, v.status.error_code, v.status.error_message)
            for v in answer.model_version_status
        ]
    except (msgspec.MsgspecError, ValueError) as error:
        raise StatusError(f"its answer is not that of TensorFlow Serving ({error}): {_shown(body)}") from error
    return tuple(sorted(found, key=lambda one: one.version))


def _shown(body: bytes) -> str:
    return " ".join(said_in(body, 200).split())


def status_path(model: str) -> str:
    """The path that is asked."""
    return f"/v1/models/{quote(model, safe='')}"


async def ask(session: aiohttp.ClientSession, host: str, port: int, model: str, patience: float) -> Versions:
    """Ask one server; `patience` is in seconds, for all of it. Raises StatusError."""
    address = f"[{host}]" if ":" in host else host
    url = f"http://{address}:{port}{status_path(model)}"
    try:
        limit = aiohttp.ClientTimeout(total=patience)
        async with session.get(url, timeout=limit, allow_redirects=False) as answer:
            body = b""
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > _LONGEST:
                    raise StatusError(f"its answer is longer than {_LONGEST} bytes")
            return parse(answer.status, body)
    except TimeoutError as error:
        raise StatusError(f"no answer within {patience:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise StatusError(f"no answer: {error or type(error).__name__}") from error


async def ask_each(
    addresses: Mapping[str, str], port: int, model: str, *, places: asyncio.Semaphore, patience: float
) -> dict[str, Versions | str]:
    """Ask the servers at these addresses, `places` of them at once: their answers, or in words why there is none, by name."""

    async def one(session: aiohttp.ClientSession, host: str) -> Versions | str:
        async with places:
            try:
                return await ask(session, host, port, model, patience)
            except StatusError as error:
                return str(error)

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        asked = {name: group.create_task(one(session, host)) for name, host in addresses.items()}
    return {name: task.result() for name, task in asked.items()}


def available(versions: Versions) -> frozenset[int]:
    """The versions that can be asked for a prediction."""
    return frozenset(one.version for one in versions if one.state is ModelState.AVAILABLE)
