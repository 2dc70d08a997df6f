"""The last look before acting: the target is read fresh, is still the same object, sick, covered by the rule, and may be taken.

Why again, when the guards have just allowed it: the view may be stale, and an eviction that fails on its uid precondition has
already spent the PodDisruptionBudget (measured).
"""

from collections.abc import Awaitable, Callable

from healer.actions.base import Call
from healer.actions.shared.paused import paused
from healer.actions.shared.refusal import refusal, unread
from healer.cluster.api import ApiError, ClusterError
from healer.cluster.resources import RESOURCES
from healer.engine.safety.guards.registry import GUARDS
from healer.engine.safety.guards.replicas import Replicas, ask_again
from healer.model.action import Outcome, OutcomeKind, Permissions, permissions
from healer.model.kube import Pod
from healer.workloads.registry import allowed, read_workload


def rechecked() -> Permissions:
    """What the recheck asks for."""
    return permissions("", "pods", "get") | allowed("get")


Further = Callable[[Call, Pod], Awaitable[Outcome | None]]
"""What else is asked about a pod that was just read: the outcome of not acting, or None. It may raise ClusterError."""


async def recheck(call: Call, *further: Further) -> Pod | Outcome:
    """The pod as it is now when it may be taken, else the outcome of not acting. `further` is asked about it, too."""
    return await look(call, _unsafe, *further)


async def look(call: Call, *further: Further) -> Pod | Outcome:
    """The pod as it is now when it is the same, sick and covered by the rule, else the outcome of not acting.

    `further` is asked about it, too.
    """
    target = call.act.target
    try:
        pod = await call.api.get(RESOURCES[Pod].path(target.namespace, target.name), Pod)
        if (gone := _gone(call, pod)) is not None:
            return gone
        if not call.still_sick(pod, call.act):
            return Outcome(
                OutcomeKind.RECOVERED, "Recovered", f"{target} was read afresh and is no longer sick: nothing was done"
            )
        for ask in further:
            if (veto := await ask(call, pod)) is not None:
                return veto
    except ApiError as error:
        if error.is_not_found:
            return Outcome(OutcomeKind.GONE, "AlreadyGone", f"{error.message or target}: nothing was left to do")
        return unread(error, f"read {target}")
    except ClusterError as error:
        return unread(error, f"read {target}")
    unwanted = call.still_wanted(call.act, pod)
    return pod if unwanted is None else Outcome(OutcomeKind.RECOVERED, unwanted.code, unwanted.text)


async def look_again(call: Call, after: str) -> Pod | Outcome:
    """The target as it is after an answer that does not say by itself whether it is there: a 404 or a 409.

    A webhook denies with whichever code it likes, so a 404 to a write does not tell that the object is gone. Only this look does.
    """
    target = call.act.target
    try:
        now = await call.api.get(RESOURCES[Pod].path(target.namespace, target.name), Pod)
    except ClusterError as failed:
        if isinstance(failed, ApiError) and failed.is_not_found:
            return Outcome(OutcomeKind.GONE, "AlreadyGone", f"{target} is gone: nothing was left to do")
        return refusal(failed, f"read {target} again after {after}")
    if now.metadata.uid != target.uid:
        return Outcome(OutcomeKind.GONE, "Replaced", f"{target} is now another pod: healer leaves it alone")
    return now


def _gone(call: Call, pod: Pod) -> Outcome | None:
    target = call.act.target
    if pod.metadata.uid != target.uid:
        return Outcome(
            OutcomeKind.GONE, "Replaced", f"{target} is now another pod (uid {pod.metadata.uid}): healer leaves it alone"
        )
    if pod.terminating:
        return Outcome(OutcomeKind.GONE, "AlreadyTerminating", f"{target} is being deleted already: nothing was left to do")
    return None


async def _unsafe(call: Call, pod: Pod) -> Outcome | None:
    """The guards that depend on numbers, asked once more with fresh ones."""
    workload = call.act.incident.workload
    fresh = await read_workload(call.api, workload)
    if fresh.target.uid != workload.uid:
        return Outcome(OutcomeKind.REFUSED, "WorkloadReplaced", f"{workload} is now another object: healer leaves it alone")
    if (held := paused(call, pod, fresh)) is not None:
        return held
    own = call.view.unit_of(pod).seen(pod)
    others = [unit for unit in call.view.units_of(workload) if unit.uid != own.uid]
    fresh_numbers = Replicas(
        target=call.act.target,
        rollout=fresh.rollout,
        takes_one=not pod.finished,
        target_ready=own.ready,
        down="" if call.act.alone else "another one",
        in_flight=0,
        count_ready=lambda: min(sum(other.ready for other in others) + own.ready, fresh.ready),
        desired=fresh.desired,
        min_ready=call.act.min_ready,
        fresh=True,
    )
    veto = ask_again(GUARDS, fresh_numbers)
    return None if veto is None else Outcome(OutcomeKind.DEFERRED, veto.reason.code, veto.reason.text)
