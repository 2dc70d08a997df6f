"""A memory, used so that it never holds up for long."""

import asyncio
from collections.abc import Mapping

from healer.sinks.base import Memory, NotKept

_TIMEOUT = 2.0
_PAUSE = 4.0
"""Seconds in which one that did not answer is not asked: waiting for it takes up a third of the time at most."""


class Keeper:
    """Keeps states for a sink that serves many incidents."""

    def __init__(self, memory: Memory, timeout: float = _TIMEOUT, pause: float = _PAUSE) -> None:
        self._memory = memory
        self._timeout = timeout
        self._pause = pause
        self._again = 0.0

    def recall(self, incident: str, sink: str) -> Mapping[str, str]:
        """What was kept last."""
        return self._memory.recall(incident, sink)

    async def keep(self, incident: str, sink: str, state: Mapping[str, str]) -> None:
        """Have a state remembered. Raises NotKept, after seconds at most."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._again:
            raise NotKept("the journal did not answer a moment ago")
        try:
            async with asyncio.timeout(self._timeout):
                await self._memory.remember(incident, sink, state)
        except TimeoutError as error:
            self._again = loop.time() + self._pause
            raise NotKept(f"the journal did not answer in {self._timeout:g} s") from error
