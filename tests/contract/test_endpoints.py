"""EndpointSlices of a Service: where its pods are, and which of them take requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from healer.lab.kubelet.behaviour import ANNOTATION
from tests.contract.client import STRATEGIC, Client, Object, pod
from tests.contract.rollout import UNREADY, kubelet, pods, ready, up

NODE = "node-0"
_MANAGER = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}


@pytest.fixture
async def cluster(managed: Client) -> Client:
    """A cluster that has the node of the pods: without it, a controller manager leaves them out."""
    answer = await managed.post("/api/v1/nodes", {"metadata": {"name": NODE}})
    assert answer.code in (201, 409), answer
    return managed


def _service(name: str = "serving", **spec: Any) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": 8501}]
    return {
        "metadata": {"name": name, "labels": {"team": "ml"}},
        "spec": {"selector": {"app": "serving"}, "ports": ports, **spec},
    }


def _pod(name: str) -> Object:
    body = pod(name, annotations={ANNOTATION: "manual"})
    body["spec"]["containers"][0]["ports"] = [{"name": "rest", "containerPort": 8501}]
    return body


async def _slice(cluster: Client, predicate: Callable[[Object], object]) -> Object:
    """The one EndpointSlice, as soon as the predicate holds."""
    path = f"/apis/discovery.k8s.io/v1/namespaces/{cluster.namespace}/endpointslices"
    [found] = await cluster.until(path, lambda slices: len(slices) == 1 and predicate(slices[0]))
    return found


def _conditions(found: Object) -> dict[str, tuple[bool, bool, bool]]:
    """Ready, serving and terminating, by address."""
    return {
        item["addresses"][0]: (
            item["conditions"]["ready"],
            item["conditions"]["serving"],
            item["conditions"]["terminating"],
        )
        for item in found["endpoints"] or []
    }


def _says(**wanted: tuple[bool, bool, bool]) -> Callable[[Object], bool]:
    """Holds for a slice with these conditions; `ip2` is 10.1.0.2."""
    expected = {f"10.1.0.{name.removeprefix('ip')}": value for name, value in wanted.items()}
    return lambda found: _conditions(found) == expected


def _listens(ports: list[int]) -> Callable[[Object], bool]:
    return lambda found: [item["port"] for item in found["ports"] or []] == ports


async def _two_pods(cluster: Client) -> None:
    """A ready pod at 10.1.0.2 and one that is not at 10.1.0.3."""
    await cluster.make(f"{cluster.core}/services", _service())
    for name, address, patch in (("a", "10.1.0.2", {}), ("b", "10.1.0.3", UNREADY)):
        await cluster.make(f"{cluster.core}/pods", _pod(name))
        await cluster.patch(f"{cluster.core}/pods/{name}/status", ready(address), STRATEGIC)
        await cluster.patch(f"{cluster.core}/pods/{name}/status", patch, STRATEGIC)
    await _slice(cluster, _says(ip2=(True, True, False), ip3=(False, False, False)))


async def test_a_service_without_pods_has_an_empty_slice(cluster: Client) -> None:
    made = await cluster.make(f"{cluster.core}/services", _service())
    found = await _slice(cluster, lambda found: True)
    assert (found["addressType"], found["endpoints"], found["ports"]) == ("IPv4", None, None)
    metadata = found["metadata"]
    assert metadata["name"].startswith("serving-")
    assert metadata["generateName"] == "serving-"
    assert metadata["labels"] == _MANAGER | {"kubernetes.io/service-name": "serving", "team": "ml"}
    assert list(metadata["annotations"]) == ["endpoints.kubernetes.io/last-change-trigger-time"]
    reference = {"apiVersion": "v1", "kind": "Service", "name": "serving", "uid": made["metadata"]["uid"]}
    assert metadata["ownerReferences"] == [reference | {"controller": True, "blockOwnerDeletion": True}]


async def test_pods_are_endpoints_as_their_readiness_goes(cluster: Client) -> None:
    await _two_pods(cluster)
    found = await _slice(cluster, lambda found: True)
    uids = {item["metadata"]["name"]: item["metadata"]["uid"] for item in await pods(cluster)}
    wanted = {"kind": "Pod", "namespace": cluster.namespace, "name": "a", "uid": uids["a"]}
    [first] = [item for item in found["endpoints"] if item["addresses"] == ["10.1.0.2"]]
    assert (first["targetRef"], first["nodeName"]) == (wanted, NODE)
    assert found["ports"] == [{"name": "http", "protocol": "TCP", "port": 8501}]
    await cluster.patch(f"{cluster.core}/pods/a/status", UNREADY, STRATEGIC)
    await cluster.patch(f"{cluster.core}/pods/b/status", ready("10.1.0.3"), STRATEGIC)
    await _slice(cluster, _says(ip2=(False, False, False), ip3=(True, True, False)))


async def test_a_terminating_pod_serves_but_is_not_ready(cluster: Client) -> None:
    await _two_pods(cluster)
    await cluster.patch(f"{cluster.core}/pods/a", {"metadata": {"finalizers": ["tests.healer.dev/hold"]}})
    await cluster.delete(f"{cluster.core}/pods/a")
    await _slice(cluster, _says(ip2=(False, True, True), ip3=(False, False, False)))
    await cluster.patch(f"{cluster.core}/pods/a", {"metadata": {"finalizers": None}})
    await cluster.delete(f"{cluster.core}/pods/a", {"gracePeriodSeconds": 0})
    await _slice(cluster, _says(ip3=(False, False, False)))


async def test_a_pod_that_failed_or_has_no_address_is_no_endpoint(cluster: Client) -> None:
    await _two_pods(cluster)
    await cluster.make(f"{cluster.core}/pods", _pod("c"))
    await cluster.patch(f"{cluster.core}/pods/b/status", {"status": {"phase": "Failed"}})
    found = await _slice(cluster, _says(ip2=(True, True, False)))
    assert [item["targetRef"]["name"] for item in found["endpoints"]] == ["a"]


async def test_a_pod_whose_labels_leave_is_no_endpoint(cluster: Client) -> None:
    await _two_pods(cluster)
    await cluster.patch(f"{cluster.core}/pods/b", {"metadata": {"labels": {"app": "other"}}})
    await _slice(cluster, _says(ip2=(True, True, False)))
    await cluster.patch(f"{cluster.core}/services/serving", {"spec": {"selector": {"app": "other"}}})
    await _slice(cluster, _says(ip3=(False, False, False)))


async def test_ports_by_name_and_addresses_that_are_not_ready(cluster: Client) -> None:
    await _two_pods(cluster)
    path = f"{cluster.core}/services/serving"
    for target, numbers in (("rest", [8501]), ("nope", list[int]())):
        await cluster.patch(path, {"spec": {"ports": [{"name": "web", "port": 80, "targetPort": target}]}})
        await _slice(cluster, _listens(numbers))
    await cluster.patch(path, {"spec": {"publishNotReadyAddresses": True}})
    await _slice(cluster, _says(ip2=(True, True, False), ip3=(True, False, False)))


async def test_the_slice_goes_with_its_service(cluster: Client) -> None:
    await _two_pods(cluster)
    await cluster.delete(f"{cluster.core}/services/serving")
    path = f"/apis/discovery.k8s.io/v1/namespaces/{cluster.namespace}/endpointslices"
    await cluster.until(path, lambda found: not found)


async def test_a_slice_has_the_labels_of_its_service(cluster: Client) -> None:
    await _two_pods(cluster)
    await cluster.patch(f"{cluster.core}/services/serving", {"metadata": {"labels": {"team": "search"}}})
    await _slice(cluster, lambda found: found["metadata"]["labels"]["team"] == "search")


async def test_a_deleted_slice_comes_back(cluster: Client) -> None:
    await _two_pods(cluster)
    found = await _slice(cluster, lambda found: True)
    path = f"/apis/discovery.k8s.io/v1/namespaces/{cluster.namespace}/endpointslices"
    await cluster.delete(f"{path}/{found['metadata']['name']}")
    again = await _slice(cluster, lambda now: now["metadata"]["uid"] != found["metadata"]["uid"])
    assert _conditions(again) == _conditions(found)


async def test_a_rollout_moves_the_endpoints(cluster: Client) -> None:
    await cluster.make(f"{cluster.core}/services", _service())
    async with kubelet(cluster):
        await up(cluster)
        before = await _slice(cluster, lambda found: len(_conditions(found)) == 3 and all(_conditions(found).values()))
        stamp = {"kubectl.kubernetes.io/restartedAt": "2026-11-22T10:00:00Z"}
        await cluster.patch(f"{cluster.apps}/deployments/serving", {"spec": {"template": {"metadata": {"annotations": stamp}}}})
        old = set(_conditions(before))
        after = await _slice(cluster, lambda found: len(_conditions(found)) == 3 and not old & set(_conditions(found)))
    assert len(after["endpoints"]) == 3


async def test_a_headless_service_says_so(cluster: Client) -> None:
    await cluster.make(f"{cluster.core}/services", _service(clusterIP="None"))
    found = await _slice(cluster, lambda found: True)
    assert found["metadata"]["labels"]["service.kubernetes.io/headless"] == ""


async def test_a_service_without_a_selector_has_none(cluster: Client) -> None:
    await cluster.make(f"{cluster.core}/services", _service("bare", selector=None))
    await cluster.make(f"{cluster.core}/services", _service())
    found = await _slice(cluster, lambda found: True)
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "serving"
