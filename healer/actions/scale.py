"""Give a workload more replicas for a time: by its scale subresource, or by the minimum of the autoscaler that sets them.

Where a HorizontalPodAutoscaler targets the workload, it alone sets the replicas, and healer raises its `minReplicas`. The change
is taken back when the incident is healed (`healer.daemon.taking_back`), if the number is still the one that healer has set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from healer.actions.base import Call, Clients, Reversal, Stopped
from healer.actions.shared.paused import paused
from healer.actions.shared.refusal import unread
from healer.actions.shared.rolling import read_whole, rung
from healer.actions.shared.temporary import TemporaryPatch, send, standing
from healer.actions.undo_scale import REPLICAS, Scale, ScalingAutoscaler, Sized, autoscalers, reversal, scale_path, short
from healer.cluster.api import Api, ClusterError
from healer.cluster.managed import WrittenMeta, gitops_of, operator_of
from healer.model.action import ActionSpec, Outcome, OutcomeKind, Permissions, permissions, union
from healer.model.duration import Duration
from healer.model.incident import Incident, Reason
from healer.model.target import ActsOn, Target
from healer.model.temporary import TemporaryChange, changes
from healer.model.view import View
from healer.rules.form import Model, Whole
from healer.rules.portion import More, part_of
from healer.workloads.base import Rollable
from healer.workloads.registry import WORKLOADS, allowed

_MOST = 1000
"""Replicas that a rule may ask for."""


class ScaleParams(Model):
    """How many more, and the bound."""

    by: More = 1
    """So many replicas more than there are: a whole number, or a percentage of those that there are ("25%"), rounded up."""
    max: Annotated[Whole, Field(ge=2, le=_MOST)]
    """The most replicas that the workload may have by this action."""
    keep_for: Annotated[Duration, Field(ge=0)] = 600.0
    """How long the replicas stay after the incident is healed: what they were added for may come back when they go."""
    even_if_managed: bool = False
    """Scale also when a GitOps controller manages the number, which restores its own sooner or later."""


def _needs(_: ScaleParams) -> Permissions:
    kinds = [kind.resource for kind in WORKLOADS.values() if kind.scales]
    scales = union(permissions(each.api_group, f"{each.plural}/scale", "get patch") for each in kinds)
    return allowed("get") | scales | permissions("autoscaling", "horizontalpodautoscalers", "get list patch")


class ScaleWorkload:
    """The action `scale`."""

    spec = ActionSpec(
        name="scale",
        params=ScaleParams,
        targets=frozenset({ActsOn.WORKLOAD}),
        disrupts=False,
        verb="scale",
        in_rollout=True,  # it takes no pod, and a rollout that is short of pods is no reason to give it none
        adds=True,
        needs=_needs,
        meaning=(
            "gives the workload more replicas, by its scale or by the `minReplicas` of the HorizontalPodAutoscaler that sets it; "
            "taken back when the incident is healed"
        ),
    )

    async def run(self, call: Call) -> Outcome:
        """Read the workload and what sets its replicas, journal the number, and raise it."""
        params = call.act.params
        assert isinstance(params, ScaleParams)
        whole = await read_whole(call)
        if isinstance(whole, Outcome):
            return whole
        if (stopped := paused(call, whole.workload())) is not None:
            return stopped
        try:
            wish = await _wish(call.api, params, whole)
        except Stopped as stop:
            return stop.outcome
        except ClusterError as error:
            return unread(error, f"read the scale of {call.act.target}")
        return await _raise(call, params, whole, wish)

    async def never(self, api: Api, whole: Rollable, params: ScaleParams, *, min_ready: int, ready: int) -> str:
        """See `Foreseeing`."""
        try:
            return (await _wish(api, params, whole)).at_maximum
        except Stopped as stop:
            return stop.outcome.text

    async def reversal(self, clients: Clients, incident: Incident, key: str, change: TemporaryChange) -> Reversal:
        """See `Temporary`."""
        return await reversal(clients.api, incident, key, change)

    async def reversals(self, api: Api, incident: Incident, namespace: str, kept: Mapping[str, str]) -> Sequence[Reversal]:
        """See `Undoable`."""
        return await standing(self, api, incident, kept)

    def hold(self, incident: Incident, change: TemporaryChange, view: View, beside: Sequence[Incident]) -> Reason | None:
        """See `Temporary`. Replicas are taken away only from a workload that can spare them."""
        if beside:
            return Reason("OtherIncident", f"{beside[0].id} ({beside[0].rule}) is open on {incident.workload}")
        workload = view.workload(incident.workload.uid)
        return None if workload is None else short(workload, int(change.before))  # the way back reads it afresh in any case


@dataclass(frozen=True, slots=True)
class _Wish:
    """The number as it is, and as it should be. `running`: how many replicas the workload is to have now."""

    now: Sized
    running: int
    wanted: int
    most: int
    """What bounds it: the rule, or the autoscaler's own maximum."""

    @property
    def at_maximum(self) -> str:
        """Why nothing can be added; "" when something can."""
        if self.wanted > max(self.running, self.now.number):
            return ""
        return f"{self.now.target} has {self.running} replicas, and may have {self.most}: no more are added"


