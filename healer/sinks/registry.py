"""The sinks there are, and the one way to have them: together."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from healer.model.incident import Incident
from healer.settings import Slack
from healer.sinks.base import Memory, Meters, ProcessMemory, Sink
from healer.sinks.log import LogSettings, LogSink
from healer.sinks.slack import SlackSink

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True)
class Kind(Generic[S]):
    """A kind of sink: what can be set, and how one is made."""

    settings: type[S]
    make: Callable[[S, Meters, Memory], Sink]

    def build(self, options: Mapping[str, object], meters: Meters, memory: Memory) -> Sink:
        """A sink. Raises pydantic.ValidationError, which says where, on an unknown or wrong option."""
        return self.make(self.settings.model_validate(dict(options)), meters, memory)


SINKS: Mapping[str, Kind[Any]] = {
    "log": Kind(LogSettings, lambda settings, meters, _: LogSink(settings, meters)),
    "slack": Kind(Slack, SlackSink),
}


class Sinks:
    """All configured sinks as one. The texts of what they get are safe: an incident has no others."""

    name = "all"

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks = sinks

    @property
    def reach_people(self) -> bool:
        """Whether any of them goes to people: a log is read by those who look."""
        return any(not isinstance(sink, LogSink) for sink in self._sinks)

    def tell(self, incident: Incident) -> None:
        """Tell every sink."""
        for sink in self._sinks:
            sink.tell(incident)

    def resume(self, incident: Incident) -> None:
        """Let every sink go on with an incident of the journal."""
        for sink in self._sinks:
            sink.resume(incident)

    def reset(self) -> None:
        """Let every sink forget what it holds."""
        for sink in self._sinks:
            sink.reset()

    async def run(self) -> None:
        """Run every sink until cancelled."""
        async with asyncio.TaskGroup() as group:
            for sink in self._sinks:
                group.create_task(sink.run(), name=f"sink {sink.name}")

    async def check(self, channels: Collection[str]) -> list[str]:
        """What would keep messages of any sink from people."""
        found = await asyncio.gather(*(sink.check(channels) for sink in self._sinks))
        return [problem for problems in found for problem in problems]

    async def flush(self, within: float) -> bool:
        """Whether every sink had told all within `within` seconds."""
        return all(await asyncio.gather(*(sink.flush(within) for sink in self._sinks)))


def build(
    wanted: Mapping[str, Mapping[str, object]], meters: Meters, further: Sequence[Sink] = (), memory: Memory | None = None
) -> Sinks:
    """The sinks named in `wanted`, with their options, and `further` ready ones. Raises ValueError on an unknown name.

    memory: what lets a sink go on where another process stopped; without one, it is this process's.
    """
    unknown = sorted(set(wanted) - set(SINKS))
    if unknown:
        raise ValueError(f"there is no sink {unknown[0]!r}; there are {', '.join(sorted(SINKS))}")
    kept = ProcessMemory() if memory is None else memory
    return Sinks([SINKS[name].build(options, meters, kept) for name, options in wanted.items()] + list(further))
