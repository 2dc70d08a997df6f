"""Pods as watched become signals: each condition, when it begins, happens again, and ends."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from healer.model.kube import (
    AllocatedResource,
    Condition,
    ContainerState,
    ContainerStatus,
    DeviceHealth,
    InitContainer,
    Meta,
    Pod,
    PodSpec,
    PodStatus,
    Running,
    Terminated,
    Waiting,
)
from healer.model.signal import MOST_LAST_WORDS, Signal
from healer.rules.pod_detectors import Finding, PodsSettings
from healer.sources.pods import PodSource
from tests.support.world import moment

NOW = 1_900_000_000.0
SETTINGS = PodsSettings(settle=60.0, restarts=3, restarts_within=600.0, terminating_grace=60.0)
RECORDED = Path(__file__).parents[2] / "contract" / "kubernetes-1.36" / "exchanges.jsonl"


def exchange(name: str) -> dict[str, Any]:
    """The response of a recorded exchange with a real API server."""
    for line in RECORDED.read_text("utf-8").splitlines():
        recorded = json.loads(line)
        if recorded["name"] == name:
            response: dict[str, Any] = recorded["response"]
            return response
    raise LookupError(name)


def recorded(name: str) -> Pod:
    """A recorded pod."""
    return msgspec.convert(exchange(name)["body"], Pod)


@dataclass
class Watch:
    """A source and the time; says what begins as "+Name" and what ends as "-Name"."""

    source: PodSource = field(default_factory=lambda: PodSource(SETTINGS))
    now: float = NOW
    known: dict[str, Pod] = field(default_factory=dict)

    def put(self, pod: Pod) -> list[str]:
        signals = self.source.put(pod, self.known.get(pod.metadata.uid), self.now)
        self.known[pod.metadata.uid] = pod
        return said(signals)

    def drop(self, pod: Pod) -> list[str]:
        del self.known[pod.metadata.uid]
        return said(self.source.drop(pod, self.now))

    def wait(self, seconds: float) -> list[str]:
        """Let time pass, looking exactly when the source asks for it."""
        end, found = self.now + seconds, []
        while (due := self.source.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            found += said(self.source.due(self.now))
        self.now = end
        return found


def said(signals: list[Signal]) -> list[str]:
    return [("+" if signal.firing else "-") + signal.name for signal in signals]


# statuses by hand


def container(
    state: Running | Waiting | Terminated | None = None,
    *,
    name: str = "main",
    restarts: int = 0,
    ready: bool | None = None,
    last: Terminated | None = None,
) -> ContainerStatus:
    state = Running(moment(NOW - 3600)) if state is None else state
    ready = isinstance(state, Running) if ready is None else ready
    shown = ContainerState(
        state if isinstance(state, Waiting) else None,
        state if isinstance(state, Running) else None,
        state if isinstance(state, Terminated) else None,
    )
    return ContainerStatus(name, ready, restarts, shown, ContainerState(terminated=last))


def pod(
    *containers: ContainerStatus,
    init: tuple[ContainerStatus, ...] = (),
    sidecars: tuple[str, ...] = (),
    ready: bool | None = None,
    phase: str = "Running",
    uid: str = "u1",
    deleted: float | None = None,
    **status: Any,
) -> Pod:
    containers = containers or (container(),)
    ready = all(each.ready for each in containers) if ready is None else ready
    conditions = (Condition("Ready", "True" if ready else "False", last_transition_time=moment(NOW)),)
    meta = Meta(f"pod-{uid}", uid, "production", deletion_timestamp=None if deleted is None else moment(deleted))
    spec = PodSpec(init_containers=tuple(InitContainer(each.name, "Always" if each.name in sidecars else "") for each in init))
    return Pod(
        meta,
        spec,
        PodStatus(
            **({"phase": phase, "conditions": conditions} | status), container_statuses=containers, init_container_statuses=init
        ),
    )


CRASHED = Terminated(1, "Error", moment(NOW))
OOM = Terminated(137, "OOMKilled", moment(NOW))
BACK_OFF = Waiting("CrashLoopBackOff", "back-off 5m0s")


def fresh(at: float) -> Running:
    return Running(moment(at))


# as recorded from a real cluster


@pytest.mark.parametrize(
    ("name", "conditions"),
    [
        ("pod: crashloop", {"CrashLoopBackOff", "NotReady"}),
        ("pod: oom", {"CrashLoopBackOff", "OOMKilled", "NotReady"}),
        ("pod: image", {"ImagePullBackOff"}),
        ("pod: notready", {"NotReady"}),
    ],
)
def test_conditions_as_recorded(name: str, conditions: set[str]) -> None:
    assert set(Watch().put(recorded(name))) == {f"+{condition}" for condition in conditions}


def test_an_eviction_as_recorded_is_no_sickness() -> None:
    watch, found = Watch(now=datetime.fromisoformat("2026-11-22T13:41:05Z").timestamp()), set()
    for line in exchange("watch: an eviction")["lines"]:
        event = line["event"]
        if event["type"] == "BOOKMARK":
            continue
        seen = msgspec.convert(event["object"], Pod)
        found |= set(watch.drop(seen) if event["type"] == "DELETED" else watch.put(seen))
    assert found == set()


def test_pods_of_a_half_failed_rollout_as_recorded() -> None:
    watch = Watch()
    found = [tuple(watch.put(msgspec.convert(item, Pod))) for item in exchange("pods: half-failed rollout")["body"]["items"]]
    assert () in found
    assert any("+ImagePullBackOff" in each or "+ErrImagePull" in each for each in found)


# what a signal says


def test_a_signal_names_its_pod_by_uid_and_says_what_happened() -> None:
    (signal, _) = PodSource(SETTINGS).put(pod(container(BACK_OFF, restarts=4, last=CRASHED)), None, NOW)
    assert (signal.source, signal.name, signal.target.uid, signal.target.kind) == ("pod", "CrashLoopBackOff", "u1", "Pod")
    assert signal.key == "u1/CrashLoopBackOff"
    assert signal.message == "container main crashed 5 times, last exit 1 (Error)"
    assert signal.at == NOW


def test_the_message_is_about_the_last_crash() -> None:
    watch = Watch()
    watch.put(pod(container(BACK_OFF, restarts=1, last=CRASHED)))
    again = pod(container(Terminated(2, "Error"), restarts=2, last=CRASHED))
    (signal,) = (s for s in watch.source.put(again, None, NOW) if s.name == "CrashLoopBackOff")
    assert signal.message == "container main crashed 3 times, last exit 2 (Error)"


def test_what_a_container_said_when_it_ended_is_for_people_alone() -> None:
    """Its termination message: one line of it, and short. No rule's condition looks at it, and it is no news by itself."""
    said = Terminated(1, "Error", message="OSError: no model at s3://models/ranker\n\twas OOMKilled? " + "x" * 1000)
    watch = Watch()
    watch.put(pod(container(BACK_OFF, restarts=1, last=said)))
    again = pod(container(said, restarts=2, last=CRASHED))
    (signal,) = (s for s in watch.source.put(again, None, NOW) if s.name == "CrashLoopBackOff")
    assert signal.last_words.startswith("OSError: no model at s3://models/ranker was OOMKilled? xxx")
    assert len(signal.last_words) == MOST_LAST_WORDS
    assert signal.message == "container main crashed 3 times, last exit 1 (Error)"
    assert not Finding("it crashed", "1", last_words="one").is_news(Finding("it crashed", "1", last_words="another"))


