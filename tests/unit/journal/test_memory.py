"""The journal in memory."""

import asyncio
from dataclasses import replace

from healer.engine.safety.wide import ENDED_ALERTS
from healer.journal.base import Journal
from healer.journal.memory import MemoryJournal
from healer.model.incident import State
from healer.model.temporary import End, TemporaryChange
from tests.unit.journal.conftest import PATIENCE
from tests.unit.journal.incidents import NOW, incident, then


async def test_it_keeps_the_newest_snapshots_oldest_incident_first() -> None:
    journal: Journal = MemoryJournal()
    young, old = incident("young", opened_at=NOW), incident("old", opened_at=NOW - 1)
    journal.note(young)
    journal.note(old)
    acting = then(young, State.ACTING, attempt=1)
    await journal.claim(acting)
    assert journal.incidents() == await journal.load() == [old, acting]
    async with asyncio.timeout(PATIENCE):
        await journal.durable(["young", "nobody"])
        await journal.remembered("young")
        assert await journal.flush(0)


async def test_it_remembers_for_sinks() -> None:
    journal = MemoryJournal()
    journal.remember("young", "slack", {"ts": "0"})
    assert journal.recall("young") == {}
    journal.note(incident("young"))
    journal.remember("young", "slack", {"ts": "1"})
    assert journal.recall("young") == {"slack": {"ts": "1"}}


async def test_closed_ones_go_by_number_at_once_and_by_age_when_pruned() -> None:
    journal = MemoryJournal(2, keep_for=100)
    for number in range(4):
        opened = incident(f"i-{number}", opened_at=NOW + number)
        journal.note(opened)
        journal.remember(opened.id, "slack", {"ts": "1"})
        journal.note(opened if number == 0 else then(opened, State.CLOSED))
    own = replace(then(incident("own", opened_at=NOW - 1), State.CLOSED), rule=ENDED_ALERTS)
    journal.note(own)
    assert [each.id for each in journal.incidents()] == ["own", "i-0", "i-2", "i-3"]
    await journal.prune(NOW + 103.5)
    assert [each.id for each in journal.incidents()] == ["own", "i-0", "i-3"], "what healer keeps for itself stays"
    assert journal.recall("i-2") == {}


async def test_one_of_which_a_change_is_to_be_taken_back_stays_until_that_has_ended() -> None:
    """However old it is, and however many there are."""
    journal = MemoryJournal(1, keep_for=100)
    journal.note(incident("first"))
    journal.remember("first", "scale", {"replicas": str(TemporaryChange("3", "5", "0"))})
    journal.note(then(incident("first"), State.CLOSED))
    for number in range(3):
        journal.note(then(incident(f"i-{number}", opened_at=NOW + number), State.CLOSED))
    await journal.prune(NOW + 10_000)
    assert [each.id for each in journal.incidents()] == ["first"]
    journal.remember("first", "scale", {"replicas": str(TemporaryChange("3", "5", "0", ended=End.TAKEN_BACK))})
    await journal.prune(NOW + 10_000)
    assert journal.incidents() == []
