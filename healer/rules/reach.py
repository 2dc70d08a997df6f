"""Whether what a rule on pods looks for can ever be so, and whether a canary's shift can be seen to help.

An `if` is tried on every status that the rule's conditions leave possible.

Only the phase, the readiness and the reason of a pod are tried. Whatever else an expression asks is left open, so that what is
said here is certain.
"""

import re
from collections.abc import Iterable, Iterator

from healer.model.duration import about
from healer.rules.condition import CelCondition, ConditionFailed
from healer.rules.pod_conditions import PodCondition
from healer.rules.probe import diverted_to
from healer.rules.rulebook import BoundRule
from healer.rules.schema import Step
from healer.rules.triggers import CANARY, POD

_Status = tuple[str, bool, str]
"""phase, ready, reason"""
_PHASES = ("Pending", "Running", "Unknown")
_UNREADY = frozenset(PodCondition) - {PodCondition.CRASH_LOOP_BACK_OFF, PodCondition.OOM_KILLED, PodCondition.RESTARTING}
"""The conditions of a pod that is not ready. What crashes may be ready in between."""
_PHASES_OF: dict[PodCondition, tuple[str, ...]] = {
    PodCondition.EVICTED: ("Failed",),
    PodCondition.FAILED: ("Failed",),
    PodCondition.UNSCHEDULABLE: ("Pending",),
    PodCondition.STUCK_TERMINATING: (*_PHASES, "Failed", "Succeeded"),
}
_PULLS: tuple[_Status, ...] = (("Pending", False, "ErrImagePull"), ("Pending", False, "ImagePullBackOff"))
_TURNS: dict[PodCondition, tuple[_Status, ...]] = {
    PodCondition.ERR_IMAGE_PULL: _PULLS,
    PodCondition.IMAGE_PULL_BACK_OFF: _PULLS,
    PodCondition.CRASH_LOOP_BACK_OFF: (
        ("Running", False, "CrashLoopBackOff"),
        ("Running", False, "Error"),
        ("Running", True, ""),
    ),
}
"""The statuses through which a pod goes again and again while it has a condition."""
_SETTLED = 60.0
"""Seconds: the default of HEALER_PODS__SETTLE."""
_LOOKS = 3
"""Looks of a canary that a healed shift takes: two after it (`healer.sources.canary.drain`), and one that may be late."""
_STRING = re.compile(r"'([^'\\\n]*)'|\"([^\"\\\n]*)\"")


def unreachable(bound: BoundRule) -> Iterator[str]:
    """What of a rule can never match, or never hold as long as its `for` asks, as remarks on it."""
    when = bound.rule.when
    for name in when.get(POD) or ():
        if bound.condition is not None and not _possible(bound.condition, name, _statuses(name, bound.condition)):
            yield f"never matches {name}: its `if` is false of every pod that has it ({when.condition})"
        elif bound.condition is not None and when.held_for > 0 and _interrupted(bound.condition, name):
            held = about(when.held_for)
            yield (
                f"may never hold {name} for {held}: the pod's phase, readiness and reason alternate while it lasts, and its "
                f"`if` is false of some of them ({when.condition}); ask for what does not change"
            )
    if when.get(POD) == (PodCondition.OOM_KILLED,) and when.held_for > _SETTLED:
        yield (
            f"may never hold OOMKilled for {about(when.held_for)}: a container that is restarted and ready counts as well after "
            f"{about(_SETTLED)} (HEALER_PODS__SETTLE); use `count` for how often it happens"
        )
    if (canary := when.get(CANARY)) is not None:
        yield from _too_soon(bound.rule.heal, canary.every)


def _too_soon(heal: Iterable[Step], every: float) -> Iterator[str]:
    """Shifts of a canary's traffic that are given up before it can be seen that they helped."""
    for step in heal:
        if diverted_to(step.params) is not None and step.verify.within < _LOOKS * every:
            yield (
                f"may give up {step.action} before it can have helped: that a canary gets no traffic is seen two looks after the "
                f"shift at the earliest, `every` is {about(every)} and verify.within {about(step.verify.within)}; make it "
                f"{about(_LOOKS * every)} or more"
            )


def _statuses(name: PodCondition, condition: CelCondition) -> Iterator[_Status]:
    written = {single or double for single, double in _STRING.findall(condition.expression)}
    reasons = {"Evicted"} if name is PodCondition.EVICTED else {"", "?", *written} - {"Evicted"}
    for phase in _PHASES_OF.get(name, _PHASES):
        for ready in (False,) if name in _UNREADY else (False, True):
            for reason in sorted(reasons):
                yield phase, ready, reason


def _possible(condition: CelCondition, name: PodCondition, statuses: Iterable[_Status]) -> bool:
    return any(_holds(condition, name, status) is not False for status in statuses)


def _interrupted(condition: CelCondition, name: PodCondition) -> bool:
    answers = [_holds(condition, name, status) for status in _TURNS.get(name, ())]
    return False in answers and any(answer is not False for answer in answers)


def _holds(condition: CelCondition, name: PodCondition, status: _Status) -> bool | None:
    """Whether it is true of such a pod; None when that depends on something else."""
    phase, ready, reason = status
    try:
        return condition.holds({"pod.phase": phase, "pod.ready": ready, "pod.reason": reason, "signal.name": str(name)})
    except ConditionFailed:
        return None
