"""The sinks there are, and the one way to have them: together."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from healer.model.incident import Incident
from healer.settings.sections import Slack
from healer.sinks.base import Memory, ProcessMemory, Sink, SinkMeters
from healer.sinks.boundary import Boundary
from healer.sinks.log import LogSettings, LogSink
from healer.sinks.slack.sink import SlackSink

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True)
class SinkKind(Generic[S]):
    """A kind of sink: what can be set, and how one is made."""

    settings: type[S]
    make: Callable[[S, SinkMeters, Memory], Sink]

    def build(self, options: Mapping[str, object], meters: SinkMeters, memory: Memory) -> Sink:
        """A sink. Raises pydantic.ValidationError, which says where, on an unknown or wrong option."""
        return self.make(self.settings.model_validate(dict(options)), meters, memory)


SINKS: Mapping[str, SinkKind[Any]] = {
    "log": SinkKind(LogSettings, lambda settings, meters, _: LogSink(settings, meters)),
    "slack": SinkKind(Slack, SlackSink),
}


_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds until a sink that has ended by a fault runs again; doubled each time."""


class Sinks:
    """All configured sinks as one. The texts of what they get are safe: an incident has no others.

    A fault of one ends at its boundary: the others are told, and it is told the next time.
    """

    name = "all"

    def __init__(self, sinks: list[Sink], meters: SinkMeters) -> None:
        self._sinks = sinks
        self._boundaries = [(sink, Boundary(sink.name, meters)) for sink in sinks]

    @property
    def reach_people(self) -> bool:
        """Whether any of them goes to people: a log is read by those who look."""
        return any(not isinstance(sink, LogSink) for sink in self._sinks)

    def tell(self, incident: Incident) -> None:
        """Tell every sink."""
        for sink, boundary in self._boundaries:
            with boundary:
                sink.tell(incident)

    def resume(self, incident: Incident) -> None:
        """Let every sink go on with an incident of the journal."""
        for sink, boundary in self._boundaries:
            with boundary:
                sink.resume(incident)

    def reset(self) -> None:
        """Let every sink forget what it holds."""
        for sink, boundary in self._boundaries:
            with boundary:
                sink.reset()

    async def run(self) -> None:
        """Run every sink until cancelled."""
        async with asyncio.TaskGroup() as group:
            for sink, boundary in self._boundaries:
                group.create_task(_keep_running(sink, boundary), name=f"sink {sink.name}")

    async def check(self, channels: Collection[str]) -> list[str]:
        """What would keep messages of any sink from people."""
        found: list[str] = []
        for sink, boundary in self._boundaries:
            with boundary:
                found += await sink.check(channels)
        return found

    async def flush(self, within: float) -> bool:
        """Whether every sink had told all within `within` seconds."""
        told = await asyncio.gather(*(sink.flush(within) for sink in self._sinks), return_exceptions=True)
        return all(each is True for each in told)


async def _keep_running(sink: Sink, boundary: Boundary) -> None:
    """Run a sink for ever, anew after a fault."""
    pause = _PAUSE
    while True:
        with boundary:
            await sink.run()
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def build(
    wanted: Mapping[str, Mapping[str, object]], meters: SinkMeters, further: Sequence[Sink] = (), memory: Memory | None = None
) -> Sinks:
    """The sinks named in `wanted`, with their options, and `further` ready ones. Raises ValueError on an unknown name.

    memory: what lets a sink go on where another process stopped; without one, it is this process's.
    """
    unknown = sorted(set(wanted) - set(SINKS))
    if unknown:
        raise ValueError(f"there is no sink {unknown[0]!r}; there are {', '.join(sorted(SINKS))}")
    kept = ProcessMemory() if memory is None else memory
    return Sinks([SINKS[name].build(options, meters, kept) for name, options in wanted.items()] + list(further), meters)
