"""Collect what sick pods say of themselves before anything is done to them: logs, events, and their state, redacted.

It is kept in a ConfigMap beside the pods. The Incident owns it, so that Kubernetes removes it with the incident; healer removes
the oldest where there are many. The action changes no workload and delays the next step by seconds at most: what cannot be read
is said, and the ladder goes on.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from pydantic import Field

from healer.actions.base import Call
from healer.actions.shared.evidence import LogBounds, Part, fitted, last_lines, of_pod, of_workload, redacted
from healer.actions.shared.rolling import rung
from healer.cluster.api import METADATA_LIST, Api, ApiError, ClusterError
from healer.model.action import ActionSpec, Outcome, OutcomeKind, permissions
from healer.model.annotations import COLLECTED_FOR
from healer.model.duration import Duration
from healer.model.kube import KubeObject, Pod
from healer.model.target import ActsOn
from healer.rules.form import Model, Whole
from healer.workloads.registry import WORKLOADS, allowed

_LABEL = "healer.dev/collected"
"""The label of the ConfigMaps that hold what was collected; its value is "true"."""
_READING, _STORING = 6.0, 4.0
"""Seconds: the two together are the longest that the action may take."""
_MOST_BYTES = 900_000
"""Bytes of a ConfigMap's data; the API server takes a mebibyte."""
_SHOWN = 400
"""Characters of the last lines that the incident shows."""
_INCIDENT = "/apis/healer.dev/v1alpha1/namespaces/{}/incidents/{}"


class CollectParams(Model):
    """How much."""

    pods: Annotated[Whole, Field(ge=1, le=10)] = 3
    """So many pods at most: those that are sick, else those that are not ready, else any."""
    lines: Annotated[Whole, Field(ge=1, le=10_000)] = 300
    """The last lines of each log: of each container, of its present run and of the one before."""
    bytes: Annotated[Whole, Field(ge=1024, le=262_144)] = 32_768
    """The last bytes of these lines."""
    keep: Annotated[Whole, Field(ge=1, le=100)] = 20
    """How many ConfigMaps of this kind a namespace holds: older ones are deleted."""
    keep_for: Annotated[Duration, Field(gt=0)] = 7 * 86400.0
    """How long one is held: an older one is deleted when the next is made, and each with its incident."""


class Collect:
    """The action `collect`."""

    spec = ActionSpec(
        name="collect",
        params=CollectParams,
        targets=frozenset({ActsOn.WORKLOAD}),
        disrupts=False,
        verb="collect the logs and events of",
        changes=False,
        heals=False,
        needs=lambda _: (
            permissions("", "pods/log", "get")
            | permissions("", "pods", "get")
            | permissions("", "events", "list")
            | permissions("", "nodes", "get")
            | permissions("", "configmaps", "get list create delete")
            | allowed("get")
        ),
        meaning=(
            "keeps the logs (present and previous), the events and the state of the sick pods in a ConfigMap, redacted; takes at "
            "most 10 s, and the next step follows at once. It changes no workload and spends no budget"
        ),
    )

    async def run(self, call: Call) -> Outcome:
        """Read everything at once, store it, and say where it is. Whatever fails is said, and is no reason to wait."""
        params = call.act.params
        assert isinstance(params, CollectParams)
        pods = _chosen(call, params.pods)
        if not pods:
            text = f"nothing was collected: {call.act.incident.workload} has no pod"
            return Outcome(OutcomeKind.DONE, "NothingToCollect", text)
        try:
            async with asyncio.timeout(_READING):
                parts = await _read(call, pods, params)
        except TimeoutError:
            text = f"nothing was collected: the pods of {call.act.incident.workload} could not be read within {_READING:g} s"
            return Outcome(OutcomeKind.DONE, "NotCollected", text)
        if (forbidden := call.sending()) is not None:
            return forbidden
        try:
            async with asyncio.timeout(_STORING):
                where = await _store(call, params, fitted(parts, _MOST_BYTES))
        except (ClusterError, TimeoutError) as error:
            text = f"what was read of {_names(pods)} could not be kept in a ConfigMap: {error or 'no answer in time'}"
            return Outcome(OutcomeKind.DONE, "NotCollected", text + _ending(parts))
        if call.act.dry_run:
            text = f"logs and events of {_names(pods)} would be kept in {where} (observe: dry run, nothing was kept)"
            return Outcome(OutcomeKind.DONE, "WouldCollect", text)
        where += f" of {call.act.incident.workload.namespace}"
        return Outcome(OutcomeKind.DONE, "Collected", f"{_what(pods, parts)} are in {where}{_lacking(parts)}{_ending(parts)}")


