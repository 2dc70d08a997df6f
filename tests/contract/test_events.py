"""Events: one store, two groups with different field names."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from healer.model.event import Event
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


async def test_a_watch_from_the_version_of_a_short_list_tells_only_what_follows(api: Client) -> None:
    """healer begins so: what happened before is not told, however much there is of it."""
    path = f"/apis/events.k8s.io/v1/namespaces/{api.namespace}/events"
    for name in ("e1", "e2"):
        await api.make(path, _event(api) | {"metadata": {"name": name}})
    listed = (await api.get(f"{path}?limit=1")).body["metadata"]["resourceVersion"]
    await api.make(path, _event(api) | {"metadata": {"name": "e3"}})
    told = await api.watched(f"{path}?watch=1&resourceVersion={listed}&timeoutSeconds=1")
    assert [(each["type"], each["object"]["metadata"]["name"]) for each in told] == [("ADDED", "e3")]


async def test_a_repetition_is_the_same_event_with_a_higher_count(api: Client) -> None:
    """As a new reporter writes it, and as an old one; healer reads both from one watch."""
    new, old = f"/apis/events.k8s.io/v1/namespaces/{api.namespace}/events", f"{api.core}/events"
    made = await api.make(new, _event(api))
    series = {"count": 2, "lastObservedTime": "2026-11-22T10:05:00.000000Z"}
    await api.patch(f"{new}/e1", {"series": series})
    about = {"kind": "Pod", "namespace": api.namespace, "name": "x", "uid": "u"}
    times = {"firstTimestamp": "2026-11-22T10:00:00Z", "lastTimestamp": "2026-11-22T10:00:00Z"}
    await api.make(
        old, {"metadata": {"name": "e2"}, "involvedObject": about, "reason": "R", "type": "Warning", "count": 1} | times
    )
    await api.patch(f"{old}/e2", {"count": 4})
    listed = (await api.get(new)).body["items"]
    found = {each["metadata"]["name"]: msgspec.convert(each, Event) for each in listed}
    assert (found["e1"].metadata.uid, found["e1"].count) == (made["metadata"]["uid"], 2)
    assert (found["e2"].count, found["e2"].regarding.uid) == (4, "u")
