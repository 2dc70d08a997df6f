"""Deletions: graceful, conditional, held by finalizers."""

from __future__ import annotations

import pytest

from tests.contract.client import Client, Object, deployment, pod

ANOTHER_UID = "00000000-0000-0000-0000-000000000000"


async def _deployment(api: Client) -> str:
    await api.make(f"{api.apps}/deployments", deployment())
    return f"{api.apps}/deployments/serving"


async def test_delete_is_graceful_for_a_pod_on_a_node(api: Client) -> None:
    made = await api.make(f"{api.core}/pods", pod("a"))
    uid = {"preconditions": {"uid": made["metadata"]["uid"]}}
    first = await api.delete(f"{api.core}/pods/a", uid)
    assert first.code == 200
    assert first.body["kind"] == "Pod"
    assert first.body["metadata"]["deletionGracePeriodSeconds"] == 30
    assert first.body["metadata"]["generation"] == made["metadata"]["generation"] + 1
    again = await api.delete(f"{api.core}/pods/a")
    assert (again.code, again.body["metadata"]["resourceVersion"]) == (200, first.body["metadata"]["resourceVersion"])
    assert (await api.delete(f"{api.core}/pods/a", {"gracePeriodSeconds": 0})).code == 200
    assert (await api.get(f"{api.core}/pods/a")).code == 404


async def test_delete_of_an_unplaced_pod_is_immediate(api: Client) -> None:
    body = pod("a")
    del body["spec"]["nodeName"]
    await api.make(f"{api.core}/pods", body)
    assert (await api.delete(f"{api.core}/pods/a")).code == 200
    assert (await api.get(f"{api.core}/pods/a")).code == 404


@pytest.mark.parametrize(
    ("preconditions", "what"),
    [({"uid": ANOTHER_UID}, "the UID in the precondition"), ({"resourceVersion": "1"}, "the ResourceVersion in the")],
)
async def test_delete_preconditions(api: Client, preconditions: Object, what: str) -> None:
    await api.make(f"{api.core}/pods", pod("a"))
    answer = await api.delete(f"{api.core}/pods/a", {"preconditions": preconditions})
    assert (answer.code, answer.body["reason"]) == (409, "Conflict")
    assert answer.body["details"] == {"name": "a", "kind": "Pod"}
    assert answer.body["message"].startswith(f'Operation cannot be fulfilled on Pod "a": {what}')
    assert "deletionTimestamp" not in (await api.get(f"{api.core}/pods/a")).body["metadata"]


async def test_delete_answers_with_a_status_for_most_kinds(api: Client) -> None:
    path = await _deployment(api)
    uid = (await api.get(path)).body["metadata"]["uid"]
    answer = await api.delete(path)
    assert (answer.code, answer.body["status"]) == (200, "Success")
    assert answer.body["details"] == {"name": "serving", "group": "apps", "kind": "deployments", "uid": uid}
    assert (await api.get(path)).code == 404


async def test_a_dry_run_deletes_nothing(api: Client) -> None:
    path = await _deployment(api)
    assert (await api.delete(path, {"dryRun": ["All"]})).code == 200
    assert (await api.get(path)).code == 200


async def test_a_finalizer_holds_an_object(api: Client) -> None:
    body = deployment()
    body["metadata"]["finalizers"] = ["healer.dev/test"]
    await api.make(f"{api.apps}/deployments", body)
    path = f"{api.apps}/deployments/serving"
    answer = await api.delete(path)
    assert answer.code == 200
    assert "deletionTimestamp" in (await api.get(path)).body["metadata"]
    await api.patch(path, {"metadata": {"finalizers": None}})
    assert (await api.get(path)).code == 404


async def test_a_collection_is_deleted_by_selector(api: Client) -> None:
    for name, version in (("a", "v1"), ("b", "v2")):
        await api.make(f"{api.core}/configmaps", {"metadata": {"name": name, "labels": {"version": version}}})
    assert (await api.delete(f"{api.core}/configmaps?labelSelector=version=v1")).code == 200
    left = (await api.get(f"{api.core}/configmaps?labelSelector=version")).body["items"]
    assert [item["metadata"]["name"] for item in left] == ["b"]
