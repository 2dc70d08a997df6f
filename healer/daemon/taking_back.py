"""Takes temporary changes back: when their incident has ended, or at their expiry; each once, by looking at the cluster.

The notes of the journal say what is to be taken back, also after a restart or a change of leader. The intent is journaled before
the request, by compare-and-swap on the incident's object, so that of two leaders one takes a change back. Who stops between the
request and the note of its end leaves a note of the intent: the next leader looks whether the change still stands.

Two incidents may change one thing, the later one on top of the earlier one: what was changed last is taken back first, so that
neither takes away what the other has added, nor restores it.

A healer that only observes (the setting `mode`) takes nothing back: it says which changes stand, and how people take them back.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog
from msgspec.structs import replace

from healer.actions.base import Action, Clients, NotUndone, NotYet, Temporary
from healer.actions.shared.standing import StandingChange
from healer.cluster.errors import ApiError, ClusterError
from healer.daemon.event_loop import EventLoop
from healer.daemon.metrics import Metrics
from healer.engine.incidents.temporary import due_at
from healer.journal.base import Journal, JournalError, NotLeading
from healer.model.incident import Incident, Reason
from healer.model.temporary import End, TemporaryChange
from healer.model.view import View
from healer.turns import in_turns

_AT_ONCE = 200
"""Incidents that are looked through before others get the loop."""


class TakingBack:
    """Looks at every temporary change of the journal every so many seconds; `timeout` (s) is for one change.

    `observes`: no rule changes anything, so that what is due stands, and is logged once.
    `ended` is called when a change has ended: with the change, how, and a text.
    """

    def __init__(
        self,
        *,
        clients: Clients,
        view: View,
        actions: Mapping[str, Action],
        journal: Journal,
        event_loop: EventLoop,
        metrics: Metrics,
        is_leader: Callable[[], bool],
        every: float,
        timeout: float,
        observes: bool = False,
        ended: Callable[[StandingChange, End, str], None] = lambda _standing, _end, _text: None,
    ) -> None:
        self._clients = clients
        self._view = view
        self._actions = {name: action for name, action in actions.items() if isinstance(action, Temporary)}
        self._journal = journal
        self._event_loop = event_loop
        self._metrics = metrics
        self._is_leader = is_leader
        self._every = every
        self._timeout = timeout
        self._observes = observes
        self._ended = ended
        self._said: dict[tuple[str, str, str], str] = {}  # what keeps a change from being taken back, as it was logged last
        self._log = structlog.get_logger("healer.taking_back")

    async def run(self) -> None:
        """Take back what is due, until cancelled."""
        while True:
            wake = await self.look()
            now = self._clients.api.clock.wall()
            await asyncio.sleep(self._every if wake is None else min(self._every, max(0.05, wake - now)))

    async def look(self) -> float | None:
        """Take back what is due now; returns when the next one is, in seconds since the epoch, as far as it is known."""
        later: list[float] = []
        shared = await self._shared()
        newest_first = reversed(self._journal.incidents())
        async for incident in in_turns(newest_first, _AT_ONCE):
            for standing in self._standing(incident):
                stopped = self._event_loop.stopped(incident)
                due, now = due_at(standing.change, incident, stopped=stopped is not None), self._clients.api.clock.wall()
                if due is not None and due > now:
                    later.append(due)
                elif due is not None:
                    held = None if standing.change.while_acting else stopped
                    await self._contained(standing, held or self._carried(standing, shared.get(standing.thing, ())))
        return min(later, default=None)

    async def _shared(self) -> Mapping[tuple[str, str, str], Sequence[Incident]]:
        """The incidents that have changed the same thing, by the thing: several for each."""
        found: dict[tuple[str, str, str], list[Incident]] = defaultdict(list)
        async for incident in in_turns(self._journal.incidents(), _AT_ONCE):
            for standing in self._standing(incident):
                if standing.change.before:  # one that takes nothing from anybody needs no order
                    found[standing.thing].append(incident)
        return {thing: incidents for thing, incidents in found.items() if len(incidents) > 1}

    def _carried(self, standing: StandingChange, incidents: Sequence[Incident]) -> Reason | None:
        """That the change of another incident stands on top of this one, by the notes as they are now."""
        others = (each for incident in incidents for each in self._standing(incident) if each.thing == standing.thing)
        on_top = next(filter(standing.carries, others), None)
        return None if on_top is None else Reason("OtherIncident", f"{on_top} was made on top of it, and is taken back first")

    def _standing(self, incident: Incident) -> Iterator[StandingChange]:
        notices = self._journal.recall(incident.id)
        if not notices or self._journal.made_as(incident.id) is None:
            return  # there is nothing, or it is not written yet, or not by healer
        for name in self._actions.keys() & notices.keys():
            for key, text in list(notices[name].items()):
                try:
                    change = TemporaryChange.parse(text)
                except ValueError as error:
                    self._log_once((incident.id, name, key), f"its note cannot be read: {error}", "a change is not taken back")
                    continue
                yield StandingChange(incident, name, self._actions[name], key, change)

    async def _contained(self, standing: StandingChange, stopped: Reason | None) -> None:
        """Take one change back, unless healer is `stopped`; what fails is tried again at the next look, and harms no other.

        A cluster or a journal that fails, and no end in time, are expected. Whatever else is raised is an error in the code of an
        action, and is logged with its traceback. A cancellation is none of these: it ends the daemon's task.
        """
        place = standing.incident.id, standing.name, standing.key
        try:
            async with asyncio.timeout(self._timeout):
                why = await self._take_back(standing) if stopped is None else stopped.text
        except (ClusterError, JournalError, TimeoutError) as error:
            why = f"{error or 'no end in time'}"
            self._metrics.taken_back(standing.name, "failed")
        except Exception as error:  # noqa: BLE001 - an error with one change must not end the daemon, nor keep others standing
            self._log.exception("a change could not be taken back by an error of healer's own", change=str(standing))
            why = f"an error of healer's own: {error!r}"
            self._metrics.taken_back(standing.name, "failed")
        if why:
            self._log_once(place, why, "a change is not taken back yet")
        else:
            self._said.pop(place, None)

    async def _take_back(self, standing: StandingChange) -> str:
        """Returns why the change stands still; "" when it has ended."""
        incident, change = standing.incident, standing.change
        if self._observes:
            undo = f"`healer undo incident/{incident.id} -n {incident.workload.namespace}`"
            return f"healer only observes (HEALER_MODE), so the change stands: {undo} takes it back, or a healer that may act"
        hold = standing.action.hold(incident, change, self._view, self._event_loop.beside(incident))
        if hold is not None:
            return hold.text
        try:
            reversal = await standing.action.reversal(self._clients, incident, standing.key, change)
            if reversal.done:
                how = "taken back" if change.begun else "nothing is left to take back"
                return self._end(standing, End.TAKEN_BACK, f"{how}: {reversal}")
            reversal.check(force=False)
            if not change.begun:
                await self._keep(standing, replace(change, begun=True))
            if not self._is_leader():
                raise NotLeading("another healer leads: nothing was taken back")
            await reversal.put_back(self._clients.api, force=False)
        except NotYet as error:
            return f"{error}"
        except NotUndone as error:
            return self._end(standing, End.LEFT_ALONE, f"{error}")
        except ApiError as error:
            if error.is_not_found:
                return self._end(standing, End.LEFT_ALONE, f"{standing.key} is gone: nothing is left to take back")
            raise
        return self._end(standing, End.TAKEN_BACK, f"taken back: {reversal}")

    async def _keep(self, standing: StandingChange, change: TemporaryChange) -> None:
        """Journal what is known of a change now; returns when it is kept. Raises JournalError: then nothing may be done."""
        self._note(standing, change)
        await self._journal.remembered(standing.incident.id)

    def _note(self, standing: StandingChange, change: TemporaryChange) -> None:
        kept = self._journal.recall(standing.incident.id).get(standing.name, {})
        self._journal.remember(standing.incident.id, standing.name, {**kept, standing.key: str(change)})

    def _end(self, standing: StandingChange, end: End, text: str) -> str:
        """The change has ended: note it, and say it in the incident. Of an incident that is gone by now only the log says it."""
        self._metrics.taken_back(standing.name, end)
        self._ended(standing, end, text)
        newest = self._journal.incident(standing.incident.id)
        if newest is None:
            self._log.warning("a change of an incident that is gone has ended", change=str(standing), end=str(end), reason=text)
            return ""
        self._note(standing, replace(standing.change, begun=True, ended=end))
        self._event_loop.taken_back(newest, Reason("TakenBack" if end is End.TAKEN_BACK else "LeftAlone", text))
        return ""

    def _log_once(self, place: tuple[str, str, str], why: str, what: str) -> None:
        if self._said.get(place) != why:
            self._said[place] = why
            incident, action, key = place
            self._log.warning(what, incident=incident, action=action, of=key, reason=why)
