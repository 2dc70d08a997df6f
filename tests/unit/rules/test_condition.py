"""The conditions of rules, on the facts of real-looking signals."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from healer.model.kube import (
    Condition,
    ContainerState,
    ContainerStatus,
    Meta,
    OwnerReference,
    Pod,
    PodSpec,
    PodStatus,
    ReplicaSet,
    Running,
    Waiting,
)
from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.view import View
from healer.rules.condition import CelCondition, ConditionError, ConditionFailed, facts, variables
from healer.rules.triggers import ALERT, TRIGGERS
from healer.workloads.deployment import Deployment, DeploymentSpec, DeploymentStatus
from healer.workloads.registry import WORKLOADS

BORN = datetime(2026, 8, 1, tzinfo=UTC)
NOW = BORN.timestamp() + 600
POD = Target("Pod", "production", "tf-0", "p")
DEPLOYMENT = Target("Deployment", "production", "tf", "d")


def view() -> View:
    found = View(WORKLOADS)
    found.put(
        Deployment(
            Meta("tf", "d", "production", labels={"team": "ml"}), DeploymentSpec(replicas=3), DeploymentStatus(ready_replicas=2)
        )
    )
    owner = (OwnerReference("Deployment", "tf", "d", controller=True),)
    found.put(ReplicaSet(Meta("tf-1", "r", "production", owner_references=owner)))
    crashing = ContainerStatus("model", restart_count=5, state=ContainerState(waiting=Waiting("CrashLoopBackOff")))
    fetching = ContainerStatus("fetch", restart_count=2)
    found.put(
        Pod(
            Meta(
                "tf-0",
                "p",
                "production",
                creation_timestamp=BORN,
                labels={"app": "tf"},
                owner_references=(OwnerReference("ReplicaSet", "tf-1", "r", controller=True),),
            ),
            PodSpec(node_name="node-1"),
            PodStatus(phase="Running", container_statuses=(crashing,), init_container_statuses=(fetching,)),
        )
    )
    return found


def unready(turned: datetime) -> View:
    """The pod runs, and turned unready then."""
    found = view()
    status = PodStatus(
        "Running",
        conditions=(Condition("Ready", "False", "ContainersNotReady", "", turned),),
        container_statuses=(ContainerStatus("model", state=ContainerState(running=Running(BORN))),),
    )
    pod = found.pod(POD.uid)
    assert pod is not None
    found.put(Pod(pod.metadata, pod.spec, status))
    return found


def signal(source: str = "pod", target: Target = POD, labels: Mapping[str, str] | None = None) -> Signal:
    return Signal(
        source, "Sick", target, True, NOW, "key", message="crashed 7 times", labels=labels or {}, annotations={"a": "b"}
    )


def holds(expression: str, given: Signal) -> bool:
    return CelCondition(expression, TRIGGERS[given.source]).holds(facts(given, view(), NOW))


@pytest.mark.parametrize(("after", "was"), [(timedelta(seconds=90), True), (timedelta(seconds=-1), False)])
def test_whether_a_pod_that_is_not_ready_was(after: timedelta, was: bool) -> None:
    condition = CelCondition("pod.wasReady", TRIGGERS["pod"])
    assert condition.holds(facts(signal(), unready(BORN + after), NOW)) is was


@pytest.mark.parametrize(
    "expression",
    [
        "pod.name == 'tf-0' && pod.namespace == 'production' && pod.node == 'node-1'",
        "pod.phase == 'Running' && pod.reason == 'CrashLoopBackOff' && !pod.ready && pod.restarts == 7 && pod.maxRestarts == 5",
        "pod.age == duration('10m') && pod.labels == {'app': 'tf'}",
        "workload.kind == 'Deployment' && workload.name == 'tf' && workload.namespace == 'production'",
        "workload.replicas == 3 && workload.ready == 2 && workload.labels['team'] == 'ml'",
        "signal.name == 'Sick' && signal.message.contains('7 times')",
        "pod.labels['app'].startsWith('t') && !('canary' in pod.labels) && !has(pod.labels.canary)",
        "pod.name.matches('^tf-[0-9]$') && pod.labels.exists(key, key == 'app')",
    ],
)
def test_what_a_pod_rule_may_ask(expression: str) -> None:
    assert holds(expression, signal())
    assert not holds(f"!({expression})", signal())


def test_what_an_alert_rule_may_ask() -> None:
    alert = signal("alert", labels={"severity": "page"})
    assert holds(
        "alert.name == 'Sick' && alert.labels.severity == 'page' && alert.annotations == {'a': 'b'} && pod.restarts > 5", alert
    )


def test_every_variable_has_a_fact_of_its_type() -> None:
    known = facts(signal("alert", labels={"xid": "31"}), view(), NOW)
    assert known.keys() == variables(ALERT).keys()
    for name in variables(ALERT):
        assert CelCondition(f"{name} == {name}", ALERT).holds(known)


def test_a_pod_rule_gets_no_facts_of_alerts() -> None:
    assert facts(signal(), view(), NOW).keys() == variables(TRIGGERS["pod"]).keys()


@pytest.mark.parametrize(
    ("expression", "target", "why"),
    [
        ("pod.labels['canary'] == 'yes'", POD, 'Key not found in map : "canary"'),
        ("pod.restarts > 3", DEPLOYMENT, "pod.restarts is not known of this target"),
        ("workload.replicas > 3", Target("Pod", "production", "gone", ""), "workload.replicas is not known of this target"),
        ("pod.restarts / (pod.restarts - 7) == 1", POD, "divide by zero"),
    ],
)
def test_what_cannot_be_answered_is_said_and_is_no_match(expression: str, target: Target, why: str) -> None:
    with pytest.raises(ConditionFailed, match=why):
        holds(expression, signal("alert", target))


def test_a_runaway_expression_is_stopped() -> None:
    many = "[" + ",".join("1" * 200) + "]"
    expression = f"{many}.all(a, {many}.all(b, a == b))"
    with pytest.raises(ConditionFailed, match=r"[Bb]udget"):
        holds(expression, signal())


def test_age_is_never_negative() -> None:
    """The clocks of the API server and of this machine differ."""
    assert facts(signal(), view(), NOW - 3600)["pod.age"] == timedelta(0)


def test_the_place_of_an_error_in_a_long_expression() -> None:
    with pytest.raises(ConditionError) as caught:
        CelCondition("pod.ready ||\n  pod.restarts > 3 &&\n  workload.redy > 3", TRIGGERS["pod"])
    assert (caught.value.line, caught.value.column) == (3, 3)
    assert caught.value.hint == "did you mean workload.ready?"


def test_literals_within_texts_are_left_alone() -> None:
    assert CelCondition("pod.name != \"duration('nonsense')\"", TRIGGERS["pod"]).holds({"pod.name": "x"})
