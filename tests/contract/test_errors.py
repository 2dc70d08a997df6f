"""The errors of the API: codes, reasons, details."""

from __future__ import annotations

import pytest

from tests.contract.client import Client, pod


async def test_unauthorized(api: Client) -> None:
    answer = await api.get(f"{api.core}/pods", headers={"Authorization": "Bearer wrong"})
    assert answer.code == 401
    assert answer.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "Unauthorized",
        "reason": "Unauthorized",
        "code": 401,
    }


async def test_forbidden(api: Client) -> None:
    answer = await api.get(f"{api.core}/pods", headers=api.weaken("list", "pods"))
    assert (answer.code, answer.body["reason"], answer.body["details"]) == (403, "Forbidden", {"kind": "pods"})
    assert answer.body["message"].startswith("pods is forbidden: User ")
    assert answer.body["message"].endswith(f'cannot list resource "pods" in API group "" in the namespace "{api.namespace}"')


async def test_forbidden_in_a_group_and_at_the_cluster_scope(api: Client) -> None:
    answer = await api.get("/apis/apps/v1/deployments", headers=api.weaken("list", "deployments"))
    assert answer.body["details"] == {"group": "apps", "kind": "deployments"}
    assert answer.body["message"].startswith("deployments.apps is forbidden: User ")
    assert answer.body["message"].endswith('cannot list resource "deployments" in API group "apps" at the cluster scope')


async def test_not_found(api: Client) -> None:
    answer = await api.get(f"{api.apps}/deployments/nope")
    assert (answer.code, answer.body["reason"]) == (404, "NotFound")
    assert answer.body["message"] == 'deployments.apps "nope" not found'
    assert answer.body["details"] == {"name": "nope", "group": "apps", "kind": "deployments"}


@pytest.mark.parametrize("path", ["/apis/none.dev/v1/things", "/apis/example.none/v1/namespaces/default/things/x"])
async def test_a_group_that_is_not_served(api: Client, path: str) -> None:
    answer = await api.get(path)
    assert (answer.code, answer.body) == (404, "404 page not found\n")


@pytest.mark.parametrize("path", ["/api/v1/pods/x", "/api/v1/nopes", "/api/v1/namespaces/default/pods/x/nope"])
async def test_a_path_that_is_not_served_in_a_group_that_is(api: Client, path: str) -> None:
    answer = await api.get(path)
    assert (answer.code, answer.body["reason"]) == (404, "NotFound")
    assert answer.body["message"] == "the server could not find the requested resource"


async def test_method_not_allowed(api: Client) -> None:
    answer = await api.post(f"{api.core}/pods/x", {})
    assert (answer.code, answer.body["reason"], answer.body["details"]) == (405, "MethodNotAllowed", {})
    assert (await api.get(f"{api.core}/pods/x/eviction")).code == 405


async def test_not_json(api: Client) -> None:
    answer = await api.post(f"{api.core}/pods", "{nope")
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")
    assert answer.body["message"].startswith("the object provided is unrecognized (must be of type Pod)")


async def test_another_kind(api: Client) -> None:
    answer = await api.post(f"{api.core}/pods", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}})
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")


async def test_another_content_type(api: Client) -> None:
    answer = await api.post(f"{api.core}/pods", "x", form="text/plain")
    assert (answer.code, answer.body["reason"]) == (415, "UnsupportedMediaType")


async def test_a_resource_version_at_create(api: Client) -> None:
    answer = await api.post(f"{api.core}/pods", pod("a", resourceVersion="1"))
    assert answer.code == 500
    assert answer.body["message"] == "resourceVersion should not be set on objects to be created"


async def test_the_version_and_the_probes(api: Client) -> None:
    version = (await api.get("/version")).body
    assert (version["major"], int(version["minor"].rstrip("+")) >= 30) == ("1", True)
    for path in ("/healthz", "/readyz", "/livez"):
        assert (await api.get(path)).code == 200


async def test_discovery(api: Client) -> None:
    pods = {row["name"]: row for row in (await api.get("/api/v1")).body["resources"]}
    assert {"pods", "pods/status", "pods/eviction"} <= pods.keys()
    assert (pods["pods"]["kind"], pods["pods"]["namespaced"]) == ("Pod", True)
    assert (pods["pods/eviction"]["group"], pods["pods/eviction"]["version"]) == ("policy", "v1")
    groups = [group["name"] for group in (await api.get("/apis")).body["groups"]]
    assert {"apps", "policy", "coordination.k8s.io", "events.k8s.io", "networking.k8s.io"} <= set(groups)
    apps = (await api.get("/apis/apps/v1")).body["resources"]
    assert {"deployments", "deployments/scale", "replicasets"} <= {row["name"] for row in apps}