def test_a_pod_that_is_well_says_nothing_and_is_not_remembered() -> None:
    watch = Watch()
    assert watch.put(pod()) == []
    assert watch.source._seen == {}


# crash loops


def test_a_crash_loop_lasts_while_the_container_runs_in_between() -> None:
    watch = Watch()
    assert watch.put(pod(container(BACK_OFF, restarts=3, last=CRASHED))) == ["+CrashLoopBackOff", "+NotReady"]
    assert watch.put(pod(container(fresh(NOW), restarts=4, last=CRASHED))) == []  # NotReady, though it is ready for a moment
    watch.wait(30)
    assert watch.put(pod(container(CRASHED, restarts=4, last=CRASHED))) == ["+CrashLoopBackOff"]  # once more
    assert watch.put(pod(container(BACK_OFF, restarts=4, last=CRASHED))) == []


def test_a_crash_loop_is_over_when_the_container_has_run_for_long_enough() -> None:
    watch = Watch()
    watch.put(pod(container(BACK_OFF, restarts=3, last=CRASHED)))
    watch.put(pod(container(fresh(NOW), restarts=4, last=CRASHED)))
    assert watch.wait(59) == []
    assert watch.wait(1) == ["-CrashLoopBackOff", "-NotReady"]


def test_a_crash_loop_is_not_over_while_the_container_runs_and_does_not_serve() -> None:
    watch = Watch()
    watch.put(pod(container(BACK_OFF, restarts=3, last=CRASHED)))
    watch.put(pod(container(fresh(NOW), restarts=4, last=CRASHED, ready=False)))
    assert watch.wait(3600) == []
    assert watch.put(pod(container(fresh(NOW), restarts=4, last=CRASHED))) == ["-CrashLoopBackOff", "-NotReady"]


def test_a_restart_that_may_go_well_is_not_one_crash_more() -> None:
    """`count` counts occurrences: the back-off after a crash and the run that follows are one."""
    watch = Watch()
    occurrences = set()
    for status in (container(BACK_OFF, restarts=3, last=CRASHED), container(fresh(NOW), restarts=4, last=CRASHED)):
        seen = pod(status)
        watch.put(seen)
        occurrences.add(watch.source._seen["u1"].findings["CrashLoopBackOff"].occurrence)
    assert len(occurrences) == 1


