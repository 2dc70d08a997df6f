"""Restart all pods of a Deployment by a rolling update: its template gets the annotation that `kubectl rollout restart` sets.

GitOps controllers leave it alone, so that a managed Deployment is no reason to refuse: Argo CD's own restart sets the same
annotation, which its three-way diff does not see; Flux's server-side apply keeps fields that others own, but for those set by a
manager named kubectl (so its FAQ), and healer's requests are noted as healer's (seen with a 1.36 API server).
"""

from datetime import UTC, datetime

from healer.actions.base import Call
from healer.actions.shared.refusal import under_way
from healer.actions.shared.rolling import Rollable, TemplatePatch, held, look, patch, rung, unsafe
from healer.actions.shared.template import RESTARTED_AT
from healer.engine.incidents.verification import rollout_in_progress
from healer.model.action import ActionSpec, Outcome, OutcomeKind, permissions
from healer.model.annotations import RESTARTED_BY
from healer.rules.form import Model


class RolloutRestartParams(Model):
    """Nothing to choose: the Deployment's own strategy holds."""


class RolloutRestart:
    """The action `rolloutRestart`."""

    spec = ActionSpec(
        name="rolloutRestart",
        params=RolloutRestartParams,
        targets=frozenset({"Deployment"}),
        disrupts=False,
        verb="restart the rollout of",
        needs=lambda _: permissions("apps", "deployments", "get patch"),
    )

    async def run(self, call: Call) -> Outcome:
        """Look, then patch the template's annotations once."""
        deployment = await look(call)
        if isinstance(deployment, Outcome):
            return deployment
        target = call.act.target
        if (done := _found(call, deployment)) is not None:
            return done
        if (veto := held(call, deployment)) is not None:
            return veto
        if (rollout := rollout_in_progress(deployment)) is not None:
            return under_way(rollout)
        if (veto := unsafe(call, deployment)) is not None:
            return veto
        at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        keep = {"step": rung(call), "at": at}
        failed = await patch(call, deployment, _change(call, deployment, at), keep, f"restart the rollout of {target}")
        if failed is not None:
            return failed
        if call.act.dry_run:
            text = f"the pods of {target} would be restarted by a rollout (observe: dry run, nothing was done)"
            return Outcome(OutcomeKind.DONE, "WouldRestartRollout", text)
        return Outcome(OutcomeKind.DONE, "RolloutRestarted", f"the pods of {target} are restarted by a rollout; waiting for them")


def _found(call: Call, deployment: Rollable) -> Outcome | None:
    """Whether this very step has been done already, by an attempt whose answer was lost."""
    noted = (deployment.spec.template.get("metadata") or {}).get("annotations") or {}
    mine = (call.act.incident.id, call.kept.get("at"))
    if call.kept.get("step") != rung(call) or (noted.get(RESTARTED_BY), noted.get(RESTARTED_AT)) != mine:
        return None
    text = f"the rollout of {call.act.target} was restarted at {mine[1]} already, by an earlier attempt"
    return Outcome(OutcomeKind.DONE, "FoundDone", text)


def _change(call: Call, deployment: Rollable, at: str) -> TemplatePatch:
    annotations = {RESTARTED_AT: at, RESTARTED_BY: call.act.incident.id}
    body = {
        "metadata": {"resourceVersion": deployment.metadata.resource_version},
        "spec": {"template": {"metadata": {"annotations": annotations}}},
    }
    return TemplatePatch(body, "application/merge-patch+json")
