"""Checks of pods, containers and single objects: what each asks for is in the table of `manifest_checks`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain

from tests.support.kustomize import Manifest
from tests.support.manifest_links import Installation, Workload, selects

SECRET = re.compile(r"password|passwd|secret|token|api_?key|private_?key|credential", re.IGNORECASE)
"""Polaris' words for what is no business of an environment variable or a ConfigMap."""
_NO_SECRETS = ("_FILE", "_URL", "_TOKEN_REVIEW")
"""Endings of variables that say where a secret is, or who reviews it."""
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LOWEST_USER = 10_000
"""Below it are users of the node (kube-score)."""


def of_containers(check: Callable[[Workload, Manifest], Iterator[str]]) -> Callable[[Installation], Iterator[str]]:
    """A check of containers as one of an installation, with the container in front of each fault."""

    def checked(installation: Installation) -> Iterator[str]:
        for workload in installation.workloads:
            for container in workload.containers:
                yield from (f"{workload}: container {container['name']}: {fault}" for fault in check(workload, container))

    return checked


def of_pods(check: Callable[[Workload], Iterator[str]]) -> Callable[[Installation], Iterator[str]]:
    """A check of pod templates as one of an installation."""

    def checked(installation: Installation) -> Iterator[str]:
        for workload in installation.workloads:
            yield from (f"{workload}: {fault}" for fault in check(workload))

    return checked


def _context(workload: Workload, container: Manifest, name: str) -> object:
    """A setting of the security context: the container's, else the pod's."""
    own = container.get("securityContext", {})
    return own[name] if name in own else workload.pod.get("securityContext", {}).get(name)


