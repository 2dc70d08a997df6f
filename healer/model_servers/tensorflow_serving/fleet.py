"""The pods that mount a ConfigMap, and what the servers in them say of a model, asked through the API server's proxy.

For whoever is not in the cluster's network: a person, a pipeline. They need the right to list pods and to get pods/proxy.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from healer.cluster.api import Api, ApiError, ClusterError
from healer.model_servers.tensorflow_serving.mount import caveats, mounts, takes_any_label
from healer.model_servers.tensorflow_serving.status import PORT, StatusError, Versions, available, parse, status_path

_AT_ONCE = 8
_PATIENCE = 5.0
"""Seconds for an answer."""
_MOST = 100
"""Pods that are asked; of more it is not known."""


class _PodList(msgspec.Struct):
    items: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Fleet:
    """The running pods that mount a ConfigMap; `why` says in words why they are not known, "" when they are."""

    namespace: str
    config_map: str
    pods: Sequence[Mapping[str, Any]]
    why: str = ""

    @property
    def takes_any_label(self) -> bool:
        """Whether all of these pods take labels of versions that are not AVAILABLE; also when no pod is known to refuse one."""
        return all(map(takes_any_label, self.pods))

    def caveats(self, *, labels: bool) -> list[str]:
        """What keeps these pods from seeing a change of the file, in words."""
        return list(dict.fromkeys(said for pod in self.pods for said in caveats(pod, self.config_map, labels=labels)))


@dataclass(frozen=True, slots=True)
class Told:
    """What servers say of a model, or in words why they say nothing, by pod. `why`: why none was asked."""

    answers: Mapping[str, Versions | str]
    why: str = ""

    @property
    def available(self) -> frozenset[int] | None:
        """The versions that are AVAILABLE on every server that answers; None when none does."""
        said = [available(answer) for answer in self.answers.values() if not isinstance(answer, str)]
        return frozenset.intersection(*said) if said else None

    @property
    def silent(self) -> dict[str, str]:
        """Those that say nothing, and why."""
        return {pod: answer for pod, answer in self.answers.items() if isinstance(answer, str)}


async def fleet_of(api: Api, namespace: str, config_map: str) -> Fleet:
    """The pods that mount a ConfigMap."""
    try:
        found = await api.get(f"/api/v1/namespaces/{namespace}/pods", _PodList)
    except ClusterError as error:
        return Fleet(namespace, config_map, (), f"the pods cannot be listed: {error}")
    pods = [pod for pod in found.items if mounts(pod, config_map) and _runs(pod)]
    return Fleet(namespace, config_map, pods, "" if pods else f"no pod that runs mounts configmap/{config_map}")


def _runs(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]


async def told(api: Api, fleet: Fleet, model: str, port: int = PORT) -> Told:
    """What the servers of a fleet say of a model."""
    if fleet.why or len(fleet.pods) > _MOST:
        return Told({}, fleet.why or f"{len(fleet.pods)} pods are more than are asked")
    places = asyncio.Semaphore(_AT_ONCE)
    names = [str(pod["metadata"]["name"]) for pod in fleet.pods]
    async with asyncio.TaskGroup() as group:
        asked = {name: group.create_task(_ask(api, places, fleet.namespace, name, model, port)) for name in names}
    return Told({name: task.result() for name, task in asked.items()})


async def _ask(api: Api, places: asyncio.Semaphore, namespace: str, pod: str, model: str, port: int) -> Versions | str:
    path = f"/api/v1/namespaces/{namespace}/pods/http:{pod}:{port}/proxy{status_path(model)}"
    try:
        async with places, asyncio.timeout(_PATIENCE):
            return parse(200, await api.request("GET", path))
    except ApiError as error:
        if error.is_not_found and not error.reason and not error.message:  # not the API server's 404: the model server's
            return ()
        return f"{error.status} {error.message or error.reason}".strip()
    except (ClusterError, StatusError, TimeoutError) as error:
        return str(error) or f"no answer within {_PATIENCE:g} s"
