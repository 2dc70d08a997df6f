"""What the cluster does when healer acts: the outcome of an action, and what follows from it, as the test says."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from healer.actions.base import specs
from healer.actions.registry import ACTIONS
from healer.actions.scale import ScaleParams
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Act, Effect, Input
from healer.model.kube import Pod, PodDisruptionBudget, matches
from healer.model.node import WatchedNodeSpec
from healer.rehearsal.testing.events.cluster import next_revision
from healer.rehearsal.testing.schema import After
from healer.rehearsal.testing.stage import CaseStage
from healer.rules.portion import part_of

_ANSWERS = 1.0
"""Seconds that an action takes."""


class Reactions:
    """Answers the acts of an engine. `floors` are the ready pods that each PodDisruptionBudget wants, by its uid."""

    def __init__(self, stage: CaseStage, after: Sequence[After], floors: Mapping[str, int]) -> None:
        self._stage = stage
        self._after = after
        self._floors = floors
        self._attempts: Counter[str] = Counter()
        self._specs = specs(ACTIONS)

    def watch(self, _: Input, effects: list[Effect]) -> None:
        """Answer what is to be done."""
        for effect in effects:
            if isinstance(effect, Act):
                self._stage.driver.plan(_ANSWERS, partial(self._answer, effect))

    def _answer(self, act: Act) -> None:
        self._attempts[act.action] += 1
        after = self._follows(act.action, self._attempts[act.action])
        outcome = self._outcome(act, after)
        if outcome.kind is OutcomeKind.DONE and not act.dry_run:
            with self._stage.driver.at_once():
                _REACTIONS.get(act.action, _nothing)(self._stage, act, after)
                self._stage.driver.report(act, outcome)
            self._stage.flush()
        else:
            self._stage.driver.report(act, outcome)

    def _follows(self, action: str, attempt: int) -> After:
        """What the test says of an attempt. The entries of an action hold one after the other."""
        for each in self._after:
            if each.action == action:
                if each.attempts is None or attempt <= each.attempts:
                    return each
                attempt -= each.attempts
        return After(action=action)

    def _outcome(self, act: Act, after: After) -> Outcome:
        """How it ends: as the recheck of the action finds, then as the test says, then as the budgets of the cluster allow."""
        view = self._stage.world.view
        pod = view.pod(act.target.uid)
        if act.target.is_pod and (pod is None or pod.terminating):
            return Outcome(OutcomeKind.GONE, "AlreadyGone", f"{act.target} is gone: nothing was left to do")
        if (unwanted := self._stage.driver.engine.unwanted(act, view, self._stage.driver.now)) is not None:
            return Outcome(OutcomeKind.RECOVERED, unwanted.code, unwanted.text)
        spec = self._specs[act.action]
        if after.outcome is not OutcomeKind.DONE:
            code = after.reason or after.outcome.value.capitalize()
            refused = spec.evicts and after.outcome is not OutcomeKind.GONE
            return Outcome(after.outcome, code, f"{act.action} {act.target}: {after.outcome}, as the test says", denied=refused)
        if spec.evicts and pod is not None and (budget := self._refusing(pod)) is not None:
            text = f"the PodDisruptionBudget {budget.metadata.name} refuses"
            return Outcome(OutcomeKind.DEFERRED, "BudgetRefused", text, denied=True)
        ready = pod is not None and view.unit_of(pod).ready
        return Outcome(OutcomeKind.DONE, "Done", f"{act.action} {act.target}: done", ready=ready)

    def _refusing(self, pod: Pod) -> PodDisruptionBudget | None:
        """The budget that does not allow this pod to be evicted."""
        view = self._stage.world.view
        for budget in view.budgets_matching(pod):
            selector, namespace = budget.spec.selector, pod.metadata.namespace
            covered = [
                each
                for each in view.pods()
                if each.metadata.namespace == namespace and selector is not None and matches(selector, each.metadata.labels)
            ]
            left = sum(each.ready for each in covered) - pod.ready
            if left < self._floors.get(budget.metadata.uid, 0):
                return budget
        return None


def _nothing(stage: CaseStage, act: Act, after: After) -> None:
    """The cluster is as before."""


def _replaced(stage: CaseStage, act: Act, after: After) -> None:
    """The pod goes, and its controller makes another."""
    stage.replace(f"{act.target.namespace}/{act.target.name}", after.takes, sick=not after.helps)


def _rolled(stage: CaseStage, act: Act, after: After) -> None:
    """All pods are replaced one after the other. What was wrong with the workload itself ends with that."""
    kept = stage.world.kept.get(act.target.uid)
    if kept is not None:
        stage.world.roll_out(kept, next_revision(kept))
        stage.roll(kept, after.takes, sick=not after.helps)
        _relieved(stage, act, after)


def _scaled(stage: CaseStage, act: Act, after: After) -> None:
    """More pods, which get ready."""
    kept, params = stage.world.kept.get(act.target.uid), act.params
    if kept is None or not isinstance(params, ScaleParams):
        return
    spec = kept.obj.spec  # type: ignore[attr-defined]  # of the kinds that can be scaled
    more = min(part_of(params.by, spec.replicas), max(0, params.max - spec.replicas))
    stage.scale(kept, spec.replicas + more, after.takes)
    _relieved(stage, act, after)


def _relieved(stage: CaseStage, act: Act, after: After) -> None:
    """What is wrong with the workload, and with the sick pods of the incident, ends."""
    if not after.helps:
        return

    def relieve() -> None:
        incident = stage.driver.engine.incident(act.incident.id) or act.incident
        with stage.driver.at_once():
            stage.recover(act.target)
            for sick in incident.targets.values():
                stage.recover(sick.target)
        stage.flush()

    stage.driver.plan(after.takes, relieve)


def _cordoned(stage: CaseStage, act: Act, after: After) -> None:
    """The node of the pod takes no pods any more."""
    pod = stage.world.view.pod(act.target.uid)
    node = None if pod is None else stage.world.view.node(pod.spec.node_name)
    if node is not None:
        stage.world.put(msgspec.structs.replace(node, spec=WatchedNodeSpec(True, node.spec.taints)))


_REACTIONS: Mapping[str, Callable[[CaseStage, Act, After], None]] = {
    "evict": _replaced,
    "restart": _replaced,
    "quarantine": _replaced,
    "rollback": _rolled,
    "rolloutRestart": _rolled,
    "scale": _scaled,
    "cordon": _cordoned,
    "shiftTraffic": _relieved,
    "pinModelVersion": _relieved,
    "job": _relieved,
}
"""By action; what is not here changes nothing: page, collect, silence."""
