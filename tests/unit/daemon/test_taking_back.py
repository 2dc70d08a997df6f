"""Temporary changes are taken back: the intent is kept first, each once, and what cannot be taken back harms no other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from healer.actions.base import Action, Clients, NotUndone, NotYet
from healer.actions.evict import Evict
from healer.actions.scale import ScaleWorkload
from healer.cluster.api import Api
from healer.cluster.errors import ApiUnavailable
from healer.daemon.metrics import Metrics
from healer.daemon.taking_back import TakingBack
from healer.journal.base import JournalError
from healer.lab.kinds import DEPLOYMENT
from healer.model.annotations import PAUSED
from healer.model.incident import Incident, Reason, State
from healer.model.temporary import End, TemporaryChange, changes
from healer.model.view import View
from healer.rules.schema import Mode
from tests.support.world import rule
from tests.unit.daemon.conftest import NAMESPACE, HeldJournal, House, house
from tests.unit.journal.incidents import incident, then

pytestmark = pytest.mark.slow

SLOW = rule("slow", when={"alert": ["HighLatency"]}, heal=[{"evict": {}, "verify": {"within": "1m", "stable": "0s"}}])
STRONGER = TemporaryChange("off", "on", "0")


@dataclass
class Lamps(Evict):
    """An action that switches lamps on for a time: `states` has what each is, `switched` those that were put back."""

    states: dict[str, str] = field(default_factory=dict)
    switched: list[str] = field(default_factory=list)
    before: Callable[[], None] = lambda: None
    held: Reason | None = None

    async def reversal(self, clients: Clients, incident: Incident, key: str, change: TemporaryChange) -> "LampReversal":
        return LampReversal(self, key, change)

    def hold(self, incident: Incident, change: TemporaryChange, view: View, beside: Sequence[Incident]) -> Reason | None:
        return self.held


@dataclass
class LampReversal:
    """One lamp."""

    lamps: Lamps
    name: str
    change: TemporaryChange
    group: str = "lamps"

    @property
    def done(self) -> bool:
        return self.lamps.states[self.name] == self.change.before

    def __str__(self) -> str:
        return f"{self.name} {self.change.after} -> {self.change.before}"

    def plain(self) -> dict[str, Any]:
        return {"name": self.name}

    def check(self, *, force: bool) -> None:
        if self.lamps.states[self.name] != self.change.after:
            raise NotUndone(f"{self.name} is {self.lamps.states[self.name]}: somebody has changed it since")

    async def put_back(self, api: Api, *, force: bool) -> None:
        self.lamps.before()
        self.lamps.states[self.name] = self.change.before
        self.lamps.switched.append(self.name)


@dataclass
class Room:
    """A house with lamps in it."""

    house: House
    lamps: Lamps
    leads: bool = True

    def taking_back(self, observes: bool = False, **actions: Action) -> TakingBack:
        """A new one, as after a change of leader."""
        house = self.house
        return TakingBack(
            clients=Clients(house.api),
            view=house.view,
            actions={"evict": self.lamps, **actions},
            journal=house.journal,
            event_loop=house.event_loop,
            metrics=Metrics(),
            is_leader=lambda: self.leads,
            every=15.0,
            timeout=5.0,
            observes=observes,
        )

    def put(self, ended: Incident, **notes: TemporaryChange) -> None:
        """An incident of the journal, with what it has changed."""
        self.house.journal.note(ended)
        self.house.journal.remember(ended.id, "evict", {name: str(change) for name, change in notes.items()})
        self.lamps.states |= {name: change.after for name, change in notes.items()}

    def notes(self, name: str) -> Mapping[str, TemporaryChange]:
        """What is noted of an incident's changes."""
        return changes(self.house.journal.recall(name)["evict"])

    def lines(self, name: str) -> list[tuple[str, str]]:
        """The codes and texts of an incident's lines."""
        (found,) = [each for each in self.house.journal.incidents() if each.id == name]
        return [(entry.reason.code, entry.reason.text) for entry in found.history]


def healed(name: str = "slow-1", opened_at: float = 1_790_000_000.0) -> Incident:
    """One that is over."""
    return then(then(incident(name, opened_at=opened_at), State.HEALED), State.CLOSED)


