"""A sink of the tests' own: it writes the history of incidents into a file for each address, `letter:NAME`."""

import asyncio
import re
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar

from healer.model.incident import Incident
from healer.rules.vocabulary import AddressSpec
from healer.sinks.base import SinkMeters, SinkSettings
from healer.sinks.memory import Memory
from healer.sinks.registry import SinkKind
from healer.sinks.site import Site

NAME = re.compile(r"[a-z-]+")


class LetterSettings(SinkSettings):
    """Letters to people."""

    folder: Path | None = None
    """Where letters are put. Without it, none is written."""

    required: ClassVar = ("folder",)

    @property
    def enabled(self) -> bool:
        """Whether there is a folder."""
        return self.folder is not None


class LetterSink:
    """Writes a letter anew when its incident has changed. An incident without an address of ours has no letter."""

    name = "letter"

    def __init__(self, settings: LetterSettings, site: Site, meters: SinkMeters, memory: Memory) -> None:
        assert settings.folder is not None
        self._folder = settings.folder
        self._sent = meters.notifications.labels(self.name, "sent")
        self._newest: dict[str, Incident] = {}
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, incident: Incident) -> None:
        """Keep the newest."""
        self._newest[incident.id] = incident
        task = asyncio.get_running_loop().create_task(self._wake())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    resume = tell

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def reset(self) -> None:
        """Forget what is not written yet."""
        self._newest.clear()

    async def run(self) -> None:
        """Write, for ever."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._newest)
            for incident in list(self._newest.values()):
                text = "".join(f"{entry.state}: {entry.reason.text}\n" for entry in incident.history)
                for address in incident.notify:
                    await asyncio.to_thread((self._folder / address).write_text, text, "utf-8")
                    self._sent.inc()
                if self._newest.get(incident.id) is incident:
                    del self._newest[incident.id]
            await self._wake()

    async def check(self, channels: Collection[str]) -> list[str]:
        """A folder takes all letters."""
        return []

    async def flush(self, within: float) -> bool:
        """Whether all was written in time."""
        try:
            async with asyncio.timeout(within), self._changed:
                await self._changed.wait_for(lambda: not self._newest)
        except TimeoutError:
            return False
        return True


LETTERS = SinkKind(
    LetterSettings,
    LetterSink,
    AddressSpec(
        kind="letter",
        noun="name on a letter",
        example="letter:ml-team",
        meaning="who a letter is for",
        valid=lambda name: NAME.fullmatch(name) is not None,
        hint=lambda name: "write small letters and '-': letter:ml-team",
    ),
)
