"""The conditions of workloads that a rule can look for, in one table: a new one is a detector and an entry."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator

from healer.rules import workload_detectors
from healer.rules.pod_detectors import Finding
from healer.rules.vocabulary import KnownNames, one_of
from healer.rules.workload_detectors import ObservedWorkload, WorkloadDetector


@dataclass(frozen=True, slots=True)
class WorkloadCondition:
    """An entry of the table."""

    name: str
    """In rules, and as the name of the signal."""
    detect: WorkloadDetector
    meaning: str
    """For docs/rules.md."""
    of_autoscaler: bool = False
    """Whether it is read off the HorizontalPodAutoscalers of the workload, which healer watches where a rule names it."""


WORKLOAD_CONDITIONS: dict[str, WorkloadCondition] = {
    condition.name: condition
    for condition in (
        WorkloadCondition(
            "ProgressDeadlineExceeded",
            workload_detectors.overdue,
            "its rollout is past its progress deadline, as its controller says",
        ),
        WorkloadCondition(
            "Unavailable",
            workload_detectors.unavailable,
            "its controller says that too few replicas are available, or fewer are ready than it wants for long",
        ),
        WorkloadCondition(
            "ReplicaFailure",
            workload_detectors.refused,
            "its pods cannot be created: a quota or an admission policy refuses them",
        ),
        WorkloadCondition(
            "HpaAtMaximum",
            workload_detectors.at_maximum,
            "its HorizontalPodAutoscaler is at its maximum, and a metric is above its target",
            of_autoscaler=True,
        ),
        WorkloadCondition(
            "HpaUnableToScale",
            workload_detectors.unable_to_scale,
            "its HorizontalPodAutoscaler cannot read a metric, or cannot scale it",
            of_autoscaler=True,
        ),
    )
}
"""The table, by name, in the order of docs."""

WorkloadConditionName = Annotated[
    str, BeforeValidator(lambda name: one_of(name, WORKLOAD_CONDITIONS)), KnownNames(lambda _: WORKLOAD_CONDITIONS)
]


def workload_findings(seen: ObservedWorkload) -> tuple[dict[str, Finding], float | None]:
    """The conditions that a workload has, by name; and when a further one begins unless it changes (epoch, s)."""
    found: dict[str, Finding] = {}
    begins: list[float] = []
    for name, condition in WORKLOAD_CONDITIONS.items():
        finding = condition.detect(seen)
        if finding is not None and finding.since <= seen.now:
            found[name] = finding
        elif finding is not None:
            begins.append(finding.since)
    return found, min(begins, default=None)
