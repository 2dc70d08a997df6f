"""The checks of manifests find what they are for: each is shown a fault of its own in manifests that have none."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy.rendered import overlay
from tests.support.kustomize import Manifest
from tests.support.manifest_checks import CHECKS, faults
from tests.support.schemas import VERSIONS
from tests.support.schemas import faults as faults_of

Objects = list[Manifest]
STABLE, ROUTE = "tensorflow-serving-v1", "model-ab-testing"


def _one(objects: Objects, kind: str, name: str) -> Any:
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def _spec(objects: Objects, kind: str, name: str) -> Any:
    return _one(objects, kind, name)["spec"]


def _pod(objects: Objects) -> Any:
    return _spec(objects, "Deployment", STABLE)["template"]["spec"]


def _container(objects: Objects) -> Any:
    return _pod(objects)["containers"][0]


def _without(kind: str) -> Callable[[Objects], None]:
    def change(objects: Objects) -> None:
        objects[:] = [each for each in objects if each["kind"] != kind]

    return change


def _role(rule: dict[str, list[str]]) -> Manifest:
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": [rule]}


def _cluster_admin() -> Manifest:
    reference = {"kind": "ClusterRole", "name": "cluster-admin"}
    return {"apiVersion": "v1", "kind": "RoleBinding", "metadata": {"name": "b"}, "roleRef": reference, "subjects": []}


def _config(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"db-password": ""}}


CHANGES: list[tuple[str, Callable[[Objects], object]]] = [
    ("user", lambda objects: _pod(objects)["securityContext"].update(runAsUser=0)),
    ("user", lambda objects: _pod(objects)["securityContext"].pop("runAsNonRoot")),
    ("read-only-root", lambda objects: _container(objects)["securityContext"].pop("readOnlyRootFilesystem")),
    ("privilege", lambda objects: _container(objects)["securityContext"].update(allowPrivilegeEscalation=True)),
    ("privilege", lambda objects: _container(objects)["securityContext"].update(privileged=True)),
    ("capabilities", lambda objects: _container(objects)["securityContext"]["capabilities"].update(add=["NET_ADMIN"])),
    ("seccomp", lambda objects: _pod(objects)["securityContext"].pop("seccompProfile")),
    ("host", lambda objects: _pod(objects).update(hostNetwork=True)),
    ("host", lambda objects: _pod(objects)["volumes"].append({"name": "node", "hostPath": {"path": "/"}})),
    ("host", lambda objects: _container(objects)["ports"][0].update(hostPort=8500)),
    ("account", lambda objects: _pod(objects).pop("serviceAccountName")),
    ("account", lambda objects: _pod(objects).pop("automountServiceAccountToken")),
    ("power", lambda objects: objects.append(_role({"resources": ["pods/exec"], "verbs": ["create"]}))),
    ("power", lambda objects: objects.append(_role({"resources": ["pods"], "verbs": ["*"]}))),
    ("power", lambda objects: objects.append(_cluster_admin())),
    ("probes", lambda objects: _container(objects).pop("livenessProbe")),
    ("probes", lambda objects: _container(objects)["startupProbe"]["httpGet"].update(port="metrics")),
    ("probes", lambda objects: _container(objects)["readinessProbe"]["grpc"].update(port=9000)),
    ("probes", lambda objects: _container(objects).update(readinessProbe=_container(objects)["livenessProbe"])),
    ("resources", lambda objects: _container(objects)["resources"]["requests"].pop("cpu")),
    ("resources", lambda objects: _container(objects)["resources"]["limits"].pop("memory")),
    ("cpu-limit", lambda objects: _container(objects)["resources"]["limits"].pop("cpu")),
    ("ephemeral-storage", lambda objects: _container(objects)["resources"]["limits"].pop("ephemeral-storage")),
    ("image", lambda objects: _container(objects).update(image="tensorflow/serving:latest")),
    ("image", lambda objects: _container(objects).update(image="registry:5000/tensorflow/serving")),
    ("pull-policy", lambda objects: _container(objects).pop("imagePullPolicy")),
    ("variables", lambda objects: _container(objects)["env"].append({"name": "API_TOKEN", "value": "x"})),
    ("variables", lambda objects: _container(objects)["env"].append({"name": "OMP_NUM_THREADS", "value": "4"})),
    ("contents", lambda objects: objects.append(_config("secrets"))),
    ("replicas", lambda objects: _spec(objects, "Deployment", STABLE).update(replicas=3)),
    ("replicas", lambda objects: _spec(objects, "Deployment", "tensorflow-serving-v2").update(replicas=1)),
    ("strategy", lambda objects: _spec(objects, "Deployment", STABLE).update(strategy={"type": "Recreate"})),
    ("spread", lambda objects: _pod(objects).pop("topologySpreadConstraints")),
    ("spread", lambda objects: _pod(objects)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].update(app="x")),
    ("disruption-budget", _without("PodDisruptionBudget")),
    ("disruption-budget", lambda objects: _spec(objects, "PodDisruptionBudget", STABLE).update(maxUnavailable=0)),
    ("disruption-budget", lambda objects: _spec(objects, "PodDisruptionBudget", STABLE).pop("unhealthyPodEvictionPolicy")),
    ("disruption-budget", lambda objects: _spec(objects, "PodDisruptionBudget", STABLE)["selector"].clear()),
    ("network-policy", _without("NetworkPolicy")),
    (
        "network-policy",
        lambda objects: _spec(objects, "NetworkPolicy", "tensorflow-serving")["policyTypes"].remove("Egress"),
    ),
    (
        "network-policy",
        lambda objects: _spec(objects, "NetworkPolicy", "tensorflow-serving")["ingress"][1]["ports"][0].update(port=9090),
    ),
    ("service", lambda objects: _spec(objects, "Service", STABLE)["selector"].update(version="v3")),
    ("service", lambda objects: _spec(objects, "Service", STABLE)["ports"][0].update(targetPort="metrics")),
    ("service", lambda objects: _spec(objects, "Service", STABLE).update(type="NodePort")),
    (
        "route",
        lambda objects: _spec(objects, "HTTPRoute", ROUTE)["rules"][0]["backendRefs"][1].update(name="v3"),
    ),
    (
        "route",
        lambda objects: _spec(objects, "HTTPRoute", ROUTE)["rules"][0]["backendRefs"][1].update(port=80),
    ),
    ("host-name", lambda objects: _spec(objects, "HTTPRoute", ROUTE).pop("hostnames")),
    ("autoscaler", lambda objects: _spec(objects, "HorizontalPodAutoscaler", STABLE).update(minReplicas=20)),
    ("autoscaler", lambda objects: _spec(objects, "HorizontalPodAutoscaler", STABLE)["scaleTargetRef"].update(name="x")),
    ("selector", lambda objects: _spec(objects, "Deployment", STABLE)["selector"]["matchLabels"].pop("version")),
    ("reference", lambda objects: objects.remove(_one(objects, "ConfigMap", "models"))),
    ("reference", _without("ServiceAccount")),
    ("reference", _without("PersistentVolumeClaim")),
    ("stable-version", lambda objects: _one(objects, "HorizontalPodAutoscaler", STABLE).update(apiVersion="autoscaling/v2beta2")),
    ("labels", lambda objects: _one(objects, "Service", STABLE)["metadata"]["labels"].update(version="of today")),
]


@pytest.fixture
def objects() -> Objects:
    return overlay("httproute")


def test_every_check_is_tried() -> None:
    assert {name for name, _ in CHANGES} == {check.name for check in CHECKS}


@pytest.mark.parametrize(("name", "change"), CHANGES, ids=[f"{name}-{number}" for number, (name, _) in enumerate(CHANGES)])
def test_a_check_finds_its_fault(objects: Objects, name: str, change: Callable[[Objects], object]) -> None:
    """And is quiet without it, which test_serving.py asserts."""
    change(objects)
    found = faults(objects)
    assert name in {fault.partition(":")[0] for fault in found}
    assert not [fault for fault in faults(objects, without={name}) if fault.startswith(f"{name}:")]


def test_a_check_that_does_not_exist_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="probe"):
        faults([], without={"probe"})


def test_what_others_put_there_is_no_fault(objects: Objects) -> None:
    objects.remove(_one(objects, "ConfigMap", "models"))
    assert faults(objects, given={"configmap/models"}) == []


@pytest.mark.parametrize("kind", ["Deployment", "HTTPRoute"])
def test_a_misspelt_field_is_a_fault_at_every_depth(objects: Objects, kind: str) -> None:
    """Of the API's own kinds and of custom resources."""
    manifest = next(each for each in objects if each["kind"] == kind)
    depth = manifest["spec"]["template"]["spec"]["containers"][0] if kind == "Deployment" else manifest["spec"]["rules"][0]
    depth["readinesProbe"] = {}
    assert "readinesProbe" in "".join(faults_of(manifest, "1.30"))


def test_a_field_of_a_later_version_is_a_fault_in_an_earlier_one(objects: Objects) -> None:
    """Resources of a whole pod came with 1.32."""
    manifest = _one(objects, "Deployment", STABLE)
    manifest["spec"]["template"]["spec"]["resources"] = {"limits": {"cpu": "4"}}
    assert [version for version in VERSIONS if faults_of(manifest, version)] == ["1.30", "1.31"]


def test_a_kind_that_nothing_defines_is_an_error() -> None:
    with pytest.raises(LookupError, match="Widget"):
        faults_of({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}, "1.30")
