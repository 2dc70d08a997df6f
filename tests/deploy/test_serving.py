"""deploy/serving: each overlay renders, is what Kubernetes 1.30 to 1.36 take, and holds together."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.rendered import OVERLAYS, SERVING, overlay
from tests.support.kustomize import built
from tests.support.manifest_checks import faults
from tests.support.schemas import VERSIONS, all_faults

WEBHOOK = "secret/healer-webhook"
GIVEN = {"monitoring": {WEBHOOK}, "keda": {WEBHOOK}, "nginx-secured": {"secret/models-basic-auth"}}
"""What an overlay expects in the cluster, and does not bring: Secrets are nobody's to commit."""
LOADING = 16 * 60
"""Seconds that the slowest model loads, by healer's packs."""


def _distinct() -> list[dict[str, Any]]:
    """The objects of all overlays; one that several have once."""
    return [json.loads(text) for text in sorted({json.dumps(each) for name in OVERLAYS for each in overlay(name)})]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_in_each_version_of_kubernetes(version: str) -> None:
    """With unknown fields as faults; custom resources by their definitions."""
    assert list(all_faults(_distinct(), [version])) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_checks_of_kube_score_and_polaris_find_nothing(name: str) -> None:
    assert faults(overlay(name), given=GIVEN.get(name, set())) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_everything_that_has_a_namespace_is_in_the_packs_namespace(name: str) -> None:
    assert {manifest["metadata"].get("namespace") for manifest in overlay(name)} == {"production"}


def _containers(name: str) -> list[dict[str, Any]]:
    deployments = [each for each in overlay(name) if each["kind"] == "Deployment"]
    return [container for each in deployments for container in each["spec"]["template"]["spec"]["containers"]]


@pytest.mark.parametrize("name", OVERLAYS)
def test_no_probe_and_no_deadline_ends_a_load(name: str) -> None:
    """Before the startup probe has passed no other one runs; the rollout waits for longer than that."""
    for container in _containers(name):
        startup = container["startupProbe"]
        assert startup["periodSeconds"] * startup["failureThreshold"] > LOADING + 120
        liveness = container["livenessProbe"]
        assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 120
    for deployment in (each for each in overlay(name) if each["kind"] == "Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        startup = container["startupProbe"]
        assert deployment["spec"]["progressDeadlineSeconds"] > startup["periodSeconds"] * startup["failureThreshold"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_pod_that_ends_answers_what_it_has_begun(name: str) -> None:
    """The sleep is longer than a request may take, and shorter than the time that the pod has."""
    for deployment in (each for each in overlay(name) if each["kind"] == "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert sleep < pod["terminationGracePeriodSeconds"]
        for argument in container["args"]:
            if argument.startswith("--rest_api_timeout_in_ms="):
                assert sleep * 1000 > int(argument.partition("=")[2])
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@pytest.mark.parametrize(
    ("base", "components"),
    [
        ("httproute", ["auth-envoy", "gpu", "object-store", "monitoring", "external-metric"]),
        ("istio", ["auth-istio", "gpu", "object-store", "monitoring", "keda"]),
        ("nginx-canary", ["keda", "monitoring", "object-store", "gpu", "auth-nginx"]),
    ],
)
def test_components_go_together(base: str, components: list[str], tmp_path: Path) -> None:
    """In an overlay of one's own, outside of this repository, in any order."""
    here = Path(os.path.relpath(SERVING, tmp_path.resolve()))
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "production",
        "resources": [str(here / "overlays" / base)],
        "components": [str(here / "components" / name) for name in components],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(kustomization), "utf-8")
    objects = built(tmp_path)
    assert list(all_faults(objects, VERSIONS[:1])) == []
    assert faults(objects, given={WEBHOOK, "secret/models-basic-auth"}) == []
    servers = [each for each in objects if each["kind"] == "Deployment"]
    assert len(servers) == 2
    for server in servers:
        (container,) = server["spec"]["template"]["spec"]["containers"]
        assert container["image"].endswith("-gpu")
        assert "/models" not in {mount["mountPath"] for mount in container["volumeMounts"]}


@pytest.mark.parametrize("name", ["httproute", "gpu", "vllm"])
def test_an_image_is_pinned_by_its_digest_as_the_readme_says(name: str, tmp_path: Path) -> None:
    """In an overlay of one's own: each server's image is the digest's, from the registry that is named, and no tag is left."""
    (said,) = re.findall(r"```yaml\n(images:\n.*?)```", (SERVING / "README.md").read_text("utf-8"), re.DOTALL)
    images = yaml.safe_load(said)["images"]
    here = Path(os.path.relpath(SERVING, tmp_path.resolve()))
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(here / "overlays" / name)],
        "images": images,
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(kustomization), "utf-8")
    pinned = {each["name"]: f"{each.get('newName', each['name'])}@{each['digest']}" for each in images}
    tagged = [container["image"] for container in _containers(name)]
    servers = [each for each in built(tmp_path) if each["kind"] == "Deployment"]
    found = [container["image"] for each in servers for container in each["spec"]["template"]["spec"]["containers"]]
    assert found == [pinned[image.partition(":")[0]] for image in tagged]
    assert all(re.fullmatch(r"[^:]+@sha256:[0-9a-f]{64}", image) for image in found)


def test_every_door_lets_1000_requests_a_minute_through_in_bursts_of_100() -> None:
    """By the means of each: two rules for each client of Envoy Gateway, the bucket of Envoy's own filter, nginx's burst."""
    (policy,) = [each for each in overlay("httproute-secured") if each["kind"] == "BackendTrafficPolicy"]
    rules = policy["spec"]["rateLimit"]["global"]["rules"]
    assert {(rule["limit"]["requests"], rule["limit"]["unit"]) for rule in rules} == {(1000, "Minute"), (100, "Second")}
    for rule in rules:
        assert rule["clientSelectors"] == [{"sourceCIDR": {"type": "Distinct", "value": "0.0.0.0/0"}}], "each client has its own"
    (envoy,) = [each for each in overlay("istio-secured") if each["kind"] == "EnvoyFilter"]
    (patch,) = envoy["spec"]["configPatches"]
    bucket = patch["patch"]["value"]["typed_config"]["value"]["token_bucket"]
    assert (bucket["max_tokens"], bucket["tokens_per_fill"], bucket["fill_interval"]) == (100, round(1000 / 60), "1s")
    (main,) = [each for each in overlay("nginx-secured") if each["metadata"]["name"] == "model" and each["kind"] == "Ingress"]
    rate, times = (
        int(main["metadata"]["annotations"][f"nginx.ingress.kubernetes.io/{name}"])
        for name in ("limit-rps", "limit-burst-multiplier")
    )
    assert (rate, rate * times) == (round(1000 / 60), 102), "the nearest to 100 that it can say"
