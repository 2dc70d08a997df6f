"""Takes back what a healer that is gone has left standing: temporary changes, and the pauses that people have set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from healer.actions.base import Clients, NotUndone, Reversal, Temporary
from healer.actions.registry import ACTIONS
from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.journal import codec
from healer.journal.base import Undecodable
from healer.journal.stored import INCIDENTS, IncidentObject
from healer.model.annotations import PAUSED, PAUSED_BY, PAUSED_REASON, PAUSED_UNTIL
from healer.model.incident import Incident
from healer.model.temporary import TemporaryChange, changes
from healer.operate.leases import leases
from healer.operate.objects import OperateError, annotate, decoded, object_ref
from healer.operate.pause import Pause, plain_pause
from healer.operate.status import all_pauses, status
from healer.operate.workload import listed


@dataclass(frozen=True, slots=True)
class LeftChange:
    """A temporary change that stands: how it is taken back, or why it is left alone."""

    incident: Incident
    way: Reversal | None
    left_alone: str = ""

    def __str__(self) -> str:
        where = f"incident {self.incident.id} in {self.incident.workload.namespace}"
        return f"{where}: {self.way}" if self.way else f"{where}: left alone: {self.left_alone}"


@dataclass(frozen=True, slots=True)
class Retirement:
    """What is left of a healer. `notes` say what may not be read."""

    changes: Sequence[LeftChange]
    pauses: Sequence[Pause]
    notes: Sequence[str]

    @property
    def empty(self) -> bool:
        """Whether nothing is to be done."""
        return not self.pauses and all(each.way is None for each in self.changes)

    def __str__(self) -> str:
        lines = [f"note: {note}" for note in self.notes]
        lines += [f"take back: {each}" if each.way else str(each) for each in self.changes]
        lines += [f"end the pause: {pause}" for pause in self.pauses]
        return "\n".join(lines) or "nothing is left to take back"


async def retire(api: Api, healer_namespace: str, lease: str, show: Callable[[Retirement], None]) -> Retirement:
    """Show what is left, and take it back. Idempotent; another leader finds nothing left to take back.

    `show` may raise NotUndone to stop. Raises OperateError while a healer leads, NotUndone, and ClusterError: then some of it is
    taken back, and a second call does the rest.
    """
    seen = await status(api, "", healer_namespace, None, api.clock.wall(), lease)
    if seen.led:
        raise OperateError("a healer leads, and takes its changes back by itself: delete it first, or use `healer undo`")
    notes: list[str] = []
    pauses = await all_pauses(api, "", await leases(api, healer_namespace, lease), notes)
    left = Retirement(await _left(api, notes), pauses, notes)
    show(left)
    for each in left.changes:
        if each.way is not None:
            await each.way.put_back(api, force=False)
    for pause in pauses:
        await annotate(api, pause.ref, {PAUSED: None, PAUSED_BY: None, PAUSED_REASON: None, PAUSED_UNTIL: None})
    return left


async def _left(api: Api, notes: list[str]) -> list[LeftChange]:
    """Return what stands, the newest first: what was changed on top of another change goes before it."""
    found: list[tuple[Incident, str, str, TemporaryChange]] = []
    for raw in await listed(api, INCIDENTS.path("")):
        try:
            incident = codec.decode(bytes(raw))
            stored = decoded(bytes(raw), IncidentObject, object_ref("Incident", incident.workload.namespace, incident.id))
            if not stored.signed:
                notes.append(f"incident {incident.id} was not made by healer: what it says was changed is not believed")
                continue
            for name, kept in codec.notices(stored.status).items():
                if isinstance(ACTIONS.get(name), Temporary):
                    found += [(incident, name, key, change) for key, change in changes(kept).items() if change.ended is None]
        except (Undecodable, ValueError) as error:
            notes.append(f"an incident cannot be read: {error}")
    found.sort(key=lambda each: each[0].opened_at, reverse=True)
    ways = [await _way(api, *each) for each in found]
    return [each for each in ways if each.way is None or not each.way.done]


async def _way(api: Api, incident: Incident, name: str, key: str, change: TemporaryChange) -> LeftChange:
    action = ACTIONS[name]
    assert isinstance(action, Temporary)
    try:
        way = await action.reversal(Clients(api), incident, key, change)
        if not way.done:
            way.check(force=False)
    except (NotUndone, ApiError, ValueError) as error:
        return LeftChange(incident, None, f"{name} of {key}: {error}")
    return LeftChange(incident, way)


def plain(left: Retirement) -> dict[str, Any]:
    """Return the JSON form."""
    return {
        "changes": [
            {
                "incident": each.incident.id,
                "namespace": each.incident.workload.namespace,
                "takenBack": each.way.plain() if each.way else None,
                "leftAlone": each.left_alone,
            }
            for each in left.changes
        ],
        "pauses": [plain_pause(pause) for pause in left.pauses],
        "notes": list(left.notes),
    }
