"""A process that may open few files, and somebody who only connects: healer keeps the files that it needs for its work."""

import asyncio
from contextlib import AsyncExitStack

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import SLOW, ruleset, serve, serves, uid
from tests.support.healer import alert
from tests.support.processes import PATIENCE


async def test_idle_connections_do_not_keep_it_from_healing(lab: Lab, run: Run) -> None:
    slow, *_ = await serve(lab, min_available=None)
    before = uid(lab, slow)
    healer = await run(ruleset(SLOW), files=64)
    port = int((await healer.listens()).rpartition(":")[2])
    async with AsyncExitStack() as stack:
        ends: list[asyncio.StreamReader] = []
        for _ in range(200):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            ends.append(reader)
        lab.faults.end_watch(times=None)  # its watches need files anew
        await lab.wait_for(lambda lab: sum(s.verb == "watch" for s in lab.requests) > 10, PATIENCE)
        lab.faults.clear()
        status, answer = await healer.post(alert("HighLatency", pod=slow))
        assert (status, answer["accepted"]) == (200, 1)
        await lab.wait_for(serves(3, without=before), PATIENCE)
        async with asyncio.timeout(PATIENCE):  # all but a few were closed, the longest idle first
            for reader in ends[:150]:
                assert await reader.read() == b""
    assert healer.runs
    assert not [line for line in healer.lines if "out of system resource" in line or "Too many open files" in line]
