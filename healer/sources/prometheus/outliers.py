"""The series of a query, compared among the pods of one workload and revision: which of them are outliers."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from healer.judge.outliers import Comparison, OutlierLimits, compare
from healer.model.kube import Pod
from healer.model.view import View
from healer.rules.probe import Query
from healer.turns import in_turns

_REVISION = "controller-revision-hash"
"""The label of the revision, where one controller has pods of several (StatefulSet, DaemonSet)."""

_SERIES_AT_ONCE = 1000
"""Series of which the peers are looked up before the loop is yielded: about ten milliseconds."""

_Peers = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class PodValue:
    """A series with a finite value that is about a pod. `passes`: whether it passes the threshold."""

    pod: Pod
    value: float
    passes: bool


@dataclass(frozen=True, slots=True)
class PodVerdict:
    """Whether a series fires; None: nothing can be said. `why` is for people, who are told it with `told`.

    A series that passes the threshold and is near the others is not well: nothing is done about it, and nothing called healed.
    """

    fires: bool | None
    why: str = ""
    told: bool = True


async def judged(series: Mapping[str, PodValue], query: Query, view: View) -> dict[str, PodVerdict]:
    """The verdicts of the series of one answer, by their keys. Pods of another revision, and pods that are not ready, are no
    peers: they have other work. It yields to the loop on the way."""
    if query.outliers is None:
        raise ValueError("the query compares no pods")
    written = query.outliers
    limits = OutlierLimits(query.above is not None, written.deviations, written.difference, written.peers)
    groups: dict[_Peers, dict[str, PodValue]] = defaultdict(dict)
    found: dict[str, PodVerdict] = {}
    async for key, one in in_turns(series.items(), _SERIES_AT_ONCE):
        peers = _peers(one.pod, view)
        if not one.passes:
            found[key] = PodVerdict(False)
        elif peers is None:
            found[key] = PodVerdict(None, "it has no workload whose pods could be compared")
        elif not one.pod.ready:
            found[key] = PodVerdict(None, "it is not ready, so that it has other work than its peers")
        if peers is not None and one.pod.ready:
            groups[peers][key] = one
    for group in groups.values():
        await asyncio.sleep(0)
        found |= {key: verdict for key, verdict in _compared(group, limits, view).items() if key not in found}
    return found


def _peers(pod: Pod, view: View) -> _Peers | None:
    """What pods have in common that are compared: the workload, and the revision."""
    workload, controller = view.workload_of(pod), pod.metadata.controller
    if workload is None or controller is None:
        return None
    return workload.uid, controller.uid, pod.metadata.labels.get(_REVISION, "")


def _compared(group: Mapping[str, PodValue], limits: OutlierLimits, view: View) -> dict[str, PodVerdict]:
    series = Counter(one.pod.metadata.uid for one in group.values())
    values = {one.pod.metadata.uid: one.value for one in group.values() if series[one.pod.metadata.uid] == 1}
    first = next(iter(group.values())).pod
    workload = view.workload_of(first)
    alike = _peers(first, view)
    ready = [] if workload is None else [pod for pod in view.pods_of(workload) if pod.ready and _peers(pod, view) == alike]
    missing = sum(pod.metadata.uid not in values for pod in ready)
    result = compare(values, limits, missing=missing)
    return {key: _verdict(one, series[one.pod.metadata.uid], result, len(values)) for key, one in group.items()}


def _verdict(one: PodValue, series: int, result: Comparison[str], pods: int) -> PodVerdict:
    if series > 1:
        return PodVerdict(None, f"pods have several series each ({series}): sum by (namespace, pod) (...)")
    if result.held:
        return PodVerdict(None, result.held)
    far = one.pod.metadata.uid in result.outliers
    near = "far from" if far else "near"
    why = f"{near} the median {result.middle:.6g} of {pods} pods (more than {result.limit:.6g} is far)"
    return PodVerdict(True, why) if far else PodVerdict(None, f"it passes the threshold, but is {why}", told=False)
