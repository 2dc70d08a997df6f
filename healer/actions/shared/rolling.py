"""The steps that every change of a pod template shares: the fresh read, the checks before a rollout, the one PATCH."""

from collections.abc import Mapping
from dataclasses import dataclass

from healer.actions.base import Call
from healer.actions.shared.paused import paused
from healer.actions.shared.refusal import refusal, unread
from healer.cluster.api import ApiError, ClusterError
from healer.model.action import Outcome, OutcomeKind
from healer.model.workload import Workload
from healer.workloads.base import Rollable, WorkloadKind
from healer.workloads.registry import WORKLOADS
from healer.workloads.revisions import Revision


@dataclass(frozen=True, slots=True)
class TemplatePatch:
    """The body of a PATCH, and its content type. It must contain the resourceVersion of the read: the server then refuses (409)
    to patch an object that was changed, replaced or paused since."""

    body: object
    content_type: str


def to_revision(whole: Rollable, goal: Revision, marks: Mapping[str, str]) -> TemplatePatch:
    """The patch that gives a workload the template of that revision, and these annotations."""

    def note(name: str, value: str) -> dict[str, object]:
        return {"op": "add", "path": f"/metadata/annotations/{name.replace('/', '~1')}", "value": value}

    metadata = whole.metadata
    missing: list[dict[str, object]] = [{"op": "add", "path": "/metadata/annotations", "value": {}}]
    steps: list[dict[str, object]] = [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata.resource_version},
        {"op": "replace", "path": "/spec/template", "value": goal.template},
        *([] if metadata.annotated else missing),
        *(note(name, value) for name, value in marks.items()),
    ]
    if goal.cause:  # the change-cause goes with the template, as with kubectl: rollout history shows it
        steps.append(note("kubernetes.io/change-cause", goal.cause))
    elif metadata.annotations.change_cause:
        steps.append({"op": "remove", "path": "/metadata/annotations/kubernetes.io~1change-cause"})
    return TemplatePatch(steps, "application/json-patch+json")


def kind_of(call: Call) -> WorkloadKind:
    """The kind of workload that the attempt is on. A guard has checked that healer treats it."""
    return WORKLOADS[call.act.target.kind]


async def read_whole(call: Call) -> Rollable | Outcome:
    """The workload, read afresh, or the outcome of not acting."""
    target, kind = call.act.target, kind_of(call)
    try:
        found = await call.api.get(kind.resource.path(target.namespace, target.name), kind.whole)
    except ClusterError as error:
        if isinstance(error, ApiError) and error.is_not_found:
            return Outcome(OutcomeKind.GONE, "AlreadyGone", f"{target} is gone: nothing was left to do")
        return unread(error, f"read {target}")
    if found.metadata.uid != target.uid:
        return Outcome(OutcomeKind.REFUSED, "WorkloadReplaced", f"{target} is now another object: healer leaves it alone")
    if found.metadata.deletion_timestamp is not None:
        return Outcome(OutcomeKind.GONE, "AlreadyTerminating", f"{target} is being deleted: nothing was left to do")
    return found


def not_now(call: Call, workload: Workload) -> Outcome | None:
    """Why nothing may be done to it now; None when something may."""
    target = call.act.target
    if (stopped := paused(call, workload)) is not None:
        return stopped
    if workload.paused:
        return Outcome(OutcomeKind.DEFERRED, "RolloutPaused", f"the rollout of {target} is paused (spec.paused)")
    if not workload.observed:
        text = f"the {workload.kind} controller has not seen the newest spec of {target} yet, so its revision is not known"
        return Outcome(OutcomeKind.DEFERRED, "RolloutInProgress", text)
    if idle := takes_no_pod(workload):
        return Outcome(OutcomeKind.REFUSED, "TakesNoPod", idle)
    return None


def takes_no_pod(workload: Workload) -> str:
    """Why a new template would be without effect; "" when it is not."""
    idle = workload.roll.idle
    return f"a new template of {workload.target} would change no pod: {idle}" if idle else ""


def unsafe(call: Call, workload: Workload) -> Outcome | None:
    """Why a rollout could take the last ready replica; None when it cannot. Without a ready replica nothing can be lost."""
    seen = sum(unit.ready for unit in call.view.units_of(call.act.target))
    ready = max(seen, workload.ready)  # either may lag; the larger of them is what may be lost
    text = too_few_left(workload, ready, call.act.min_ready)
    return Outcome(OutcomeKind.REFUSED, "BelowFloor", text) if text else None


def too_few_left(workload: Workload, ready: int, min_ready: int) -> str:
    """Why a rollout could take too many of so many ready replicas; "" when it could not."""
    target, roll, desired = workload.target, workload.roll, workload.desired
    if not ready:
        return ""
    if not roll.gradual:
        return f"the strategy of {target} is {roll.strategy}: all {ready} ready replicas would go before new ones start"
    wanted = max(min_ready, 1)
    if not roll.takes or desired - roll.takes >= wanted:
        return ""
    return (
        f"a rollout of {target} may leave {desired - roll.takes} of {desired} replicas ready "
        f"({roll.strategy}); minReady asks for {wanted}"
    )


async def patch(call: Call, workload: Workload, change: TemplatePatch, keep: Mapping[str, str], doing: str) -> Outcome | None:
    """Journal the change, then send the one PATCH. Returns None when it was accepted, else the outcome.

    The change was made from `workload`. `doing` describes it in words: "roll deployment/x back". A dry run journals nothing,
    because there is nothing to undo.
    """
    target, dry_run = call.act.target, call.act.dry_run
    if not dry_run and (unkept := await call.keep(keep)) is not None:
        return unkept
    if (unwanted := call.still_wanted(call.act, workload)) is not None:
        return Outcome(OutcomeKind.RECOVERED, unwanted.code, unwanted.text)
    if (forbidden := call.sending()) is not None:
        return forbidden
    path = kind_of(call).resource.path(target.namespace, target.name)
    query = {"dryRun": "All"} if dry_run else None
    try:
        await call.api.request("PATCH", path, query=query, body=change.body, content_type=change.content_type)
    except ApiError as error:
        if error.is_not_found:  # a webhook may deny with that code too: only a look tells
            now = await read_whole(call)
            return now if isinstance(now, Outcome) else refusal(error, doing)
        if error.is_conflict:
            text = f"{target} changed between the look and the request to {doing}: looking again ({error.message})"
            return Outcome(OutcomeKind.DEFERRED, "Changed", text, error.retry_after)
        return refusal(error, doing)
    except ClusterError as error:
        return refusal(error, doing)
    return None


def rung(call: Call) -> str:
    """Which step of its incident the attempt belongs to: one incident may climb two steps with the same action."""
    return "storm" if call.act.incident.storming else str(call.act.step)
