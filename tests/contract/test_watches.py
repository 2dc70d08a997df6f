"""WATCH: where it starts, what it shows, how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.client import MERGE, Client, pod


async def _revision(api: Client) -> str:
    version: str = (await api.get(f"{api.core}/pods")).body["metadata"]["resourceVersion"]
    return version


def _short(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


async def _life_of_a_pod(api: Client) -> None:
    """Create, change, delete: even a deletion without grace marks the pod first."""
    await api.make(f"{api.core}/pods", pod("b"))
    await api.patch(f"{api.core}/pods/b", {"metadata": {"annotations": {"touched": "1"}}})
    await api.delete(f"{api.core}/pods/b", {"gracePeriodSeconds": 0})


async def test_from_the_lists_resource_version(api: Client) -> None:
    await api.make(f"{api.core}/pods", pod("a"))
    revision = await _revision(api)
    await _life_of_a_pod(api)
    events = await api.watched(f"{api.core}/pods?watch=1&resourceVersion={revision}&timeoutSeconds=1")
    assert _short(events) == [("ADDED", "b"), ("MODIFIED", "b"), ("MODIFIED", "b"), ("DELETED", "b")]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))
    assert versions[0] > int(revision)
    assert events[0]["object"]["kind"] == "Pod"
    assert events[0]["object"]["apiVersion"] == "v1"


@pytest.mark.parametrize("start", ["", "&resourceVersion=0"])
async def test_without_a_resource_version_it_begins_with_all(api: Client, start: str) -> None:
    for name in "ab":
        await api.make(f"{api.core}/pods", pod(name))
    await _revision(api)  # a cached read from 0 may be stale: this one makes the cache fresh
    events = await api.watched(f"{api.core}/pods?watch=1{start}&timeoutSeconds=1")
    assert sorted(_short(events)) == [("ADDED", "a"), ("ADDED", "b")]


async def test_it_streams_what_happens_while_it_is_open(api: Client) -> None:
    revision = await _revision(api)
    async with api.watch(f"{api.core}/pods?watch=1&resourceVersion={revision}") as events:
        await _life_of_a_pod(api)
        seen = [await asyncio.wait_for(anext(events), 10) for _ in range(4)]
    assert [event["type"] for event in seen] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]


async def test_leaving_a_selector_looks_like_deletion(api: Client) -> None:
    await api.make(f"{api.core}/pods", pod("a", labels={"version": "v1"}))
    revision = await _revision(api)
    for version in ("v2", "v3", "v1"):
        await api.patch(f"{api.core}/pods/a", {"metadata": {"labels": {"version": version}}})
    path = f"{api.core}/pods?watch=1&labelSelector=version=v1&resourceVersion={revision}&timeoutSeconds=1"
    left, entered = await api.watched(path)
    assert (left["type"], entered["type"]) == ("DELETED", "ADDED")
    assert left["object"]["metadata"]["labels"] == {"version": "v1"}
    assert int(left["object"]["metadata"]["resourceVersion"]) > int(revision)
    assert (await api.get(f"{api.core}/pods/a")).code == 200


async def test_a_field_selector_narrows_a_watch(api: Client) -> None:
    path = f"{api.core}/pods?watch=1&fieldSelector=metadata.name=a&timeoutSeconds=1"
    for name in "ab":
        await api.make(f"{api.core}/pods", pod(name))
    assert _short(await api.watched(path)) == [("ADDED", "a")]


async def test_initial_events_end_with_a_bookmark(api: Client) -> None:
    await api.make(f"{api.core}/pods", pod("a"))
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with api.watch(f"{api.core}/pods?{query}") as events:
        added = await asyncio.wait_for(anext(events), 10)
        bookmark = await asyncio.wait_for(anext(events), 10)
    assert _short([added]) == [("ADDED", "a")]
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["kind"] == "Pod"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(bookmark["object"]["metadata"]["resourceVersion"]) >= int(added["object"]["metadata"]["resourceVersion"])
    assert "name" not in bookmark["object"]["metadata"]


async def test_a_bookmark_comes_before_the_end(api: Client) -> None:
    made = await api.make(f"{api.core}/pods", pod("a"))
    path = f"{api.core}/pods?watch=1&allowWatchBookmarks=true&timeoutSeconds=3"
    events = await api.watched(path)
    bookmarks = [event["object"]["metadata"]["resourceVersion"] for event in events if event["type"] == "BOOKMARK"]
    assert bookmarks
    assert int(bookmarks[-1]) >= int(made["metadata"]["resourceVersion"])


async def test_an_eviction_as_a_watch_shows_it(api: Client) -> None:
    await api.make(f"{api.core}/pods", pod("a"))
    await api.patch(f"{api.core}/pods/a/status", {"status": {"phase": "Running"}}, MERGE)
    revision = await _revision(api)
    await api.post(f"{api.core}/pods/a/eviction", {"metadata": {"name": "a"}})
    await api.delete(f"{api.core}/pods/a", {"gracePeriodSeconds": 0})
    events = await api.watched(f"{api.core}/pods?watch=1&resourceVersion={revision}&timeoutSeconds=1")
    assert [event["type"] for event in events] == ["MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]
    condemned, marked, hastened, gone = (event["object"] for event in events)
    assert condemned["status"]["conditions"][-1]["type"] == "DisruptionTarget"
    assert "deletionTimestamp" not in condemned["metadata"]
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    assert hastened["metadata"]["deletionGracePeriodSeconds"] == 0
    assert "deletionTimestamp" in gone["metadata"]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("sendInitialEvents=true", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        (
            "resourceVersion=1&resourceVersionMatch=NotOlderThan",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
    ],
)
async def test_options_that_contradict_each_other(api: Client, query: str, problem: str) -> None:
    answer = await api.get(f"{api.core}/pods?watch=1&{query}")
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert {"reason": "FieldValueForbidden", "message": f"Forbidden: {problem}", "field": "resourceVersionMatch"} in (
        answer.causes
    )


async def test_too_old_is_an_error_event_in_a_good_answer(uncached: Client) -> None:
    await uncached.make(f"{uncached.core}/pods", pod("a"))
    revision = await _revision(uncached)
    await uncached.make(f"{uncached.core}/pods", pod("b"))
    await uncached.compact()
    events = await uncached.watched(f"{uncached.core}/pods?watch=1&resourceVersion={revision}&timeoutSeconds=2")
    assert [event["type"] for event in events] == ["ERROR"]
    status = events[0]["object"]
    assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
