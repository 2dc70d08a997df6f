"""Custom resources: definition, pruning, validation, status."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.client import STRATEGIC, Client, Object

WITHIN = 20.0
"""Seconds for a server to serve a new definition; the lab needs none of them."""


async def _define(api: Client) -> str:
    """Define a resource in a group of the test's own; returns the path of its collection."""
    group = f"{api.namespace}.dev"
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["rule"],
                "properties": {
                    "rule": {"type": "string", "minLength": 1},
                    "count": {"type": "integer", "minimum": 0, "default": 1},
                    "steps": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            },
            "status": {"type": "object", "properties": {"state": {"type": "string", "enum": ["Open", "Healed"]}}},
        },
    }
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"tests.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "tests", "singular": "test", "kind": "Test", "shortNames": ["tst"]},
            "versions": [
                {
                    "name": "v1alpha1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                    "additionalPrinterColumns": [{"name": "State", "type": "string", "jsonPath": ".status.state"}],
                }
            ],
        },
    }
    path = f"/apis/{group}/v1alpha1/namespaces/{api.namespace}/tests"
    assert (await api.get(path)).code == 404
    made = await api.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    assert made["status"]["conditions"] is None
    assert made["spec"]["names"]["listKind"] == "TestList"
    name = made["metadata"]["name"]
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    async with asyncio.timeout(WITHIN), api.watch(f"{crds}?watch=1&fieldSelector=metadata.name={name}") as events:
        async for event in events:
            conditions = event["object"]["status"].get("conditions") or []
            if any(item["type"] == "Established" and item["status"] == "True" for item in conditions):
                break
    async with asyncio.timeout(WITHIN):  # established, and yet not served at once by a real one
        while (await api.get(path)).code != 200:  # noqa: ASYNC110 - the server offers nothing to wait on
            await asyncio.sleep(0.05)
    return path


def _body(path: str, name: str = "one", **fields: Any) -> Object:
    group_version = path.split("/apis/")[1].split("/namespaces/")[0]
    return {"apiVersion": group_version, "kind": "Test", "metadata": {"name": name}, "spec": {"rule": "r"}, **fields}


async def test_create_prunes_defaults_and_drops_status(api: Client) -> None:
    path = await _define(api)
    spec = {
        "rule": "r",
        "unknown": 1,
        "steps": [{"name": "a", "x": 1}],
        "free": {"any": {"thing": 1}},
        "labels": {"a": "b"},
    }
    answer = await api.post(path, _body(path, spec=spec, status={"state": "Open"}, extra=1))
    assert answer.code == 201, answer
    assert answer.body["spec"] == {
        "rule": "r",
        "count": 1,
        "steps": [{"name": "a"}],
        "free": {"any": {"thing": 1}},
        "labels": {"a": "b"},
    }
    assert "status" not in answer.body
    assert "extra" not in answer.body
    assert sorted(answer.warnings) == [
        f'299 - "unknown field \\"{path}\\""' for path in ("extra", "spec.steps[0].x", "spec.unknown")
    ]
    listed = (await api.get(path)).body
    assert listed["kind"] == "TestList"
    assert listed["items"][0]["kind"] == "Test"


@pytest.mark.parametrize(
    ("spec", "reason", "field", "message"),
    [
        ({}, "FieldValueRequired", "spec.rule", "Required value"),
        (
            {"rule": 1},
            "FieldValueTypeInvalid",
            "spec.rule",
            'Invalid value: "integer": spec.rule in body must be of type string: "integer"',
        ),
        (
            {"rule": "r", "count": -1},
            "FieldValueInvalid",
            "spec.count",
            "Invalid value: -1: spec.count in body should be greater than or equal to 0",
        ),
        (
            {"rule": ""},
            "FieldValueInvalid",
            "spec.rule",
            'Invalid value: "": spec.rule in body should be at least 1 chars long',
        ),
    ],
)
async def test_validation(api: Client, spec: Object, reason: str, field: str, message: str) -> None:
    path = await _define(api)
    answer = await api.post(path, _body(path, "two", spec=spec))
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert answer.causes == [{"reason": reason, "message": message, "field": field}]
    assert answer.body["message"] == f'Test.{api.namespace}.dev "two" is invalid: {field}: {message}'


async def test_status_is_a_subresource(api: Client) -> None:
    path = await _define(api)
    made = await api.make(path, _body(path))
    answer = await api.put(f"{path}/one/status", made | {"status": {"state": "Open"}, "spec": {"rule": "ignored"}})
    assert answer.code == 200
    assert (answer.body["status"], answer.body["spec"]["rule"]) == ({"state": "Open"}, "r")
    assert answer.body["metadata"]["generation"] == 1
    stale = await api.put(f"{path}/one/status", made | {"status": {"state": "Healed"}})
    assert (stale.code, stale.body["reason"]) == (409, "Conflict")
    assert stale.body["details"] == {"name": "one", "group": f"{api.namespace}.dev", "kind": "tests"}
    main = await api.patch(f"{path}/one", {"spec": {"rule": "s"}, "status": {"state": "Healed"}})
    assert (main.body["status"], main.body["metadata"]["generation"]) == ({"state": "Open"}, 2)


async def test_an_unknown_state(api: Client) -> None:
    path = await _define(api)
    await api.make(path, _body(path))
    answer = await api.patch(f"{path}/one/status", {"status": {"state": "Nope"}})
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    message = 'Unsupported value: "Nope": supported values: "Open", "Healed"'
    assert answer.causes == [{"reason": "FieldValueNotSupported", "message": message, "field": "status.state"}]


async def test_put_needs_a_resource_version(api: Client) -> None:
    path = await _define(api)
    await api.make(path, _body(path))
    answer = await api.put(f"{path}/one", _body(path))
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert [cause["field"] for cause in answer.causes] == ["metadata.resourceVersion"]


async def test_strategic_patch_is_not_for_them(api: Client) -> None:
    path = await _define(api)
    await api.make(path, _body(path))
    answer = await api.patch(f"{path}/one", {"spec": {"rule": "s"}}, STRATEGIC)
    assert (answer.code, answer.body["reason"]) == (415, "UnsupportedMediaType")
    assert "details" not in answer.body


async def test_a_table_shows_the_printer_columns(api: Client) -> None:
    path = await _define(api)
    await api.make(path, _body(path))
    await api.patch(f"{path}/one/status", {"status": {"state": "Open"}})
    table = (await api.get(path, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})).body
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "State"]
    assert [row["cells"] for row in table["rows"]] == [["one", "Open"]]


async def test_delete_answers_with_a_status(api: Client) -> None:
    path = await _define(api)
    await api.make(path, _body(path))
    answer = await api.delete(f"{path}/one")
    assert (answer.code, answer.body["kind"], answer.body["status"]) == (200, "Status", "Success")
