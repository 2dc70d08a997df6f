"""How a trouble shows in the small world of the engine, and the shipped rules in force there."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from healer.daemon.rulefiles import is_test, load_rules
from healer.model.kube import (
    AllocatedResource,
    Condition,
    ContainerState,
    ContainerStatus,
    DeviceHealth,
    PodStatus,
    Running,
    Terminated,
    Waiting,
)
from healer.model.signal import Signal
from healer.rules.pod_detectors import PodsSettings
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.scope import Scope
from tests.packs.troubles import Symptom, Trouble
from tests.support.world import APP, NAMESPACE, VOCABULARY, Drill, World, moment

RULES = Path(__file__).parents[2] / "rules"
FILES = sorted(path for path in RULES.rglob("*.yaml") if not is_test(path))
"""All rule files that are shipped: those of the packs, and those in which names are to be filled in."""


@cache
def rules_of(ruleset: str) -> Rulebook:
    """The rules of a shipped rule set, for every pod of the world: what their selectors cover is tested elsewhere."""
    shipped = load_rules(FILES, VOCABULARY).rules
    found = [_everywhere(bound) for bound in shipped if bound.ruleset == ruleset]
    assert found, f"nothing ships a rule set {ruleset}"
    return Rulebook(found)


def _everywhere(bound: BoundRule) -> BoundRule:
    scope = Scope(namespaces=(NAMESPACE,))
    return replace(bound, rule=bound.rule.model_copy(update={"scope": scope}))


def new_drill(ruleset: str, replicas: int) -> Drill:
    """The rule set in force over a Deployment of so many ready pods."""
    return Drill(rules_of(ruleset), World(replicas), settings=PodsSettings())


def begin(d: Drill, trouble: Trouble, rule: str, pod: str) -> None:
    """It begins with the pod, or with the Deployment; `rule` is the full name of the rule that asks the server or the judge."""
    if trouble.symptom in _TOLD:
        if trouble.retired:
            d.world.show(pod, _retired(trouble, d.now))
        elif not trouble.ready and not trouble.of_workload:
            d.world.unready(pod)
        _tell(d, trouble, rule, pod, firing=True)
    elif trouble.symptom in _DONE:
        _DONE[trouble.symptom](d, trouble, pod)
    else:
        d.world.show(pod, _SHOWN[trouble.symptom](trouble, d.now))


def end(d: Drill, trouble: Trouble, rule: str, pod: str) -> None:
    """It ends where the pod stays."""
    if trouble.symptom in _TOLD:
        _tell(d, trouble, rule, pod, firing=False)
    elif trouble.symptom is Symptom.EVENT:
        key, target = f"event/{pod}/{trouble.name}", d.world.target(pod)
        d.feed(Signal("event", trouble.name, target, False, d.now, key, str(trouble.times), "it faded"))
    elif trouble.symptom is Symptom.TERMINATING:
        if d.world.pod(pod).terminating:
            d.world.remove(pod)
    elif trouble.symptom is Symptom.RECORDED:
        if d.world.pod(pod).finished:
            d.world.remove(pod)
    elif not d.world.pod(pod).finished:
        d.world.mend(pod)


_TOLD = {
    Symptom.ALERT: "alert",
    Symptom.CONDITION: "workload",
    Symptom.STATUS: "model",
    Symptom.WELL: "model",
    Symptom.QUERY: "query",
    Symptom.NODE: "node",
    Symptom.VERDICT: "canary",
}
"""The sources of what is not read off the pods."""


def _reported(d: Drill, trouble: Trouble, pod: str) -> None:
    for number in range(1, trouble.times + 1):
        target, text = d.world.target(pod), f"{trouble.name} of {pod}"
        d.feed(Signal("event", trouble.name, target, True, d.now, f"event/{pod}/{trouble.name}", str(number), text))
        d.wait(60)


def _tell(d: Drill, trouble: Trouble, rule: str, pod: str, *, firing: bool) -> None:
    target = d.world.workload if trouble.of_workload else d.world.target(pod)
    if trouble.symptom is Symptom.ALERT:
        d.alert(target, trouble.name, firing=firing, **trouble.labels)
    elif trouble.symptom is Symptom.VERDICT:
        d.judged(trouble.name, target, rule=rule, firing=firing)
    else:
        source = _TOLD[trouble.symptom]
        firing = firing and trouble.symptom is not Symptom.WELL
        asked = rule if source in ("model", "query") else ""
        key, text = f"{source}/{asked}/{target.uid}/{trouble.name}", f"{trouble.name}: in words"
        d.feed(Signal(source, trouble.name, target, firing, d.now, key, "1", text, rule=asked))


def _terminated(d: Drill, trouble: Trouble, pod: str) -> None:
    d.world.terminate(pod)
    d.world.add()


def _recorded(d: Drill, trouble: Trouble, pod: str) -> None:
    for each in [each.metadata.name for each in d.world.pods][: trouble.times]:
        d.world.finish(each, trouble.name)


def _restarted(d: Drill, trouble: Trouble, pod: str) -> None:
    for number in range(1, trouble.times + 1):
        d.wait(20)
        last = ContainerState(terminated=Terminated(137, "Error", moment(d.now)))
        running = _container(ContainerState(running=Running(moment(d.now))), last, ready=True, restarts=number)
        d.world.show(pod, PodStatus("Running", conditions=(_ready(d.now),), container_statuses=(running,)))


def _killed_each(d: Drill, trouble: Trouble, pod: str) -> None:
    if trouble.revisions == 1:
        return _killed(d, trouble, pod)
    for number, each in enumerate(d.world.pods[: trouble.revisions]):
        d.world.relabel(each.metadata.name, **each.metadata.labels | {"pod-template-hash": f"revision-{number}"})
        _killed(d, trouble, each.metadata.name)
    return None


def _killed(d: Drill, trouble: Trouble, pod: str) -> None:
    for number in range(1, trouble.times + 1):
        last = ContainerState(terminated=Terminated(137, "OOMKilled", moment(d.now)))
        running, backs_off = Running(moment(d.now)), Waiting("CrashLoopBackOff", "back-off")
        state = ContainerState(running=running) if number == 1 else ContainerState(waiting=backs_off)
        killed = _container(state, last, ready=number == 1, restarts=number)
        unready = Condition("Ready", "False", "ContainersNotReady", "", moment(d.now))
        conditions = (_ready(d.now) if number == 1 else unready,)
        d.world.show(pod, PodStatus("Running", conditions=conditions, container_statuses=(killed,)))
        d.wait(120)


_DONE: Mapping[Symptom, Callable[[Drill, Trouble, str], None]] = {
    Symptom.CRASHING: lambda d, trouble, pod: d.world.crash(pod, trouble.times),
    Symptom.UNREADY: lambda d, _, pod: d.world.unready(pod),
    Symptom.NEVER_READY: lambda d, _, pod: d.world.unready(pod),
    Symptom.TERMINATING: _terminated,
    Symptom.RECORDED: _recorded,
    Symptom.RESTARTING: _restarted,
    Symptom.OUT_OF_MEMORY: _killed_each,
    Symptom.KILLED_FETCHING: lambda d, trouble, pod: _killed_fetching(d, trouble, pod),
    Symptom.EVENT: _reported,
}
"""What takes more than a status."""


def _pending(trouble: Trouble, now: float) -> PodStatus:
    placed = Condition("PodScheduled", "True", "", "", moment(now))
    state = ContainerState(waiting=Waiting(trouble.name, f"{trouble.name}: said the kubelet"))
    return PodStatus("Pending", conditions=(placed,), container_statuses=(_container(state),))


def _killed_fetching(d: Drill, trouble: Trouble, pod: str) -> None:
    d.world.show(pod, _fetching(trouble, d.now, times=0))
    d.wait(900)
    d.world.show(pod, _fetching(trouble, d.now))


def _fetching(trouble: Trouble, now: float, times: int = 1) -> PodStatus:
    killed = ContainerState(terminated=Terminated(137, "OOMKilled", moment(now)))
    last = killed if times else ContainerState()
    fetches = ContainerStatus("fetch", False, times, ContainerState(running=Running(moment(now))), last)
    waits = _container(ContainerState(waiting=Waiting("PodInitializing")))
    placed = Condition("PodScheduled", "True", "", "", moment(now))
    return PodStatus("Pending", conditions=(placed,), init_container_statuses=(fetches,), container_statuses=(waits,))


def _unplaced(trouble: Trouble, now: float) -> PodStatus:
    return PodStatus("Pending", conditions=(Condition("PodScheduled", "False", "Unschedulable", "0/3 nodes", moment(now)),))


def _device(trouble: Trouble, now: float) -> PodStatus:
    device = AllocatedResource("nvidia.com/gpu", (DeviceHealth("GPU-1", "Unhealthy"),))
    running = ContainerStatus(APP, True, 0, ContainerState(running=Running(moment(now))), allocated_resources_status=(device,))
    return PodStatus("Running", conditions=(_ready(now),), container_statuses=(running,))


def _retired(trouble: Trouble, now: float) -> PodStatus:
    running = _container(ContainerState(running=Running(moment(now - 3600))))
    unready = Condition("Ready", "False", "ContainersNotReady", "", moment(now))
    return PodStatus("Running", conditions=(unready,), container_statuses=(running,))


_SHOWN: Mapping[Symptom, Callable[[Trouble, float], PodStatus]] = {
    Symptom.WAITING: _pending,
    Symptom.FETCHING: _fetching,
    Symptom.UNSCHEDULABLE: _unplaced,
    Symptom.DEVICE: _device,
    Symptom.RETIRED: _retired,
}


def _container(
    state: ContainerState, last: ContainerState | None = None, *, ready: bool = False, restarts: int = 0
) -> ContainerStatus:
    return ContainerStatus(APP, ready, restarts, state, last or ContainerState())


def _ready(now: float) -> Condition:
    return Condition("Ready", "True", "", "", moment(now))