def test_a_container_that_restarted_and_runs_is_no_crash_loop_unless_it_was_one() -> None:
    assert Watch().put(pod(container(fresh(NOW), restarts=1, last=CRASHED))) == []


@pytest.mark.parametrize("sidecars", [(), ("first",)])
def test_an_init_container_in_a_crash_loop(sidecars: tuple[str, ...]) -> None:
    looping = container(BACK_OFF, name="first", restarts=3, last=CRASHED)
    main = container(Waiting("PodInitializing"))
    assert Watch().put(pod(main, init=(looping,), sidecars=sidecars, phase="Pending")) == ["+CrashLoopBackOff"]


def test_an_init_container_that_did_its_work_is_over_its_crashes_at_once() -> None:
    watch = Watch()
    looping = container(BACK_OFF, name="first", restarts=3, last=CRASHED)
    watch.put(pod(container(Waiting("PodInitializing")), init=(looping,), phase="Pending"))
    done = container(Terminated(0, "Completed"), name="first", restarts=4, last=CRASHED)
    assert watch.put(pod(container(Waiting("PodInitializing")), init=(done,), phase="Pending")) == ["-CrashLoopBackOff"]


def test_a_sidecar_that_ends_well_again_and_again_is_in_a_crash_loop_all_the_while() -> None:
    watch = Watch()
    ended = Terminated(0, "Completed", moment(NOW))
    looping = container(BACK_OFF, name="proxy", restarts=3, last=ended)
    assert "+CrashLoopBackOff" in watch.put(pod(init=(looping,), sidecars=("proxy",), ready=False))
    watch.put(pod(init=(container(fresh(NOW), name="proxy", restarts=4, last=ended),), sidecars=("proxy",)))
    down = pod(init=(container(ended, name="proxy", restarts=4, last=ended),), sidecars=("proxy",), ready=False)
    assert "-CrashLoopBackOff" not in watch.put(down)


def test_two_containers_the_second_one_loops() -> None:
    assert "+CrashLoopBackOff" in Watch().put(pod(container(), container(BACK_OFF, name="other", restarts=2, last=CRASHED)))


def test_a_pod_that_is_ready_while_its_sidecar_waits_is_looked_at() -> None:
    looping = container(BACK_OFF, name="proxy", restarts=2, last=CRASHED)
    assert Watch().put(pod(init=(looping,), sidecars=("proxy",), ready=True)) == ["+CrashLoopBackOff"]


# out of memory


def test_killed_for_want_of_memory_until_it_has_run_well_for_a_while() -> None:
    watch = Watch()
    assert watch.put(pod(container(OOM))) == ["+OOMKilled", "+NotReady"]
    assert watch.put(pod(container(fresh(NOW), restarts=1, last=OOM))) == ["-NotReady"]
    assert watch.wait(59) == []
    assert watch.wait(1) == ["-OOMKilled"]


def test_one_kill_is_one_occurrence_and_the_next_another() -> None:
    watch = Watch()
    told = [*watch.put(pod(container(OOM)))]
    told += watch.put(pod(container(fresh(NOW), restarts=1, last=OOM, ready=False), ready=False))
    told += watch.put(pod(container(OOM, restarts=1, last=OOM)))
    assert told.count("+OOMKilled") == 2


def test_a_kill_of_long_ago_is_no_news_though_the_container_is_not_ready_now() -> None:
    watch = Watch()
    assert watch.put(pod(container(fresh(NOW - 7200), restarts=1, last=OOM))) == []
    assert watch.put(pod(container(fresh(NOW - 7200), restarts=1, last=OOM, ready=False))) == ["+NotReady"]


def test_a_restart_that_is_seen_late_is_news_though_the_container_has_run_for_longer() -> None:
    """The watch has stalled, or the clock of the node is wrong."""
    watch = Watch()
    assert watch.put(pod(container())) == []
    assert watch.put(pod(container(fresh(NOW - 300), restarts=1, last=OOM))) == ["+OOMKilled"]
    assert watch.wait(59) == []
    assert watch.wait(1) == ["-OOMKilled"]


def test_a_later_crash_of_another_kind_ends_it() -> None:
    watch = Watch()
    watch.put(pod(container(OOM)))
    assert "-OOMKilled" in watch.put(pod(container(CRASHED, restarts=1, last=OOM)))


# images and configuration


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError"])
@pytest.mark.parametrize("initial", [False, True])
def test_a_container_that_waits_for_something(reason: str, initial: bool) -> None:
    waits = container(Waiting(reason, "because"), name="it")
    waiting = pod(init=(waits,), phase="Pending", ready=False) if initial else pod(waits, phase="Pending")
    watch = Watch()
    (signal,) = watch.source.put(waiting, None, NOW)
    assert (signal.name, signal.message) == (reason, "container it: because")
    assert watch.put(pod()) == [f"-{reason}"]


