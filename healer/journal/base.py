"""The interface of a journal, what can go wrong with one, and which closed incidents it drops."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn, Protocol

from healer.engine.safety.wide import ENDED_ALERTS
from healer.model.incident import Incident, State
from healer.model.temporary import any_standing

Notices = Mapping[str, Mapping[str, str]]
"""What is kept beside an incident: of each sink and action what it must know after a restart."""


class JournalError(Exception):
    """What was to be kept is not kept, or what is kept cannot be read: whoever wanted to act does not act."""


class JournalMissing(JournalError):
    """The cluster has no place for incidents; the message says what to apply."""


class ClaimLost(JournalError):
    """The incident is not ours (any more): somebody else has changed it. Reading the journal anew is the way back."""


class SetAside(ClaimLost):
    """Of one incident nothing is kept: its object was deleted, its namespace is ending. It is of no concern to any other."""


class Unkept(SetAside):
    """Some incidents are not kept, each for its own reason; the others that were asked for are.

    `refused` are those that are tried again after a while, `aside` those of which nothing is kept any more: by id, the reason.
    """

    def __init__(self, refused: Mapping[str, str], aside: Mapping[str, str]) -> None:
        super().__init__("; ".join({**refused, **aside}.values()))
        self.refused = refused
        self.aside = aside


class NotLeading(ClaimLost):
    """Another healer leads: nothing was sent."""


class Undecodable(JournalError):
    """An object that is no incident; the message says where and why."""


@dataclass(slots=True)
class JournalCounts:
    """What a journal has done since it was made. The journals that a daemon makes one after the other share one."""

    written: int = 0
    refused: int = 0
    lost: int = 0
    undecodable: int = 0


class Journal(Protocol):
    """Keeps the newest snapshot of each incident, and what sinks must know of it after a restart."""

    async def check(self) -> None:
        """Look whether there is a place for incidents. Raises JournalMissing when there is none, else JournalError."""

    async def load(self) -> list[Incident]:
        """Read everything that is kept, open and closed, oldest first, and forget what was noted and is not written.

        Objects that cannot be read are logged, counted and left alone. Raises JournalMissing, JournalError.
        """

    def set_aside(self, ids: Iterable[str]) -> None:
        """Forget incidents that were read and are not believed: nothing of them is written, recalled or removed."""

    def uid_of(self, incident_id: str) -> str | None:
        """The uid of the object that an incident is kept in; None when it is in none (yet)."""

    def made_as(self, incident_id: str) -> str | None:
        """The same if healer made that object itself, else None: what others wrote or copied has healer change nothing."""

    def note(self, incident: Incident) -> None:
        """Keep a snapshot; never blocks. Only the newest of an incident is written, those that wait longest first."""

    async def claim(self, incident: Incident) -> None:
        """Keep the intent to act; returns once it is kept. To be awaited before the action is sent.

        Raises ClaimLost when somebody else has changed what is kept of it since we last wrote or read it, JournalError when
        the journal cannot be asked: then nothing may be done.
        """

    async def durable(self, ids: Iterable[str]) -> None:
        """Return when all that was noted so far for these incidents is kept; give it a time limit.

        Raises Unkept when some of it will not be, once all the rest is; JournalError when nothing of ours is written at present.
        """

    async def run(self) -> NoReturn:
        """Write what is noted, until cancelled."""

    async def flush(self, within: float) -> bool:
        """Wait until everything noted is kept, at most `within` seconds; returns whether it is. `run` must be running."""

    def incidents(self) -> list[Incident]:
        """The newest snapshot of each incident, oldest first."""

    def incident(self, incident_id: str) -> Incident | None:
        """The newest snapshot of one incident; None when it is not kept."""

    def remember(self, incident_id: str, sink: str, state: Mapping[str, str]) -> None:
        """Keep what a sink must know of an incident after a restart, in place of what it knew; never blocks.

        Short identifiers, no free text: it is kept as it is. Of an incident that is not kept, nothing is remembered.
        """

    def recall(self, incident_id: str) -> Mapping[str, Mapping[str, str]]:
        """What sinks have had remembered of an incident, by sink."""

    async def remembered(self, incident_id: str) -> None:
        """Return when that is kept; see `durable`."""

    async def prune(self, now: float) -> None:
        """Let go of the closed incidents that are too old or too many, oldest first; `now` in seconds since the epoch."""


def outworn(
    incidents: Iterable[Incident], keep: int, keep_for: float, now: float, notices: Callable[[str], Notices]
) -> list[Incident]:
    """The closed incidents beyond the newest `keep`, and those that ended more than `keep_for` seconds before `now`.

    Oldest first. `now` in seconds since the epoch; `notices` gives what is kept beside an incident (`Journal.recall`). What is
    open is never among them, nor is what healer keeps for itself, nor one of which healer has a change to take back still.
    """
    closed = [each for each in incidents if each.state is State.CLOSED and each.rule != ENDED_ALERTS]
    closed = sorted((each for each in closed if not any_standing(notices(each.id))), key=_ended)
    surplus = len(closed) - keep
    return [incident for index, incident in enumerate(closed) if index < surplus or now - _ended(incident) > keep_for]


def _ended(incident: Incident) -> float:
    return incident.changed_at if incident.ended_at is None else incident.ended_at
