"""The patches: what each merges, and how each is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.client import JSON_PATCH, MERGE, STRATEGIC, Client, Object, deployment

ANOTHER_UID = "00000000-0000-0000-0000-000000000000"


async def _deployment(api: Client) -> str:
    await api.make(f"{api.apps}/deployments", deployment())
    return f"{api.apps}/deployments/serving"


async def test_merge_patch_sets_and_removes(api: Client) -> None:
    path = await _deployment(api)
    for value, expected in (("true", "true"), (None, None)):
        answer = await api.patch(path, {"metadata": {"annotations": {"healer.dev/paused": value}}})
        assert answer.code == 200
        assert (answer.body["metadata"].get("annotations") or {}).get("healer.dev/paused") == expected


async def test_merge_patch_with_an_old_resource_version(api: Client) -> None:
    path = await _deployment(api)
    answer = await api.patch(path, {"metadata": {"resourceVersion": "1", "annotations": {"a": "b"}}})
    assert (answer.code, answer.body["reason"]) == (409, "Conflict")
    assert answer.body["details"] == {"name": "serving", "group": "apps", "kind": "deployments"}


async def test_strategic_patch_merges_containers_by_name(api: Client) -> None:
    path = await _deployment(api)
    change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "tensorflow/serving:bad"}]}}}}
    container = (await api.patch(path, change, STRATEGIC)).body["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], container["terminationMessagePolicy"]) == ("tensorflow/serving:bad", "File")


async def test_strategic_patch_adds_and_deletes_containers(api: Client) -> None:
    path = await _deployment(api)
    two = {"containers": [{"name": "side", "image": "side:1"}]}
    answer = await api.patch(path, {"spec": {"template": {"spec": two}}}, STRATEGIC)
    names = [container["name"] for container in answer.body["spec"]["template"]["spec"]["containers"]]
    assert sorted(names) == ["c", "side"]
    one = {"containers": [{"name": "side", "$patch": "delete"}]}
    answer = await api.patch(path, {"spec": {"template": {"spec": one}}}, STRATEGIC)
    assert [item["name"] for item in answer.body["spec"]["template"]["spec"]["containers"]] == ["c"]


async def test_strategic_patch_replaces_a_map_when_told(api: Client) -> None:
    path = await _deployment(api)
    change = {"spec": {"template": {"metadata": {"labels": {"$patch": "replace", "app": "serving"}}}}}
    answer = await api.patch(path, change, STRATEGIC)
    assert answer.body["spec"]["template"]["metadata"]["labels"] == {"app": "serving"}


async def test_merge_patch_replaces_lists(api: Client) -> None:
    path = await _deployment(api)
    change = {"spec": {"template": {"spec": {"containers": [{"name": "new", "image": "i:1"}]}}}}
    answer = await api.patch(path, change, MERGE)
    assert [item["name"] for item in answer.body["spec"]["template"]["spec"]["containers"]] == ["new"]


async def test_json_patch(api: Client) -> None:
    path = await _deployment(api)
    steps = [
        {"op": "test", "path": "/spec/replicas", "value": 3},
        {"op": "replace", "path": "/spec/replicas", "value": 4},
        {"op": "add", "path": "/metadata/labels/a~1b", "value": "c"},
        {"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "d", "image": "d:1"}},
        {"op": "remove", "path": "/spec/template/spec/containers/0"},
    ]
    answer = await api.patch(path, steps, JSON_PATCH)
    assert answer.code == 200, answer
    assert answer.body["spec"]["replicas"] == 4
    assert answer.body["metadata"]["labels"]["a/b"] == "c"
    assert [item["name"] for item in answer.body["spec"]["template"]["spec"]["containers"]] == ["d"]


@pytest.mark.parametrize(
    "steps",
    [
        [{"op": "test", "path": "/spec/replicas", "value": 9}],
        [{"op": "replace", "path": "/spec/nope/x", "value": 4}],
        [{"op": "remove", "path": "/spec/nope"}],
    ],
)
async def test_a_json_patch_that_cannot_be_applied(api: Client, steps: list[Object]) -> None:
    answer = await api.patch(await _deployment(api), steps, JSON_PATCH)
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")


@pytest.mark.parametrize(
    ("body", "form", "code", "reason"),
    [
        ({"spec": {}}, "application/json", 415, "UnsupportedMediaType"),
        ("{", MERGE, 400, "BadRequest"),
        ({"op": "test"}, JSON_PATCH, 400, "BadRequest"),
        ([], MERGE, 400, "BadRequest"),
        ({"spec": {"replicas": -1}}, MERGE, 422, "Invalid"),
        ({"spec": {"replicas": "three"}}, MERGE, 422, "Invalid"),
        ({"metadata": {"annotations": {"healer.dev/paused": True}}}, MERGE, 422, "Invalid"),
    ],
)
async def test_patches_that_are_refused(api: Client, body: Any, form: str, code: int, reason: str) -> None:
    answer = await api.patch(await _deployment(api), body, form)
    assert (answer.code, answer.body["reason"]) == (code, reason), answer


async def test_patch_of_nothing(api: Client) -> None:
    answer = await api.patch(f"{api.apps}/deployments/nope", {"spec": {}})
    assert (answer.code, answer.body["reason"]) == (404, "NotFound")