def test_the_two_names_of_a_failing_pull_hold_together() -> None:
    """They alternate: a rule that names one of them, and waits for long, is not set back by each try of the kubelet."""
    watch, found = Watch(), []
    for _ in range(3):
        for reason in ("ErrImagePull", "ImagePullBackOff"):
            found += watch.put(pod(container(Waiting(reason)), phase="Pending"))
            watch.wait(300)
    assert found == ["+ErrImagePull", "+ImagePullBackOff"]
    assert sorted(watch.put(pod())) == ["-ErrImagePull", "-ImagePullBackOff"]


def test_what_alternates_holds_together_after_a_restart_too() -> None:
    source = PodSource(SETTINGS)
    backing_off = pod(container(Waiting("ImagePullBackOff")), phase="Pending")
    names = {signal.name for signal in source.resume(backing_off, {"ErrImagePull"}, NOW)}
    assert names == {"ErrImagePull", "ImagePullBackOff"}
    assert source.still(backing_off, "ErrImagePull", NOW)


# devices


def _with_device(health: str) -> Pod:
    """A ready pod whose container has one device, which is so."""
    has = (AllocatedResource("nvidia.com/gpu", (DeviceHealth("GPU-0", "Healthy"), DeviceHealth("GPU-1", health))),)
    ready = container(Running(moment(NOW - 900)), ready=True)
    return pod(msgspec.structs.replace(ready, allocated_resources_status=has))


@pytest.mark.parametrize(("health", "begins"), [("Unhealthy", ["+DeviceUnhealthy"]), ("Unknown", []), ("Healthy", [])])
def test_an_ill_device_of_a_pod_that_is_ready_is_seen(health: str, begins: list[str]) -> None:
    """What is not known of a device is no illness of it."""
    watch = Watch()
    assert watch.put(_with_device("Healthy")) == []
    assert watch.put(_with_device(health)) == begins
    assert watch.put(_with_device("Healthy")) == ["-DeviceUnhealthy"] * len(begins)


# not starting


@pytest.mark.parametrize(
    "reason",
    [
        "CreateContainerError",
        "RunContainerError",
        "InvalidImageName",
        "ErrImageNeverPull",
        "PostStartHookError",
        "CreatePodSandboxError",
    ],
)
@pytest.mark.parametrize("initial", [True, False])
def test_what_the_kubelet_cannot_start_is_told_at_once_with_its_words(reason: str, initial: bool) -> None:
    waits = container(Waiting(reason, "the kubelet's own words"))
    sick = pod(init=(waits,), phase="Pending", ready=False) if initial else pod(waits, phase="Pending")
    signals = PodSource(SETTINGS).put(sick, None, NOW)
    assert [signal.name for signal in signals] == ["NotStarting", "NotReady"]
    assert signals[0].message == f"container main: {reason}: the kubelet's own words"


def test_a_process_that_the_runtime_cannot_start_is_not_starting_between_the_tries_too() -> None:
    watch = Watch()
    failed = Terminated(128, "StartError", moment(NOW), 'exec: "serve": executable file not found in $PATH')
    assert "+NotStarting" in watch.put(pod(container(Waiting("RunContainerError"), restarts=1)))
    assert "-NotStarting" not in watch.put(pod(container(failed, restarts=1)))
    assert "-NotStarting" not in watch.put(pod(container(BACK_OFF, restarts=1, last=failed)))
    assert "-NotStarting" in watch.put(pod(container(fresh(NOW), restarts=2, last=failed)))


def on_a_node(*containers: ContainerStatus, **more: Any) -> Pod:
    """A pod that was placed at NOW and is not running yet."""
    placed = pod(*containers, phase="Pending", ready=False, **more)
    return msgspec.structs.replace(placed, spec=msgspec.structs.replace(placed.spec, node_name="node-1"))


CREATING = container(Waiting("ContainerCreating"))
INITIALIZING = container(Waiting("PodInitializing"))
NO_SANDBOX = (
    Condition("PodReadyToStartContainers", "False", last_transition_time=moment(NOW)),
    Condition("Ready", "False", last_transition_time=moment(NOW)),
)


@pytest.mark.parametrize(
    ("starting", "message"),
    [
        (on_a_node(CREATING), "no progress for 10 m: container main: ContainerCreating"),
        (
            on_a_node(CREATING, conditions=NO_SANDBOX),
            "no progress for 10 m: container main: ContainerCreating"
            " (its volumes, network or sandbox are not ready: see its events)",
        ),
        (on_a_node(INITIALIZING), "no progress for 10 m: container main: PodInitializing"),
        (
            on_a_node(INITIALIZING, init=(container(fresh(NOW), name="fetch", ready=False),)),
            "no progress for 10 m: init container fetch runs and does not end",
        ),
        (
            on_a_node(INITIALIZING, init=(container(fresh(NOW), name="mesh", ready=False),), sidecars=("mesh",)),
            "no progress for 10 m: sidecar container mesh runs and is not started: its startup probe fails",
        ),
    ],
)
def test_a_pod_that_does_not_get_to_run_is_not_starting_after_a_while(starting: Pod, message: str) -> None:
    source = PodSource(SETTINGS)
    assert source.put(starting, None, NOW) == []
    assert source.next_due() == NOW + 600
    signals = source.due(NOW + 600)
    assert [(signal.name, signal.message) for signal in signals] == [("NotStarting", message), ("NotReady", message)]


