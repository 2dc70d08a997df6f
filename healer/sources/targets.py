"""Finds the object that the labels of an alert or of a series name.

The labels of a series have two origins: the metric, which may be about any object, and the scraped target, which is the exporter.
So `pod` may be the exporter's own pod, beside the `namespace` and the `deployment` that the metric is about (kube-state-metrics
under honor_labels). Therefore a pod is believed only when every other label that names an object fits it: its owners by uid, and
its node.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from healer.model.kube import Pod
from healer.model.view import View
from healer.model.workload import Workload
from healer.rules.named_workload import DEPLOYMENT
from healer.settings.sections import Alerts
from healer.workloads.registry import WORKLOADS

REPLICA_SET = "replicaset"
"""The label that names what stands between a pod and its workload."""
OWNERS: Mapping[str, str] = {
    REPLICA_SET: "ReplicaSet",
    "job_name": "Job",
    "replicationcontroller": "ReplicationController",
}
"""The labels of kube-state-metrics that name owners of pods, besides workloads (`TargetLabels.workloads`)."""
NODE = "node"
"""The label that names a node: the pod's own, or the one that the metric is about."""
STRANGERS = (
    "configmap",
    "cronjob",
    "horizontalpodautoscaler",
    "ingress",
    "limitrange",
    "networkpolicy",
    "persistentvolume",
    "persistentvolumeclaim",
    "poddisruptionbudget",
    "resourcequota",
    "secret",
    "verticalpodautoscaler",
)
"""The labels of kube-state-metrics that name an object whose pods, if it has any, are not known here."""

_PROXIED, _PROXIED_IN = "destination_workload", "destination_workload_namespace"
"""The labels by which Istio names the workload that a request went to. `pod` is then the pod whose proxy reports the request: the
caller's with reporter="source", a waypoint's or a ztunnel's in ambient mode. https://istio.io/latest/docs/reference/config/metrics/"""

LINGERS = timedelta(minutes=15)
"""What fired before an object was made is about that object when it still fires so long after. Until then it may be about a
predecessor of the same name: `rate()`, `keep_firing_for` and `group_interval` keep a series or an alert firing that long."""

_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
"""The name of an object (RFC 1123)."""


@dataclass(frozen=True, slots=True)
class TargetLabels:
    """The labels that name a target."""

    namespace: str = "namespace"
    pod: str = "pod"
    deployment: str = "deployment"
    """The label that names a Deployment. Those of other kinds are the kinds' own words."""

    @property
    def workloads(self) -> Mapping[str, str]:
        """The labels that name workloads, and the kind of each."""
        return {self.deployment if kind == DEPLOYMENT else each.word: kind for kind, each in WORKLOADS.items()}

    @classmethod
    def of(cls, alerts: Alerts) -> Self:
        """As the settings name them."""
        return cls(alerts.namespace_label, alerts.pod_label, alerts.deployment_label)


@dataclass(frozen=True, slots=True)
class Named:
    """A pod or a workload by name. The cluster need not have it."""

    kind: str
    namespace: str
    name: str

    def find(self, view: View) -> Pod | Workload | None:
        """The object that has that name now; for a workload that another one owns, that one."""
        found = view.find_by_name(self.kind, self.namespace, self.name)
        top = view.workload_of(found) if isinstance(found, Workload) else None
        return found if top is None else view.workload(top.uid) or found


@dataclass(frozen=True, slots=True)
class Nameless:
    """Why labels name no target: `code` is one CamelCase word of a bounded set (metrics), `reason` is a phrase that follows
    "it"."""

    code: str
    reason: str


def named_by(labels: Mapping[str, str], names: TargetLabels, view: View) -> Named | Nameless:
    """The target of these labels: the pod when all other labels fit it, else the workload when they name one."""
    namespace, pod = labels.get(names.namespace, ""), labels.get(names.pod, "")
    kinds = names.workloads
    given = [label for label in kinds if labels.get(label)]
    if not namespace or not (pod or given):
        missing = " or ".join(map(repr, (names.pod, *kinds))) if namespace else repr(names.namespace)
        return Nameless("NoLabel", f"it has no label {missing}")
    if not all(_NAME.fullmatch(name) for name in (namespace, pod or namespace, *(labels[label] for label in given))):
        text = "the text of a label is no name of an object: names have lower-case letters, digits, '-' and '.'"
        return Nameless("NoObject", text)
    # Prometheus renames a label of the metric that clashes with one of the scraped target to exported_<label>. Then the plain
    # one names the exporter (kube-state-metrics, say), and acting on it would hit a bystander.
    for used in (names.namespace, names.pod if pod else given[0]):
        if labels.get(f"exported_{used}", labels[used]) != labels[used]:
            hint = "set honor_labels on the scrape, or healer's target labels"
            return Nameless("Ambiguous", f"labels {used!r} and 'exported_{used}' differ: {hint}")
    if not pod:
        return _workload(labels, names, given, "")
    misfit = _misfit(labels, names, view)
    if not misfit:
        return Named("Pod", namespace, pod)
    if given and _is_of_another(pod, Named(kinds[given[0]], namespace, labels[given[0]]), view):
        return _workload(labels, names, given, misfit)
    return _ambiguous(misfit)


