"""Which workloads a rule covers and cannot treat as they are, for their replicas, strategy, owner or bounds, or for a pause."""

from collections.abc import Iterator

from healer.actions.base import Foreseeing
from healer.actions.registry import ACTIONS
from healer.cluster.api import Api
from healer.cluster.errors import ApiError, Unreadable
from healer.engine.matching.coverage import counted, differs
from healer.engine.safety.guards.stops import pause
from healer.model.view import View
from healer.model.workload import Workload
from healer.operate.cluster_check.finding import ClusterFinding
from healer.operate.cluster_check.scopes import covered_pods
from healer.rules.named_workload import NamedWorkload
from healer.rules.rulebook import BoundRule
from healer.rules.schema import Step
from healer.rules.triggers import CANARY
from healer.workloads.base import Rollable
from healer.workloads.registry import WORKLOADS

_TOPIC = "workload"
_MOST_ASKED = 100
"""Workloads that actions are asked about: each may cost requests."""
_MEND_FLOOR = "a smaller minReady, or more replicas, lets the rule act"
_MOST_SAID = 20
"""Findings, each about one workload; more are counted."""


async def untreatable(api: Api, view: View, rules: list[BoundRule], now: float) -> list[ClusterFinding]:
    """The workloads that rules cover and cannot treat as they are. Raises ClusterError when the cluster does not answer."""
    found: list[ClusterFinding] = []
    asked: list[tuple[BoundRule, Step, Workload]] = []
    for bound in rules:
        for workload in _covered(view, bound):
            stopped = pause(view, workload.metadata.namespace, [workload], now)
            texts = [_floor(workload, bound), _all_under_budgets(view, workload, bound)]
            if stopped is not None:
                texts.append(f"{workload.target} is left alone: {stopped.reason.text}")
            found += [ClusterFinding(_TOPIC, text, (bound.name,)) for text in texts if text]
            asked += [(bound, step, workload) for step in bound.rule.steps if isinstance(ACTIONS[step.action], Foreseeing)]
    found += await _foreseen(api, asked)
    texts = list(dict.fromkeys(each.text for each in found if not each.unknown))
    left = frozenset(texts[_MOST_SAID:])
    said = [each for each in found if each.text not in left]
    return [*said, ClusterFinding(_TOPIC, f"{len(left)} more like these are not shown")] if left else said


def _covered(view: View, bound: BoundRule) -> Iterator[Workload]:
    """The workloads that the rule acts on: those that it names, else those that it selects, or of which it selects a pod."""
    canary, named = bound.rule.when.get(CANARY), bound.rule.when.workloads
    if canary is not None:
        named = (canary.canary.workload,)  # the stable one is looked at alone
    of_pods = set[str]() if named else {view.workload_uid(pod) for pod in covered_pods(view, bound)}
    for each in view.workloads():
        meta = each.metadata
        if view.workload_of(each) != each.target or not bound.scope.covers(meta.namespace) or not each.desired:
            continue
        selected = meta.uid in of_pods or not differs(bound.scope, meta.namespace, meta.labels, each.kind, WORKLOADS)
        if NamedWorkload(meta.name, each.kind) in named if named else selected:
            yield each


def _floor(workload: Workload, bound: BoundRule) -> str:
    """Why no pod of the workload is ever taken, by the guard `above_floor`; "" when one may be, or when the rule takes none.

    One sick pod leaves all others ready at best. A single replica may be taken while it is not ready: nothing is lost by it.
    """
    if not any(ACTIONS[step.action].spec.disrupts for step in bound.rule.steps):
        return ""
    number, wanted = workload.desired, bound.rule.limits.min_ready
    if number > wanted:
        return ""
    has = f"{workload.target} has {number} {workload.units if number > 1 else workload.units.removesuffix('s')}"
    if number > 1:
        return f"{has}, {number - 1} without a sick one, and minReady is {wanted}: none is ever taken; {_MEND_FLOOR}"
    if _single_and_sick(workload, bound):
        return ""
    return f"{has}, which is never taken while it is ready: it is the last; give it a second one"


def _single_and_sick(workload: Workload, bound: BoundRule) -> bool:
    """Whether the only replica may be not ready when the rule asks for something: then nothing is lost by it."""
    return workload.desired == 1 and bound.rule.when.trigger.read_off_target


def _all_under_budgets(view: View, workload: Workload, bound: BoundRule) -> str:
    """Why no pod is deleted, where the rule deletes pods and evicts none; "" when one may be."""
    specs = [ACTIONS[step.action].spec for step in bound.rule.steps]
    deletes = next((spec.name for spec in specs if spec.deletes), "")
    if not deletes or any(spec.evicts for spec in specs):
        return ""
    budgets = [view.budgets_matching(pod) for pod in view.pods_of(workload.target)]
    if not budgets or not all(budgets):
        return ""
    names = ", ".join(sorted({f"poddisruptionbudget/{each.metadata.name}" for found in budgets for each in found}))
    return f"{deletes} is refused for the pods of {workload.target}, which {names} covers: use evict, which honours it"


async def _foreseen(api: Api, asked: list[tuple[BoundRule, Step, Workload]]) -> list[ClusterFinding]:
    """What actions say of the workloads that they would be refused for. The same is asked once for all rules."""
    found: list[ClusterFinding] = []
    uids = list(dict.fromkeys(workload.metadata.uid for _, _, workload in asked))
    if len(uids) > _MOST_ASKED:
        text = f"only {_MOST_ASKED} of {counted(len(uids), 'workload')} are asked about further"
        found.append(ClusterFinding(_TOPIC, text, unknown=True))
    wholes: dict[str, Rollable | str] = {}
    answers: dict[str, str] = {}
    for bound, step, workload in asked:
        uid, action = workload.metadata.uid, ACTIONS[step.action]
        if uid in uids[_MOST_ASKED:] or not isinstance(action, Foreseeing):
            continue
        ready = 0 if _single_and_sick(workload, bound) else workload.desired
        key = f"{uid} {step.action} {step.params!r} {bound.rule.limits.min_ready} {ready}"
        try:
            if uid not in wholes:
                kind = WORKLOADS[workload.kind]
                path = kind.resource.path(workload.metadata.namespace, workload.metadata.name)
                wholes[uid] = await api.get(path, kind.whole)
            whole = wholes[uid]
            if key not in answers and not isinstance(whole, str):
                answers[key] = await action.never(api, whole, step.params, min_ready=bound.rule.limits.min_ready, ready=ready)
        except (ApiError, Unreadable) as error:
            wholes[uid] = str(error)
            text = f"whether {step.action} is possible for {workload.target} is not known: {error}"
            found.append(ClusterFinding(_TOPIC, text, (bound.name,), unknown=True))
            continue
        if text := answers.get(key, ""):
            found.append(ClusterFinding(_TOPIC, f"{step.action} is refused: {text}", (bound.name,)))
    return found
