"""Takes back what a healer that is gone has left standing: its temporary changes, and the pauses that people have set for it."""

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from healer.actions.base import Clients, NotUndone, Reversal, Temporary
from healer.actions.registry import ACTIONS
from healer.actions.shared.standing import StandingChange, newest_first
from healer.cluster.api import Api
from healer.cluster.errors import ApiError, ClusterError
from healer.journal import codec
from healer.journal.base import Undecodable
from healer.journal.stored import INCIDENTS, IncidentObject
from healer.model.incident import Incident
from healer.model.temporary import changes
from healer.operate.alone import refuse_if_any_acts
from healer.operate.leases import Leases, refuse_if_any_leads, refuse_if_led
from healer.operate.objects import ObjectRef, OperateError, SeenObject, decoded, get, lease_ref, object_ref
from healer.operate.pause import Pause, pause_of, plain_pause, resume
from healer.operate.said import say
from healer.operate.status import all_pauses
from healer.operate.workload import listed
from healer.workloads.registry import WORKLOADS

_UNMARKED = "it does not say which healer it is of; --unmarked takes it back too"


@dataclass(frozen=True, slots=True)
class LeftChange:
    """A temporary change that stands. `text`: how it is taken back; `left_alone`: why it is not, "" if it is."""

    standing: StandingChange
    text: str
    left_alone: str = ""
    taken_back: dict[str, Any] | None = None
    """The JSON form of the way back, once it was taken."""

    def __str__(self) -> str:
        incident = self.standing.incident
        namespace = incident.workload.namespace
        where = f"incident {incident.id}" + (f" in {namespace}" if namespace else "")
        return f"{where}: left alone: {self.text}: {self.left_alone}" if self.left_alone else f"{where}: {self.text}"


@dataclass(frozen=True, slots=True)
class LeftPause:
    """A pause that somebody has set. `left_alone`: why it is not ended, "" if it is."""

    pause: Pause
    left_alone: str = ""

    def __str__(self) -> str:
        return f"{self.pause}: left alone: {self.left_alone}" if self.left_alone else f"{self.pause}"


@dataclass(frozen=True, slots=True)
class Retirement:
    """What one healer has left: before it is taken back, and after. `unknown` says what may not be read."""

    changes: Sequence[LeftChange] = ()
    pauses: Sequence[LeftPause] = ()
    notes: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether nothing is to be taken back."""
        return all(self._left_alone)

    @property
    def complete(self) -> bool:
        """Whether nothing is left, and nothing unknown."""
        return not self.unknown and not any(self._left_alone)

    @property
    def _left_alone(self) -> list[str]:
        return [each.left_alone for each in self.changes] + [each.left_alone for each in self.pauses]

    def lines(self, changed: str = "take back", ended: str = "end the pause") -> list[str]:
        """Return the lines to print; by default what is going to be done."""
        said = [f"note: {note}" for note in (*self.notes, *self.unknown)]
        said += [f"{each}" if each.left_alone else f"{changed}: {each}" for each in self.changes]
        said += [f"pause: {each}" if each.left_alone else f"{ended}: {each}" for each in self.pauses]
        return said or ["nothing is left to take back"]


@dataclass(frozen=True, slots=True)
class Retiring:
    """Which healer is retired, and how far. `namespace` bounds it to one; "" for all."""

    api: Api
    lease: ObjectRef
    """The Lease by which the healer led: it names the healer."""
    by: str
    """Who retires it."""
    namespace: str = ""
    unmarked: bool = False
    """Whether also what does not say which healer it is of is taken back."""

    @property
    def healer(self) -> str:
        """The healer, as its incidents and pauses name it."""
        return f"{self.lease.namespace}/{self.lease.name}"

    async def refuse_if_led(self) -> None:
        """Raises OperateError while the healer leads, or while that is not known."""
        await refuse_if_led(self.api, self.lease)
        if self.unmarked:
            await refuse_if_any_leads(self.api)

    def why_not(self, marked: str) -> str:
        """Return why something with that mark is left alone; "" if it is to be taken back."""
        return _UNMARKED if not marked and not self.unmarked else ""

    def concerns(self, marked: str) -> bool:
        """Whether something with that mark may be this healer's."""
        return marked in ("", self.healer)


