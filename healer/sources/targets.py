"""Finds the object that the labels of an alert or of a series name.

The labels of a series have two origins: the metric, which may be about any object, and the scraped target, which is the exporter.
So `pod` may be the exporter's own pod, beside the `namespace` and the `deployment` that the metric is about (kube-state-metrics
under honor_labels). Therefore a pod is believed only when every other label that names an object fits it: its owners by uid, and
its node.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from healer.model.kube import Pod
from healer.model.view import View
from healer.model.workload import Workload
from healer.rules.probe import DEPLOYMENT
from healer.settings.sections import Alerts

OWNERS: Mapping[str, str] = {
    "replicaset": "ReplicaSet",
    "statefulset": "StatefulSet",
    "daemonset": "DaemonSet",
    "job_name": "Job",
    "replicationcontroller": "ReplicationController",
}
"""The labels of kube-state-metrics that name owners of pods. The label for Deployments is a setting."""
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

_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
"""The name of an object (RFC 1123)."""
_LONGEST, _RANDOM = 63, 5
"""Characters of the longest name that Kubernetes generates, and of its random end."""
_HASH = re.compile(r"[a-z0-9]{1,10}-")
"""The hash of the revision, between the name of the Deployment and the random end in a pod's name."""


@dataclass(frozen=True, slots=True)
class TargetLabels:
    """The labels that name a target."""

    namespace: str = "namespace"
    pod: str = "pod"
    deployment: str = "deployment"

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
        """The object that has that name now."""
        return view.find_by_name(self.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Nameless:
    """Why labels name no target: `code` is one CamelCase word of a bounded set (metrics), `reason` is a phrase that follows
    "it"."""

    code: str
    reason: str


def named_by(labels: Mapping[str, str], names: TargetLabels, view: View) -> Named | Nameless:
    """The target of these labels: the pod when all other labels fit it, else the Deployment when they name one."""
    namespace, pod, deployment = (labels.get(name, "") for name in (names.namespace, names.pod, names.deployment))
    if not namespace or not (pod or deployment):
        missing = f"{names.pod!r} or {names.deployment!r}" if namespace else repr(names.namespace)
        return Nameless("NoLabel", f"it has no label {missing}")
    if not all(_NAME.fullmatch(name) for name in (namespace, pod or namespace, deployment or namespace)):
        text = "the text of a label is no name of an object: names have lower-case letters, digits, '-' and '.'"
        return Nameless("NoObject", text)
    # Prometheus renames a label of the metric that clashes with one of the scraped target to exported_<label>. Then the plain
    # one names the exporter (kube-state-metrics, say), and acting on it would hit a bystander.
    for used in (names.namespace, names.pod if pod else names.deployment):
        if labels.get(f"exported_{used}", labels[used]) != labels[used]:
            hint = "set honor_labels on the scrape, or healer's target labels"
            return Nameless("Ambiguous", f"labels {used!r} and 'exported_{used}' differ: {hint}")
    if not pod:
        return _workload(labels, names, "") or Named(DEPLOYMENT, namespace, deployment)
    misfit = _misfit(labels, names, view)
    if not misfit:
        return Named("Pod", namespace, pod)
    if deployment and not _seems_of(pod, deployment) and view.workload_named(DEPLOYMENT, namespace, deployment) is not None:
        return _workload(labels, names, misfit) or Named(DEPLOYMENT, namespace, deployment)
    return _ambiguous(misfit)


def _workload(labels: Mapping[str, str], names: TargetLabels, misfit: str) -> Nameless | None:
    """Why the Deployment is not the target: the labels name another workload, or the Deployment by another name; None when it
    is."""
    exported, plain = f"exported_{names.deployment}", labels[names.deployment]
    if labels.get(exported, plain) != plain:
        return _ambiguous(f"labels {names.deployment!r} and {exported!r} differ")
    proxied, where = labels.get(_PROXIED, plain), labels.get(_PROXIED_IN, labels[names.namespace])
    if (proxied, where) != (plain, labels[names.namespace]):
        return _ambiguous(f"labels {names.deployment!r} and {_PROXIED!r} name two workloads")
    other = next((label for label in OWNERS if label != "replicaset" and labels.get(label)), None)
    if other is None:
        return None
    return _ambiguous(misfit or f"labels {names.deployment!r} and {other!r} name two workloads")


def _ambiguous(why: str) -> Nameless:
    return Nameless("Ambiguous", f"{why}: drop the labels of the exporter (`without` in the expression, or labeldrop)")


def _misfit(labels: Mapping[str, str], names: TargetLabels, view: View) -> str:
    """Why the pod that the labels name is not the target, in words; "" when all labels fit it."""
    namespace, name = labels[names.namespace], labels[names.pod]
    pod = view.pod_named(namespace, name)
    for label, kind in ((names.deployment, DEPLOYMENT), *OWNERS.items()):
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
    if kind == DEPLOYMENT:
        top = None if pod is None else view.workload_of(pod)
        if pod is None or top is None:  # a ReplicaSet that is not known yet: no rule takes down its pod until it is
            return _seems_of(name, owner)
        workload = view.workload_named(kind, pod.metadata.namespace, owner)
        return workload is not None and top == workload.target
    if pod is None:
        return name.startswith(f"{owner}-")
    controller = pod.metadata.controller
    return controller is not None and (controller.kind, controller.name) == (kind, owner)


def _seems_of(pod: str, deployment: str) -> bool:
    """Whether a pod's name has the form of the names of that Deployment's pods.

    Owners are never found by names. But an alert fires for a while after its pod was replaced, and healer must not treat the
    Deployment for that: a name of that form keeps the alert with the pod, which is gone. Generated names are cut to 63
    characters.
    """
    stem, whole = pod[:-_RANDOM], f"{deployment}-"
    cut = len(pod) == _LONGEST
    revision = stem.removeprefix(whole).removesuffix("-" if cut else "") + ("-" if cut else "")
    return (cut and whole.startswith(stem)) or (stem.startswith(whole) and _HASH.fullmatch(revision) is not None)