async def _wish(api: Api, params: ScaleParams, whole: Rollable) -> _Wish:
    """What is to be set. Raises Stopped, ClusterError."""
    target = whole.workload().target
    if (owner := operator_of(whole.metadata)) is not None:
        raise _refusal(Reason("Managed", f"{target} belongs to {owner}, which sets its replicas: {owner.instead}"))
    if not WORKLOADS[target.kind].scales:
        raise _refusal(Reason("NoScale", f"a {target.kind} has no scale: the replicas of {target} cannot be set"))
    scaling = await autoscalers(api, target)
    if len(scaling) > 1:
        names = ", ".join(sorted(each.metadata.name for each in scaling))
        text = f"{len(scaling)} HorizontalPodAutoscalers scale {target} ({names}): delete all but one of them"
        raise _refusal(Reason("TwoAutoscalers", text))
    scale = await api.get(scale_path(target), Scale)
    if scale.metadata.uid != target.uid:
        raise _refusal(Reason("WorkloadReplaced", f"{target} is now another object: healer leaves it alone"))
    if scale.spec.replicas < 1:
        text = f"{target} is scaled to 0: somebody has switched it off, and healer does not switch it on"
        raise _refusal(Reason("ScaledToZero", text))
    if scaling:
        return _by_autoscaler(params, scaling[0], scale.spec.replicas, target)
    _managed(params, whole.metadata, target.kind, "f:replicas", f"{target}")
    now = Sized(target, REPLICAS, scale.spec.replicas, scale.metadata.resource_version)
    return _Wish(now, now.number, min(now.number + part_of(params.by, now.number), params.max), params.max)


def _by_autoscaler(params: ScaleParams, scaling: ScalingAutoscaler, running: int, target: Target) -> _Wish:
    if (owner := operator_of(scaling.metadata)) is not None:
        raise _refusal(Reason("Managed", f"{scaling.key} belongs to {owner}, which sets its bounds: {owner.instead}"))
    _managed(params, scaling.metadata, "HorizontalPodAutoscaler", "f:minReplicas", scaling.key)
    now = Sized(target, scaling.key, scaling.spec.min_replicas, scaling.metadata.resource_version)
    if now.number < 1:
        raise _refusal(Reason("ScaledToZero", f"{scaling.key} may scale {target} to 0: healer leaves its bounds alone"))
    most = min(params.max, scaling.spec.max_replicas)
    return _Wish(now, running, min(running + part_of(params.by, running), most), most)


def _managed(params: ScaleParams, metadata: WrittenMeta, kind: str, field: str, name: str) -> None:
    manager = None if params.even_if_managed else gitops_of(metadata, kind, ("f:spec", field))
    if manager is not None:
        text = f"{name} is managed by {manager}, which would restore its own number: scale it at its source, or write "
        raise _refusal(Reason("Managed", text + "evenIfManaged: true"))


def _refusal(reason: Reason) -> Stopped:
    return Stopped(Outcome(OutcomeKind.REFUSED, reason.code, reason.text))


async def _raise(call: Call, params: ScaleParams, whole: Rollable, wish: _Wish) -> Outcome:
    target, now = call.act.target, wish.now
    try:
        kept = changes(call.kept).get(now.key)
    except ValueError as error:
        return Outcome(OutcomeKind.REFUSED, "NoteUnreadable", f"what was kept of an earlier try cannot be read: {error}")
    stands = kept is not None and kept.ended is None and str(now.number) in (kept.after, kept.base)
    if kept is not None and stands and (kept.step, kept.after) == (rung(call), str(now.number)):
        return Outcome(OutcomeKind.DONE, "FoundDone", f"{now}: {now.number} already, by an earlier attempt")
    if kept is not None and kept.ended is None and not stands and _set_by_another(call, now):
        text = f"{now} are {now.number} for another incident, on top of what this one has added: they are taken back first"
        return Outcome(OutcomeKind.DEFERRED, "OtherIncident", text)
    if wish.at_maximum:
        return Outcome(OutcomeKind.REFUSED, "AtMaximum", wish.at_maximum)
    before = kept.before if kept is not None and stands else str(now.number)
    base = str(now.number) if before != str(now.number) else ""
    change = TemporaryChange(before, str(wish.wanted), rung(call), base=base, lasts=params.keep_for)
    patch = TemporaryPatch(now.path, now.set(wish.wanted), now.key, change, f"scale {target}")
    if (failed := await send(call, patch, whole.workload())) is not None:
        return failed
    way = f"{now}: {now.number} -> {wish.wanted}"
    if call.act.dry_run:
        return Outcome(OutcomeKind.DONE, "WouldScale", f"{way}: would be set (observe: dry run, nothing was done)")
    return Outcome(OutcomeKind.DONE, "Scaled", f"{way}; taken back when the incident is healed")


def _set_by_another(call: Call, now: Sized) -> bool:
    """Whether the number is the one that healer has set for another incident, whose change still stands."""
    noted = [text for kept in call.earlier if (text := kept.get(now.key)) is not None]
    try:
        others = [TemporaryChange.parse(text) for text in noted]
    except ValueError:
        return False  # it says nothing of what was set
    return any(each.ended is None and each.after == str(now.number) for each in others)
