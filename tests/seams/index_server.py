"""A model server of the tests' own: `POST /v2/repository/index` answers about all its models, as Triton does."""

import json

from healer.model_servers.base import ModelServer
from healer.model_servers.status import VERSIONED, ModelStatus, StatusError, VersionState, VersionStatus

_STATES = {
    "READY": VersionState.AVAILABLE,
    "LOADING": VersionState.LOADING,
    "UNLOADING": VersionState.UNLOADING,
    "UNAVAILABLE": VersionState.END,
}


def parse(model: str, status: int, body: bytes) -> ModelStatus:
    """Its answer about one model. Raises StatusError."""
    if status != 200:
        raise StatusError(f"it answers {status}")
    versions = [
        VersionStatus(int(each["version"]), _STATES[each["state"]], message=each.get("reason", ""))
        for each in json.loads(body)
        if each["name"] == model
    ]
    return ModelStatus.of(tuple(sorted(versions, key=lambda one: one.version)))


INDEX_SERVER = ModelServer(
    name="index",
    title="a server with a repository index",
    method="POST",
    port=8000,
    path=lambda model: "/v2/repository/index",
    parse=parse,
    conditions=VERSIONED,
)