def test_a_pod_that_its_node_has_not_taken_up_is_not_starting_after_a_while() -> None:
    untouched = on_a_node(CREATING)
    status = msgspec.structs.replace(untouched.status, container_statuses=())
    watch = Watch()
    assert watch.put(msgspec.structs.replace(untouched, status=status)) == []
    assert watch.wait(600) == ["+NotStarting", "+NotReady"]


def test_each_thing_that_goes_forward_gives_it_time_anew() -> None:
    """A pod with init containers that take nine minutes each is on its way."""
    watch = Watch()
    assert watch.put(on_a_node(INITIALIZING, init=(container(fresh(NOW + 500), name="one", ready=False),))) == []
    assert watch.wait(1000) == []
    done = container(Terminated(0, "Completed", moment(NOW + 1000)), name="one", ready=True)
    assert watch.put(on_a_node(INITIALIZING, init=(done, container(fresh(NOW + 1001), name="two", ready=False)))) == []
    assert watch.wait(600) == []
    assert watch.wait(1) == ["+NotStarting", "+NotReady"]
    assert watch.put(pod(container(fresh(NOW + 1601)))) == ["-NotStarting", "-NotReady"]


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError", "CrashLoopBackOff"])
def test_what_has_a_name_of_its_own_is_not_called_not_starting(reason: str) -> None:
    watch = Watch()
    watch.put(on_a_node(INITIALIZING, init=(container(Waiting(reason), name="first"),)))
    assert watch.wait(10_000) == []


def test_a_pod_that_has_no_node_is_not_called_not_starting() -> None:
    watch = Watch()
    assert watch.put(pod(CREATING, phase="Pending", ready=False)) == []
    gated = (Condition("PodScheduled", "False", "SchedulingGated", last_transition_time=moment(NOW)),)
    assert watch.put(on_a_node(CREATING, conditions=gated, uid="u2")) == []
    assert watch.wait(10_000) == []


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({"reason": "NodeLost", "message": "Node node-1 is unresponsive"}, "NodeLost: Node node-1 is unresponsive"),
        ({}, "its node no longer reports it"),
    ],
)
def test_a_pod_whose_node_is_lost_is_not_ready(status: dict[str, Any], message: str) -> None:
    """The oldest servers have the phase Unknown; newer ones only say that it is not ready."""
    (signal,) = PodSource(SETTINGS).put(pod(phase="Unknown", **status), None, NOW)
    assert (signal.name, signal.message) == ("NotReady", message)


def test_waiting_to_be_created_is_no_sickness() -> None:
    assert Watch().put(pod(container(Waiting("ContainerCreating")), phase="Pending")) == []


# readiness


def test_not_ready_and_ready_again() -> None:
    watch = Watch()
    assert watch.put(pod(container(ready=False))) == ["+NotReady"]
    assert watch.put(pod(container(ready=False))) == []
    assert watch.put(pod()) == ["-NotReady"]


def test_a_pod_that_is_not_running_yet_is_not_called_not_ready() -> None:
    assert Watch().put(pod(container(Waiting("PodInitializing")), phase="Pending")) == []


def test_a_pod_that_has_ended_well_is_not_called_not_ready() -> None:
    assert Watch().put(pod(container(Terminated(0, "Completed")), phase="Succeeded")) == []


# restarting, as a rate


def test_restarting_is_a_rate() -> None:
    watch = Watch()
    watch.put(pod(container(restarts=0)))
    found = []
    for restarts in (1, 2, 3):
        watch.wait(100)
        found += watch.put(pod(container(restarts=restarts)))
    assert found == ["+Restarting"]
    assert watch.wait(399) == []
    assert watch.wait(1) == ["-Restarting"]


def test_slow_restarts_never_add_up() -> None:
    watch = Watch()
    for restarts in range(50):
        assert watch.put(pod(container(restarts=restarts))) == []
        watch.wait(301)


def test_the_lifetime_count_says_nothing() -> None:
    watch = Watch()
    assert watch.put(pod(container(restarts=5000))) == []
    assert watch.put(pod(container(restarts=5000))) == []


def of_three(server: int, mesh: int, side: int) -> Pod:
    """A pod with two containers and a sidecar, that have restarted so often."""
    side_ = container(name="side", restarts=side)
    return pod(container(restarts=server), container(name="mesh", restarts=mesh), init=(side_,), sidecars=("side",))


@pytest.mark.parametrize(
    "looks",
    [
        [(1, 1, 1)],
        [(1, 0, 0), (1, 1, 0), (1, 1, 1)],
        [(2, 2, 2)],  # the node reboots twice
    ],
)
def test_a_reboot_of_the_node_is_one_restart_of_each_container(looks: list[tuple[int, int, int]]) -> None:
    """At once, or as the containers come up one after another."""
    watch = Watch()
    watch.put(of_three(0, 0, 0))
    for restarts in looks:
        assert watch.put(of_three(*restarts)) == []
        watch.wait(2)


