"""The whole daemon, a real process, on the lab and on a real API server with its controllers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from healer.lab.canary import CANARY, ROUTE, STABLE
from tests.contract.client import MERGE, Client, Object
from tests.contract.owners import statefulset, whole
from tests.contract.rollout import kubelet, workload
from tests.contract.routers import DEFINITIONS, HTTP_ROUTE, INGRESS, Router, define
from tests.support.healer import Healer, alert, environment

ROOT = Path(__file__).parents[2]
NODE = "node-0"


def rules(namespace: str, step: Mapping[str, Any]) -> str:
    """One rule: an alert on a Deployment, and this step about it."""
    rule = {
        "name": "errors",
        "when": {"alert": ["HighErrors"]},
        "heal": [{**step, "verify": {"within": "30s", "stable": "100ms"}}],
        "mode": "enforce",
    }
    spec = {"scope": {"namespaces": [namespace]}, "rules": [rule]}
    return yaml.safe_dump({"apiVersion": "healer.dev/v1alpha1", "kind": "RuleSet", "metadata": {"name": "test"}, "spec": spec})


@asynccontextmanager
async def healer(cluster: Client, step: Mapping[str, Any], folder: Path, **more: str) -> AsyncIterator[Healer]:
    """The daemon, for the test's namespace alone; it has found its place for incidents, and leads."""
    cluster.write_kubeconfig(folder / "config")
    (folder / "rules.yaml").write_text(rules(cluster.namespace, step), encoding="utf-8")
    settings: dict[str, str | Path] = {
        "KUBECONFIG": folder / "config",
        "HEALER_HTTP__HOST": "127.0.0.1",
        "HEALER_HTTP__PORT": "0",
        "HEALER_CLUSTER__NAMESPACES": f'["{cluster.namespace}"]',
        "HEALER_LEADER__NAMESPACE": cluster.namespace,
        "HEALER_ENGINE__RETRY": "0.3",
        "HEALER_LOG__FORMAT": "json",
    }
    async with Healer(["--rules", str(folder / "rules.yaml")], environment(folder, settings | more)) as daemon:
        await daemon.says("healer is ready", role="leader")
        yield daemon


@pytest.fixture
async def cluster(managed: Client) -> AsyncIterator[Client]:
    """A cluster that knows incidents, with a node and somebody who plays its kubelet."""
    definition = yaml.safe_load((ROOT / "deploy/healer/crd.yaml").read_text("utf-8"))
    assert (await managed.post(DEFINITIONS, definition)).code in (201, 409)
    assert (await managed.post("/api/v1/nodes", {"metadata": {"name": NODE}})).code in (201, 409)
    await serves(managed, f"/apis/healer.dev/v1alpha1/namespaces/{managed.namespace}/incidents")
    async with kubelet(managed):
        yield managed


async def serves(cluster: Client, path: str) -> None:
    """Return once a collection that was just defined is served."""
    answer = await cluster.get(path)
    while answer.code != 200:
        answer = await cluster.get(path)


async def deploy(cluster: Client, name: str, replicas: int = 2) -> None:
    """A Deployment with its Service, all of its pods ready."""
    labels = {"app": name}
    body = workload(replicas=replicas, selector={"matchLabels": labels})
    body["metadata"] = {"name": name, "labels": labels}
    body["spec"]["template"]["metadata"]["labels"] = labels
    await cluster.make(f"{cluster.apps}/deployments", body)
    ports = [{"name": "http", "port": 8501}]
    await cluster.make(f"{cluster.core}/services", {"metadata": {"name": name}, "spec": {"selector": labels, "ports": ports}})
    await complete(cluster, name, replicas)


async def complete(cluster: Client, name: str, replicas: int = 2, image: str = "") -> Object:
    """The Deployment, once it has so many available replicas of its newest template, and no others."""

    def done(found: list[Object]) -> bool:
        mine = [each for each in found if each["metadata"]["name"] == name]
        status = mine[0].get("status", {}) if mine else {}
        counts = [status.get(count) for count in ("replicas", "updatedReplicas", "availableReplicas")]
        newest = bool(mine) and status.get("observedGeneration") == mine[0]["metadata"]["generation"]
        return newest and counts == [replicas] * 3 and image in image_of(mine[0])

    found = await cluster.until(f"{cluster.apps}/deployments", done)
    return next(each for each in found if each["metadata"]["name"] == name)


