"""The modelled autoscalers of a scenario, with the status that their controller writes."""

import asyncio
import math
from collections.abc import Callable

from healer.lab.kinds import AUTOSCALER
from healer.lab.objects import Object, timestamp
from healer.rehearsal.simulate.played import PlayedCluster
from healer.rehearsal.simulate.serving import Serving

_EVERY = 15.0
_TOLERANCE = 0.1
_STABLE = 300.0
"""It scales down to the largest number that it wanted in the last 5 minutes (its defaults)."""


class ModelledAutoscalers:
    """The HorizontalPodAutoscalers: ceil(pods * load / target), not within 10% of the target, down after 5 minutes."""

    def __init__(self, cluster: PlayedCluster, serving: Serving, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._serving = serving
        self._clock = clock
        self._wanted: dict[str, list[tuple[float, int]]] = {}

    async def run(self) -> None:
        """Look every 15 s, until cancelled. Returns at once without any."""
        scaled = [each for each in self._cluster.spec.workloads if each.autoscale is not None]
        while scaled:
            await asyncio.sleep(_EVERY)
            for each in scaled:
                self._look(each.name)

    def _look(self, workload: str) -> None:
        spec, service = self._cluster.workloads[workload], self._serving.services[workload]
        autoscale, pods, now = spec.autoscale, self._cluster.desired(workload), self._clock()
        ready = self._cluster.ready(workload)
        if autoscale is None or not ready:
            return
        load = service.rate / (ready * spec.capacity)
        ratio = load / autoscale.target
        wanted = pods if abs(ratio - 1) <= _TOLERANCE else math.ceil(ready * ratio)
        wanted = min(max(wanted, autoscale.min), autoscale.max)
        recent = [each for each in self._wanted.get(workload, []) if each[0] > now - _STABLE] + [(now, wanted)]
        self._wanted[workload] = recent
        to = wanted if wanted > pods else max(each for _, each in recent)
        to = min(to, pods) if wanted <= pods else to
        self._report(workload, ready, load, wanted, most=autoscale.max)
        if to != pods:
            self._cluster.change(workload, lambda obj: obj["spec"].update(replicas=to))

    def _report(self, workload: str, ready: int, load: float, wanted: int, *, most: int) -> None:
        """Write the status, as its controller does: what it measures, and whether its maximum keeps it from scaling."""
        spec, now = self._cluster.workloads[workload], timestamp()
        limited = wanted >= most and math.ceil(ready * load / (spec.autoscale.target if spec.autoscale else 1.0)) > most
        current = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": round(100 * load)}}}
        said = {
            "AbleToScale": ("True", "ReadyForNewScale"),
            "ScalingActive": ("True", "ValidMetricFound"),
            "ScalingLimited": ("True", "TooManyReplicas") if limited else ("False", "DesiredWithinRange"),
        }

        def change(obj: Object) -> None:
            before = {item["type"]: item for item in obj["status"].get("conditions") or []}
            conditions = []
            for kind, (status, reason) in said.items():
                same = kind in before and before[kind]["status"] == status
                since = before[kind]["lastTransitionTime"] if same else now
                conditions.append({"type": kind, "status": status, "reason": reason, "lastTransitionTime": since})
            obj["status"] = {"currentReplicas": ready, "desiredReplicas": wanted, "currentMetrics": [current]}
            obj["status"]["conditions"] = conditions

        self._cluster.lab.api.modify(AUTOSCALER, spec.namespace, spec.name, change, subresource="status")