async def test_each_change_is_taken_back_once_and_said(tmp_path: Path) -> None:
    """A second look, and another leader's, find nothing left to do."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        room = Room(h, Lamps())
        room.put(healed(), hall=STRONGER, stairs=STRONGER)
        first = room.taking_back()
        await first.look()
        await first.look()
        await room.taking_back().look()
        assert sorted(room.lamps.switched) == ["hall", "stairs"]
        assert {change.ended for change in room.notes("slow-1").values()} == {End.TAKEN_BACK}
        assert ("TakenBack", "taken back: hall on -> off") in room.lines("slow-1")


@pytest.mark.parametrize("number", [1, 40])
async def test_the_end_of_a_change_costs_the_same_however_many_incidents_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A look goes through the incidents twice, and not once more for each change that it takes back."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        room = Room(h, Lamps())
        for each in range(number):
            room.put(healed(f"slow-{each}"), **{f"lamp-{each}": STRONGER})
        walk, walks = h.journal.incidents, 0

        def counted() -> list[Incident]:
            nonlocal walks
            walks += 1
            return walk()

        monkeypatch.setattr(h.journal, "incidents", counted)
        await room.taking_back().look()
        assert (len(room.lamps.switched), walks) == (number, 2)


async def test_who_only_observes_takes_nothing_back_and_says_once_what_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is noted either: a healer that acts finds the change as it was, and takes it back."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        room = Room(h, Lamps())
        room.put(healed(), hall=STRONGER)
        observer = room.taking_back(observes=True)
        await observer.look()
        await observer.look()
        assert (room.lamps.switched, room.notes("slow-1")) == ([], {"hall": STRONGER})
        printed = capsys.readouterr()
        said = [line for line in (printed.out + printed.err).splitlines() if "a change is not taken back yet" in line]
        assert len(said) == 1
        assert f"`healer undo incident/slow-1 -n {NAMESPACE}`" in said[0]
        await room.taking_back().look()
        assert room.lamps.switched == ["hall"]


async def test_the_newest_change_is_taken_back_first(tmp_path: Path) -> None:
    """What was changed on top of another change goes before it."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        room = Room(h, Lamps())
        room.put(healed("old"), hall=STRONGER)
        room.put(healed("new", 1_790_000_100.0), stairs=STRONGER)
        await room.taking_back().look()
        assert room.lamps.switched == ["stairs", "hall"]


async def test_nothing_is_taken_back_before_the_intent_is_kept(tmp_path: Path) -> None:
    """While the journal cannot be written, all stays as it is; when it can, the intent is there before the request."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        room, begun = Room(h, Lamps()), []
        room.lamps.before = lambda: begun.append(room.notes("slow-1")["hall"].begun)
        room.put(healed(), hall=STRONGER)
        h.journal.forgets = True
        taking_back = room.taking_back()
        await taking_back.look()
        assert room.lamps.switched == []
        h.journal.forgets = False
        await taking_back.look()
        assert begun == [True]
        assert room.lamps.switched == ["hall"]


async def test_who_died_after_the_request_has_the_next_leader_look_and_not_repeat(tmp_path: Path) -> None:
    """The note says that it was begun, and the cluster that it is done."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        room = Room(h, Lamps())
        room.put(healed(), hall=TemporaryChange("off", "on", "0", begun=True))
        room.lamps.states["hall"] = "off"
        await room.taking_back().look()
        assert room.lamps.switched == []
        assert room.notes("slow-1")["hall"].ended is End.TAKEN_BACK


async def test_what_somebody_has_changed_since_is_left_alone_for_good_and_said_once(tmp_path: Path) -> None:
    """Also when it is as healer had it, later on."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        room = Room(h, Lamps())
        room.put(healed(), hall=STRONGER)
        room.lamps.states["hall"] = "dimmed"
        taking_back = room.taking_back()
        await taking_back.look()
        room.lamps.states["hall"] = "on"
        await taking_back.look()
        assert room.lamps.switched == []
        assert room.lines("slow-1")[-1] == ("LeftAlone", "hall is dimmed: somebody has changed it since")
        assert [code for code, _ in room.lines("slow-1")].count("LeftAlone") == 1


@pytest.mark.parametrize("fault", [ApiUnavailable("away"), ValueError("a fault of its own"), JournalError("away")])
async def test_a_change_that_cannot_be_taken_back_now_is_tried_again_and_keeps_no_other(tmp_path: Path, fault: Exception) -> None:
    """Whatever the fault is."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        room = Room(h, Lamps())
        faults = [fault]

        def stumble() -> None:
            if faults:
                raise faults.pop()

        room.lamps.before = stumble
        room.put(healed("new", 1_790_000_100.0), hall=STRONGER)
        room.put(healed("old"), stairs=STRONGER)
        taking_back = room.taking_back()
        await taking_back.look()
        assert room.lamps.switched == ["stairs"]
        await taking_back.look()
        assert room.lamps.switched == ["stairs", "hall"]