@pytest.mark.parametrize("many", [(3, 1, 1), (1, 3, 1), (1, 1, 3)])
def test_the_rate_is_that_of_the_container_that_restarts_most(many: tuple[int, int, int]) -> None:
    watch = Watch()
    watch.put(of_three(0, 0, 0))
    (signal,) = watch.source.put(of_three(*many), watch.known["u1"], NOW)
    assert signal.name == "Restarting"
    name = ("main", "mesh", "side")[many.index(3)]
    assert signal.message == f"container {name}: 3 restarts within 600 s"


def test_restarts_seen_at_once_count_each() -> None:
    watch = Watch()
    watch.put(pod(container(restarts=7)))
    assert watch.put(pod(container(restarts=10))) == ["+Restarting"]


def test_each_further_restart_is_an_occurrence() -> None:
    watch = Watch()
    watch.put(pod(container(restarts=0)))
    assert watch.put(pod(container(restarts=3))) == ["+Restarting"]
    assert watch.put(pod(container(restarts=4))) == ["+Restarting"]
    assert watch.put(pod(container(restarts=4))) == []


# conditions of the pod


def test_unschedulable() -> None:
    no_node = Condition("PodScheduled", "False", "Unschedulable", "0/3 nodes are available: 3 Insufficient memory.")
    watch = Watch()
    (signal,) = watch.source.put(pod(phase="Pending", ready=False, conditions=(no_node,)), None, NOW)
    assert (signal.name, signal.message) == ("Unschedulable", "0/3 nodes are available: 3 Insufficient memory.")
    assert watch.put(pod(container(Waiting("ContainerCreating")), phase="Pending")) == ["-Unschedulable"]


def test_evicted_by_its_node_is_not_failed() -> None:
    gone = pod(container(Terminated(137, "Error")), phase="Failed", reason="Evicted", message="low on memory")
    assert Watch().put(gone) == ["+Evicted"]


@pytest.mark.parametrize(
    ("reason", "condition"),
    [
        ("Evicted", "Evicted"),
        ("NodeShutdown", "Failed"),
        ("OutOfcpu", "Failed"),
        ("UnexpectedAdmissionError", "Failed"),
        ("", "Failed"),
    ],
)
@pytest.mark.parametrize(
    "last",
    [
        container(BACK_OFF, restarts=9, last=CRASHED),
        container(OOM, restarts=2),
        container(Terminated(137, "ContainerStatusUnknown"), restarts=1, last=OOM),
        container(Waiting("ErrImagePull")),
        container(Waiting("CreateContainerConfigError")),
        container(),
    ],
)
def test_a_record_has_no_condition_of_a_living_pod(reason: str, condition: str, last: ContainerStatus) -> None:
    """Whatever its statuses said at its last moment."""
    record = pod(last, ready=True, phase="Failed", reason=reason)
    assert Watch().put(record) == [f"+{condition}"]
    assert not record.ready


def test_what_fires_of_a_pod_ends_when_the_pod_does() -> None:
    watch = Watch()
    watch.put(pod(container(restarts=0)))
    watch.put(pod(container(BACK_OFF, restarts=3, last=CRASHED)))
    found = watch.put(pod(container(BACK_OFF, restarts=3, last=CRASHED), phase="Failed", reason="Evicted"))
    assert sorted(found) == ["+Evicted", "-CrashLoopBackOff", "-NotReady", "-Restarting"]
    assert watch.wait(10_000) == []


def test_a_pod_that_has_ended_well_has_no_condition_at_all() -> None:
    watch = Watch()
    assert watch.put(pod(container(OOM, restarts=2, last=CRASHED), phase="Succeeded")) == []


def test_failed() -> None:
    assert Watch().put(pod(container(CRASHED), phase="Failed")) == ["+Failed"]


@pytest.mark.parametrize(
    ("sick", "message"),
    [
        (pod(phase="Failed", reason="Evicted", message="low on memory"), "low on memory"),
        (pod(phase="Failed", reason="Evicted"), "evicted by its node"),
        (pod(phase="Failed", reason="NodeLost", message="the node is gone"), "the node is gone"),
        (pod(phase="Failed", reason="NodeShutdown"), "NodeShutdown"),
        (pod(phase="Failed"), "failed"),
        (pod(conditions=(Condition("Ready", "False", "ContainersNotReady", "main is not ready"),)), "main is not ready"),
        (pod(conditions=(Condition("Ready", "False", "ContainersNotReady"),)), "ContainersNotReady"),
        (pod(conditions=(Condition("Ready", "Unknown"),)), "not ready"),
        (pod(phase="Pending", conditions=(Condition("PodScheduled", "False", "Unschedulable"),)), "no node fits"),
        (pod(deleted=NOW - 120), "should have been gone 120 s ago"),
        (pod(container(Waiting("ErrImagePull")), phase="Pending"), "container main: ErrImagePull"),
        (pod(container(Terminated(137, "OOMKilled")), ready=True), "container main was killed out of memory"),
    ],
)
def test_the_message_says_what_is_known(sick: Pod, message: str) -> None:
    (signal,) = PodSource(SETTINGS).put(sick, None, NOW)
    assert signal.message == message


