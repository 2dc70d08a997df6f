"""The metrics that a history is made of, each by the labels that matter: what several kube-state-metrics say is said once.

Where a scrape keeps its own labels, those of kube-state-metrics are called `exported_pod` and so on: they get their names back.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

_EXPORTED = "exported_"
_POD = ("namespace", "pod", "uid")
_CONTAINER = (*_POD, "container")
_DEPLOYMENT, _STATEFUL, _DAEMON = ("namespace", "deployment"), ("namespace", "statefulset"), ("namespace", "daemonset")
_CONDITION = ("condition", "status")
ALERTS = "ALERTS"
PODS = "kube_pod_info"
_LABELS = "_labels"
METRICS: Mapping[str, tuple[str, ...]] = {
    PODS: (*_POD, "node", "created_by_kind", "created_by_name"),
    "kube_pod_labels": _POD,
    "kube_pod_status_phase": (*_POD, "phase"),
    "kube_pod_status_ready": (*_POD, "condition"),
    "kube_pod_status_unschedulable": _POD,
    "kube_pod_status_reason": (*_POD, "reason"),
    "kube_pod_container_status_restarts_total": _CONTAINER,
    "kube_pod_container_status_ready": _CONTAINER,
    "kube_pod_container_status_waiting_reason": (*_CONTAINER, "reason"),
    "kube_pod_container_status_last_terminated_reason": (*_CONTAINER, "reason"),
    "kube_pod_init_container_status_waiting_reason": (*_CONTAINER, "reason"),
    "kube_replicaset_owner": ("namespace", "replicaset", "owner_kind", "owner_name"),
    "kube_deployment_spec_replicas": _DEPLOYMENT,
    "kube_deployment_status_replicas": _DEPLOYMENT,
    "kube_deployment_status_replicas_ready": _DEPLOYMENT,
    "kube_deployment_status_replicas_updated": _DEPLOYMENT,
    "kube_deployment_status_condition": (*_DEPLOYMENT, *_CONDITION),
    "kube_deployment_labels": _DEPLOYMENT,
    "kube_statefulset_replicas": _STATEFUL,
    "kube_statefulset_status_replicas": _STATEFUL,
    "kube_statefulset_status_replicas_ready": _STATEFUL,
    "kube_statefulset_status_replicas_updated": _STATEFUL,
    "kube_statefulset_labels": _STATEFUL,
    "kube_daemonset_status_desired_number_scheduled": _DAEMON,
    "kube_daemonset_status_current_number_scheduled": _DAEMON,
    "kube_daemonset_status_updated_number_scheduled": _DAEMON,
    "kube_daemonset_status_number_ready": _DAEMON,
    "kube_daemonset_labels": _DAEMON,
    "kube_node_info": ("node",),
    "kube_node_spec_unschedulable": ("node",),
    "kube_node_status_condition": ("node", *_CONDITION),
    ALERTS: (),
}
"""The labels of each, in an order in which what others refer to comes first. Of ALERTS all labels matter."""
RANKS = {name: rank for rank, name in enumerate(METRICS)}


@dataclass(frozen=True, slots=True)
class HistoryMetric:
    """A metric as it is asked for. `there` are the labels that its series have; `match` further matchers."""

    name: str
    there: Collection[str]
    match: str = ""

    def at(self, offset: str = "") -> str:
        """The expression of its series; `offset` is that of PromQL."""
        matchers = ",".join(each for each in ('alertstate="firing"' if self.name == ALERTS else "", self.match) if each)
        series = f"{self.name}{{{matchers}}}{f' {offset}' if offset else ''}"
        if self.name == ALERTS:
            return series
        by = ", ".join(self._written(label) for label in self._labels)
        return f"max by ({by}) ({series})"

    @property
    def _labels(self) -> list[str]:
        named = [label for label in self.there if label.startswith("label_")] if self.name.endswith(_LABELS) else []
        return [*METRICS[self.name], *sorted(named)]

    def _written(self, label: str) -> str:
        return f"{_EXPORTED}{label}" if f"{_EXPORTED}{label}" in self.there else label

    def own(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        """The labels as kube-state-metrics gave them."""
        if self.name == ALERTS:
            return {name: value for name, value in labels.items() if name != "__name__"}
        return {name.removeprefix(_EXPORTED): value for name, value in labels.items()}
