"""What kube-score and Polaris check in manifests, and what healer needs of them, over the objects of one rendered installation.

Sources: kube-score's README_CHECKS.md and Polaris' pkg/config/checks (August 2026). `CHECKS` is the table: each check with its
names there. `LEFT_OUT` has those that are not made, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from tests.support import manifest_links as links
from tests.support import manifest_pods as pods
from tests.support.kustomize import Manifest
from tests.support.manifest_links import Installation


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name here, what it asks for, the names that the tools have for it, and what finds the faults."""

    name: str
    asks: str
    kube_score: str
    polaris: str
    find: Callable[[Installation], Iterator[str]]


CHECKS: Sequence[Check] = (
    Check(
        "user",
        "runs as a user of its own, not root",
        "container-security-context-user-group-id",
        "runAsRootAllowed",
        pods.of_containers(pods.user),
    ),
    Check(
        "read-only-root",
        "cannot write its root file system",
        "container-security-context-readonlyrootfilesystem",
        "notReadOnlyRootFilesystem",
        pods.of_containers(pods.root),
    ),
    Check(
        "privilege",
        "has no privilege and gets none",
        "container-security-context-privileged",
        "privilegeEscalationAllowed, runAsPrivileged, procMount, linuxHardening",
        pods.of_containers(pods.privilege),
    ),
    Check(
        "capabilities",
        "drops all capabilities",
        "",
        "dangerousCapabilities, insecureCapabilities",
        pods.of_containers(pods.capabilities),
    ),
    Check(
        "seccomp",
        "has the runtime's seccomp profile",
        "container-seccomp-profile",
        "linuxHardening",
        pods.of_containers(pods.seccomp),
    ),
    Check(
        "host",
        "shares nothing with its node",
        "",
        "hostNetworkSet, hostPIDSet, hostIPCSet, hostPathSet, hostPortSet, hostProcess",
        pods.of_pods(pods.host),
    ),
    Check("account", "has an account of its own, and a token only for a role", "", "automountServiceAccountToken", pods.account),
    Check(
        "power",
        "no role gives everything, or a shell",
        "",
        "clusterrole..., clusterrolebinding..., role..., rolebinding...",
        pods.power,
    ),
    Check(
        "probes",
        "has a readiness and another liveness probe, at ports that exist",
        "pod-probes, pod-probes-identical, container-ports-check",
        "readinessProbeMissing, livenessProbeMissing",
        pods.of_containers(pods.probes),
    ),
    Check(
        "resources",
        "requests CPU and memory, and limits memory",
        "container-resources",
        "cpuRequestsMissing, memoryRequestsMissing, memoryLimitsMissing",
        pods.of_containers(pods.resources("cpu requests", "memory requests", "memory limits")),
    ),
    Check("cpu-limit", "limits CPU", "container-resources", "cpuLimitsMissing", pods.of_containers(pods.resources("cpu limits"))),
    Check(
        "ephemeral-storage",
        "requests and limits local storage",
        "container-ephemeral-storage-request-and-limit",
        "",
        pods.of_containers(pods.resources("ephemeral-storage requests", "ephemeral-storage limits")),
    ),
    Check("image", "names a release of its image", "container-image-tag", "tagNotSpecified", pods.of_containers(pods.image)),
    Check("pull-policy", "says when its image is pulled", "", "", pods.of_containers(pods.pull)),
    Check(
        "variables",
        "has no secret in a variable, and none twice",
        "environment-variable-key-duplication",
        "sensitiveContainerEnvVar",
        pods.of_containers(pods.variables),
    ),
    Check("contents", "no ConfigMap holds a secret", "", "sensitiveConfigmapContent", pods.contents),
    Check(
        "replicas",
        "has two replicas or more, or an autoscaler's",
        "deployment-replicas, deployment-targeted-by-hpa-does-not-have-replicas-configured",
        "deploymentMissingReplicas",
        links.replicas,
    ),
    Check("strategy", "rolls, and says how many pods may be missing", "deployment-strategy", "", pods.strategy),
    Check(
        "spread",
        "is spread over nodes",
        "pod-topology-spread-constraints; for deployment-has-host-podantiaffinity and statefulset-... in its stead",
        "topologySpreadConstraint",
        pods.of_pods(pods.spread),
    ),
    Check(
        "disruption-budget",
        "has one PodDisruptionBudget, which allows a disruption and lets sick pods go",
        "deployment-has-poddisruptionbudget, statefulset-has-poddisruptionbudget, poddisruptionbudget-has-policy",
        "missingPodDisruptionBudget, pdbDisruptionsIsZero, pdbMinAvailable...",
        links.budgets,
    ),
    Check(
        "network-policy",
        "has a NetworkPolicy for both directions; each policy has pods",
        "pod-networkpolicy, networkpolicy-targets-pod",
        "missingNetworkPolicy",
        links.policies,
    ),
    Check(
        "service",
        "each Service has pods and ports of theirs, and no port of the node",
        "service-targets-pod, service-type",
        "",
        links.services,
    ),
    Check(
        "route",
        "each route leads to Services and their ports",
        "ingress-targets-service",
        "httpRouteCrossNamespaceBackendRef",
        links.routes,
    ),
    Check(
        "host-name",
        "each route names its hosts, each Ingress that is no canary's its certificate",
        "",
        "tlsSettingsMissing, httpRouteWildcardOrEmptyHost",
        links.hosts,
    ),
    Check(
        "autoscaler",
        "each autoscaler has a target and room",
        "horizontalpodautoscaler-has-target, horizontalpodautoscaler-replicas",
        "hpaMinAvailability, hpaMaxAvailability",
        links.autoscalers,
    ),
    Check(
        "selector",
        "each workload selects its own pods",
        "deployment-pod-selector-labels-match-template-metadata-labels, statefulset-..., statefulset-has-servicename",
        "",
        links.selectors,
    ),
    Check("reference", "every ConfigMap, Secret, claim and account that is named exists", "", "", links.references),
    Check("stable-version", "uses no API that is not stable", "stable-version", "", pods.stable),
    Check("labels", "has labels that the API takes", "label-values", "", pods.labels),
)

