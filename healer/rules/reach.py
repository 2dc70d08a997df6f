"""Whether a rule on pods can ever match, and whether a canary's shift can be seen to help.

An `if` is evaluated on every status that a pod with the rule's conditions can have. Only the phase, the readiness and the reason
of a pod are given; an expression that needs anything else is left open, so that every remark is certain.
"""

import re
from collections.abc import Iterable, Iterator

from healer.model.duration import about
from healer.rules.condition import CelCondition, ConditionFailed
from healer.rules.pod_conditions import POD_CONDITIONS, PodCondition, PodStatus
from healer.rules.pod_detectors import PodState
from healer.rules.probe import diverted_to
from healer.rules.rulebook import BoundRule
from healer.rules.schema import Step
from healer.rules.triggers import CANARY, POD

_STATUSES: dict[PodState, tuple[tuple[str, bool], ...]] = {
    PodState.PENDING: (("Pending", False),),
    PodState.UNREADY: (("Running", False), ("Unknown", False)),
    PodState.READY: (("Running", True),),
    PodState.FINISHED: (("Failed", False),),
    PodState.TERMINATING: tuple((phase, False) for phase in ("Pending", "Running", "Unknown", "Failed", "Succeeded")),
}
"""The phase and the readiness of a pod in each state; one that has succeeded has no condition."""
_SETTLED = 60.0
"""Seconds: the default of HEALER_PODS__SETTLE."""
_LOOKS = 3
"""Looks until a shift can be seen to have helped: two (`healer.sources.canary.drain`), and one that may be late."""
_STRING = re.compile(r"'([^'\\\n]*)'|\"([^\"\\\n]*)\"")


def unreachable(bound: BoundRule) -> Iterator[str]:
    """Remarks on what of a rule can never match, or can never last as long as its `for` asks."""
    when, condition = bound.rule.when, bound.condition
    pods = [POD_CONDITIONS[name] for name in when.get(POD) or ()]
    for pod in pods:
        if condition is None:
            break
        if not _possible(condition, pod):
            yield f"never matches {pod.name}: its `if` is false of every pod that has it ({when.condition})"
        elif when.held_for > 0 and _interrupted(condition, pod):
            yield (
                f"may never hold {pod.name} for {about(when.held_for)}: the pod's phase, readiness and reason alternate while it "
                f"lasts, and its `if` is false of some of them ({when.condition}); ask for what does not change"
            )
    if pods and all(pod.settles for pod in pods) and when.held_for > _SETTLED:
        yield (
            f"may never hold {', '.join(pod.name for pod in pods)} for {about(when.held_for)}: a container that is restarted and "
            f"ready counts as well after {about(_SETTLED)} (HEALER_PODS__SETTLE); use `count` for how often it happens"
        )
    if (canary := when.get(CANARY)) is not None:
        yield from _too_soon(bound.rule.heal, canary.every)


def _too_soon(heal: Iterable[Step], every: float) -> Iterator[str]:
    """Remarks on shifts of a canary's traffic that are given up before they can be seen to have helped."""
    for step in heal:
        if diverted_to(step.params) is not None and step.verify.within < _LOOKS * every:
            yield (
                f"may give up {step.action} before it can have helped: that a canary gets no traffic is seen two looks after the "
                f"shift at the earliest, `every` is {about(every)} and verify.within {about(step.verify.within)}; make it "
                f"{about(_LOOKS * every)} or more"
            )


def _possible(condition: CelCondition, pod: PodCondition) -> bool:
    """Whether the `if` is true of some status that a pod with the condition can have."""
    written = {single or double for single, double in _STRING.findall(condition.expression)}
    claimed = {other.reason for other in POD_CONDITIONS.values() if other.reason}
    reasons = {pod.reason} if pod.reason else {"", "?", *written} - claimed
    statuses = ((phase, ready, reason) for state in pod.states for phase, ready in _STATUSES[state] for reason in reasons)
    return any(_holds(condition, pod.name, status) is not False for status in statuses)


def _interrupted(condition: CelCondition, pod: PodCondition) -> bool:
    """Whether the `if` is true of some of the statuses between which such a pod alternates, and false of others."""
    answers = [_holds(condition, pod.name, status) for status in pod.alternates]
    return False in answers and any(answer is not False for answer in answers)


def _holds(condition: CelCondition, name: str, status: PodStatus) -> bool | None:
    """Whether the `if` is true of such a pod; None when that depends on something else."""
    phase, ready, reason = status
    try:
        return condition.holds({"pod.phase": phase, "pod.ready": ready, "pod.reason": reason, "signal.name": name})
    except ConditionFailed:
        return None
