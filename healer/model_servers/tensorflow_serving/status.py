"""TensorFlow Serving's answer about a model: `GET /v1/models/NAME`.

Source: tensorflow_serving/apis/get_model_status.proto, g3doc/api_rest.md, model_servers/get_model_status_impl.cc;
model_servers/server.cc and core/servable_state_monitor.cc (the ports are opened when each model of the file has a version that is
AVAILABLE; where the first one to end its load has failed, the server ends).
"""

from urllib.parse import quote

import msgspec

from healer.model.text import body_text
from healer.model_servers.status import ModelStatus, StatusError, VersionState, VersionStatus

PORT = 8501
"""The default port of the REST API."""
_NONE = "Could not find any versions of model"
"""The error of a 404 for a model that is not served, or that has no version."""


class _LoadStatus(msgspec.Struct):
    error_code: str = "OK"
    error_message: str = ""


class _VersionEntry(msgspec.Struct):
    state: VersionState
    version: str | int = 0
    """A string, as JSON has the 64-bit integers of protobuf."""
    status: _LoadStatus = msgspec.field(default_factory=_LoadStatus)


class _StatusAnswer(msgspec.Struct):
    model_version_status: list[_VersionEntry]


class _ServerError(msgspec.Struct):
    error: str = ""


def path(model: str) -> str:
    """The path of the request."""
    return f"/v1/models/{quote(model, safe='')}"


def parse(_: str, status: int, body: bytes) -> ModelStatus:
    """An answer, by its HTTP status and body. A version's error code is a gRPC status like "NOT_FOUND". Raises StatusError."""
    try:
        if status == 404 and msgspec.json.decode(body, type=_ServerError).error.startswith(_NONE):
            return ModelStatus.of(())
        if status != 200:
            raise StatusError(f"it answers {status}: {_shown(body)}")
        answer = msgspec.json.decode(body, type=_StatusAnswer)
        found = [
            VersionStatus(int(v.version), v.state, v.status.error_code, v.status.error_message)
            for v in answer.model_version_status
        ]
    except (msgspec.MsgspecError, ValueError) as error:
        raise StatusError(f"its answer is not that of TensorFlow Serving ({error}): {_shown(body)}") from error
    return ModelStatus.of(tuple(sorted(found, key=lambda one: one.version)))


def _shown(body: bytes) -> str:
    return " ".join(body_text(body, 200).split())
