"""Roll a Deployment back to an earlier revision: the template of an old ReplicaSet becomes the Deployment's again, in one PATCH.

As `kubectl rollout undo` does it, but it looks whether the revision, its owner, its floor and its past allow it. The Deployment's
annotations say what was done: healer.dev/rolled-back-from (a revision) and healer.dev/rolled-back-by (an incident).
"""

from typing import Annotated

import msgspec
from pydantic import Field

from healer.actions.base import Call
from healer.actions.shared.refusal import unread
from healer.actions.shared.revisions import History, Holder, Revision, choose, number
from healer.actions.shared.rolling import Rollable, TemplatePatch, held, look, patch, rung, unsafe
from healer.actions.shared.template import differences
from healer.cluster.api import ClusterError
from healer.cluster.managed import manager_of
from healer.cluster.resources import RESOURCES
from healer.model.action import ActionSpec, Outcome, OutcomeKind, permissions
from healer.model.annotations import ROLLED_BACK_BY, ROLLED_BACK_FROM
from healer.model.kube import ReplicaSet
from healer.rules.form import Model, Whole


class RollbackParams(Model):
    """Where to go back to."""

    to_revision: Annotated[Whole, Field(ge=1)] | None = None
    """A revision by its number. Without one: the last that healer saw healthy, else the one before the current."""
    even_if_managed: bool = False
    """Also when a GitOps controller or an operator owns the Deployment, which will put its own template back."""


class _ReplicaSets(msgspec.Struct):
    items: list[Holder] = []


class Rollback:
    """The action `rollback`."""

    spec = ActionSpec(
        name="rollback",
        params=RollbackParams,
        targets=frozenset({"Deployment"}),
        disrupts=False,
        verb="roll back",
        in_rollout=True,
        needs=lambda _: permissions("apps", "deployments", "get patch") | permissions("apps", "replicasets", "list"),
    )

    async def run(self, call: Call) -> Outcome:
        """Look, choose, and patch the template once."""
        deployment = await look(call)
        if isinstance(deployment, Outcome):
            return deployment
        history = await _history(call, deployment)
        if isinstance(history, Outcome):
            return history
        if (done := _found(call, deployment, history)) is not None:
            return done
        veto = held(call, deployment) or _managed(call, deployment) or _moved_on(call, deployment, history)
        if veto is not None:
            return veto
        params = RollbackParams.model_validate(call.act.params)
        goal = choose(history, params.to_revision, number(call.act.incident.healthy))
        if isinstance(goal, Outcome):
            return goal
        if (veto := unsafe(call, deployment)) is not None:
            return veto
        keep = {"step": rung(call), "from": str(history.current), "to": str(goal.number), "replicaSet": goal.holder}
        change = _change(call, deployment, history, goal)
        failed = await patch(call, deployment, change, keep, f"roll {call.act.target} back to revision {goal.number}")
        return failed or _done(call, history, goal)


async def _history(call: Call, deployment: Rollable) -> History | Outcome:
    target = call.act.target
    labels = ",".join(f"{key}={value}" for key, value in sorted(deployment.spec.selector.match_labels.items()))
    query = {"labelSelector": labels} if labels else None
    try:
        found = await call.api.get(RESOURCES[ReplicaSet].path(target.namespace), _ReplicaSets, query)
    except ClusterError as error:
        return unread(error, f"read the ReplicaSets of {target}")
    return History.of(deployment, found.items)


def _found(call: Call, deployment: Rollable, history: History) -> Outcome | None:
    """Whether this very step has been done already, by an attempt whose answer was lost."""
    marks, kept = deployment.metadata.annotations, call.kept
    by, was = marks.rolled_back_by, marks.rolled_back_from
    if kept.get("step") != rung(call) or (by, was) != (call.act.incident.id, kept.get("from")):
        return None
    if not history.is_now(history.held_by(kept.get("replicaSet", ""))):
        return None
    text = f"{call.act.target} was rolled back from revision {was} to {kept.get('to')} already, by an earlier attempt"
    return Outcome(OutcomeKind.DONE, "FoundDone", text)


def _managed(call: Call, deployment: Rollable) -> Outcome | None:
    params = RollbackParams.model_validate(call.act.params)
    manager = None if params.even_if_managed else manager_of(deployment.metadata)
    if manager is None:
        return None
    text = (
        f"{call.act.target} is managed by {manager}, which would revert a rollback: roll back at its source, "
        "or write evenIfManaged: true"
    )
    return Outcome(OutcomeKind.REFUSED, "Managed", text)


def _moved_on(call: Call, deployment: Rollable, history: History) -> Outcome | None:
    """The incident is about a revision; one that somebody has rolled out since may be the cure, and is not to be undone.

    What healer itself made of it since (a restart, an earlier rollback) is no such thing.
    """
    opened = number(call.act.incident.revision)
    if opened in (0, history.current) or history.is_now(history.called(opened)):
        return None
    own = deployment.metadata.annotations.rolled_back_by == call.act.incident.id
    if own and history.is_now(history.held_by(call.kept.get("replicaSet", ""))):
        return None
    text = (
        f"{call.act.target} is at revision {history.current} by now, and the incident is about revision {opened}: "
        "what was rolled out since is not undone"
    )
    return Outcome(OutcomeKind.DEFERRED, "NewRevision", text)


def _change(call: Call, deployment: Rollable, history: History, goal: Revision) -> TemplatePatch:
    def note(name: str, value: str) -> dict[str, object]:
        return {"op": "add", "path": f"/metadata/annotations/{name.replace('/', '~1')}", "value": value}

    metadata = deployment.metadata
    steps: list[dict[str, object]] = [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata.resource_version},
        {"op": "replace", "path": "/spec/template", "value": goal.template},
        note(ROLLED_BACK_FROM, str(history.current)),
        note(ROLLED_BACK_BY, call.act.incident.id),
    ]
    if goal.cause:  # the change-cause goes with the template, as with kubectl: rollout history shows it
        steps.append(note("kubernetes.io/change-cause", goal.cause))
    elif metadata.annotations.change_cause:
        steps.append({"op": "remove", "path": "/metadata/annotations/kubernetes.io~1change-cause"})
    return TemplatePatch(steps, "application/json-patch+json")


def _done(call: Call, history: History, goal: Revision) -> Outcome:
    target, changes = call.act.target, differences(history.template, goal.template)
    proven = ", last seen healthy" if goal is history.called(number(call.act.incident.healthy)) else ""
    way = f"rolled back from revision {history.current} to revision {goal.number}{proven} ({changes})"
    if call.act.dry_run:
        text = f"{target} would be {way} (observe: dry run, nothing was done)"
        return Outcome(OutcomeKind.DONE, "WouldRollBack", text)
    return Outcome(OutcomeKind.DONE, "RolledBack", f"{target} is {way}; waiting for its pods")