def image_of(found: Object) -> str:
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


async def incident(cluster: Client) -> Object:
    """The only one."""
    found = await cluster.get(f"/apis/healer.dev/v1alpha1/namespaces/{cluster.namespace}/incidents")
    [only] = found.body["items"]
    made: Object = only
    return made


@pytest.mark.parametrize("router", [INGRESS, HTTP_ROUTE], ids=lambda router: router.kind)
async def test_it_takes_the_traffic_off_a_canary(cluster: Client, router: Router, tmp_path: Path) -> None:
    for name in (STABLE, CANARY):
        await deploy(cluster, name)
    if router.custom:
        await define(cluster, router.plural)
    for manifest in router.manifests(cluster.namespace):
        await cluster.make(router.path(cluster.namespace), manifest)
    between = {"stable": {"deployment": STABLE}, "canary": {"deployment": CANARY}}
    step = {"shiftTraffic": {"to": 0, "route": {"kind": router.kind, "name": ROUTE}, **between}}
    async with healer(cluster, step, tmp_path) as daemon:
        firing = alert("HighErrors", namespace=cluster.namespace, deployment=CANARY)
        await daemon.post(firing)
        await daemon.says("incident verifying", reason="Shifted")
        await daemon.post(firing | {"status": "resolved"})
        await daemon.says("incident healed")
    route: Any = (await cluster.get(f"{router.path(cluster.namespace)}/{ROUTE}")).body
    for part in router.weights[1].strip("/").split("/"):
        route = route[int(part)] if isinstance(route, list) else route[part.replace("~1", "/")]
    assert route == router.weight(0)
    kept = await incident(cluster)
    assert kept["status"]["state"] == "healed"
    [note] = kept["status"]["notices"]["shiftTraffic"].values()
    assert '"before":"90:10"' in note


async def test_it_rolls_a_bad_revision_back(cluster: Client, tmp_path: Path) -> None:
    await deploy(cluster, CANARY)
    path = f"{cluster.apps}/deployments/{CANARY}"
    good = image_of((await cluster.get(path)).body)
    container = {"name": "c", "image": "tensorflow/serving:bad"}
    bad = {"spec": {"template": {"spec": {"containers": [container]}}}}
    assert (await cluster.patch(path, bad, form=MERGE)).code == 200
    await cluster.until(
        f"{cluster.apps}/deployments", lambda found: found[0].get("status", {}).get("updatedReplicas") and len(found) == 1
    )
    async with healer(cluster, {"rollback": {}}, tmp_path) as daemon:
        firing = alert("HighErrors", namespace=cluster.namespace, deployment=CANARY)
        await daemon.post(firing)
        await daemon.says("incident verifying", reason="RolledBack")
        await complete(cluster, CANARY, image=good)
        await daemon.post(firing | {"status": "resolved"})
        await daemon.says("incident healed")
    found = (await cluster.get(path)).body
    assert image_of(found) == good
    assert found["metadata"]["annotations"]["healer.dev/rolled-back-from"] == "2"
    assert (await incident(cluster))["status"]["state"] == "healed"


async def test_it_rolls_a_bad_revision_of_a_statefulset_back(cluster: Client, tmp_path: Path) -> None:
    """One that has no annotations, to which a note is added all the same."""
    sets = f"{cluster.apps}/statefulsets"
    await cluster.make(sets, statefulset(podManagementPolicy="Parallel"))
    await cluster.until(sets, whole(3, updatedReplicas=3))
    await cluster.patch(f"{sets}/db", {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "serving:bad"}]}}}})
    [bad] = await cluster.until(sets, whole(2, updatedReplicas=1))
    async with healer(cluster, {"rollback": {}}, tmp_path) as daemon:
        firing = alert("HighErrors", namespace=cluster.namespace, statefulset="db")
        await daemon.post(firing)
        await daemon.says("incident verifying", reason="RolledBack")
        await cluster.until(sets, whole(3, updatedReplicas=3))
        await daemon.post(firing | {"status": "resolved"})
        await daemon.says("incident healed")
    found = (await cluster.get(f"{sets}/db")).body
    assert image_of(found) == "serving:1"
    assert found["status"]["updateRevision"] == bad["status"]["currentRevision"]
    assert found["metadata"]["annotations"]["healer.dev/rolled-back-from"] == bad["status"]["updateRevision"]
