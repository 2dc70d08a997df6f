"""What leads to what in the objects of one installation: selectors, routes, budgets, autoscalers, names of other objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.kustomize import Manifest

_KINDS = ("Deployment", "StatefulSet", "DaemonSet")
_CANARY = "nginx.ingress.kubernetes.io/canary"
_FEWEST = 2


@dataclass(frozen=True, slots=True)
class Workload:
    """What has a pod template."""

    manifest: Manifest

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.manifest['metadata']['name']}"

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.manifest["kind"])

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.manifest["metadata"].get("namespace", ""))

    @property
    def pod(self) -> Manifest:
        """The spec of its pods."""
        spec: Manifest = self.manifest["spec"]["template"]["spec"]
        return spec

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of its pods."""
        labels: Mapping[str, str] = self.manifest["spec"]["template"]["metadata"]["labels"]
        return labels

    @property
    def containers(self) -> list[Manifest]:
        """Those that run, and those that run before."""
        return [*self.pod.get("initContainers", ()), *self.pod["containers"]]

    def init(self, container: Manifest) -> bool:
        """Whether a container ends before the others start."""
        return container in self.pod.get("initContainers", ()) and container.get("restartPolicy") != "Always"


class Installation:
    """The objects of one installation, and what others put into the cluster (`secret/NAME`)."""

    def __init__(self, objects: Sequence[Manifest], given: frozenset[str]) -> None:
        self.objects = objects
        self.given = given
        self.workloads = [Workload(each) for each in objects if each["kind"] in _KINDS]

    def of(self, *kinds: str) -> list[Manifest]:
        """The objects of some kinds."""
        return [each for each in self.objects if each["kind"] in kinds]

    def has(self, kind: str, name: str) -> bool:
        """Whether there is an object of that kind and name, or others put it there: cert-manager, a Certificate's Secret."""
        if kind == "Secret" and any(each["spec"]["secretName"] == name for each in self.of("Certificate")):
            return True
        return f"{kind.lower()}/{name}" in self.given or any(each["metadata"]["name"] == name for each in self.of(kind))

    def selected(self, by: Manifest, selector: Mapping[str, Any] | None) -> list[Workload]:
        """The workloads whose pods an object selects, in its namespace."""
        namespace = by["metadata"].get("namespace", "")
        return [each for each in self.workloads if each.namespace == namespace and selects(selector, each.labels)]


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector of matchLabels selects these labels; None selects nothing, {} everything.

    Raises ValueError for matchExpressions, which nothing here uses.
    """
    if selector is None:
        return False
    if "matchExpressions" in selector:
        raise ValueError("matchExpressions are not understood here")
    wanted: Mapping[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def _named(manifest: Manifest) -> str:
    return f"{manifest['kind'].lower()}/{manifest['metadata']['name']}"


def selectors(installation: Installation) -> Iterator[str]:
    """Each workload selects its own pods, and no two select the same."""
    for workload in installation.workloads:
        selector = workload.manifest["spec"]["selector"]
        if installation.selected(workload.manifest, selector) != [workload]:
            yield f"{workload}: its selector does not select its own pods alone"
        if workload.kind == "StatefulSet" and not installation.has("Service", workload.manifest["spec"].get("serviceName", "")):
            yield f"{workload}: it has no Service"


def _scaled(installation: Installation) -> dict[str, tuple[str, int, int]]:
    """For each scaled workload its scaler, and its least and greatest number of replicas."""
    found = {}
    for each in installation.of("HorizontalPodAutoscaler", "ScaledObject"):
        target, spec = each["spec"]["scaleTargetRef"], each["spec"]
        bounds = (spec.get("minReplicas"), spec.get("maxReplicas"))
        if each["kind"] == "ScaledObject":
            bounds = (spec.get("minReplicaCount"), spec.get("maxReplicaCount"))
        found[f"{target.get('kind', 'Deployment').lower()}/{target['name']}"] = (_named(each), bounds[0] or 0, bounds[1] or 0)
    return found


def replicas(installation: Installation) -> Iterator[str]:
    """Two or more, said by the workload or by its autoscaler, and not by both."""
    scaled = _scaled(installation)
    for workload in installation.workloads:
        said = workload.manifest["spec"].get("replicas")
        if str(workload) in scaled:
            if said is not None:
                yield f"{workload}: it says replicas, and {scaled[str(workload)][0]} changes them: each apply takes them back"
        elif workload.kind != "DaemonSet" and (said or 1) < _FEWEST:
            yield f"{workload}: it has fewer than {_FEWEST} replicas"


def autoscalers(installation: Installation) -> Iterator[str]:
    """Each has a target that exists, once, and room between its bounds."""
    names = {str(each) for each in installation.workloads}
    scalers = installation.of("HorizontalPodAutoscaler", "ScaledObject")
    scaled = _scaled(installation)
    if len(scaled) != len(scalers):
        yield "two autoscalers have one target"
    for target, (name, least, most) in scaled.items():
        if target not in names:
            yield f"{name}: there is no {target}"
        if not _FEWEST <= least < most:
            yield f"{name}: it scales from {least} to {most}"


def budgets(installation: Installation) -> Iterator[str]:
    """One for each workload (several make the API refuse every eviction), which allows something and lets sick pods go."""
    counted: dict[str, int] = {}
    for budget in installation.of("PodDisruptionBudget"):
        spec = budget["spec"]
        targets = installation.selected(budget, spec.get("selector"))
        if len(targets) != 1:
            yield f"{_named(budget)}: it selects the pods of {[str(each) for each in targets]}, not of one workload"
        for workload in targets:
            counted[str(workload)] = counted.get(str(workload), 0) + 1
            least = _scaled(installation).get(str(workload), ("", workload.manifest["spec"].get("replicas", 1), 0))[1]
            if spec.get("maxUnavailable") in (0, "0%") or spec.get("minAvailable", 0) in range(least, least + 1000):
                yield f"{_named(budget)}: it never allows a disruption of {least} replicas"
        if spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield f"{_named(budget)}: unhealthyPodEvictionPolicy is not AlwaysAllow: it keeps sick pods"
    for workload in installation.workloads:
        if workload.kind != "DaemonSet" and counted.get(str(workload), 0) != 1:
            yield f"{workload}: it has {counted.get(str(workload), 0)} PodDisruptionBudgets"


def policies(installation: Installation) -> Iterator[str]:
    """Each pod has policies for both directions, each policy has pods, and its ports are theirs."""
    covered: dict[str, set[str]] = {}
    for policy in installation.of("NetworkPolicy"):
        targets = installation.selected(policy, policy["spec"]["podSelector"])
        if not targets:
            yield f"{_named(policy)}: it selects no pods"
        for workload in targets:
            covered.setdefault(str(workload), set()).update(policy["spec"]["policyTypes"])
            for rule in policy["spec"].get("ingress", ()):
                yield from (
                    f"{_named(policy)}: {fault}" for fault in _missing(workload, [each["port"] for each in rule.get("ports", ())])
                )
    for workload in installation.workloads:
        if missing := {"Ingress", "Egress"} - covered.get(str(workload), set()):
            yield f"{workload}: no NetworkPolicy has its {' and '.join(sorted(missing))}"


def _missing(workload: Workload, ports: Sequence[str | int]) -> Iterator[str]:
    own = [port for container in workload.containers for port in container.get("ports", ())]
    names = {port.get("name") for port in own} | {port["containerPort"] for port in own}
    yield from (f"{workload} has no port {port}" for port in ports if port not in names)


def services(installation: Installation) -> Iterator[str]:
    """Each has pods, its ports are ports of theirs, and none is a port of the node."""
    for service in installation.of("Service"):
        spec = service["spec"]
        targets = installation.selected(service, {"matchLabels": spec["selector"]})
        if not targets:
            yield f"{_named(service)}: it selects no pods"
        if spec.get("type", "ClusterIP") != "ClusterIP":
            yield f"{_named(service)}: its type is {spec['type']}"
        for workload in targets:
            ports = [port.get("targetPort", port["port"]) for port in spec["ports"]]
            yield from (f"{_named(service)}: {fault}" for fault in _missing(workload, ports))


def backends(manifest: Manifest) -> Iterator[tuple[str, str | int]]:
    """The Services and ports that an Ingress, an HTTPRoute or a VirtualService leads to."""
    spec = manifest["spec"]
    if manifest["kind"] == "Ingress":
        for path in (path for rule in spec["rules"] for path in rule["http"]["paths"]):
            service = path["backend"]["service"]
            yield service["name"], service["port"].get("name") or service["port"]["number"]
    elif manifest["kind"] == "HTTPRoute":
        yield from ((each["name"], each["port"]) for rule in spec["rules"] for each in rule["backendRefs"])
    else:
        destinations = [each["destination"] for rule in spec["http"] for each in rule["route"]]
        yield from ((each["host"], each["port"]["number"]) for each in destinations)


def routes(installation: Installation) -> Iterator[str]:
    """Each backend is a Service of this installation and a port of it."""
    ports = {
        service["metadata"]["name"]: {port["port"] for port in service["spec"]["ports"]}
        | {port.get("name") for port in service["spec"]["ports"]}
        for service in installation.of("Service")
    }
    for route in installation.of("Ingress", "HTTPRoute", "VirtualService"):
        for name, port in backends(route):
            if port not in ports.get(name, ()):
                yield f"{_named(route)}: there is no port {port} of a Service {name}"


def hosts(installation: Installation) -> Iterator[str]:
    """Each route says for which hosts it is, and an Ingress by which certificate; a canary's Ingress has that of the main one."""
    for route in installation.of("HTTPRoute", "VirtualService", "Ingress"):
        spec = route["spec"]
        names = (
            [rule.get("host") for rule in spec["rules"]]
            if route["kind"] == "Ingress"
            else spec.get("hostnames") or spec.get("hosts")
        )
        if not names or None in names or any(name.startswith("*") for name in names):
            yield f"{_named(route)}: its hosts are {names}"
        if route["kind"] == "Ingress" and _CANARY not in route["metadata"].get("annotations", {}) and not spec.get("tls"):
            yield f"{_named(route)}: it has no certificate"


def references(installation: Installation) -> Iterator[str]:
    """Every object that a pod, a role's binding or a policy names exists, is said to be given, or is optional."""
    for workload in installation.workloads:
        for kind, name, optional in _referenced(workload):
            if not optional and not installation.has(kind, name):
                yield f"{workload}: there is no {kind.lower()}/{name}"


def _referenced(workload: Workload) -> Iterator[tuple[str, str, bool]]:
    if name := workload.pod.get("serviceAccountName"):
        yield "ServiceAccount", name, False
    for volume in workload.pod.get("volumes", ()):
        projected = volume.get("projected", {}).get("sources", ())
        for source in (volume, *projected):
            if "configMap" in source:
                yield "ConfigMap", source["configMap"]["name"], source["configMap"].get("optional", False)
            if "secret" in source:
                secret = source["secret"]
                yield "Secret", secret.get("secretName") or secret["name"], secret.get("optional", False)
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], False
    for variable in (each for container in workload.containers for each in container.get("env", ())):
        for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            if reference := variable.get("valueFrom", {}).get(key):
                yield kind, reference["name"], reference.get("optional", False)
