"""HorizontalPodAutoscalers: defaults, what is refused, and a status of its own. Who scales is not the API server."""

from __future__ import annotations

import pytest

from tests.contract.client import Client, Object


def _path(api: Client) -> str:
    return f"/apis/autoscaling/v2/namespaces/{api.namespace}/horizontalpodautoscalers"


def _scaler(**spec: object) -> Object:
    scales = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "serving"}
    return {"metadata": {"name": "serving"}, "spec": {"scaleTargetRef": scales, "maxReplicas": 3} | spec}


async def test_what_is_not_written_is_filled_in(api: Client) -> None:
    made = await api.make(_path(api), _scaler())
    assert made["spec"]["minReplicas"] == 1
    target = {"type": "Utilization", "averageUtilization": 80}
    assert made["spec"]["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    assert made["status"] == {"desiredReplicas": 0, "currentMetrics": None}
    assert "generation" not in made["metadata"]


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"maxReplicas": 0}, ["spec.maxReplicas", "spec.maxReplicas"]),
        ({"minReplicas": 5}, ["spec.maxReplicas"]),
        (
            {"scaleTargetRef": {}},
            ["spec.scaleTargetRef.kind", "spec.scaleTargetRef.name", "spec.scaleTargetRef.apiVersion"],
        ),
    ],
)
async def test_one_that_cannot_work_is_refused(api: Client, spec: Object, fields: list[str]) -> None:
    answer = await api.post(_path(api), _scaler(**spec))
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert [cause["field"] for cause in answer.causes] == fields


async def test_its_status_is_written_apart_and_stays_when_the_maximum_is_raised(api: Client) -> None:
    await api.make(_path(api), _scaler())
    status = {"currentReplicas": 3, "desiredReplicas": 3, "currentMetrics": None}
    await api.patch(f"{_path(api)}/serving/status", {"status": status})
    raised = (await api.patch(f"{_path(api)}/serving", {"spec": {"maxReplicas": 5}, "status": {"currentReplicas": 9}})).body
    assert (raised["spec"]["maxReplicas"], raised["status"]["currentReplicas"]) == (5, 3)