def _is_of_another(pod: str, workload: Named, view: View) -> bool:
    """Whether the workload is there, and a pod of that name was never one of its own.

    Owners are never found by names. But an alert fires for a while after its pod was replaced, and healer must not treat the
    workload for that: a name that fits keeps the alert with the pod, which is gone.
    """
    return not WORKLOADS[workload.kind].pods.fit(pod, workload.name) and workload.find(view) is not None


def _workload(labels: Mapping[str, str], names: TargetLabels, given: Sequence[str], misfit: str) -> Named | Nameless:
    """The workload that the first of the `given` labels names; or why it is not the target: other labels name another one, or
    the same by another name."""
    label, *others = [*given, *(other for other in OWNERS if other != REPLICA_SET and labels.get(other))]
    namespace, plain, exported = labels[names.namespace], labels[label], f"exported_{label}"
    if labels.get(exported, plain) != plain:
        return _ambiguous(f"labels {label!r} and {exported!r} differ")
    if (labels.get(_PROXIED, plain), labels.get(_PROXIED_IN, namespace)) != (plain, namespace):
        return _ambiguous(f"labels {label!r} and {_PROXIED!r} name two workloads")
    if others:
        return _ambiguous(misfit or f"labels {label!r} and {others[0]!r} name two workloads")
    return Named(names.workloads[label], namespace, plain)


def _ambiguous(why: str) -> Nameless:
    return Nameless("Ambiguous", f"{why}: drop the labels of the exporter (`without` in the expression, or labeldrop)")


def _misfit(labels: Mapping[str, str], names: TargetLabels, view: View) -> str:
    """Why the pod that the labels name is not the target, in words; "" when all labels fit it."""
    namespace, name = labels[names.namespace], labels[names.pod]
    pod = view.pod_named(namespace, name)
    for label, kind in (*names.workloads.items(), *OWNERS.items()):
        owner = labels.get(label)
        if owner and not _owned(name, pod, kind, owner, view):
            return f"pod {name!r} is not one of {kind} {owner!r}, which label {label!r} names"
    if _PROXIED in labels and not _went_to(labels, namespace, name, pod, view):
        return (
            f"pod {name!r} reports requests to workload {labels[_PROXIED]!r}, which label {_PROXIED!r} names, and is none of it"
        )
    node = labels.get(NODE)
    if node and pod is not None and pod.spec.node_name != node:
        return f"pod {name!r} is not on node {node!r}, which label {NODE!r} names"
    stranger = next((label for label in STRANGERS if labels.get(label)), None)
    return "" if stranger is None else f"label {stranger!r} names another object than pod {name!r}"


def _went_to(labels: Mapping[str, str], namespace: str, name: str, pod: Pod | None, view: View) -> bool:
    """Whether the pod belongs to the workload that received the requests, as Istio says; for a pod that is gone, whether it
    may."""
    workload = labels[_PROXIED]
    if labels.get(_PROXIED_IN, namespace) != namespace:
        return False
    top = None if pod is None else view.workload_of(pod)
    return name.startswith(f"{workload}-") if top is None else top.name == workload


def _owned(name: str, pod: Pod | None, kind: str, owner: str, view: View) -> bool:
    """Whether the object of that kind and name controls the pod, directly or by its ReplicaSet; for a pod that is gone, whether
    it may have."""
    if kind in WORKLOADS:
        top = None if pod is None else view.workload_of(pod)
        if pod is None or top is None:  # a ReplicaSet that is not known yet: no rule takes down its pod until it is
            return WORKLOADS[kind].pods.fit(name, owner)
        workload, controller = view.workload_named(kind, pod.metadata.namespace, owner), pod.metadata.controller
        if workload is not None and controller is not None and workload.metadata.uid == controller.uid:
            return True  # a part of the pod's workload, which has it under its own name
        return top == workload.target if workload is not None else (top.kind, top.name) == (kind, owner)
    if pod is None:
        return name.startswith(f"{owner}-")
    controller = pod.metadata.controller
    return controller is not None and (controller.kind, controller.name) == (kind, owner)
