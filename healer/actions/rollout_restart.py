"""Restart all pods of a workload by a rolling update: its template gets the annotation that `kubectl rollout restart` sets.

GitOps controllers leave it alone, so that what they manage is no reason to refuse: Argo CD's own restart sets it, and its
three-way diff does not see it; Flux's server-side apply keeps fields that others own, but for those set by a manager named
kubectl (so its FAQ), and healer's requests are noted as healer's (seen with a 1.36 API server).
"""

from dataclasses import replace

from healer.actions.base import Call
from healer.actions.shared.refusal import under_way
from healer.actions.shared.rolling import (
    TemplatePatch,
    kind_of,
    not_now,
    patch,
    read_whole,
    rung,
    takes_no_pod,
    too_few_left,
    unsafe,
)
from healer.cluster.api import Api
from healer.cluster.managed import operator_of
from healer.model.action import ActionSpec, Outcome, OutcomeKind
from healer.model.target import ActsOn
from healer.model.workload import Workload
from healer.rules.form import Model
from healer.workloads.base import Rollable
from healer.workloads.registry import WORKLOADS, allowed


class RolloutRestartParams(Model):
    """The workload's own strategy applies."""

    even_if_managed: bool = False
    """Restart also when an operator owns the workload, which may restore its own template and so roll out a second time."""


class RolloutRestart:
    """The action `rolloutRestart`."""

    spec = ActionSpec(
        name="rolloutRestart",
        params=RolloutRestartParams,
        targets=frozenset({ActsOn.WORKLOAD}),
        disrupts=False,
        restarts=True,
        verb="restart the rollout of",
        needs=lambda _: allowed("get patch"),
        meaning="makes all pods anew, as `kubectl rollout restart` does, by the rollout's own rules",
    )

    async def never(self, api: Api, whole: Rollable, params: RolloutRestartParams, *, min_ready: int, ready: int) -> str:
        """See `Foreseeing`."""
        workload = whole.workload()
        text = _owner(whole, params) or takes_no_pod(workload) or _no_restart(whole)
        return text or too_few_left(_as_restarted(workload), ready, min_ready)

    async def run(self, call: Call) -> Outcome:
        """Read the workload, then patch the template's annotations once."""
        whole = await read_whole(call)
        if isinstance(whole, Outcome):
            return whole
        target, workload = call.act.target, whole.workload()
        if (done := _found(call, whole)) is not None:
            return done
        if (veto := _owned(call, whole) or not_now(call, workload)) is not None:
            return veto
        if workload.rollout is not None:
            return under_way(workload.rollout)
        if idle := _no_restart(whole):
            return Outcome(OutcomeKind.REFUSED, "TakesNoPod", idle)
        if (veto := unsafe(call, _as_restarted(workload))) is not None:
            return veto
        at = call.api.clock.stamp(kind_of(call).restart.timespec)
        keep = {"step": rung(call), "at": at}
        failed = await patch(call, workload, _change(call, whole, at), keep, f"restart the rollout of {target}")
        if failed is not None:
            return failed
        if call.act.dry_run:
            text = f"the pods of {target} would be restarted by a rollout (observe: dry run, nothing was done)"
            return Outcome(OutcomeKind.DONE, "WouldRestartRollout", text)
        return Outcome(OutcomeKind.DONE, "RolloutRestarted", f"the pods of {target} are restarted by a rollout; waiting for them")


def _owned(call: Call, whole: Rollable) -> Outcome | None:
    """Why not, when an operator owns the workload: it would take the annotation away, which is a second rollout."""
    text = _owner(whole, RolloutRestartParams.model_validate(call.act.params))
    return Outcome(OutcomeKind.REFUSED, "Managed", text) if text else None


def _owner(whole: Rollable, params: RolloutRestartParams) -> str:
    """Which operator would restore the template, in words; "" for none."""
    operator = None if params.even_if_managed else operator_of(whole.metadata)
    if operator is None:
        return ""
    text = f"{whole.workload().target} belongs to {operator}, which would restore its template: {operator.instead}, or write"
    return f"{text} evenIfManaged: true"


def _no_restart(whole: Rollable) -> str:
    """Why a restart would be without effect; "" when it is not."""
    target = whole.workload().target
    idle = WORKLOADS[target.kind].restart.idle(whole)
    return f"a restart of {target} would change no pod: {idle}" if idle else ""


def _as_restarted(workload: Workload) -> Workload:
    """The workload, taking as many pods at once as a restart does."""
    takes = max(workload.roll.takes, WORKLOADS[workload.kind].restart.takes)
    return replace(workload, roll=replace(workload.roll, takes=takes))


def _found(call: Call, whole: Rollable) -> Outcome | None:
    """The outcome when an earlier attempt of this step was accepted and its answer was lost; None when not."""
    at = call.kept.get("at", "")
    mine = at and kind_of(call).restart.found(whole) == (at, call.act.incident.id)
    if call.kept.get("step") != rung(call) or not mine:
        return None
    text = f"the rollout of {call.act.target} was restarted at {at} already, by an earlier attempt"
    return Outcome(OutcomeKind.DONE, "FoundDone", text)


def _change(call: Call, whole: Rollable, at: str) -> TemplatePatch:
    body = kind_of(call).restart.patch(at, call.act.incident.id)
    metadata = body.get("metadata", {}) | {"resourceVersion": whole.metadata.resource_version}
    return TemplatePatch(body | {"metadata": metadata}, "application/merge-patch+json")
