"""All sinks as one: each is told what is addressed to it, and a fault of one harms no other."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from healer.model.incident import Incident
from healer.rules.vocabulary import split_address
from healer.sinks.base import HasThreads, Sink, SinkMeters
from healer.sinks.commands import PeopleCommands, SignedReceiver, TakesCommands
from healer.sinks.error_boundary import ErrorBoundary
from healer.sinks.log import LogSink
from healer.sinks.tracing import TracingSink


@dataclass(frozen=True)
class Member:
    """A sink, and the kind of its addresses."""

    sink: Sink
    kind: str | None = None
    """None: it has no addresses."""

    def own(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """Those of these addresses that are the sink's, without the kind; for a sink without addresses, all as they are."""
        if self.kind is None:
            return tuple(addresses)
        return tuple(address for kind, address in map(split_address, addresses) if kind == self.kind)

    def addressed(self, incident: Incident) -> Incident | None:
        """The incident with the addresses that are the sink's; None when it is addressed to other sinks alone.

        When the incident has no addresses, the sink tells it where the sink's settings say; also when only a page named others.
        """
        own = self.own(incident.notify)
        others = set(incident.notify) - set(incident.paged or ())
        return replace(incident, notify=own) if own or not others else None


_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds until a sink that has ended by a fault runs again; doubled each time."""


class Sinks:
    """All configured sinks as one. The texts of what they get are safe: an incident has no others.

    A fault of one ends at its boundary: the others are told, and it is told the next time.
    """

    name = "all"

    def __init__(self, members: Sequence[Member], meters: SinkMeters) -> None:
        self._members = [(member, ErrorBoundary(member.sink.name, meters)) for member in members]

    @property
    def reach_people(self) -> bool:
        """Whether any sink but the log and the traces is there."""
        return any(not isinstance(member.sink, LogSink | TracingSink) for member, _ in self._members)

    def tell(self, incident: Incident) -> None:
        """Tell every sink that it is addressed to."""
        for member, boundary in self._members:
            if (own := member.addressed(incident)) is not None:
                with boundary:
                    member.sink.tell(own)

    def resume(self, incident: Incident) -> None:
        """Let every sink go on with an incident of the journal."""
        for member, boundary in self._members:
            if (own := member.addressed(incident)) is not None:
                with boundary:
                    member.sink.resume(own)

    def reset(self) -> None:
        """Let every sink forget what it holds."""
        for member, boundary in self._members:
            with boundary:
                member.sink.reset()

    def use(self, commands: PeopleCommands) -> None:
        """Let the sinks in which people can ask for something carry it out by these."""
        for member, boundary in self._members:
            if isinstance(member.sink, TakesCommands):
                with boundary:
                    member.sink.use(commands)

    @property
    def posts(self) -> dict[str, SignedReceiver]:
        """What takes what is posted for sinks, by path."""
        takers = (member.sink for member, _ in self._members if isinstance(member.sink, TakesCommands))
        return {path: receiver for sink in takers for path, receiver in sink.posts.items()}

    def thread_link(self, incident: Incident, *, recall: bool = False) -> str:
        """Where people read of an incident, by the first sink that knows."""
        for member, boundary in self._members:
            if isinstance(member.sink, HasThreads) and (own := member.addressed(incident)) is not None:
                with boundary:
                    if link := member.sink.thread_link(own, recall=recall):
                        return link
        return ""

    async def run(self) -> None:
        """Run every sink until cancelled."""
        async with asyncio.TaskGroup() as group:
            for member, boundary in self._members:
                group.create_task(_keep_running(member.sink, boundary), name=f"sink {member.sink.name}")

    async def check(self, addresses: Iterable[str]) -> list[str]:
        """The problems that would keep messages of any sink from these addresses, a sentence each."""
        named = list(addresses)
        found: list[str] = []
        for member, boundary in self._members:
            with boundary:
                found += await member.sink.check(member.own(named))
        return found

    async def flush(self, within: float) -> bool:
        """Whether every sink has told all within `within` seconds."""
        told = await asyncio.gather(*(member.sink.flush(within) for member, _ in self._members), return_exceptions=True)
        return all(each is True for each in told)


async def _keep_running(sink: Sink, boundary: ErrorBoundary) -> None:
    """Run a sink for ever; start it again after an error."""
    pause = _PAUSE
    while True:
        with boundary:
            await sink.run()
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
