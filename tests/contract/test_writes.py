"""Create, update and scale: what is stored, counted and refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.client import Client, Object, deployment, pod

ANOTHER_UID = "00000000-0000-0000-0000-000000000000"


def _lease(**metadata: Any) -> Object:
    moment = "2026-11-22T10:00:00.000000Z"
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "healer", **metadata},
        "spec": {
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "acquireTime": moment,
            "renewTime": moment,
            "leaseTransitions": 0,
        },
    }


async def _deployment(api: Client) -> str:
    await api.make(f"{api.apps}/deployments", deployment())
    return f"{api.apps}/deployments/serving"


async def test_create_fills_in_metadata_and_defaults(api: Client) -> None:
    made = await api.make(f"{api.apps}/deployments", deployment())
    metadata, spec = made["metadata"], made["spec"]
    assert {"uid", "resourceVersion", "creationTimestamp"} <= metadata.keys()
    assert (metadata["namespace"], metadata["generation"]) == (api.namespace, 1)
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    template = spec["template"]["spec"]
    assert template["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert (template["restartPolicy"], template["terminationGracePeriodSeconds"]) == ("Always", 30)


async def test_a_pod_begins_pending_whatever_it_says(api: Client) -> None:
    made = await api.make(f"{api.core}/pods", pod("a") | {"status": {"phase": "Running"}})
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


async def test_a_generated_name(api: Client) -> None:
    first, second = [await api.make(f"{api.core}/pods", pod()) for _ in range(2)]
    names = {first["metadata"]["name"], second["metadata"]["name"]}
    assert len(names) == 2
    assert all(name.startswith("p-") and len(name) == 7 for name in names)


async def test_a_name_that_is_taken(api: Client) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases"
    await api.make(path, _lease())
    answer = await api.post(path, _lease())
    assert (answer.code, answer.body["reason"]) == (409, "AlreadyExists")
    assert answer.body["message"] == 'leases.coordination.k8s.io "healer" already exists'
    assert answer.body["details"] == {"name": "healer", "group": "coordination.k8s.io", "kind": "leases"}


async def test_a_namespace_that_is_missing(api: Client) -> None:
    answer = await api.post("/api/v1/namespaces/nowhere/pods", pod("a"))
    assert (answer.code, answer.body["reason"]) == (404, "NotFound")
    assert answer.body["details"] == {"name": "nowhere", "kind": "namespaces"}


async def test_a_namespace_that_differs(api: Client) -> None:
    answer = await api.post(f"{api.core}/pods", pod("a", namespace="default"))
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")


async def test_an_invalid_pod_names_every_cause(api: Client) -> None:
    answer = await api.post(f"{api.core}/pods", {"metadata": {"name": "UPPER"}, "spec": {}})
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert [(cause["reason"], cause["field"]) for cause in answer.causes] == [
        ("FieldValueInvalid", "metadata.name"),
        ("FieldValueRequired", "spec.containers"),
    ]


async def test_a_selector_that_misses_its_template(api: Client) -> None:
    answer = await api.post(f"{api.apps}/deployments", deployment(selector={"matchLabels": {"app": "another"}}))
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert [cause["field"] for cause in answer.causes] == ["spec.template.metadata.labels"]


async def test_a_selector_cannot_change(api: Client) -> None:
    path = await _deployment(api)
    change = {"selector": {"matchLabels": {"version": "v1"}}}
    answer = await api.patch(path, {"spec": change})
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert "spec.selector" in [cause["field"] for cause in answer.causes]


async def test_a_pods_spec_cannot_change(api: Client) -> None:
    await api.make(f"{api.core}/pods", pod("a"))
    answer = await api.patch(f"{api.core}/pods/a", {"spec": {"nodeName": "node-1"}})
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert [(cause["reason"], cause["field"]) for cause in answer.causes] == [("FieldValueForbidden", "spec")]


async def test_wrong_types_are_refused(api: Client) -> None:
    answer = await api.post(f"{api.apps}/deployments", deployment(replicas="three"))
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")
    labelled = deployment() | {"metadata": {"name": "x", "labels": {"count": 1}}}
    answer = await api.post(f"{api.apps}/deployments", labelled)
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")


async def test_unknown_fields_are_dropped_with_a_warning(api: Client) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases"
    body = _lease()
    body["spec"]["holder"] = "misspelt"
    answer = await api.post(path, body)
    assert answer.code == 201
    assert "holder" not in answer.body["spec"]
    assert answer.warnings == ['299 - "unknown field \\"spec.holder\\""']
    strict = await api.post(f"{path}?fieldValidation=Strict", body)
    assert (strict.code, strict.body["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"labels": {"x": "bad value!"}}, "metadata.labels"),
        ({"annotations": {"bad key!": "x"}}, "metadata.annotations"),
        ({"annotations": {"x": "y" * 300_000}}, "metadata.annotations"),
    ],
)
async def test_labels_and_annotations_have_rules(api: Client, metadata: Object, field: str) -> None:
    answer = await api.patch(await _deployment(api), {"metadata": metadata})
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert {cause["field"] for cause in answer.causes} == {field}


async def test_a_lease_is_renewed_by_compare_and_swap(api: Client) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases"
    made = await api.make(path, _lease())
    renewed = made | {"spec": made["spec"] | {"renewTime": "2026-11-22T10:00:02.000000Z"}}
    first = await api.put(f"{path}/healer", renewed)
    assert first.code == 200
    assert first.body["spec"]["renewTime"] == "2026-11-22T10:00:02.000000Z"
    second = await api.put(f"{path}/healer", renewed)
    assert (second.code, second.body["reason"]) == (409, "Conflict")
    assert second.body["message"] == (
        'Operation cannot be fulfilled on leases.coordination.k8s.io "healer": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert second.body["details"] == {"name": "healer", "group": "coordination.k8s.io", "kind": "leases"}


async def test_a_lease_put_without_a_resource_version_is_refused(api: Client) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases"
    await api.make(path, _lease())
    answer = await api.put(f"{path}/healer", _lease())
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert [cause["field"] for cause in answer.causes] == ["metadata.resourceVersion"]


async def test_a_lease_put_creates_what_is_not_there(api: Client) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases/healer"
    assert (await api.put(path, _lease())).code == 201


async def test_put_of_another_uid_is_a_conflict(api: Client) -> None:
    path = await _deployment(api)
    body = (await api.get(path)).body
    body["metadata"] |= {"uid": ANOTHER_UID}
    answer = await api.put(path, body)
    assert (answer.code, answer.body["reason"]) == (409, "Conflict")


async def test_put_under_another_name(api: Client) -> None:
    path = await _deployment(api)
    body = (await api.get(path)).body
    body["metadata"]["name"] = "another"
    answer = await api.put(path, body)
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")


async def test_put_without_a_resource_version(api: Client) -> None:
    path = await _deployment(api)
    body = (await api.get(path)).body
    del body["metadata"]["resourceVersion"]
    assert (await api.put(path, body)).code == 200


async def test_a_write_that_changes_nothing_keeps_the_resource_version(api: Client) -> None:
    path = await _deployment(api)
    before = (await api.get(path)).body
    after = (await api.patch(path, {"spec": {"replicas": 3}})).body
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_generation_counts_changes_of_spec_and_annotations(api: Client) -> None:
    path = await _deployment(api)
    generations = []
    for change in (
        {"spec": {"replicas": 2}},
        {"metadata": {"annotations": {"healer.dev/paused": "true"}}},
        {"metadata": {"labels": {"tier": "x"}}},
        {"status": {"replicas": 5}},
    ):
        generations.append((await api.patch(path, change)).body["metadata"]["generation"])
    assert generations == [2, 3, 3, 3]


async def test_status_is_written_by_its_subresource_only(api: Client) -> None:
    path = await _deployment(api)
    await api.patch(path, {"status": {"replicas": 5}})
    assert (await api.get(path)).body["status"].get("replicas") is None
    answer = await api.patch(f"{path}/status", {"status": {"replicas": 5}, "spec": {"replicas": 9}})
    assert answer.code == 200
    assert (answer.body["status"]["replicas"], answer.body["spec"]["replicas"]) == (5, 3)


async def test_a_dry_run_writes_nothing(api: Client) -> None:
    path = await _deployment(api)
    answer = await api.patch(f"{path}?dryRun=All", {"spec": {"replicas": 7}})
    assert (answer.code, answer.body["spec"]["replicas"]) == (200, 7)
    assert (await api.get(path)).body["spec"]["replicas"] == 3
    assert (await api.post(f"{api.core}/pods?dryRun=All", pod("a"))).code == 201
    assert (await api.get(f"{api.core}/pods/a")).code == 404


async def test_scale(api: Client) -> None:
    path = await _deployment(api)
    scale = (await api.get(f"{path}/scale")).body
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 0, "selector": "app=serving"}
    patched = await api.patch(f"{path}/scale", {"spec": {"replicas": 4}})
    assert (patched.code, patched.body["spec"]) == (200, {"replicas": 4})
    stale = await api.put(f"{path}/scale", scale)
    assert (stale.code, stale.body["reason"]) == (409, "Conflict")
    assert (await api.get(path)).body["spec"]["replicas"] == 4
    assert (await api.get(path)).body["metadata"]["generation"] == 2


async def test_a_scale_below_zero(api: Client) -> None:
    answer = await api.patch(f"{await _deployment(api)}/scale", {"spec": {"replicas": -1}})
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert [cause["field"] for cause in answer.causes] == ["spec.replicas"]
