"""Whether a rule covers a signal: asked when it comes, when its target changes, and right before healer acts on the target."""

from collections.abc import Callable
from dataclasses import dataclass

from healer.engine.turn import Turn
from healer.model.incident import Reason
from healer.model.kube import Pod
from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.view import View, target_of
from healer.model.workload import Workload
from healer.rules.condition import ConditionFailed, facts
from healer.rules.rulebook import BoundRule
from healer.rules.triggers import TRIGGERS

FOREIGN = frozenset(
    {"NotAbout", "OutOfScope", "NoWorkload", "OtherWorkload", "OtherTarget", "LabelsDiffer", "TargetFinished", "PodGone"}
)
"""The reason codes with which a signal leaves its incident: somebody has relabelled, released or handed over the target, the
target is gone, or only its record is left. With another code, an `if` that is false at the moment, the signal stays and healer
waits."""

UNREAD = frozenset({"LabelsDiffer", "ConditionUnmet", "ConditionFailed"})
"""The reason codes that cannot be decided for a signal that only the journal has: an incident keeps no labels."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The workload of a signal's target, and why the rule does not cover the signal; `reason` is None when it does."""

    workload: Target | None
    reason: Reason | None = None


TookDown = Callable[[str], bool]
"""Whether healer has taken down a pod, by its uid."""


def fit(rule: BoundRule, signal: Signal, took_down: TookDown, turn: Turn, fresh: Pod | Workload | None = None) -> Fit:
    """Whether a rule's trigger, scope, labels and condition fit a signal.

    `fresh` is the target as it was just read; by default it is the one of the view. A signal that is not read off the target
    itself is about the past when the pod is gone, or when healer took it down and it terminates: an expression may fire for as
    long as it looks back. It says nothing about the replacement.
    """
    target, when, trigger = signal.target, rule.rule.when, TRIGGERS[signal.source]
    obj = fresh or turn.view.find(target)
    if signal.source != when.trigger.name or signal.name not in when.names:
        return Fit(None, Reason("NotAbout", f"the rule is not about {signal.source} {signal.name}"))
    if obj is None:
        code = "PodGone" if target.kind == "Pod" and target.exists else "TargetGone"
        if not target.exists and _named(target, turn.view):
            text = f"the {target} that there is was made after {signal.name} began: what fires is about the one before it"
            return Fit(None, Reason(code, text))
        return Fit(None, Reason(code, f"{target} is not in the cluster: nothing to heal"))
    if isinstance(obj, Pod) and obj.terminating and not trigger.read_off_target and took_down(target.uid):
        return Fit(None, Reason("PodGone", f"healer has removed {target}, which is terminating: what fires for it is outdated"))
    if isinstance(obj, Pod) and obj.finished and not trigger.read_off_target:  # its own conditions say so, and may be matched
        return Fit(None, Reason("TargetFinished", f"{target} has finished: only its record is left"))
    if not rule.scope_covers(target.namespace, obj.metadata.labels):
        return Fit(None, Reason("OutOfScope", f"{target} is outside the rule's scope"))
    workload = _owner(obj, turn.view)
    if workload is None:
        return Fit(None, Reason("NoWorkload", f"the controller of {target} is not known yet"))
    if (stranger := _left_out(rule, obj, target, workload)) is not None:
        return Fit(None, stranger)
    if not rule.scope.covers_kind(workload.kind, turn.view.supported_kinds):
        return Fit(None, Reason("OutOfScope", f"{workload} is outside the rule's scope, which {rule.scope.kinds_phrase}"))
    for label, value in when.labels.items():
        if signal.labels.get(label) != value:
            return Fit(workload, Reason("LabelsDiffer", f"the {signal.source}'s label {label} is not {value!r}"))
    if rule.condition is not None:
        try:
            if not rule.condition.holds(facts(signal, turn.view, turn.now, obj)):
                return Fit(workload, Reason("ConditionUnmet", f"the condition is not met: {when.condition}"))
        except ConditionFailed as error:
            return Fit(workload, Reason("ConditionFailed", f"{when.condition}: {error}"))
    return Fit(workload)


def misfit(
    rule: BoundRule,
    signal: Signal,
    workload: Target,
    took_down: TookDown,
    turn: Turn,
    fresh: Pod | Workload | None = None,
) -> Reason | None:
    """Why the rule no longer covers a signal of an incident on that workload; None while it does."""
    found = fit(rule, signal, took_down, turn, fresh)
    if found.workload is not None and found.workload.uid != workload.uid:
        return Reason("OtherWorkload", f"{signal.target} now belongs to {found.workload}, not to {workload}")
    return found.reason


def workload_of(target: Target, view: View) -> Target | None:
    """The workload that a target belongs to; a workload is its own, and so is a pod that nobody owns."""
    if target.kind in view.supported_kinds:
        workload = view.workload(target.uid)
        return view.workload_of(workload) if workload is not None else target if target.exists else None
    pod = view.pod(target.uid)
    return None if pod is None else _owner(pod, view)


def pages(rule: BoundRule) -> bool:
    """Whether a step of the rule tells people: that is all that can be done about a pod that nobody owns."""
    return any(step.pages is not None for step in rule.rule.steps)


def _named(target: Target, view: View) -> bool:
    """Whether the cluster has an object of that name."""
    return view.find_by_name(target.kind, target.namespace, target.name) is not None


def _left_out(rule: BoundRule, obj: Pod | Workload, target: Target, workload: Target) -> Reason | None:
    """Why the target is no case of its own: it is a part of something else, or nobody's any more. None when it is one."""
    if isinstance(obj, Workload) and workload.uid != obj.metadata.uid:
        return Reason("OutOfScope", f"{target} is part of {workload}: healer looks at that, and at its pods")
    if workload.kind == "Pod" and _released(obj) and not pages(rule):
        return Reason("NoWorkload", f"{target} was released by its controller, and nobody owns it now")
    return None


def _released(obj: Pod | Workload) -> bool:
    """Whether a controller has made it: people release a pod to keep it for a look, and a new one serves in its place."""
    return bool(obj.metadata.labels.keys() & {"pod-template-hash", "controller-revision-hash"})


def _owner(obj: Pod | Workload, view: View) -> Target | None:
    if isinstance(obj, Workload):
        return view.workload_of(obj)
    return view.workload_of(obj) if obj.metadata.controller is not None else target_of(obj)
