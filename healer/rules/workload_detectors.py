"""How the conditions of workloads, and of their autoscalers, are detected: one function each.

Sources: the Deployment controller (deploymentutil), and the HorizontalPodAutoscaler controller of Kubernetes 1.36
(pkg/controller/podautoscaler/horizontal.go), whose conditions are AbleToScale, ScalingActive and ScalingLimited.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pydantic import Field

from healer.model.autoscaler import HorizontalPodAutoscaler, Level, Metric, MetricSource
from healer.model.duration import about
from healer.model.kube import Condition
from healer.model.workload import Workload
from healer.rules.pod_detectors import Finding
from healer.section import Seconds, Section


class WorkloadsSettings(Section):
    """How conditions of workloads are told."""

    unavailable: Seconds = Field(1200.0, ge=0)
    """Unavailable: a workload has had fewer ready replicas than it wants for so many seconds, where its controller does not say
    that it is unavailable. Models may load for a quarter of an hour."""


@dataclass(frozen=True, slots=True)
class ObservedWorkload:
    """What a detector sees. Times in seconds since the epoch."""

    workload: Workload
    short_since: float | None
    """Since when it has been seen with fewer ready replicas than it wants; None: it has enough."""
    autoscalers: Sequence[HorizontalPodAutoscaler]
    """Those that scale it."""
    now: float
    thresholds: WorkloadsSettings


WorkloadDetector = Callable[[ObservedWorkload], Finding | None]
"""The condition of a workload, if it has it."""


def overdue(seen: ObservedWorkload) -> Finding | None:
    """Its controller says that the rollout is past its deadline."""
    return Finding(seen.workload.overdue, seen.workload.revision) if seen.workload.overdue else None


def unavailable(seen: ObservedWorkload) -> Finding | None:
    """Its controller says that too few replicas are available; or fewer are ready than it wants, for long."""
    workload = seen.workload
    if not workload.desired:
        return None
    if workload.unavailable:
        return Finding(f"{workload.ready} of {workload.desired} replicas are ready: {workload.unavailable}")
    if seen.short_since is None:
        return None
    text = f"{workload.ready} of {workload.desired} replicas are ready, for {about(seen.now - seen.short_since)}"
    return Finding(text, since=seen.short_since + seen.thresholds.unavailable)


def refused(seen: ObservedWorkload) -> Finding | None:
    """Its controller says that pods cannot be created: a quota, an admission policy."""
    return Finding(seen.workload.refusal) if seen.workload.refusal else None


def at_maximum(seen: ObservedWorkload) -> Finding | None:
    """Its autoscaler wants more replicas than its maximum, and a metric is above its target."""
    for scaler in seen.autoscalers:
        limited = _condition(scaler, "ScalingLimited")
        if limited is None or (limited.status, limited.reason) != ("True", "TooManyReplicas"):
            continue
        if scaler.status.current_replicas < scaler.spec.max_replicas:
            continue  # it is on its way there
        if above := next(_above(scaler), ""):
            return Finding(f"{_named(scaler)} is at its maximum of {scaler.spec.max_replicas}, and {above}")
    return None


def unable_to_scale(seen: ObservedWorkload) -> Finding | None:
    """Its autoscaler cannot scale it, or cannot compute how far."""
    for scaler in seen.autoscalers:
        for condition in scaler.status.conditions or ():
            if condition.status != "False" or condition.type not in ("AbleToScale", "ScalingActive"):
                continue
            if condition.reason == "ScalingDisabled":  # the workload is scaled to zero: that is meant
                continue
            return Finding(f"{_named(scaler)}: {condition.type}=False ({condition.reason}): {condition.message}")
    return None


def _named(scaler: HorizontalPodAutoscaler) -> str:
    return f"horizontalpodautoscaler/{scaler.metadata.name}"


def _condition(scaler: HorizontalPodAutoscaler, kind: str) -> Condition | None:
    return next((condition for condition in scaler.status.conditions or () if condition.type == kind), None)


def _above(scaler: HorizontalPodAutoscaler) -> Iterator[str]:
    """The metrics that are above their targets, in words. One that is not known is not above."""
    current = {_identity(each): source.current for each in scaler.status.current_metrics or () if (source := each.source)}
    for wanted in scaler.spec.metrics:
        source, has = wanted.source, current.get(_identity(wanted))
        if source is not None and has is not None and (told := _higher(has, source.target)):
            yield f"{source.name or source.metric.name} is {told}"


def _identity(metric: Metric) -> tuple[str, str, str, str]:
    source = metric.source or MetricSource()
    return metric.type, source.name, source.container, source.metric.name


def _higher(is_now: Level, wanted: Level) -> str:
    """ "91%, above 80%"; "" where it is not higher, or not known in the same measure."""
    if wanted.average_utilization is not None:
        now = is_now.average_utilization
        return f"{now}%, above {wanted.average_utilization}%" if now is not None and now > wanted.average_utilization else ""
    for has, wants in ((is_now.average_value, wanted.average_value), (is_now.value, wanted.value)):
        amount, limit = _amount(has), _amount(wants)
        if amount is not None and limit is not None:
            return f"{has}, above {wants}" if amount > limit else ""
    return ""


_QUANTITY = re.compile(r"([+-]?[0-9]+(?:\.[0-9]*)?|[+-]?\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,3})?", re.ASCII)
_SCALES = {
    **dict(zip(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), (Decimal(1000) ** n for n in range(-3, 7)), strict=True)),
    **dict(zip(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), (Decimal(1024) ** n for n in range(1, 7)), strict=True)),
}


def _amount(written: str | int | None) -> Decimal | None:
    """A resource.Quantity as a number; None for what is none."""
    found = None if written is None else _QUANTITY.fullmatch(str(written))
    if found is None:
        return None
    number, suffix = found[1], found[2] or ""
    return Decimal(number) * _SCALES[suffix] if suffix in _SCALES else Decimal(number + suffix)