def _chosen(call: Call, most: int) -> list[Pod]:
    """The pods to read: those that are sick, else those of the workload that are not ready, else any of it."""
    found = [pod for sick in call.act.incident.sick if (pod := call.view.pod(sick.target.uid)) is not None]
    if not found:
        found = sorted(call.view.pods_of(call.act.incident.workload), key=lambda pod: (pod.ready, pod.metadata.name))
    return found[:most]


async def _read(call: Call, pods: Sequence[Pod], params: CollectParams) -> list[Part]:
    bounds, workload = LogBounds(params.lines, params.bytes), call.act.incident.workload
    asked = [of_pod(call.api, pod, bounds) for pod in pods]
    if (kind := WORKLOADS.get(workload.kind)) is not None:
        asked.append(of_workload(call.api, kind.resource.path(workload.namespace, workload.name)))
    return await redacted([part for parts in await asyncio.gather(*asked) for part in parts], _MOST_BYTES)


def _what(pods: Sequence[Pod], parts: Sequence[Part]) -> str:
    logs = sum(part.name.endswith(".log") and not part.missing for part in parts)
    return f"{logs} logs, the events and the state of {_names(pods)}"


def _lacking(parts: Sequence[Part]) -> str:
    missing = [f"{part.name} ({part.missing})" for part in parts if part.missing]
    return f"; not read: {', '.join(missing[:2])}{' and more' if len(missing) > 2 else ''}" if missing else ""


def _ending(parts: Sequence[Part]) -> str:
    last = last_lines(parts, _SHOWN)
    return f"; the log ends: {last}" if last else ""


def _names(pods: Sequence[Pod]) -> str:
    return ", ".join(f"pod/{pod.metadata.name}" for pod in pods)


# the ConfigMap


class _CollectedMeta(msgspec.Struct, rename="camel"):
    name: str
    uid: str
    creation_timestamp: datetime
    owner_references: list[dict[str, object]] = []


class _CollectedMap(msgspec.Struct):
    metadata: _CollectedMeta


class _CollectedMaps(msgspec.Struct):
    items: list[_CollectedMap] = []


async def _store(call: Call, params: CollectParams, texts: dict[str, str]) -> str:
    """Make the ConfigMap, and delete the oldest where there are too many. Returns what it is called. Raises ClusterError."""
    incident, namespace, api = call.act.incident, call.act.incident.workload.namespace, call.api
    name = f"{incident.id}-collected-{rung(call)}"
    owner = (await api.get(_INCIDENT.format(namespace, incident.id), KubeObject)).metadata
    reference = {"apiVersion": "healer.dev/v1alpha1", "kind": "Incident", "name": owner.name, "uid": owner.uid}
    metadata = {
        "name": name,
        "labels": {_LABEL: "true"},
        "annotations": {COLLECTED_FOR: incident.id},
        "ownerReferences": [reference],
    }
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": texts}
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    if not call.act.dry_run:
        await _make_room(api, path, params, name)
    try:
        await api.request("POST", path, body=body, query={"dryRun": "All"} if call.act.dry_run else None)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        known = await api.get(f"{path}/{name}", _CollectedMap)  # an earlier attempt, of which no answer came, has made it
        if reference["uid"] not in [each.get("uid") for each in known.metadata.owner_references]:
            raise
    return f"configmap/{name}"


async def _make_room(api: Api, path: str, params: CollectParams, name: str) -> None:
    """Delete what healer has collected before, as far as it is too old or too much. Raises ClusterError."""
    found = await api.get(path, _CollectedMaps, {"labelSelector": f"{_LABEL}=true"}, accept=METADATA_LIST)
    mine = [
        each.metadata
        for each in found.items
        if each.metadata.name != name and any(owner.get("kind") == "Incident" for owner in each.metadata.owner_references)
    ]
    newest = sorted(mine, key=lambda each: (each.creation_timestamp, each.name), reverse=True)
    oldest = datetime.fromtimestamp(api.clock.wall(), UTC) - timedelta(seconds=params.keep_for)
    for number, each in enumerate(newest, 2):
        if number > params.keep or each.creation_timestamp < oldest:
            options = {"preconditions": {"uid": each.uid}}
            try:
                await api.request("DELETE", f"{path}/{each.name}", body=options)
            except ApiError as error:
                if not (error.is_not_found or error.is_conflict):
                    raise
