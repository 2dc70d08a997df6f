"""Events: one store, two groups with different field names."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.client import Client, Object


def _event(api: Client) -> Object:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e1"},
        "eventTime": "2026-11-22T10:00:00.000000Z",
        "reportingController": "healer.dev/healer",
        "reportingInstance": "healer-0",
        "action": "Evict",
        "reason": "Healed",
        "type": "Normal",
        "note": "evicted",
        "regarding": {"kind": "Pod", "namespace": api.namespace, "name": "x"},
    }


async def test_an_event_is_seen_in_both_groups(api: Client) -> None:
    new = f"/apis/events.k8s.io/v1/namespaces/{api.namespace}/events"
    made = await api.make(new, _event(api))
    assert (made["note"], made["regarding"]["name"]) == ("evicted", "x")
    assert made["deprecatedSource"] == {}
    assert made["deprecatedFirstTimestamp"] is None
    old = (await api.get(f"{api.core}/events/e1")).body
    assert (old["kind"], old["apiVersion"]) == ("Event", "v1")
    assert (old["message"], old["involvedObject"]["name"]) == ("evicted", "x")
    assert old["reportingComponent"] == "healer.dev/healer"
    assert old["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"eventTime": None}, "eventTime"),
        ({"reportingController": ""}, "reportingController"),
        ({"reportingInstance": ""}, "reportingInstance"),
        ({"action": ""}, "action"),
        ({"reason": ""}, "reason"),
        ({"type": "Alarm"}, "type"),
        ({"note": "x" * 1025}, "message"),
        ({"regarding": {"kind": "Pod", "name": "x"}}, "involvedObject.namespace"),
    ],
)
async def test_a_new_event_is_whole(api: Client, change: dict[str, Any], field: str) -> None:
    path = f"/apis/events.k8s.io/v1/namespaces/{api.namespace}/events"
    answer = await api.post(path, _event(api) | change)
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert field in [cause["field"] for cause in answer.causes]


async def test_an_old_event_is_about_its_own_namespace(api: Client) -> None:
    body = {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "x"}, "message": "m"}
    answer = await api.post(f"{api.core}/events", body)
    assert [cause["field"] for cause in answer.causes] == ["involvedObject.namespace"]


async def test_events_are_found_by_what_they_are_about(api: Client) -> None:
    for name in "xy":
        body = {
            "metadata": {"name": f"about-{name}"},
            "involvedObject": {"kind": "Pod", "namespace": api.namespace, "name": name},
            "reason": "BackOff",
            "type": "Warning",
            "message": "back-off",
        }
        await api.make(f"{api.core}/events", body)
    path = f"{api.core}/events?fieldSelector=involvedObject.name=x,type=Warning"
    found = (await api.get(path)).body["items"]
    assert [item["metadata"]["name"] for item in found] == ["about-x"]
