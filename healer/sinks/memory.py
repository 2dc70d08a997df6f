"""What outlives a sink's process: where it keeps how far it has told each incident."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

_TIMEOUT = 2.0
_PAUSE = 4.0
"""Seconds for which a memory that did not answer is not asked: at most a third of the time is spent on waiting for it."""


class NotKept(Exception):
    """A memory cannot keep anything just now; it may later."""


class Memory(Protocol):
    """What outlives a sink's process: for each incident and sink a flat map of strings, some hundred bytes."""

    def recall(self, incident: str, sink: str) -> Mapping[str, str]:
        """What was kept last, and by healer itself; empty when nothing was."""

    def claimed(self, incident: str, sink: str) -> Mapping[str, str]:
        """What stands where a state is kept, whoever wrote it: after the secret was rotated that seals it, it is not recalled."""

    async def remember(self, incident: str, sink: str, state: Mapping[str, str]) -> None:
        """Keep `state` in place of what was kept before; returns once it is durable. Of an incident that is kept no longer,
        nothing needs to be. Raises NotKept."""


class ProcessMemory:
    """A memory that lasts as long as the process. Of more than `most` incidents, those remembered longest ago are forgotten."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._kept: dict[str, dict[str, dict[str, str]]] = {}

    def recall(self, incident: str, sink: str) -> Mapping[str, str]:
        """What was kept last."""
        return self._kept.get(incident, {}).get(sink, {})

    claimed = recall

    async def remember(self, incident: str, sink: str, state: Mapping[str, str]) -> None:
        """Keep a state."""
        self._kept[incident] = self._kept.pop(incident, {}) | {sink: dict(state)}
        while len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]


class TimedMemory:
    """A memory that answers within seconds. After a timeout it refuses at once for a while: one worker serves many incidents."""

    def __init__(self, memory: Memory, timeout: float = _TIMEOUT, pause: float = _PAUSE) -> None:
        self._memory = memory
        self._timeout = timeout
        self._pause = pause
        self._again = 0.0

    def recall(self, incident: str, sink: str) -> Mapping[str, str]:
        """What was kept last."""
        return self._memory.recall(incident, sink)

    def claimed(self, incident: str, sink: str) -> Mapping[str, str]:
        """What stands there, whoever wrote it."""
        return self._memory.claimed(incident, sink)

    async def remember(self, incident: str, sink: str, state: Mapping[str, str]) -> None:
        """Keep a state. Raises NotKept, after `timeout` seconds at most."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._again:
            raise NotKept("the journal did not answer a moment ago")
        try:
            async with asyncio.timeout(self._timeout):
                await self._memory.remember(incident, sink, state)
        except TimeoutError as error:
            self._again = loop.time() + self._pause
            raise NotKept(f"the journal did not answer in {self._timeout:g} s") from error
