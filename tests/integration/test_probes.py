"""What the probes answer while healer gets to know the cluster."""

import asyncio

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import CRASH_LOOP, SLOW, ruleset, serve
from tests.support.healer import alert
from tests.support.processes import PATIENCE


async def test_not_ready_until_every_kind_is_listed(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab)
    stalled = lab.faults.delay(30, verb="list", resource="replicasets")
    healer = await run(ruleset(CRASH_LOOP, SLOW), ready=False, HEALER_CLUSTER__REQUEST_TIMEOUT="2")
    await stalled.used()

    status, ready = await healer.get("/readyz")
    assert (status, ready["ok"]) == (503, False)
    assert not ready["checks"]["replicasets synced"]["ok"]
    assert (await healer.get("/healthz"))[0] == 200, "alive: a restart would not help"
    status, answer = await healer.post(alert("HighLatency", pod=sick))
    assert status == 503, "an alert that cannot be decided is not taken"
    assert "does not know the cluster yet" in answer["error"]

    await healer.says("healer is ready")  # the request has timed out meanwhile, and was made again
    status, ready = await healer.get("/readyz")
    assert (status, ready["ok"]) == (200, True), ready


async def test_a_watch_that_stalls_fails_liveness_and_says_which(lab: Lab, run: Run) -> None:
    lab.bookmark_every = 0.1
    lab.faults.stall_watch(resource="pods", times=None)
    healer = await run(ruleset(CRASH_LOOP), HEALER_CLUSTER__WATCH_STALE="2")
    async with asyncio.timeout(PATIENCE):
        while (await healer.get("/healthz"))[0] == 200:  # nothing but the answer itself says when silence was too long
            pass
    _, health = await healer.get("/healthz")
    assert [name for name, check in health["checks"].items() if not check["ok"]] == ["watch pods"]