def test_a_pod_whose_scheduling_waits_by_intent_is_not_unschedulable() -> None:
    gated = (Condition("PodScheduled", "False", "SchedulingGated"),)
    assert Watch().put(pod(phase="Pending", conditions=gated)) == []


# going


def test_a_pod_that_goes_is_no_longer_sick() -> None:
    watch = Watch()
    watch.put(pod(container(BACK_OFF, restarts=3, last=CRASHED)))
    going = pod(container(BACK_OFF, restarts=3, last=CRASHED), deleted=NOW + 30)
    assert watch.put(going) == ["-CrashLoopBackOff", "-NotReady"]
    assert watch.drop(going) == []
    assert watch.source._seen == {}


def test_stuck_terminating_by_time_alone() -> None:
    watch = Watch()
    going = pod(deleted=NOW + 30)
    assert watch.put(going) == []
    assert watch.wait(89) == []
    assert watch.wait(1) == ["+StuckTerminating"]
    assert watch.drop(going) == ["-StuckTerminating"]


def test_stuck_terminating_is_seen_at_the_start_too() -> None:
    assert Watch().put(pod(deleted=NOW - 600)) == ["+StuckTerminating"]


def test_a_deletion_ends_every_condition() -> None:
    watch = Watch()
    sick = pod(container(BACK_OFF, restarts=3, last=OOM))
    began = watch.put(sick)
    assert {name[1:] for name in began} == {"CrashLoopBackOff", "OOMKilled", "NotReady"}
    assert set(watch.drop(sick)) == {f"-{name[1:]}" for name in began}
    assert watch.wait(3600) == []


def test_a_pod_that_is_gone_is_not_looked_at_when_its_time_comes() -> None:
    watch = Watch()
    going = pod(deleted=NOW + 30)
    watch.put(going)
    watch.drop(going)
    assert watch.wait(600) == []


# relists


def test_a_relist_replays_nothing() -> None:
    watch = Watch()
    sick, restarted = pod(container(BACK_OFF, restarts=3, last=CRASHED)), pod(container(restarts=7), uid="u2")
    watch.put(sick)
    watch.put(restarted)
    assert watch.put(sick) == []
    assert watch.put(restarted) == []


def test_what_happened_during_a_gap_of_the_watch_is_seen_at_the_relist() -> None:
    watch = Watch()
    watch.put(pod(container(restarts=7)))
    assert watch.put(pod(container(restarts=10))) == ["+Restarting"]


def test_another_pod_of_the_same_name_has_a_life_of_its_own() -> None:
    watch = Watch()
    watch.put(pod(container(BACK_OFF, restarts=3, last=CRASHED)))
    assert watch.put(pod(uid="u2")) == []
    assert "u1" in watch.source._seen


def test_nothing_is_remembered_of_pods_that_are_well_or_gone() -> None:
    watch = Watch()
    for number in range(100):
        sick = pod(container(BACK_OFF, restarts=3, last=CRASHED), uid=f"u{number}")
        watch.put(sick)
        if number % 2:
            watch.put(pod(uid=f"u{number}"))
        else:
            watch.drop(sick)
    watch.wait(3600)
    assert watch.source._seen == {}
    assert watch.source._checks == []


# the fresh look before acting


def test_a_fresh_look_says_whether_it_still_is_so() -> None:
    source = PodSource(SETTINGS)
    looping = pod(container(BACK_OFF, restarts=3, last=CRASHED))
    source.put(looping, None, NOW)
    assert source.still(looping, "CrashLoopBackOff", NOW)
    in_between = pod(container(fresh(NOW), restarts=4, last=CRASHED))
    assert source.still(in_between, "CrashLoopBackOff", NOW + 59)
    assert not source.still(in_between, "CrashLoopBackOff", NOW + 61)
    assert not source.still(pod(), "CrashLoopBackOff", NOW)


def test_a_fresh_look_at_a_rate_asks_what_was_seen() -> None:
    watch = Watch()
    watch.put(pod(container(restarts=0)))
    assert not watch.source.still(pod(container(restarts=1)), "Restarting", NOW)
    watch.put(pod(container(restarts=3)))
    assert watch.source.still(pod(container(restarts=3)), "Restarting", NOW)


def test_after_a_restart_a_crash_loop_goes_on_though_the_container_runs_at_that_moment() -> None:
    between = pod(container(fresh(NOW - 5), restarts=4, last=CRASHED))
    assert said(PodSource(SETTINGS).put(between, None, NOW)) == []
    assert said(PodSource(SETTINGS).resume(between, {"CrashLoopBackOff"}, NOW)) == ["+CrashLoopBackOff"]


