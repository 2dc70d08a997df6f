"""What temporary changes rest on: a scale and a node that are patched for the version that was read, and found by a field."""

from __future__ import annotations

from tests.contract.client import Client, Object


def _deployment() -> Object:
    labels = {"app": "serving"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {"metadata": {"name": "serving"}, "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}}


async def test_a_scale_is_patched_for_the_version_that_was_read(api: Client) -> None:
    """It has the uid and the version of its workload; another version is a conflict, and nothing is changed."""
    made = await api.make(f"{api.apps}/deployments", _deployment())
    path = f"{api.apps}/deployments/serving/scale"
    scale = (await api.get(path)).body
    assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 3)
    assert {key: scale["metadata"][key] for key in ("uid", "resourceVersion")} == {
        key: made["metadata"][key] for key in ("uid", "resourceVersion")
    }
    change = {"metadata": {"resourceVersion": scale["metadata"]["resourceVersion"]}, "spec": {"replicas": 5}}
    dry = await api.patch(f"{path}?dryRun=All", change)
    assert (dry.code, dry.body["spec"]["replicas"]) == (200, 5)
    done = await api.patch(path, change)
    assert (done.code, done.body["spec"]["replicas"]) == (200, 5)
    again = await api.patch(path, change)
    assert (again.code, again.body["reason"]) == (409, "Conflict")
    assert (await api.get(f"{api.apps}/deployments/serving")).body["spec"]["replicas"] == 5


async def test_a_minimum_is_patched_for_the_version_that_was_read(api: Client) -> None:
    """As the scale, of an autoscaler."""
    path = f"/apis/autoscaling/v2/namespaces/{api.namespace}/horizontalpodautoscalers"
    scales = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "serving"}
    made = await api.make(path, {"metadata": {"name": "serving"}, "spec": {"scaleTargetRef": scales, "maxReplicas": 9}})
    change = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "spec": {"minReplicas": 5}}
    assert (await api.patch(f"{path}/serving", change)).body["spec"]["minReplicas"] == 5
    assert (await api.patch(f"{path}/serving", change)).code == 409


async def test_nodes_are_cordoned_found_and_uncordoned(api: Client) -> None:
    """By spec.unschedulable, which is absent where it is false; a page of one says how many there are besides."""
    name = f"node-of-{api.namespace}"
    await api.make("/api/v1/nodes", {"metadata": {"name": name}, "spec": {}})
    await api.make("/api/v1/nodes", {"metadata": {"name": f"other-{name}"}, "spec": {}})
    try:
        node = (await api.get(f"/api/v1/nodes/{name}")).body
        metadata = {key: node["metadata"][key] for key in ("uid", "resourceVersion")}
        cordon = {"metadata": metadata | {"annotations": {"healer.dev/cordoned-by": "a/b"}}, "spec": {"unschedulable": True}}
        assert (await api.patch(f"/api/v1/nodes/{name}", cordon)).body["spec"]["unschedulable"] is True
        assert (await api.patch(f"/api/v1/nodes/{name}", cordon)).code == 409

        async def names(selector: str) -> set[str]:
            found = await api.get(f"/api/v1/nodes?fieldSelector={selector}")
            return {each["metadata"]["name"] for each in found.body["items"]} & {name, f"other-{name}"}

        assert await names("spec.unschedulable%3Dtrue") == {name}
        assert await names("spec.unschedulable%3Dfalse") == {f"other-{name}"}
        whole = (await api.get("/api/v1/nodes")).body["items"]
        first = (await api.get("/api/v1/nodes?limit=1")).body
        assert len(first["items"]) + first["metadata"]["remainingItemCount"] == len(whole)
        uncordon = {"metadata": {"annotations": {"healer.dev/cordoned-by": None}}, "spec": {"unschedulable": None}}
        after = (await api.patch(f"/api/v1/nodes/{name}", uncordon)).body
        assert "unschedulable" not in after["spec"]
        assert "healer.dev/cordoned-by" not in after["metadata"].get("annotations", {})
    finally:
        for each in (name, f"other-{name}"):
            await api.delete(f"/api/v1/nodes/{each}")