def user(workload: Workload, container: Manifest) -> Iterator[str]:
    if _context(workload, container, "runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    for name in ("runAsUser", "runAsGroup"):
        user = _context(workload, container, name)
        if not isinstance(user, int) or user < _LOWEST_USER:
            yield f"{name} is {user}, not {_LOWEST_USER} or more"


def root(workload: Workload, container: Manifest) -> Iterator[str]:
    if _context(workload, container, "readOnlyRootFilesystem") is not True:
        yield "its root file system can be written"


def privilege(workload: Workload, container: Manifest) -> Iterator[str]:
    if _context(workload, container, "allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if _context(workload, container, "privileged"):
        yield "it is privileged"
    if _context(workload, container, "procMount"):
        yield "procMount is set"


def capabilities(workload: Workload, container: Manifest) -> Iterator[str]:
    found = _context(workload, container, "capabilities")
    if not isinstance(found, dict) or found.get("drop") != ["ALL"] or found.get("add"):
        yield f"capabilities are {found}, not drop: [ALL]"


def seccomp(workload: Workload, container: Manifest) -> Iterator[str]:
    if (found := _context(workload, container, "seccompProfile")) != {"type": "RuntimeDefault"}:
        yield f"seccompProfile is {found}"


def host(workload: Workload) -> Iterator[str]:
    yield from (f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if workload.pod.get(name))
    yield from (f"volume {each['name']} is a hostPath" for each in workload.pod.get("volumes", ()) if "hostPath" in each)
    for container in workload.containers:
        yield from (f"port {port['containerPort']} has a hostPort" for port in container.get("ports", ()) if "hostPort" in port)


def account(installation: Installation) -> Iterator[str]:
    """A token is mounted only where the account may do something."""
    bound = {each["name"] for binding in installation.of("RoleBinding", "ClusterRoleBinding") for each in binding["subjects"]}
    for workload in installation.workloads:
        name = workload.pod.get("serviceAccountName", "default")
        if name == "default":
            yield f"{workload}: it has no service account of its own"
        elif name not in bound and workload.pod.get("automountServiceAccountToken") is not False:
            yield f"{workload}: automountServiceAccountToken is not false, and its account {name} is bound to nothing"


def probes(workload: Workload, container: Manifest) -> Iterator[str]:
    if workload.init(container):
        return
    for name in ("readinessProbe", "livenessProbe"):
        if name not in container:
            yield f"it has no {name}"
    if container.get("readinessProbe") == container.get("livenessProbe"):
        yield "liveness and readiness are one probe: what is not ready would be restarted"
    names = {port.get("name") for port in container.get("ports", ())} | {
        port["containerPort"] for port in container.get("ports", ())
    }
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        handlers = [container.get(name, {}).get(handler) for handler in ("httpGet", "grpc", "tcpSocket")]
        yield from (f"{name}: there is no port {each['port']}" for each in handlers if each and each["port"] not in names)


def resources(*kinds: str) -> Callable[[Workload, Manifest], Iterator[str]]:
    def check(_: Workload, container: Manifest) -> Iterator[str]:
        resources = container.get("resources", {})
        for kind in kinds:
            name, side = kind.split()
            if name not in resources.get(side, {}):
                yield f"it has no {side} of {name}"

    return check


def image(_: Workload, container: Manifest) -> Iterator[str]:
    name, _, digest = container["image"].partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if not digest and (not re.search(r"\d", tag) or tag.startswith(("latest", "nightly"))):
        yield f"the image {container['image']} names no release"


def pull(_: Workload, container: Manifest) -> Iterator[str]:
    if container.get("imagePullPolicy") not in ("IfNotPresent", "Always"):
        yield "it has no imagePullPolicy"


def variables(_: Workload, container: Manifest) -> Iterator[str]:
    names = [each["name"] for each in container.get("env", ())]
    yield from (f"the variable {name} is set twice" for name in sorted(names) if names.count(name) > 1)
    for each in container.get("env", ()):
        if SECRET.search(each["name"]) and "value" in each and not each["name"].endswith(_NO_SECRETS):
            yield f"the variable {each['name']} has its value in the manifest"


def contents(installation: Installation) -> Iterator[str]:
    for manifest in installation.of("ConfigMap"):
        for key in chain(manifest.get("data", {}), manifest.get("binaryData", {})):
            if SECRET.search(key):
                yield f"configmap/{manifest['metadata']['name']}: the key {key} sounds like a secret"


def spread(workload: Workload) -> Iterator[str]:
    """Over nodes, by constraints or anti-affinity that select the pod itself."""
    terms = workload.pod.get("affinity", {}).get("podAntiAffinity", {})
    soft = [each["podAffinityTerm"] for each in terms.get("preferredDuringSchedulingIgnoredDuringExecution", ())]
    hard = terms.get("requiredDuringSchedulingIgnoredDuringExecution", ())
    rules = [*soft, *hard, *workload.pod.get("topologySpreadConstraints", ())]
    own = [each for each in rules if selects(each.get("labelSelector"), workload.labels)]
    if "kubernetes.io/hostname" not in {each["topologyKey"] for each in own}:
        yield "nothing spreads its pods over the nodes"


def strategy(installation: Installation) -> Iterator[str]:
    """A rollout costs no capacity; one that must (one GPU a node) says so by maxUnavailable."""
    for workload in installation.workloads:
        if workload.kind == "Deployment":
            strategy = workload.manifest["spec"].get("strategy", {})
            if strategy.get("type") != "RollingUpdate" or "maxUnavailable" not in strategy.get("rollingUpdate", {}):
                yield f"{workload}: it has no strategy RollingUpdate that says maxUnavailable"


def stable(installation: Installation) -> Iterator[str]:
    for manifest in installation.objects:
        group, _, version = manifest["apiVersion"].rpartition("/")
        built_in = "." not in group or group.endswith(".k8s.io")
        if built_in and not re.fullmatch(r"v\d+", version):
            yield f"{manifest['kind']}/{manifest['metadata']['name']}: {manifest['apiVersion']} is not stable"


def labels(installation: Installation) -> Iterator[str]:
    for manifest in installation.objects:
        for name, value in (manifest["metadata"].get("labels") or {}).items():
            if not isinstance(value, str) or not _LABEL.fullmatch(value):
                yield f"{manifest['kind']}/{manifest['metadata']['name']}: label {name}: {value!r}"


def power(installation: Installation) -> Iterator[str]:
    """No role gives everything, or a shell in pods."""
    for role in installation.of("Role", "ClusterRole"):
        for rule in role.get("rules") or ():
            everything = "*" in rule.get("verbs", ()) or "*" in rule.get("resources", ())
            shell = {"pods/exec", "pods/attach"} & {*rule.get("resources", ())}
            if everything or shell:
                yield f"{role['kind']}/{role['metadata']['name']}: {rule}"
    for binding in installation.of("RoleBinding", "ClusterRoleBinding"):
        if binding["roleRef"]["name"] == "cluster-admin":
            yield f"{binding['kind']}/{binding['metadata']['name']}: it grants cluster-admin"
