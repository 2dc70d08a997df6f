"""KServe's V2 protocol (Open Inference Protocol), by the readiness of a model: KServe's Python server, MLServer.

Source: kserve/protocol/rest/v2_endpoints.py and errors.py (503 or 404 with a JSON `error`); mlserver/rest/endpoints.py (400 with
an empty body for a model that is not ready). The readiness of the whole server, `/v2/health/ready`, is always true at KServe.
"""

from typing import Any
from urllib.parse import quote

import msgspec

from healer.model.text import body_text
from healer.model_servers.base import ModelServer
from healer.model_servers.engines import no_longer_ready, stuck_starting
from healer.model_servers.status import ModelStatus, StatusCondition, StatusError


class _Readiness(msgspec.Struct):
    ready: bool = True
    error: Any = None


def parse(model: str, status: int, body: bytes) -> ModelStatus:
    """The answer of `GET /v2/models/NAME/ready`. Raises StatusError."""
    try:
        answer = msgspec.json.decode(body, type=_Readiness) if body.strip() else _Readiness()
    except msgspec.MsgspecError as error:
        raise StatusError(f"its answer is not that of the V2 protocol ({error}): {_shown(body)}") from error
    said = f": {_free(answer.error)}" if answer.error is not None else ""
    if status == 200:
        return ModelStatus(ready=answer.ready and answer.error is None, text=f"{path(model)} answers 200{said}")
    if (status == 400 and not body.strip()) or (status in (400, 404, 503) and answer.error is not None):
        return ModelStatus(ready=False, text=f"{path(model)} answers {status}{said}")
    raise StatusError(f"it answers {status}: {_shown(body)}")


def _free(error: object) -> str:
    """The error of an answer, in words."""
    return _shown(str(error).encode())


def path(model: str) -> str:
    """The path of the request."""
    return f"/v2/models/{quote(model, safe='')}/ready"


def _shown(body: bytes) -> str:
    return " ".join(body_text(body, 200).split())


V2 = ModelServer(
    name="v2",
    title="KServe V2 protocol (KServe, MLServer)",
    port=8080,
    path=path,
    parse=parse,
    conditions={
        "ModelNotReady": StatusCondition("the model is not ready, and it was in the same process", detect=no_longer_ready),
        "ModelStuckLoading": StatusCondition(
            "the model is not ready, or the port is closed, for longer than `loading`, in a process in which it was never ready",
            detect=stuck_starting,
            starting=True,
        ),
    },
    timeout=5.0,
    loading=1200.0,
)