async def test_a_note_that_cannot_be_read_harms_no_other(tmp_path: Path) -> None:
    """It is said, and left."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        room = Room(h, Lamps())
        room.put(healed(), hall=STRONGER)
        h.journal.remember("slow-1", "evict", {"odd": "{", "hall": str(STRONGER)})
        await room.taking_back().look()
        assert room.lamps.switched == ["hall"]


async def test_an_incident_that_healer_did_not_make_changes_nothing(tmp_path: Path) -> None:
    """As one that somebody has restored from a backup."""

    class Copied(HeldJournal):
        def made_as(self, incident_id: str) -> str | None:
            return None

    async with house(tmp_path, SLOW) as h:
        await h.start()
        h.journal = Copied()
        room = Room(h, Lamps())
        room.put(healed(), hall=STRONGER)
        await room.taking_back().look()
        assert room.lamps.switched == []


async def test_it_waits_for_what_the_action_waits_for_and_for_the_lease(tmp_path: Path) -> None:
    """Nothing is asked of the cluster meanwhile."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        room = Room(h, Lamps(held=Reason("NotEnoughReady", "2 of 3 are ready")))
        room.put(healed(), hall=STRONGER)
        taking_back = room.taking_back()
        await taking_back.look()
        room.lamps.held, room.leads = None, False
        await taking_back.look()
        assert room.lamps.switched == []
        room.leads = True
        await taking_back.look()
        assert room.lamps.switched == ["hall"]


async def test_nothing_is_taken_back_while_healer_is_paused_for_the_workload(tmp_path: Path) -> None:
    """A pause stops all that healer does by itself."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        (workload,) = h.view.workloads()
        room = Room(h, Lamps())
        room.put(replace(healed(), workload=workload.target), hall=STRONGER)

        def pause(value: str) -> Callable[[dict[str, Any]], None]:
            return lambda obj: obj["metadata"].setdefault("annotations", {}).update({PAUSED: value})

        name = workload.metadata.name
        h.lab.api.modify(DEPLOYMENT, NAMESPACE, name, pause("true"))
        await h.until(lambda: h.event_loop.stopped(room.house.journal.incidents()[0]) is not None)
        taking_back = room.taking_back()
        await taking_back.look()
        assert room.lamps.switched == []
        h.lab.api.modify(DEPLOYMENT, NAMESPACE, name, pause("false"))
        await h.until(lambda: h.event_loop.stopped(room.house.journal.incidents()[0]) is None)
        await taking_back.look()
        assert room.lamps.switched == ["hall"]


async def test_what_is_for_the_time_in_which_healer_acts_is_taken_back_as_soon_as_it_is_paused(tmp_path: Path) -> None:
    """An alert that is silenced while nobody works at it reaches nobody."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        (workload,) = h.view.workloads()
        room = Room(h, Lamps())
        verifying = then(replace(incident("slow-1"), workload=workload.target), State.VERIFYING)
        room.put(verifying, hall=STRONGER, stairs=TemporaryChange("off", "on", "0", while_acting=True))
        taking_back = room.taking_back()
        await taking_back.look()
        assert room.lamps.switched == []
        pause = {PAUSED: "true"}
        h.lab.api.modify(DEPLOYMENT, NAMESPACE, workload.metadata.name, lambda obj: obj["metadata"].update(annotations=pause))
        await h.until(lambda: h.event_loop.stopped(verifying) is not None)
        await taking_back.look()
        assert room.lamps.switched == ["stairs"]


