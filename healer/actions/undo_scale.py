"""What sets the number of a workload's replicas, and the way back of a change of it."""

from dataclasses import dataclass
from typing import Any

import msgspec

from healer.actions.base import NotUndone, NotYet
from healer.actions.shared.temporary import TRIES
from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.cluster.managed import WrittenMeta
from healer.model.incident import Incident, Reason
from healer.model.target import Target
from healer.model.temporary import TemporaryChange
from healer.model.workload import Workload
from healer.workloads.registry import WORKLOADS, read_workload

AUTOSCALERS = "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers"
REPLICAS = "replicas"
"""The key of the note when the workload's own scale was changed; for an autoscaler it is KIND/NAME."""
_AUTOSCALER = "horizontalpodautoscaler/"


class _ScaleSpec(msgspec.Struct):
    replicas: int = 0


class Scale(msgspec.Struct):
    """autoscaling/v1 Scale."""

    metadata: WrittenMeta
    spec: _ScaleSpec = msgspec.field(default_factory=_ScaleSpec)


class _ScaleTargetRef(msgspec.Struct, rename="camel"):
    kind: str = ""
    name: str = ""


class _AutoscalerSpec(msgspec.Struct, rename="camel"):
    scale_target_ref: _ScaleTargetRef
    max_replicas: int
    min_replicas: int = 1


class _AutoscalerStatus(msgspec.Struct, rename="camel"):
    desired_replicas: int = 0


class ScalingAutoscaler(msgspec.Struct):
    """autoscaling/v2 HorizontalPodAutoscaler, as far as its bounds go."""

    metadata: WrittenMeta
    spec: _AutoscalerSpec
    status: _AutoscalerStatus = msgspec.field(default_factory=_AutoscalerStatus)

    @property
    def key(self) -> str:
        """The key of its note."""
        return f"{_AUTOSCALER}{self.metadata.name}"

    def scales(self, target: Target) -> bool:
        """Whether it sets the replicas of that workload."""
        ref = self.spec.scale_target_ref
        return (ref.kind, ref.name) == (target.kind, target.name)


class Autoscalers(msgspec.Struct):
    """A list of them."""

    items: list[ScalingAutoscaler] = []


def scale_path(target: Target) -> str:
    """Where the scale of a workload is."""
    return WORKLOADS[target.kind].resource.path(target.namespace, target.name) + "/scale"


async def autoscalers(api: Api, target: Target) -> list[ScalingAutoscaler]:
    """Those that set the replicas of a workload; a cluster may serve none at all. Raises ClusterError."""
    try:
        found = await api.get(AUTOSCALERS.format(target.namespace), Autoscalers)
    except ApiError as error:
        if not error.is_not_found:
            raise
        return []
    return [each for each in found.items if each.scales(target)]


def short(workload: Workload, before: int) -> Reason | None:
    """Why a workload cannot spare the replicas beyond those from `before` now; None when it can.

    Replicas of an older revision that its own strategy keeps (a partition) are no rollout.
    """
    if not workload.observed or (workload.existing > workload.updated and workload.rollout is not None):
        return Reason("RolloutInProgress", f"a rollout of {workload.target} is in progress")
    if workload.ready < before:
        return Reason("NotEnoughReady", f"{workload.ready} of the {before} replicas from before are ready")
    if WORKLOADS[workload.kind].by_ordinal and workload.ready < workload.existing:
        text = f"{workload.existing - workload.ready} replicas are not ready, and those with the highest numbers would go"
        return Reason("NotEnoughReady", text)
    return None


@dataclass(frozen=True, slots=True)
class Sized:
    """The number that sets a workload's replicas: its own, or the minimum of its autoscaler."""

    target: Target
    key: str
    number: int
    version: str
    """The resourceVersion of what holds it."""

    @property
    def path(self) -> str:
        """The path of what holds it."""
        if self.key == REPLICAS:
            return scale_path(self.target)
        return f"{AUTOSCALERS.format(self.target.namespace)}/{self.key.removeprefix(_AUTOSCALER)}"

    def set(self, number: int) -> dict[str, Any]:
        """The body of a merge patch that sets it, if nothing of what holds it has changed since."""
        field = "replicas" if self.key == REPLICAS else "minReplicas"
        return {"metadata": {"resourceVersion": self.version}, "spec": {field: number}}

    def __str__(self) -> str:
        return f"replicas of {self.target}" if self.key == REPLICAS else f"minReplicas of {self.key}"