async def retire(
    api: Api,
    healer_namespace: str,
    lease: str,
    show: Callable[[Retirement], None],
    *,
    by: str,
    namespace: str = "",
    unmarked: bool = False,
    nobody_acts: bool = False,
) -> Retirement:
    """Show what one healer has left, and take it back, the newest first. Idempotent. Returns what became of each.

    What cannot be taken back is left alone, with the reason, and keeps nothing else from being taken back. `show` may raise
    NotUndone to stop. Raises OperateError while the healer leads or acts or that is not known, and ClusterError, before anything
    is done. `nobody_acts`: whoever retires it knows that no healer acts there without an election, where none answers.
    """
    ways = Retiring(api, lease_ref(healer_namespace, lease), by, namespace, unmarked)
    await ways.refuse_if_led()
    await refuse_if_any_acts(api, healer_namespace, unanswered=nobody_acts)
    plan = Retirement()
    plan = replace(plan, changes=await _changes(ways, plan), pauses=await _pauses(ways, plan))
    show(plan)
    done = [each if each.left_alone else await _taken_back(ways, each) for each in plan.changes]
    ended = [each if each.left_alone else await _ended(ways, each) for each in plan.pauses]
    return replace(plan, changes=done, pauses=ended)


async def _changes(ways: Retiring, plan: Retirement) -> list[LeftChange]:
    """Return what stands, in the order in which it is taken back."""
    found: list[StandingChange] = []
    marks: dict[str, str] = {}
    others: Counter[str] = Counter()
    for raw in await _incidents(ways):
        try:
            incident = codec.decode(bytes(raw))
            stored = decoded(bytes(raw), IncidentObject, object_ref("Incident", incident.workload.namespace, incident.id))
            standing = _standing(incident, stored)
        except (Undecodable, ValueError) as error:
            plan.unknown.append(f"an incident cannot be read: {error}")
            continue
        if not stored.signed:
            plan.notes.append(f"incident {incident.id} was not made by healer: what it says was changed is not believed")
        elif ways.concerns(stored.healer):
            found += standing
            marks[incident.id] = stored.healer
        else:
            others[stored.healer] += len(standing)
    for healer, number in others.items():
        if number:
            place, _, name = healer.partition("/")
            plan.notes.append(
                f"{number} more may stand that the healer {healer} has made: they are left to it, or to"
                f" `healer retire --healer-namespace {place} --lease {name}`"
            )
    planned: list[LeftChange] = []
    for each in newest_first(found):
        before = [other.standing for other in planned if not other.left_alone]
        left = await _planned(ways, each, ways.why_not(marks[each.incident.id]), before)
        if left is not None and not (left.left_alone and await _ended_with_another(ways, each, found)):
            planned.append(left)
    return planned


async def _ended_with_another(ways: Retiring, each: StandingChange, found: Sequence[StandingChange]) -> bool:
    """Whether a change on top of which this one was made is taken back already: nothing is left of this one then."""
    seen, above = {each.incident.id}, [each]
    while above:
        top = above.pop()
        for other in found:
            if other.thing == each.thing and other.incident.id not in seen and other.carries(top):
                seen.add(other.incident.id)
                above.append(other)
                with contextlib.suppress(NotUndone, ClusterError, ValueError):
                    if (await _way(ways, other)).done:
                        return True
    return False


def _standing(incident: Incident, stored: IncidentObject) -> list[StandingChange]:
    """Return the changes that have not ended. Raises Undecodable, ValueError."""
    found: list[StandingChange] = []
    for name, kept in codec.notices(stored.status).items():
        if isinstance(action := ACTIONS.get(name), Temporary):
            noted = changes(kept).items()
            found += [StandingChange(incident, name, action, key, change) for key, change in noted if change.ended is None]
    return found


