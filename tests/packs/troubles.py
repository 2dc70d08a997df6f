"""What goes wrong with a pod or a workload of the small world, and the packs' rules in force there."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from healer.daemon.rulefiles import load_rules
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
from healer.model.target import Target
from healer.rules.pod_detectors import PodsSettings
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.scope import Scope
from tests.support.world import APP, NAMESPACE, VOCABULARY, Drill, World, moment

RULES = Path(__file__).parents[2] / "rules"
FILES = sorted(RULES.rglob("*.yaml"))
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


@dataclass(frozen=True, slots=True)
class Trouble:
    """How it begins with a pod, by name, or with the workload (`""`); and how it ends where the pod stays."""

    begin: Callable[[Drill, str], None]
    end: Callable[[Drill, str], None]
    of_workload: bool = False


def _mended(d: Drill, name: str) -> None:
    if not d.world.pod(name).finished:
        d.world.mend(name)


def _shown(status: Callable[[float], PodStatus]) -> Trouble:
    return Trouble(lambda d, name: d.world.show(name, status(d.now)), _mended)


def _container(
    state: ContainerState, last: ContainerState | None = None, *, ready: bool = False, restarts: int = 0
) -> ContainerStatus:
    return ContainerStatus(APP, ready, restarts, state, last or ContainerState())


def _pending(state: ContainerState, now: float) -> PodStatus:
    placed = Condition("PodScheduled", "True", "", "", moment(now))
    return PodStatus("Pending", conditions=(placed,), container_statuses=(_container(state),))


def crashing(restarts: int = 5) -> Trouble:
    """It waits in CrashLoopBackOff after so many restarts."""
    return Trouble(lambda d, name: d.world.crash(name, restarts), _mended)


def waiting(reason: str) -> Trouble:
    """A container of it waits for that reason and has never run."""
    return _shown(lambda now: _pending(ContainerState(waiting=Waiting(reason, f"{reason}: said the kubelet")), now))


def _fetching(now: float) -> PodStatus:
    killed = ContainerState(terminated=Terminated(137, "OOMKilled", moment(now)))
    fetches = ContainerStatus("fetch", False, 1, ContainerState(running=Running(moment(now))), killed)
    waits = _container(ContainerState(waiting=Waiting("PodInitializing")))
    placed = Condition("PodScheduled", "True", "", "", moment(now))
    return PodStatus("Pending", conditions=(placed,), init_container_statuses=(fetches,), container_statuses=(waits,))


FETCHING_AGAIN = _shown(_fetching)
"""Its init container was killed out of memory, and downloads the model from the beginning for more than an hour."""


UNREADY = Trouble(lambda d, name: d.world.unready(name), _mended)
"""It runs, and its probe fails."""


def _unplaced(now: float) -> PodStatus:
    return PodStatus("Pending", conditions=(Condition("PodScheduled", "False", "Unschedulable", "0/3 nodes", moment(now)),))


UNSCHEDULABLE = _shown(_unplaced)


def _terminated(d: Drill, name: str) -> None:
    d.world.terminate(name)
    d.world.add()


TERMINATING = Trouble(_terminated, lambda d, name: d.world.remove(name) if d.world.pod(name).terminating else None)
"""Its deletion was accepted, its successor is ready, and it stays."""


def _restarted(d: Drill, name: str, times: int = 4) -> None:
    for number in range(1, times + 1):
        d.wait(20)
        last = ContainerState(terminated=Terminated(137, "Error", moment(d.now)))
        running = _container(ContainerState(running=Running(moment(d.now))), last, ready=True, restarts=number)
        d.world.show(name, PodStatus("Running", conditions=(_ready(d.now),), container_statuses=(running,)))


def _ready(now: float) -> Condition:
    return Condition("Ready", "True", "", "", moment(now))


RESTARTING = Trouble(_restarted, _mended)
"""A container restarts four times, and is ready in between."""


def _killed(d: Drill, name: str, times: int) -> None:
    for number in range(1, times + 1):
        last = ContainerState(terminated=Terminated(137, "OOMKilled", moment(d.now)))
        running, backs_off = Running(moment(d.now)), Waiting("CrashLoopBackOff", "back-off")
        state = ContainerState(running=running) if number == 1 else ContainerState(waiting=backs_off)
        killed = _container(state, last, ready=number == 1, restarts=number)
        unready = Condition("Ready", "False", "ContainersNotReady", "", moment(d.now))
        conditions = (_ready(d.now) if number == 1 else unready,)
        d.world.show(name, PodStatus("Running", conditions=conditions, container_statuses=(killed,)))
        d.wait(120)


def out_of_memory(times: int) -> Trouble:
    """A container is killed so often because it used too much memory; from the second time on the kubelet backs off."""
    return Trouble(lambda d, name: _killed(d, name, times), _mended)


def out_of_memory_at_two_revisions() -> Trouble:
    """Two kills at the revision before, and two at the newest."""

    def begin(d: Drill, _: str) -> None:
        for pod, revision in zip(d.world.pods, ("old", "new"), strict=False):
            name = pod.metadata.name
            d.world.relabel(name, **pod.metadata.labels | {"pod-template-hash": revision})
            _killed(d, name, 2)

    return Trouble(begin, _mended)


def _device_status(now: float) -> PodStatus:
    device = AllocatedResource("nvidia.com/gpu", (DeviceHealth("GPU-1", "Unhealthy"),))
    running = ContainerStatus(APP, True, 0, ContainerState(running=Running(moment(now))), allocated_resources_status=(device,))
    return PodStatus("Running", conditions=(_ready(now),), container_statuses=(running,))


DEVICE_UNHEALTHY = _shown(_device_status)


def recorded(times: int) -> Trouble:
    """Its node evicts so many pods, one after the other; their records stay."""

    def begin(d: Drill, name: str) -> None:
        for pod in [pod.metadata.name for pod in d.world.pods][:times]:
            d.world.finish(pod)

    return Trouble(begin, lambda d, name: d.world.remove(name) if d.world.pod(name).finished else None)


def alerted(alert: str, **labels: str) -> Trouble:
    """Prometheus reports the pod, and Kubernetes calls it ready."""
    return Trouble(
        lambda d, name: _alert(d, d.world.target(name), alert, True, labels),
        lambda d, name: _alert(d, d.world.target(name), alert, False, labels),
    )


def alerted_down(alert: str) -> Trouble:
    """Prometheus reports the pod, and Kubernetes calls it not ready."""

    def begin(d: Drill, name: str) -> None:
        d.world.unready(name)
        _alert(d, d.world.target(name), alert, True, {})

    return Trouble(begin, lambda d, name: _alert(d, d.world.target(name), alert, False, {}))


def alerted_workload(alert: str) -> Trouble:
    """Prometheus reports the Deployment as a whole."""
    return Trouble(
        lambda d, _: _alert(d, d.world.workload, alert, True, {}),
        lambda d, _: _alert(d, d.world.workload, alert, False, {}),
        of_workload=True,
    )


def _alert(d: Drill, target: Target, alert: str, firing: bool, labels: dict[str, str]) -> None:
    d.alert(target, alert, firing=firing, **labels)


def _workload(d: Drill, condition: str, firing: bool) -> None:
    target = d.world.workload
    d.feed(
        Signal(
            "workload", condition, target, firing, d.now, f"{condition}-{target.uid}", "1", f"{condition}: said its controller"
        )
    )


def of_workload(condition: str) -> Trouble:
    """The Deployment has that condition."""
    return Trouble(lambda d, _: _workload(d, condition, True), lambda d, _: _workload(d, condition, False), of_workload=True)


def asked(rule: str, condition: str, *, ready: bool = True) -> Trouble:
    """The model server of the pod has that condition, as that rule's look finds; Kubernetes calls the pod ready or not."""

    def tell(d: Drill, name: str, firing: bool) -> None:
        target = d.world.target(name)
        key = f"model/{rule}/{target.uid}/{condition}"
        d.feed(Signal("model", condition, target, firing, d.now, key, "1", f"{condition}: said the server", rule=rule))

    def begin(d: Drill, name: str) -> None:
        if not ready:
            d.world.unready(name)
        tell(d, name, True)

    return Trouble(begin, lambda d, name: tell(d, name, False))


def on_node(condition: str) -> Trouble:
    """The node of the pod has that condition."""

    def tell(d: Drill, name: str, firing: bool) -> None:
        target = d.world.target(name)
        d.feed(
            Signal(
                "node", condition, target, firing, d.now, f"node/{target.uid}/{condition}", "1", f"{condition}: said its agent"
            )
        )

    return Trouble(lambda d, name: tell(d, name, True), lambda d, name: tell(d, name, False))


def judged(rule: str, verdict: str) -> Trouble:
    """The judge says that of the Deployment, as the canary."""
    return Trouble(lambda d, _: _say(d, rule, verdict, True), lambda d, _: _say(d, rule, verdict, False), of_workload=True)


def _say(d: Drill, rule: str, verdict: str, firing: bool) -> None:
    d.judged(verdict, d.world.workload, rule=rule, firing=firing)


def new_drill(ruleset: str, replicas: int) -> Drill:
    """The rule set in force over a Deployment of so many ready pods."""
    return Drill(rules_of(ruleset), World(replicas), settings=PodsSettings())
