"""The pods that mount a ConfigMap, and the status of a model on their servers, read through the API server's proxy.

This is for callers outside the cluster's network: a person, a pipeline. They need the right to list pods and to get pods/proxy.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from healer.cluster.api import Api, ApiError, ClusterError
from healer.model_servers.base import ModelServer, VersionsFile
from healer.model_servers.mount import mounts
from healer.model_servers.status import ModelStatus, StatusError
from healer.model_servers.store import FileRef

_AT_ONCE = 8
_TIMEOUT = 5.0
"""Seconds that an answer may take; it passes through the API server."""
_MOST = 100
"""The most pods that are asked; with more the status is not known."""


class _PodList(msgspec.Struct):
    items: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Fleet:
    """The running pods that mount the file's ConfigMap; `why` says in words why they are not known, "" when they are."""

    ref: FileRef
    pods: Sequence[Mapping[str, Any]]
    why: str = ""

    @property
    def takes_any_label(self) -> bool:
        """Whether all of these pods take labels of versions that are not AVAILABLE; also when no pod is known to refuse one."""
        return all(map(self.ref.format.takes_any_label, self.pods))

    def caveats(self, *, labels: bool) -> list[str]:
        """Why these pods do not see a change of the file, in words."""
        form: VersionsFile = self.ref.format
        return list(dict.fromkeys(text for pod in self.pods for text in form.caveats(pod, self.ref.config_map, labels=labels)))


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The servers' answers about a model, or in words why there is none, by pod. `why`: why none was asked."""

    answers: Mapping[str, ModelStatus | str]
    why: str = ""

    @property
    def statuses(self) -> list[ModelStatus]:
        """The answers of the servers that answer."""
        return [answer for answer in self.answers.values() if not isinstance(answer, str)]

    @property
    def available(self) -> frozenset[int] | None:
        """The versions that are AVAILABLE on every server that answers; None when none does."""
        found = [status.available for status in self.statuses]
        return frozenset.intersection(*found) if found else None

    @property
    def unanswered(self) -> dict[str, str]:
        """The pods whose servers do not answer, and why."""
        return {pod: answer for pod, answer in self.answers.items() if isinstance(answer, str)}


async def fleet_of(api: Api, ref: FileRef) -> Fleet:
    """The pods that mount the file's ConfigMap."""
    try:
        found = await api.get(f"/api/v1/namespaces/{ref.namespace}/pods", _PodList)
    except ClusterError as error:
        return Fleet(ref, (), f"the pods cannot be listed: {error}")
    pods = [pod for pod in found.items if mounts(pod, ref.config_map) and _runs(pod)]
    return Fleet(ref, pods, "" if pods else f"no pod that runs mounts configmap/{ref.config_map}")


def _runs(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]


async def status_of(api: Api, fleet: Fleet, server: ModelServer, model: str, port: int) -> FleetStatus:
    """The status of a model on the servers of a fleet."""
    if fleet.why or len(fleet.pods) > _MOST:
        return FleetStatus({}, fleet.why or f"there are {len(fleet.pods)} pods, and healer does not ask so many")
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(pod: str) -> ModelStatus | str:
        path = f"/api/v1/namespaces/{fleet.ref.namespace}/pods/http:{pod}:{port}/proxy{server.path(model)}"
        async with limit:
            return await _ask(api, server, model, path)

    names = [str(pod["metadata"]["name"]) for pod in fleet.pods]
    async with asyncio.TaskGroup() as group:
        asked = {name: group.create_task(one(name)) for name in names}
    return FleetStatus({name: task.result() for name, task in asked.items()})


async def _ask(api: Api, server: ModelServer, model: str, path: str) -> ModelStatus | str:
    try:
        async with asyncio.timeout(_TIMEOUT):
            return server.parse(model, 200, await api.request(server.method, path))
    except ApiError as error:
        if error.is_not_found and not error.reason and not error.message:  # not the API server's 404: the model server's
            return ModelStatus(ready=False)
        lacks = "the right to `get` pods/proxy is missing: " if error.is_forbidden and error.reason else ""
        return f"{lacks}{error.status} {error.message or error.reason}".strip()
    except (ClusterError, StatusError, TimeoutError) as error:
        return str(error) or f"no answer within {_TIMEOUT:g} s"