async def _incidents(ways: Retiring) -> Sequence[Any]:
    try:
        return await listed(ways.api, INCIDENTS.path(ways.namespace))
    except ApiError as error:
        if ways.namespace or not error.is_forbidden:
            raise
        raise OperateError(f"you may not list the incidents of all namespaces: name one by --namespace ({error})") from error


async def _planned(ways: Retiring, each: StandingChange, why_not: str, before: Sequence[StandingChange]) -> LeftChange | None:
    """Return what is to become of a change; None if it does not stand any more. `before`: what is taken back before it."""
    if any(each.thing == other.thing and each.carries(other) for other in before):
        text = f"{each.name} of {each.key}: {each.change.after} -> {each.change.before}, after what was changed on top of it"
        return LeftChange(each, text, why_not)
    try:
        way = await _way(ways, each)
    except (NotUndone, ClusterError, ValueError) as error:
        return LeftChange(each, f"{each.name} of {each.key}", why_not or f"{error}")
    return None if way.done else LeftChange(each, f"{way}", why_not)


async def _way(ways: Retiring, each: StandingChange) -> Reversal:
    """Return the way back as the cluster is now. Raises NotUndone, ClusterError, ValueError."""
    way = await each.action.reversal(Clients(ways.api), each.incident, each.key, each.change)
    if not way.done:
        way.check(force=False)
    return way


async def _taken_back(ways: Retiring, each: LeftChange) -> LeftChange:
    """Take one change back. Returns it with what came of that."""
    try:
        await ways.refuse_if_led()  # a healer may have been installed anew meanwhile
        way = await _way(ways, each.standing)
        if not way.done:
            await way.put_back(ways.api, force=False)
    except (NotUndone, OperateError, ClusterError, ValueError) as error:
        return replace(each, left_alone=f"{error}")
    workload = each.standing.incident.workload
    if workload.kind in WORKLOADS:
        ref = object_ref(workload.kind, workload.namespace, workload.name)
        note = f"{ways.by} has retired the healer {ways.healer}: taken back: {way}"
        # what keeps the Event from being posted changes nothing of what was done, and whoever retires reads it on the screen
        await say(ways.api, ref, workload.uid, note, reason="TakenBack", action="retire")
    return replace(each, text=f"{way}", taken_back=way.plain())


async def _pauses(ways: Retiring, plan: Retirement) -> list[LeftPause]:
    found, _ = await all_pauses(ways.api, ways.namespace, Leases((ways.lease,)), plan.unknown)
    own: list[LeftPause] = []
    for pause in found:
        mark = ways.healer if pause.ref == ways.lease else pause.healer
        if ways.concerns(mark):
            own.append(LeftPause(pause, ways.why_not(mark)))
        else:
            plan.notes.append(f"the pause {pause} is for the healer {mark}, and is left to it")
    return own


async def _ended(ways: Retiring, each: LeftPause) -> LeftPause:
    """End a pause, unless somebody has set another meanwhile."""
    ref = each.pause.ref
    try:
        await ways.refuse_if_led()
        body = await get(ways.api, ref)
        seen = None if body is None else decoded(body, SeenObject, ref)
        now = None if seen is None else pause_of(ref, seen, ways.api.clock.wall())
        if now is not None and now != each.pause:
            return replace(each, left_alone=f"somebody has changed it meanwhile: {now}")
        if now is not None:
            await resume(ways.api, ref, ways.lease.namespace, by=ways.by, lease=ways.lease.name)
    except (OperateError, ClusterError) as error:
        return replace(each, left_alone=f"{error}")
    return each


def plain(left: Retirement) -> dict[str, Any]:
    """Return the JSON form."""
    return {
        "changes": [
            {
                "incident": each.standing.incident.id,
                "namespace": each.standing.incident.workload.namespace,
                "action": each.standing.name,
                "takenBack": each.taken_back,
                "leftAlone": each.left_alone,
            }
            for each in left.changes
        ],
        "pauses": [(plain_pause(each.pause) or {}) | {"leftAlone": each.left_alone} for each in left.pauses],
        "notes": [*left.notes, *left.unknown],
    }