LEFT_OUT: Sequence[tuple[str, str]] = (
    (
        "container-image-pull-policy, pullPolicyNotAlways",
        "`Always` makes each start depend on the registry: when it is away, no evicted pod comes back. A release stays.",
    ),
    (
        "deployment-has-host-podantiaffinity, statefulset-has-host-podantiaffinity",
        "topologySpreadConstraints spread over nodes and zones, and a third pod still starts on two nodes.",
    ),
    (
        "container-resource-requests-equal-limits and the like for CPU, memory and ephemeral storage (optional)",
        "Memory is equal in production, where a difference gets pods killed. CPU that nobody else needs may be used.",
    ),
    (
        "priorityClassNotSet",
        "A PriorityClass belongs to the cluster, and no name exists in all of them. Set yours in your overlay.",
    ),
    (
        "metadataAndInstanceMismatched",
        "It wants the label app.kubernetes.io/instance to be the object's name, which tools do not need.",
    ),
    (
        "gateway..., httpRouteInsecureListener, httpRouteBackendTLSMissing, kgateway...",
        "The Gateway and its listeners belong to the platform, not to this stack.",
    ),
    ("cronjob-has-deadline, cronjob-restartpolicy", "There is no CronJob."),
)


def faults(objects: Sequence[Manifest], *, without: Collection[str] = (), given: Collection[str] = ()) -> list[str]:
    """Everything that the checks find in the objects of one installation, with the check's name in front.

    without: names of checks that are not made, for which the caller has a reason; given: what others put into the cluster, as
    `secret/NAME`. Raises ValueError for a name in `without` that no check has.
    """
    if unknown := {*without} - {check.name for check in CHECKS}:
        raise ValueError(f"there are no checks {sorted(unknown)}")
    installation = Installation(objects, frozenset(given))
    return [f"{check.name}: {fault}" for check in CHECKS if check.name not in without for fault in check.find(installation)]
