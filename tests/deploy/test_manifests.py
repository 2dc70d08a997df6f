"""deploy/healer as `kubectl apply -k` applies it: its objects fit each other, the daemon and the image."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml

from healer.settings import Settings, load_settings
from tests.support.kustomize import Manifest, built

ROOT = Path(__file__).parents[2]
FOLDER = "deploy/healer"


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return built(ROOT / FOLDER)


def _one(manifests: list[Manifest], kind: str) -> Manifest:
    found = [manifest for manifest in manifests if manifest["kind"] == kind]
    assert len(found) == 1, f"expected one {kind}, found {len(found)}"
    return found[0]


def _pod(manifests: list[Manifest]) -> Manifest:
    spec: Manifest = _one(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def _container(manifests: list[Manifest]) -> Manifest:
    (container,) = _pod(manifests)["containers"]
    assert isinstance(container, dict)
    return container


@pytest.fixture
def settings(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As the daemon reads them from the container's environment; a name that is no knob is an error."""
    for entry in _container(manifests)["env"]:
        if "value" in entry:
            monkeypatch.setenv(entry["name"], entry["value"])
    return load_settings()


def test_it_is_whole(manifests: list[Manifest]) -> None:
    assert sorted(manifest["kind"] for manifest in manifests) == [
        "ClusterRole",
        "ClusterRole",
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ]


def test_everything_that_has_a_namespace_is_in_healers(manifests: list[Manifest]) -> None:
    own = yaml.safe_load((ROOT / FOLDER / "namespace.yaml").read_text("utf-8"))["metadata"]["name"]
    assert {manifest["metadata"].get("namespace", own) for manifest in manifests} == {own}


def test_the_deployment_and_the_service_select_the_pod(manifests: list[Manifest]) -> None:
    labels = _one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert _one(manifests, "Deployment")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert _one(manifests, "Service")["spec"]["selector"].items() <= labels.items()


def test_the_role_is_bound_to_the_pods_account(manifests: list[Manifest]) -> None:
    account = _one(manifests, "ServiceAccount")["metadata"]
    for kind in ("ClusterRole", "Role"):
        binding = _one(manifests, f"{kind}Binding")
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}]
        named = [each["metadata"]["name"] for each in manifests if each["kind"] == kind]
        assert binding["roleRef"]["name"] in named
    assert _pod(manifests)["serviceAccountName"] == account["name"]


def test_probes_and_the_service_reach_a_port_of_the_container(manifests: list[Manifest], settings: Settings) -> None:
    container = _container(manifests)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probes = {kind: container[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    assert {probe["port"] for probe in probes.values()} <= ports.keys()
    assert {port["targetPort"] for port in _one(manifests, "Service")["spec"]["ports"]} <= ports.keys()
    assert settings.http.port == ports["http"]


def test_every_mount_has_a_volume_and_the_rules_are_mounted_where_they_are_read(manifests: list[Manifest]) -> None:
    volumes = {volume["name"]: volume for volume in _pod(manifests)["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in _container(manifests)["volumeMounts"]}
    assert mounts.keys() == volumes.keys()
    assert volumes["rules"]["configMap"]["name"] == _one(manifests, "ConfigMap")["metadata"]["name"]
    assert _container(manifests)["args"] == ["run", "--rules", mounts["rules"]]


def test_webhooks_need_a_token_that_is_mounted(manifests: list[Manifest], settings: Settings) -> None:
    """Without one they would answer only loopback; the volume is optional, so that healer starts before the Secret is there."""
    mounts = {mount["name"]: mount["mountPath"] for mount in _container(manifests)["volumeMounts"]}
    assert settings.http.webhook_token_file is not None
    assert settings.http.webhook_token_file.parent == Path(mounts["secrets"])
    assert settings.http.read_token_file is not None
    assert settings.http.read_token_file.parent == Path(mounts["secrets"])
    assert not settings.http.allow_anonymous


def test_the_config_map_holds_the_rules_of_every_pack(manifests: list[Manifest]) -> None:
    """And not their tests."""
    packs = {path.name: path.read_text() for path in (ROOT / "rules").glob("*.yaml") if not path.name.endswith(".test.yaml")}
    assert _one(manifests, "ConfigMap")["data"] == packs


def test_the_image_is_of_this_version(manifests: list[Manifest]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert _container(manifests)["image"] == f"healer:{version}"


def test_the_definition_says_of_which_version_it_is() -> None:
    """For whoever reads that it is older than the healer."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    definition = yaml.safe_load((ROOT / FOLDER / "crd.yaml").read_text("utf-8"))
    assert definition["metadata"]["labels"]["app.kubernetes.io/version"] == version


def test_the_replicas_reach_each_other_and_have_time_to_hand_over(manifests: list[Manifest]) -> None:
    spec = _one(manifests, "Deployment")["spec"]
    assert spec["replicas"] == 2
    environ = {entry["name"]: entry for entry in _container(manifests)["env"]}
    assert environ["POD_IP"]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"
    assert environ["HEALER_LEADER__ADDRESS"]["value"] == f"$(POD_IP):{environ['HEALER_HTTP__PORT']['value']}"
    assert _pod(manifests)["terminationGracePeriodSeconds"] > Settings().shutdown


def test_the_pod_is_confined(manifests: list[Manifest]) -> None:
    """What the Pod Security Standard `restricted` asks for, and a root file system that cannot be written."""
    pod, container = _pod(manifests), _container(manifests)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "limits" in container["resources"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys()


def test_service_links_cannot_set_healers_settings(manifests: list[Manifest]) -> None:
    assert _pod(manifests)["enableServiceLinks"] is False
