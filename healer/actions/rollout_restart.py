"""Restart all pods of a workload by a rolling update: its template gets the annotation that `kubectl rollout restart` sets.

GitOps controllers leave it alone, so that what they manage is no reason to refuse: Argo CD's own restart sets it, and its
three-way diff does not see it; Flux's server-side apply keeps fields that others own, but for those set by a manager named
kubectl (so its FAQ), and healer's requests are noted as healer's (seen with a 1.36 API server).
"""

from dataclasses import replace

from healer.actions.base import Call
from healer.actions.shared.refusal import under_way
from healer.actions.shared.rolling import TemplatePatch, kind_of, not_now, patch, read_whole, rung, unsafe
from healer.cluster.managed import operator_of
from healer.model.action import ActionSpec, Outcome, OutcomeKind
from healer.model.target import ActsOn
from healer.rules.form import Model
from healer.workloads.base import Rollable
from healer.workloads.registry import allowed


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
        if idle := kind_of(call).restart.idle(whole):
            return Outcome(OutcomeKind.REFUSED, "TakesNoPod", f"a restart of {target} would change no pod: {idle}")
        mark = kind_of(call).restart
        roll = replace(workload.roll, takes=max(workload.roll.takes, mark.takes))
        if (veto := unsafe(call, replace(workload, roll=roll))) is not None:
            return veto
        at = call.api.clock.stamp(mark.timespec)
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
    params = RolloutRestartParams.model_validate(call.act.params)
    operator = None if params.even_if_managed else operator_of(whole.metadata)
    if operator is None:
        return None
    text = f"{call.act.target} belongs to {operator}, which would restore its template: {operator.instead}, or write"
    return Outcome(OutcomeKind.REFUSED, "Managed", f"{text} evenIfManaged: true")


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
