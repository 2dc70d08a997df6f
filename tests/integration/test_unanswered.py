"""A Prometheus that answers, then does not: the whole daemon does nothing meanwhile, and what is to be done after."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import NAMESPACE, evictions, rule, ruleset, serve
from tests.support.processes import PATIENCE

SLOW = rule("slow", when={"query": {"expr": "latency", "above": 0.2, "every": "1s"}, "for": "3s"})
LOOKS = 6
"""Looks without an answer: together longer than the rule's `for`."""


class Answers:
    """In Prometheus' place: these pods are slow; None: no answer."""

    def __init__(self) -> None:
        self.url = ""
        self.slow: list[str] | None = []
        self.refused = 0
        self.enough = asyncio.Event()
        """Set when so many looks were refused."""

    async def handle(self, _: web.Request) -> web.StreamResponse:
        """The one handler."""
        if self.slow is None:
            self.refused += 1
            if self.refused >= LOOKS:
                self.enough.set()
            return web.json_response({"status": "error", "error": "no store matches"}, status=503)
        found = [{"metric": {"namespace": NAMESPACE, "pod": pod}, "value": [time.time(), "0.5"]} for pod in self.slow]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": found}})


@pytest.fixture
async def answers() -> AsyncIterator[Answers]:
    answers = Answers()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answers.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    answers.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield answers
    await runner.cleanup()


async def test_seconds_without_an_answer_are_no_seconds_of_sickness(lab: Lab, run: Run, answers: Answers) -> None:
    """It fired once, then nothing answers for longer than `for`: not evicted, until it is seen to be sick for so long."""
    sick, *_ = await serve(lab)
    answers.slow = [sick]
    healer = await run(ruleset(SLOW), HEALER_PROMETHEUS__URL=answers.url)
    await healer.says("pend", rule="test/slow", reason="NotLongEnough")
    answers.slow = None
    await healer.says("a query rule cannot be judged: healer does nothing for it, and resolves nothing")
    async with asyncio.timeout(PATIENCE):
        await answers.enough.wait()
    assert evictions(lab) == []
    assert not healer.find("incident open")
    answers.slow = [sick]
    await healer.says("incident verifying")
    assert evictions(lab) == [sick]