async def test_an_incident_that_is_gone_when_its_change_has_ended_harms_nothing(tmp_path: Path) -> None:
    """Somebody deletes it while the request is under way."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        room = Room(h, Lamps())
        room.put(healed("old"), hall=STRONGER)
        room.put(healed("new", 1_790_000_100.0), stairs=STRONGER)
        room.lamps.before = lambda: h.journal.set_aside(["new"])
        with capture_logs() as logged:
            await room.taking_back().look()
        assert room.lamps.switched == ["stairs", "hall"]
        assert [each["event"] for each in logged] == ["a change of an incident that is gone has ended"]


async def test_it_is_told_which_other_incidents_on_the_workload_have_something_sick(tmp_path: Path) -> None:
    """One that only observes is none of them, nor is the incident itself."""
    watch = rule("watch", when={"alert": ["HighLatency"]}, heal=[{"evict": {}}], mode="observe")
    async with house(tmp_path, watch, SLOW) as h:
        await h.start()
        await h.event_loop.intake([h.alert(0)])
        (acting,) = [each for each in h.journal.incidents() if each.mode == Mode.ENFORCE]
        ended = replace(healed(), workload=acting.workload)
        assert [each.id for each in h.event_loop.beside(ended)] == [acting.id]
        assert h.event_loop.beside(acting) == []


async def test_it_wakes_when_the_next_change_is_due(tmp_path: Path) -> None:
    """Not only at the next look."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        room, now = Room(h, Lamps()), h.api.clock.wall()
        room.put(healed(), hall=replace_until(now + 3600), stairs=replace_until(now + 1800))
        assert await room.taking_back().look() == now + 1800
        assert room.lamps.switched == []


def replace_until(at: float) -> TemporaryChange:
    """A change with an expiry, whatever becomes of its incident."""
    return TemporaryChange("off", "on", "0", with_incident=False, until=at)


@pytest.mark.parametrize("first", ["old", "new"])
async def test_two_incidents_that_scale_one_workload_take_back_each_its_own(tmp_path: Path, first: str) -> None:
    """Whichever is due first: from 3 to 5, and from there to 7; the replicas of the other one stay until it is due as well."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        (workload,) = h.view.workloads()
        h.lab.api.modify(DEPLOYMENT, NAMESPACE, workload.metadata.name, lambda obj: obj["spec"].update(replicas=7))
        await h.until(lambda: (seen := h.view.workload(workload.metadata.uid)) is not None and seen.ready == 7)
        taking_back = Room(h, Lamps()).taking_back(scale=ScaleWorkload())
        for name, at, before, after in (("old", 1_790_000_000.0, "3", "5"), ("new", 1_790_000_100.0, "5", "7")):
            h.journal.note(replace(healed(name, at), workload=workload.target))
            lasts = 0.0 if name == first else 1e9
            h.journal.remember(name, "scale", {"replicas": str(TemporaryChange(before, after, "0", lasts=lasts))})

        def replicas() -> int:
            return int(h.lab.objects("deployments", NAMESPACE)[0]["spec"]["replicas"])

        await taking_back.look()
        assert replicas() == (5 if first == "new" else 7)
        second, note = ("old", "new")[first == "old"], {"old": ("3", "5"), "new": ("5", "7")}
        h.journal.remember(second, "scale", {"replicas": str(TemporaryChange(*note[second], "0"))})
        await h.until(lambda: (seen := h.view.workload(workload.metadata.uid)) is not None and seen.ready == replicas())
        await taking_back.look()
        assert replicas() == 3


async def test_the_same_change_is_taken_back_with_the_later_incident(tmp_path: Path) -> None:
    """Somebody had taken the first one back by hand."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        (workload,) = h.view.workloads()
        room = Room(h, Lamps())
        room.put(replace(healed("old"), workload=workload.target), hall=STRONGER)
        later = TemporaryChange("off", "on", "0", lasts=1e9)
        room.put(replace(healed("new", 1_790_000_100.0), workload=workload.target), hall=later)
        await room.taking_back().look()
        assert room.lamps.switched == []
        h.journal.remember("new", "evict", {"hall": str(STRONGER)})
        await room.taking_back().look()
        assert room.lamps.switched == ["hall"]
        assert {room.notes(name)["hall"].ended for name in ("old", "new")} == {End.TAKEN_BACK}


async def test_what_cannot_be_spared_yet_is_taken_back_later(tmp_path: Path) -> None:
    """The way back may see more than the view: it is no reason to leave the change alone for good."""

    class Needed(Lamps):
        needed = True

        async def reversal(self, clients: Clients, incident: Incident, key: str, change: TemporaryChange) -> LampReversal:
            if self.needed:
                raise NotYet("the hall is full")
            return await super().reversal(clients, incident, key, change)

    async with house(tmp_path, SLOW) as h:
        await h.start()
        lamps = Needed()
        room = Room(h, lamps)
        room.put(healed(), hall=STRONGER)
        taking_back = room.taking_back()
        await taking_back.look()
        assert room.notes("slow-1")["hall"].ended is None
        lamps.needed = False
        await taking_back.look()
        assert room.lamps.switched == ["hall"]
