"""The conditions of workloads: each as its controller shows it, and what looks like it and is none."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from healer.model.autoscaler import HorizontalPodAutoscaler
from healer.model.kube import Meta
from healer.model.workload import Roll, Workload
from healer.rules.workload_conditions import WORKLOAD_CONDITIONS, workload_findings
from healer.rules.workload_detectors import ObservedWorkload, WorkloadsSettings

NOW = 1_800_000_000.0
SETTINGS = WorkloadsSettings(unavailable=1200)
WELL = Workload(
    kind="Deployment",
    metadata=Meta(name="serving", uid="d", namespace="production"),
    desired=3,
    existing=3,
    updated=3,
    ready=3,
    revision="4",
    paused=False,
    observed=True,
    rollout=None,
    failure="",
    overdue="",
    roll=Roll(True, 1, "maxUnavailable 25%"),
)


def scaler(
    *,
    limited: str = "TooManyReplicas",
    current: int = 5,
    metric: dict[str, Any] | None = None,
    is_now: dict[str, Any] | None = None,
    conditions: list[dict[str, str]] | None = None,
) -> HorizontalPodAutoscaler:
    """One with a maximum of 5; by default it is there, wants more, and the use of CPU is 91 % of a target of 80 %."""
    wanted = metric or {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    found = {"name": "cpu", "current": {"averageUtilization": 91, "averageValue": "910m"}} if is_now is None else is_now
    limits = {"type": "ScalingLimited", "status": "True", "reason": limited, "message": "the desired replica count is more"}
    written = {
        "metadata": {"name": "serving", "uid": "h", "namespace": "production"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "serving"},
            "maxReplicas": 5,
            "metrics": [{"type": "Resource", "resource": wanted}],
        },
        "status": {
            "currentReplicas": current,
            "currentMetrics": [{"type": "Resource", "resource": found}] if found else None,
            "conditions": conditions or [limits],
        },
    }
    return msgspec.json.decode(msgspec.json.encode(written), type=HorizontalPodAutoscaler)


def found(workload: Workload = WELL, *scalers: HorizontalPodAutoscaler, short: float | None = None) -> dict[str, str]:
    """The conditions, with what is said of them."""
    seen = ObservedWorkload(workload, None if short is None else NOW - short, scalers, NOW, SETTINGS)
    return {name: finding.message for name, finding in workload_findings(seen)[0].items()}


def test_a_workload_that_is_well_has_no_condition() -> None:
    assert found() == {}


def test_what_the_controller_says_of_a_rollout_of_availability_and_of_refused_pods_is_told_in_its_words() -> None:
    sick = replace(
        WELL, ready=1, overdue="it timed out", unavailable="Available=False (MinimumReplicasUnavailable)", refusal="quota"
    )
    assert found(sick) == {
        "ProgressDeadlineExceeded": "it timed out",
        "Unavailable": "1 of 3 replicas are ready: Available=False (MinimumReplicasUnavailable)",
        "ReplicaFailure": "quota",
    }


def test_fewer_ready_replicas_than_wanted_are_a_condition_after_a_while() -> None:
    """A kind whose controller has no condition of its own is known by its counts; until then it is known when to look again."""
    short = replace(WELL, ready=2)
    assert found(short, short=1199) == {}
    assert workload_findings(ObservedWorkload(short, NOW, (), NOW, SETTINGS)) == ({}, NOW + 1200)
    assert found(short, short=1200) == {"Unavailable": "2 of 3 replicas are ready, for 20 m"}


def test_a_workload_that_is_scaled_to_zero_is_not_unavailable() -> None:
    assert found(replace(WELL, desired=0, ready=0, unavailable="Available=False (MinimumReplicasUnavailable)")) == {}


def test_an_autoscaler_at_its_maximum_with_a_metric_above_its_target_is_a_condition() -> None:
    assert found(WELL, scaler()) == {
        "HpaAtMaximum": "horizontalpodautoscaler/serving is at its maximum of 5, and cpu is 91%, above 80%"
    }


@pytest.mark.parametrize(
    "scales",
    [
        scaler(limited="ScaleUpLimit"),
        scaler(limited="TooFewReplicas"),
        scaler(current=4),
        scaler(is_now={"name": "cpu", "current": {"averageUtilization": 80, "averageValue": "800m"}}),
        scaler(is_now={"name": "memory", "current": {"averageUtilization": 99}}),
        scaler(is_now={}),
    ],
    ids=["not at its maximum", "at its minimum", "on its way there", "at the target", "another metric", "not known"],
)
def test_an_autoscaler_that_is_not_short_of_replicas_is_no_condition(scales: HorizontalPodAutoscaler) -> None:
    """What is not known is not bad: an autoscaler without metrics is not above its target."""
    assert found(WELL, scales) == {}


@pytest.mark.parametrize(
    ("wanted", "has", "above"),
    [("500m", "0.6", True), ("1", "999m", False), ("10Gi", "10737418241", True), ("2e3", "2k", False), ("oops", "5", False)],
)
def test_amounts_are_compared_as_quantities(wanted: str, has: str, above: bool) -> None:
    metric = {"name": "queue", "target": {"type": "AverageValue", "averageValue": wanted}}
    scales = scaler(metric=metric, is_now={"name": "queue", "current": {"averageValue": has}})
    assert bool(found(WELL, scales)) is above


@pytest.mark.parametrize(
    ("kind", "status", "reason", "unable"),
    [
        ("ScalingActive", "False", "FailedGetResourceMetric", True),
        ("AbleToScale", "False", "FailedGetScale", True),
        ("ScalingActive", "False", "ScalingDisabled", False),
        ("ScalingActive", "Unknown", "FailedGetResourceMetric", False),
        ("AbleToScale", "True", "ReadyForNewScale", False),
    ],
)
def test_an_autoscaler_that_cannot_scale_is_a_condition(kind: str, status: str, reason: str, unable: bool) -> None:
    """One that is turned off, because the workload is scaled to zero, is meant so."""
    says = {"type": kind, "status": status, "reason": reason, "message": "no metrics returned"}
    told = {"HpaUnableToScale": f"horizontalpodautoscaler/serving: {kind}=False ({reason}): no metrics returned"}
    assert found(WELL, scaler(conditions=[says])) == (told if unable else {})


def test_what_is_read_off_autoscalers_is_marked_so() -> None:
    """Else it would be looked for where no autoscaler is watched."""
    named = {name for name, condition in WORKLOAD_CONDITIONS.items() if condition.of_autoscaler}
    assert named == set(found(WELL, scaler())) | {"HpaUnableToScale"}
