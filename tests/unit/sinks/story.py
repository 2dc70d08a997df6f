"""A Slack sink that can be started and stopped, and the life of an incident, for the tests of the sink."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from healer.model.incident import Incident, State
from healer.sinks.base import SinkMeters
from healer.sinks.memory import Memory, ProcessMemory
from healer.sinks.site import Site
from healer.sinks.slack.settings import SlackSettings
from healer.sinks.slack.sink import SlackSink
from tests.support.slack import FakeSlack
from tests.unit.sinks.incidents import incident, then

CHANNEL = "#ml-oncall"
Sleep = Callable[[float], Awaitable[None]]

WHOLE_THREAD = [
    "*Seen*: CrashLoopBackOff for 2 min",
    "*Waits* (evict): a rollout is in progress",
    "*Acts* (evict): evicting the pod",
    "*Done* (evict): evicted; waiting for 3 of 3 ready",
    "*Healed* (evict): 3 of 3 ready for 1 min",
    "*Over* (evict): cooldown over",
]


class Bench:
    """A sink that runs, the Slack it talks to, and the counter."""

    def __init__(
        self,
        slack: FakeSlack,
        token_file: Path,
        memory: Memory | None = None,
        *,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] | None = None,
        site: Site | None = None,
        **settings: Any,
    ) -> None:
        self.slack = slack
        self.registry = CollectorRegistry()
        options = {"channel": "#default", "backoff": 0.01, "backoff_most": 0.02, "reconsider": 0.02, "settle": 0.0} | settings
        known = SlackSettings.model_validate({"token_file": token_file, "base_url": slack.url, **options})
        further = {} if clock is None else {"clock": clock}
        self.sink = SlackSink(known, site or Site(), SinkMeters(self.registry), memory or ProcessMemory(), sleep=sleep, **further)

    def count(self, outcome: str) -> float:
        return self.registry.get_sample_value("healer_notifications_total", {"sink": "slack", "outcome": outcome}) or 0.0

    def usable(self, channel: str) -> float | None:
        return self.registry.get_sample_value("healer_channel_usable", {"sink": "slack", "channel": channel})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.sink.run())
        try:
            yield
        finally:
            assert not task.done(), task  # a worker that dies takes the daemon with it
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


def healed(name: str = "crash-loop-1", **options: Any) -> list[Incident]:
    """The snapshots of an incident from opened to closed."""
    story = [incident(name, **options)]
    for state, text in (
        (State.WAITING, "a rollout is in progress"),
        (State.ACTING, "evicting the pod"),
        (State.VERIFYING, "evicted; waiting for 3 of 3 ready"),
        (State.HEALED, "3 of 3 ready for 1 min"),
        (State.CLOSED, "cooldown over"),
    ):
        story.append(then(story[-1], state, text))
    return story


def lines(thread: list[str]) -> list[str]:
    """The lines of the replies without their times."""
    return [line.partition("> ")[2] for text in thread for line in text.split("\n")]