async def read_sized(api: Api, target: Target, key: str) -> Sized:
    """The number as it stands now. Raises NotUndone where that is not about the workload (any more), ClusterError, ValueError."""
    if key == REPLICAS:
        scale = await api.get(scale_path(target), Scale)
        if scale.metadata.uid != target.uid:
            raise NotUndone(f"nothing was undone: {target} is now another object")
        if scaling := await autoscalers(api, target):
            raise NotUndone(f"nothing was undone: {scaling[0].key} sets the replicas of {target} now")
        return Sized(target, key, scale.spec.replicas, scale.metadata.resource_version)
    if not key.startswith(_AUTOSCALER):
        raise ValueError(f"{key} is nothing that healer scales")
    found = await api.get(Sized(target, key, 0, "").path, ScalingAutoscaler)
    if not found.scales(target):
        raise NotUndone(f"nothing was undone: {key} does not scale {target} (any more)")
    return Sized(target, key, found.spec.min_replicas, found.metadata.resource_version)


@dataclass(frozen=True, slots=True)
class ReplicasReversal:
    """One workload: its number now, the one that healer set, and the one from before. See `Reversal`."""

    now: Sized
    set: int
    base: int
    """What an earlier step had set, where the last one perhaps did not come to it."""
    before: int
    short: Reason | None = None
    """Why the workload cannot spare the replicas now."""

    @property
    def group(self) -> str:
        """See `Reversal`."""
        return "scales"

    @property
    def done(self) -> bool:
        """Whether it has the number from before."""
        return self.now.number == self.before

    def __str__(self) -> str:
        if self.done:
            return f"{self.now}: {self.before}, as before"
        return f"{self.now}: {self.now.number} -> {self.before}"

    def plain(self) -> dict[str, Any]:
        """See `Reversal`."""
        target = self.now.target
        name = {"kind": target.kind, "name": target.name, "by": self.now.key}
        return {**name, "found": self.now.number, "setByHealer": self.set, "before": self.before}

    def check(self, *, force: bool) -> None:
        """See `Reversal`."""
        self._allowed(self.now, force)
        if self.short is not None and not force and not self.done:
            raise NotYet(f"nothing was undone: {self.short.text}. --force puts {self.before} back anyway")

    async def put_back(self, api: Api, *, force: bool) -> None:
        """Set the number from before, unless somebody changes it meanwhile. Raises NotUndone, ClusterError."""
        now = self.now
        for left in reversed(range(TRIES)):
            self._allowed(now, force)
            if now.number == self.before:
                return
            try:
                body = now.set(self.before)
                await api.request("PATCH", now.path, body=body, content_type="application/merge-patch+json")
                return
            except ApiError as error:
                if not (error.is_conflict and left):
                    raise
            now = await read_sized(api, now.target, now.key)

    def _allowed(self, now: Sized, force: bool) -> None:
        if now.number not in (self.set, self.base, self.before) and not force:
            text = f"{now} are {now.number}, and healer set {self.set}: somebody has changed them since"
            raise NotUndone(f"nothing was undone: {text}. --force puts {self.before} back anyway")


async def reversal(api: Api, incident: Incident, key: str, change: TemporaryChange) -> ReplicasReversal:
    """The way back of a change of the incident's workload. Raises NotUndone, ClusterError, ValueError for a note that healer did
    not write: it never gives a workload less than one replica, nor takes any."""
    before, after = int(change.before), int(change.after)
    base = int(change.base or change.before)
    if not 1 <= before <= base < after:
        raise ValueError(f"from {before} to {after} replicas is nothing that healer does")
    if incident.workload.kind not in WORKLOADS:
        raise NotUndone(f"nothing was undone: healer does not act on a {incident.workload.kind}")
    now = await read_sized(api, incident.workload, key)
    return ReplicasReversal(now, after, base, before, short(await read_workload(api, incident.workload), before))
