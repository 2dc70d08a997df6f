"""Restart all pods of a workload by a rolling update: its template gets the annotation that `kubectl rollout restart` sets.

GitOps controllers leave it alone, so that a managed workload is no reason to refuse: Argo CD's own restart sets the same
annotation, which its three-way diff does not see; Flux's server-side apply keeps fields that others own, but for those set by a
manager named kubectl (so its FAQ), and healer's requests are noted as healer's (seen with a 1.36 API server).
"""

from healer.actions.base import Call
from healer.actions.shared.refusal import under_way
from healer.actions.shared.rolling import TemplatePatch, not_now, patch, read_whole, rung, unsafe
from healer.model.action import ActionSpec, Outcome, OutcomeKind
from healer.model.annotations import RESTARTED_BY
from healer.model.target import ActsOn
from healer.rules.form import Model
from healer.workloads.base import Rollable
from healer.workloads.registry import allowed
from healer.workloads.template import RESTARTED_AT


class RolloutRestartParams(Model):
    """No parameters: the workload's own strategy applies."""


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
        if (veto := not_now(call, workload)) is not None:
            return veto
        if workload.rollout is not None:
            return under_way(workload.rollout)
        if (veto := unsafe(call, workload)) is not None:
            return veto
        at = call.api.clock.stamp("microseconds")
        keep = {"step": rung(call), "at": at}
        failed = await patch(call, workload, _change(call, whole, at), keep, f"restart the rollout of {target}")
        if failed is not None:
            return failed
        if call.act.dry_run:
            text = f"the pods of {target} would be restarted by a rollout (observe: dry run, nothing was done)"
            return Outcome(OutcomeKind.DONE, "WouldRestartRollout", text)
        return Outcome(OutcomeKind.DONE, "RolloutRestarted", f"the pods of {target} are restarted by a rollout; waiting for them")


def _found(call: Call, whole: Rollable) -> Outcome | None:
    """The outcome when an earlier attempt of this step was accepted and its answer was lost; None when not."""
    noted = (whole.template.get("metadata") or {}).get("annotations") or {}
    mine = (call.act.incident.id, call.kept.get("at"))
    if call.kept.get("step") != rung(call) or (noted.get(RESTARTED_BY), noted.get(RESTARTED_AT)) != mine:
        return None
    text = f"the rollout of {call.act.target} was restarted at {mine[1]} already, by an earlier attempt"
    return Outcome(OutcomeKind.DONE, "FoundDone", text)


def _change(call: Call, whole: Rollable, at: str) -> TemplatePatch:
    annotations = {RESTARTED_AT: at, RESTARTED_BY: call.act.incident.id}
    body = {
        "metadata": {"resourceVersion": whole.metadata.resource_version},
        "spec": {"template": {"metadata": {"annotations": annotations}}},
    }
    return TemplatePatch(body, "application/merge-patch+json")
