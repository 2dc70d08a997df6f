"""What a sink is, what it counts, and how it knows which lines of a history it has not told yet."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import blake2s
from pathlib import Path
from typing import ClassVar, Literal, Protocol, Self, runtime_checkable

from prometheus_client import CollectorRegistry, Counter, Gauge

from healer.model.incident import Entry, Incident
from healer.section import Section

Severity = Literal["critical", "warning", "info"]
"""The severities of rules, as settings name them."""
_SURE = 29
"""Characters of a text that a journal never cuts off."""
_TICK = 0.01
"""Seconds that a time may differ after a journal has kept it."""


class SinkSettings(Section):
    """The settings of a sink: its fields are a section of all settings, by the sink's name."""

    required: ClassVar[tuple[str, ...]] = ()
    """The fields without which it tells nobody."""
    reaches_people: ClassVar[bool] = True
    """Whether it tells people, and not machines alone."""

    @property
    def enabled(self) -> bool:
        """Whether it is set up."""
        return True

    @property
    def buttons(self) -> bool:
        """Whether people can have healer do something by its messages."""
        return False

    @property
    def secret(self) -> Path | None:
        """A file with a secret that only the replicas know: it seals what sinks keep in the journal."""
        return None

    @property
    def by_default(self) -> frozenset[str]:
        """The severities of the incidents that it tells although their rule names nobody."""
        return frozenset()

    def template_faults(self) -> list[str]:
        """What is wrong with the templates that it names, a sentence each, with the file and the line. It reads them."""
        return []

    @property
    def incomplete(self) -> str:
        """A sentence that says which field is given without effect, and which one is missing; empty when none is."""
        return ""


class Sink(Protocol):
    """A place where people are told. A sink that has addresses finds its own, without their kind, in an incident's `notify`.

    `tell` never blocks and never raises. It keeps the newest snapshot of each incident; the snapshot's history holds every line,
    so nothing is lost when a slow sink sees only the last of many.
    """

    name: str

    def tell(self, incident: Incident) -> None:
        """Note that an incident changed; `run` tells it."""

    def resume(self, incident: Incident) -> None:
        """Note an incident of the journal, which another healer may have told in part: at a start, and on becoming the leader."""

    def reset(self) -> None:
        """Forget all that is pending or cached, and abort what is under way: another healer leads now."""

    async def run(self) -> None:
        """Tell, for ever; cancel to stop."""

    async def check(self, channels: Collection[str]) -> list[str]:
        """The problems that would keep messages from these addresses, a sentence each. Waits until they can be known."""

    async def flush(self, within: float) -> bool:
        """Wait until all is told, or cannot be, at most `within` seconds; returns whether all is told. `run` must be running."""


@runtime_checkable
class HasThreads(Protocol):
    """A sink that tells an incident in one place, which people can go to."""

    def thread_link(self, incident: Incident, *, recall: bool = False) -> str:
        """The address of that place; "" where none is known. `recall`: ask the memory too, for a single incident."""


OUTCOMES = ("sent", "retried", "failed", "dropped")


class SinkMeters:
    """What all sinks count in: messages, whose `outcome` is sent, retried, failed or dropped; and the channels that take them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.notifications = Counter(
            "healer_notifications", "Messages to people, by outcome.", ["sink", "outcome"], registry=registry
        )
        self.usable = Gauge(
            "healer_channel_usable",
            "1 when the channel accepted the last message, 0 when it refused it.",
            ["sink", "channel"],
            registry=registry,
        )


@dataclass(frozen=True, slots=True)
class LineMark:
    """Identifies a line of a history, also after a journal has rounded its time and cut its text."""

    at: float
    digest: str

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """The mark of a line."""
        return cls(entry.at, _digest(entry))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The mark that `str` wrote. Raises ValueError."""
        at, digest = text.split(" ")
        return cls(float(at), digest)

    def __str__(self) -> str:
        return f"{self.at:.3f} {self.digest}"

    def fits(self, entry: Entry) -> bool:
        """Whether it is this line's."""
        return abs(entry.at - self.at) < _TICK and self.digest == _digest(entry)


def _digest(entry: Entry) -> str:
    parts = (entry.state, str(entry.step), entry.reason.code, entry.reason.text[:_SURE])
    return blake2s("\n".join(parts).encode(), digest_size=4).hexdigest()


@dataclass(slots=True)
class HistoryProgress:
    """How far an append-only history has been told: how many lines, and the last of them.

    Survives a history whose oldest lines were cut off.
    """

    count: int = 0
    last: LineMark | None = None

    def unseen(self, history: Sequence[Entry]) -> Sequence[Entry]:
        """The lines not told yet, oldest first."""
        if self.last is None:
            return history
        if 0 < self.count <= len(history) and self.last.fits(history[self.count - 1]):
            return history[self.count :]
        for index in range(len(history) - 1, -1, -1):
            if self.last.fits(history[index]):
                return history[index + 1 :]
        return [entry for entry in history if entry.at > self.last.at]

    def advance(self, entry: Entry) -> None:
        """Note that `entry`, the first that is unseen, was told."""
        self.count += 1
        self.last = LineMark.of(entry)
