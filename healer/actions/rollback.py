"""Roll a workload back to an earlier revision: one PATCH sets the template of that revision.

It does what `kubectl rollout undo` does, and first checks the revision, the owner, the floor and earlier rollbacks. Annotations
of the workload record it: healer.dev/rolled-back-from (a revision) and healer.dev/rolled-back-by (an incident).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from healer.actions.base import Call, Reversal
from healer.actions.shared.refusal import unread
from healer.actions.shared.rolling import (
    TemplatePatch,
    kind_of,
    not_now,
    patch,
    read_whole,
    rung,
    takes_no_pod,
    to_revision,
    too_few_left,
    unsafe,
)
from healer.actions.shared.sick import sick_revisions
from healer.actions.undo_rollback import reversals
from healer.cluster.api import Api, ClusterError
from healer.cluster.managed import manager_of, operator_of
from healer.model.action import ActionSpec, Outcome, OutcomeKind, union
from healer.model.annotations import ROLLED_BACK_BY, ROLLED_BACK_FROM
from healer.model.incident import Incident
from healer.model.target import ActsOn
from healer.model.workload import Workload
from healer.rules.form import Model, Whole
from healer.workloads.base import Rollable
from healer.workloads.registry import WORKLOADS, allowed
from healer.workloads.revisions import History, Revision, choose
from healer.workloads.template import differences


class RollbackParams(Model):
    """The revision to roll back to."""

    to_revision: Annotated[Whole, Field(ge=1)] | None = None
    """A revision by its number. Without one: the last that healer saw healthy, else the one before the current."""
    even_if_managed: bool = False
    """Roll back also when a GitOps controller or an operator owns the workload, which restores its own template."""


_NEEDS = (
    allowed("get")
    | allowed("patch", [kind for kind in WORKLOADS.values() if kind.rolls_back])
    | union(kind.reads for kind in WORKLOADS.values())
)


class Rollback:
    """The action `rollback`."""

    spec = ActionSpec(
        name="rollback",
        params=RollbackParams,
        targets=frozenset({ActsOn.WORKLOAD}),
        disrupts=False,
        verb="roll back",
        in_rollout=True,
        needs=lambda _: _NEEDS,
        meaning="goes to the revision that healer last saw well for ten minutes, else to the previous one",
    )

    async def reversals(self, api: Api, incident: Incident, namespace: str, kept: Mapping[str, str]) -> Sequence[Reversal]:
        """See `Undoable`."""
        return await reversals(api, incident, kept)

    async def never(self, api: Api, whole: Rollable, params: RollbackParams, *, min_ready: int, ready: int) -> str:
        """See `Foreseeing`."""
        workload = whole.workload()
        instead = WORKLOADS[workload.kind].instead(whole)
        if instead is not None:
            return instead.text
        return takes_no_pod(workload) or _manager(whole, params) or too_few_left(workload, ready, min_ready)

    async def run(self, call: Call) -> Outcome:
        """Read the workload, choose the revision, and patch the template once."""
        whole = await read_whole(call)
        if isinstance(whole, Outcome):
            return whole
        try:
            history = await kind_of(call).history(call.api, whole)
        except ClusterError as error:
            return unread(error, f"read the revisions of {call.act.target}")
        if (done := _found(call, whole, history)) is not None:
            return done
        workload = whole.workload()
        veto = _instead(call, whole) or not_now(call, workload) or _managed(call, whole)
        if (veto := veto or _moved_on(call, whole, history) or _another_is_sick(call, workload)) is not None:
            return veto
        params = RollbackParams.model_validate(call.act.params)
        goal = choose(history, params.to_revision, history.number_of(call.act.incident.healthy))
        if isinstance(goal, Outcome):
            return goal
        if (veto := unsafe(call, workload)) is not None:
            return veto
        keep = {"step": rung(call), "from": history.note, "to": str(goal.number), "replicaSet": goal.holder}
        change = _change(call, whole, history, goal)
        failed = await patch(call, workload, change, keep, f"roll {call.act.target} back to revision {goal.number}")
        return failed or _done(call, workload, history, goal)


def _found(call: Call, whole: Rollable, history: History) -> Outcome | None:
    """The outcome when an earlier attempt of this step was accepted and its answer was lost; None when not."""
    marks, kept = whole.metadata.annotations, call.kept
    by, was = marks.rolled_back_by, marks.rolled_back_from
    if kept.get("step") != rung(call) or (by, was) != (call.act.incident.id, kept.get("from")):
        return None
    if not history.is_current(history.of_holder(kept.get("replicaSet", ""))):
        return None
    text = f"{call.act.target} was rolled back from revision {was} to {kept.get('to')} already, by an earlier attempt"
    return Outcome(OutcomeKind.DONE, "FoundDone", text)


def _instead(call: Call, whole: Rollable) -> Outcome | None:
    reason = kind_of(call).instead(whole)
    return None if reason is None else Outcome(OutcomeKind.REFUSED, reason.code, reason.text)


def _managed(call: Call, whole: Rollable) -> Outcome | None:
    text = _manager(whole, RollbackParams.model_validate(call.act.params))
    return Outcome(OutcomeKind.REFUSED, "Managed", text) if text else None


def _manager(whole: Rollable, params: RollbackParams) -> str:
    """Who would revert a rollback, in words; "" when nobody would."""
    target = whole.workload().target
    manager = None if params.even_if_managed else manager_of(whole.metadata, kind=target.kind)
    if manager is None:
        return ""
    operator = operator_of(whole.metadata)
    way = operator.instead if operator is not None and operator.name == manager else "roll back at its source"
    return f"{target} is managed by {manager}, which would revert a rollback: {way}, or write evenIfManaged: true"


def _moved_on(call: Call, whole: Rollable, history: History) -> Outcome | None:
    """Why not, when somebody has rolled out another revision since the incident was opened: it may be the cure.

    A revision that healer made itself since (by a restart or an earlier rollback) does not count.
    """
    opened = history.number_of(call.act.incident.revision)
    if opened in (0, history.current) or history.is_current(history.numbered(opened)):
        return None
    own = whole.metadata.annotations.rolled_back_by == call.act.incident.id
    if own and history.is_current(history.of_holder(call.kept.get("replicaSet", ""))):
        return None
    text = (
        f"{call.act.target} is now at revision {history.current}, and the incident is about revision {opened}: "
        "what was rolled out since is not undone"
    )
    return Outcome(OutcomeKind.DEFERRED, "NewRevision", text)


def _another_is_sick(call: Call, workload: Workload) -> Outcome | None:
    """Why not, when only pods of other revisions than the current one are sick: it may be the cure."""
    incident, sick = call.act.incident, sick_revisions(call)
    itself = any(each.target == incident.workload for each in incident.sick)  # then `_moved_on` has compared
    if itself or not sick or workload.revision in sick:
        return None
    text = f"{call.act.target} is at revision {workload.revision}, and what is sick is of {', '.join(sorted(sick))}"
    return Outcome(OutcomeKind.DEFERRED, "NewRevision", f"{text}: its current revision is not rolled back for that")


def _change(call: Call, whole: Rollable, history: History, goal: Revision) -> TemplatePatch:
    marks = {ROLLED_BACK_FROM: history.note, ROLLED_BACK_BY: call.act.incident.id}
    return to_revision(whole, goal, marks)


def _done(call: Call, workload: Workload, history: History, goal: Revision) -> Outcome:
    target, changes = call.act.target, differences(history.template, goal.template)
    proven = ", last seen healthy" if goal is history.numbered(history.number_of(call.act.incident.healthy)) else ""
    way = f"rolled back from revision {history.current} to revision {goal.number}{proven} ({changes})"
    if call.act.dry_run:
        text = f"{target} would be {way} (observe: dry run, nothing was done)"
        return Outcome(OutcomeKind.DONE, "WouldRollBack", text)
    return Outcome(OutcomeKind.DONE, "RolledBack", f"{target} is {way}; {_follows(workload)}")


def _follows(workload: Workload) -> str:
    """What happens to its pods after that."""
    if not workload.roll.waits or workload.ready >= workload.desired:
        return "waiting for its pods"
    text = "so that its pods that are not ready stay as they are until they are taken: the next step is to evict"
    return f"{workload.roll.waits}, {text}"