def test_after_a_restart_restarts_of_before_count_for_one_more_window() -> None:
    source = PodSource(SETTINGS)
    often = pod(container(restarts=SETTINGS.restarts, last=Terminated(1, "Error", moment(NOW - 30))))
    assert said(source.resume(often, {"Restarting"}, NOW)) == ["+Restarting"]
    assert said(source.due(NOW + SETTINGS.restarts_within + 1)) == ["-Restarting"]


@pytest.mark.parametrize(
    "status",
    [
        container(),
        container(restarts=SETTINGS.restarts),
        container(restarts=SETTINGS.restarts - 1, last=Terminated(1, "Error", moment(NOW - 30))),
        container(restarts=50, last=Terminated(1, "Error", moment(NOW - SETTINGS.restarts_within - 1))),
    ],
    ids=["never", "unseen", "too seldom", "long ago"],
)
def test_no_journal_makes_a_pod_restart_that_does_not(status: ContainerStatus) -> None:
    assert said(PodSource(SETTINGS).resume(pod(status), {"Restarting"}, NOW)) == []


def test_after_a_restart_a_kill_that_was_over_is_none_again() -> None:
    """The restarts of before count as of now for Restarting alone."""
    status = container(fresh(NOW - 300), restarts=4, last=OOM)
    assert said(PodSource(SETTINGS).resume(pod(status), {"Restarting"}, NOW)) == ["+Restarting"]


def test_after_a_restart_what_is_over_is_not_told() -> None:
    assert said(PodSource(SETTINGS).resume(pod(), {"NotReady"}, NOW)) == []


@pytest.mark.parametrize("reason", ["Evicted", "OutOfcpu"])
def test_a_record_says_when_its_pod_ended(reason: str) -> None:
    """A rule that counts within an hour does not count the records of last week when healer starts."""
    week = 7 * 86_400
    ended = container(Terminated(137, "Error", moment(NOW - week)))
    old = (Condition("Ready", "False", last_transition_time=moment(NOW - week - 1)),)
    (signal,) = PodSource(SETTINGS).put(pod(ended, phase="Failed", reason=reason, conditions=old), None, NOW)
    assert signal.at == NOW - week


# what is said of a condition that goes on


def unable(message: str) -> Pod:
    """The kubelet cannot create its container, and says why."""
    return pod(container(Waiting("CreateContainerError", message)), phase="Pending")


def test_a_condition_that_goes_on_is_told_again_when_it_says_something_else() -> None:
    """A rule's `if` may look for it; the occurrence is the same, so that nothing is counted twice."""
    source = PodSource(SETTINGS)
    first = {signal.name: signal for signal in source.put(unable("no runtime"), None, NOW)}
    again = {signal.name: signal for signal in source.put(unable("no space left"), unable("no runtime"), NOW + 60)}
    assert first.keys() == again.keys() == {"NotStarting", "NotReady"}
    for name, signal in again.items():
        assert signal.firing
        assert signal.message == "container main: CreateContainerError: no space left"
        assert (signal.key, signal.occurrence) == (first[name].key, first[name].occurrence)


def test_a_message_that_only_leaves_something_out_is_no_news() -> None:
    """The kubelet has cleared away the dead container: that it was killed out of memory is as true as before."""
    watch = Watch()
    assert "+CrashLoopBackOff" in watch.put(pod(container(BACK_OFF, restarts=4, last=OOM)))
    assert "+CrashLoopBackOff" not in watch.put(pod(container(BACK_OFF, restarts=4)))


def test_figures_that_run_on_are_no_news() -> None:
    watch = Watch()
    watch.put(unable("failed 3 times"))
    assert watch.put(unable("failed 4 times")) == []


def test_a_download_that_begins_anew_and_gets_stuck_is_another_occurrence() -> None:
    """It was killed out of memory long ago, and that is seen only now."""
    source, killed = PodSource(SETTINGS), Terminated(137, "OOMKilled", moment(NOW - 5000))
    begun = on_a_node(INITIALIZING, init=(container(fresh(NOW - 5000), name="fetch", ready=False),))
    anew = on_a_node(INITIALIZING, init=(container(fresh(NOW - 5000), name="fetch", ready=False, restarts=1, last=killed),))
    (first,) = (each for each in source.put(begun, None, NOW + 1000) if each.name == "NotStarting")
    (second,) = (each for each in source.put(anew, begun, NOW + 1060) if each.name == "NotStarting")
    assert "last exit 137 (OOMKilled)" in second.message
    assert first.occurrence != second.occurrence


def test_what_a_freshly_read_pod_says_is_read_off_it() -> None:
    source = PodSource(SETTINGS)
    source.put(unable("no runtime"), None, NOW)
    assert source.says(unable("no space left"), "NotStarting", NOW) == "container main: CreateContainerError: no space left"
    assert source.says(pod(container()), "NotStarting", NOW) == ""
