"""Triton Inference Server: the states of all versions by its repository index, `POST /v2/repository/index`.

Source: docs/protocol/extension_model_repository.md; core/src/model_lifecycle.cc (the reason is "unloaded" where a version was
unloaded on purpose, else the error of the load) and model.h (READY, UNAVAILABLE, LOADING, UNLOADING); server/src/main.cc (the
ports are opened when the models of the start are loaded).
"""

import msgspec

from healer.model.text import body_text
from healer.model_servers.base import ModelServer
from healer.model_servers.status import VERSIONED, ModelStatus, StatusError, VersionState, VersionStatus

_STATES = {
    "READY": VersionState.AVAILABLE,
    "LOADING": VersionState.LOADING,
    "UNLOADING": VersionState.UNLOADING,
    "UNAVAILABLE": VersionState.END,
}
_UNLOADED = ("", "unloaded")
"""The reasons of a version that ended on purpose."""
_FAILED = "UNAVAILABLE"
"""The code of a version that did not load."""


class _IndexEntry(msgspec.Struct):
    name: str
    version: str = ""
    state: str = ""
    reason: str = ""


def parse(model: str, status: int, body: bytes) -> ModelStatus:
    """Its answer, which is about all its models. Raises StatusError."""
    if status != 200:
        raise StatusError(f"it answers {status}: {_shown(body)}")
    try:
        entries = msgspec.json.decode(body, type=list[_IndexEntry])
        versions = [_status(entry) for entry in entries if entry.name == model and entry.state]
    except (msgspec.MsgspecError, ValueError) as error:
        raise StatusError(f"its answer is not that of Triton's repository index ({error}): {_shown(body)}") from error
    return ModelStatus.of(tuple(sorted(versions, key=lambda one: one.version)))


def _status(entry: _IndexEntry) -> VersionStatus:
    """One version. Raises ValueError for a state that Triton does not have, and for a version that is no number."""
    if entry.state not in _STATES:
        raise ValueError(f"there is no state {entry.state!r}")
    failed = entry.state == "UNAVAILABLE" and entry.reason not in _UNLOADED
    return VersionStatus(int(entry.version), _STATES[entry.state], _FAILED if failed else "OK", entry.reason if failed else "")


def _shown(body: bytes) -> str:
    return " ".join(body_text(body, 200).split())


TRITON = ModelServer(
    name="triton",
    title="Triton Inference Server",
    port=8000,
    path=lambda model: "/v2/repository/index",
    parse=parse,
    conditions=VERSIONED,
    method="POST",
    timeout=5.0,
    loading=1200.0,
)
