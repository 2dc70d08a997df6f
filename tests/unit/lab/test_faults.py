"""Injected faults as a plain HTTP client sees them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from healer.lab import Lab, serving

PODS = "/api/v1/namespaces/production/pods"


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """A lab with one workload."""
    async with Lab() as lab:
        await lab.apply(serving())
        await lab.wait_for(lambda it: it.objects("deployments")[0]["status"].get("readyReplicas") == 3)
        yield lab


@pytest.fixture
async def http(lab: Lab) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the lab."""
    async with aiohttp.ClientSession(lab.url) as session:
        yield session


async def test_an_answer_with_headers(lab: Lab, http: aiohttp.ClientSession) -> None:
    fault = lab.faults.answer(429, headers={"Retry-After": "7"}, verb="list", resource="pods")
    async with http.get(f"{PODS}/nope") as response:
        assert response.status == 404
    async with http.get(PODS) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "7")
        assert (await response.json())["code"] == 429
    async with http.get(PODS) as response:
        assert response.status == 200
    assert fault.hits == 1


async def test_a_fault_applies_as_often_as_its_times(lab: Lab, http: aiohttp.ClientSession) -> None:
    lab.faults.answer(500, times=2)
    forever = lab.faults.answer(503, times=None)
    codes = []
    for _ in range(4):
        async with http.get(PODS) as response:
            codes.append(response.status)
    assert codes == [500, 500, 503, 503]
    lab.faults.remove(forever)
    async with http.get(PODS) as response:
        assert response.status == 200


async def test_a_request_that_is_held_until_it_is_released(lab: Lab, http: aiohttp.ClientSession) -> None:
    fault = lab.faults.hold(verb="list", resource="pods")
    held = asyncio.create_task(http.get(PODS))
    await fault.used()
    async with http.get(PODS) as response:
        assert response.status == 200, "only one is held"
    assert not held.done()
    fault.release()
    assert (await held).status == 200


async def test_a_dropped_connection(lab: Lab, http: aiohttp.ClientSession) -> None:
    fault = lab.faults.drop(times=None)  # aiohttp's client retries a GET once
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await http.get(PODS)
    await asyncio.wait_for(fault.used(), 5)


async def test_an_unknown_filter_is_an_error(lab: Lab) -> None:
    with pytest.raises(TypeError, match="resorce"):
        lab.faults.answer(500, resorce="pods")


async def test_a_watch_is_cut_in_the_middle_of_a_line(lab: Lab, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{PODS}?watch=1&resourceVersion={lab.store.revision}") as response:
        lab.faults.cut_watch(resource="pods")
        await lab.behave("production", lab.objects("pods")[0]["metadata"]["name"], "hang")
        received = await asyncio.wait_for(response.content.readany(), 5)
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()
    assert received
    with pytest.raises(json.JSONDecodeError):
        json.loads(received)


async def test_a_watch_is_stalled_and_stays_so(lab: Lab, http: aiohttp.ClientSession) -> None:
    name = lab.objects("pods")[0]["metadata"]["name"]
    async with http.get(f"{PODS}?watch=1&resourceVersion={lab.store.revision}") as stalled:
        fault = lab.faults.stall_watch(resource="pods")
        await lab.behave("production", name, "hang")
        await asyncio.wait_for(fault.used(), 5)
        async with http.get(f"{PODS}?watch=1&resourceVersion={lab.store.revision}") as live:
            await lab.behave("production", name, "ok")
            await asyncio.wait_for(live.content.readline(), 5)
        assert stalled.content.total_bytes == 0


async def test_open_watches_are_ended(lab: Lab, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{PODS}?watch=1&resourceVersion={lab.store.revision}") as response:
        lab.faults.end_watch()
        assert await asyncio.wait_for(response.content.read(), 5) == b""


async def test_open_watches_survive_a_compaction(lab: Lab, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{PODS}?watch=1&resourceVersion={lab.store.revision}") as response:
        await lab.behave("production", lab.objects("pods")[0]["metadata"]["name"], "hang")
        lab.compact()
        line = await asyncio.wait_for(response.content.readline(), 5)
    assert json.loads(line)["type"] == "MODIFIED"


async def test_requests_are_recorded_as_rbac_sees_them(lab: Lab, http: aiohttp.ClientSession) -> None:
    name = lab.objects("pods")[0]["metadata"]["name"]
    lab.requests.clear()
    calls: list[tuple[str, str, Any]] = [
        ("GET", PODS, None),
        ("GET", f"{PODS}/{name}", None),
        ("POST", f"{PODS}/{name}/eviction", {"metadata": {"name": name}}),
        ("DELETE", "/apis/apps/v1/namespaces/production/deployments", None),
        ("GET", "/version", None),
    ]
    for method, path, body in calls:
        async with http.request(method, path, json=body, headers={"User-Agent": "test/1"}) as response:
            assert response.status < 300, await response.text()
    assert lab.requests.permissions() == {
        ("", "pods", "list"),
        ("", "pods", "get"),
        ("", "pods/eviction", "create"),
        ("apps", "deployments", "deletecollection"),
    }
    evict = next(seen for seen in lab.requests if seen.subresource)
    assert evict.path == "/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    assert (evict.method, evict.namespace, evict.name, evict.user_agent) == ("POST", "production", name, "test/1")
