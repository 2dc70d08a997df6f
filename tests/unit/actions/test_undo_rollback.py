"""`healer undo` of a rollback: the template from before comes back, only if nothing has changed since, and is not fought over."""

import pytest

from healer.actions.base import NotUndone, Reversal
from healer.model.action import OutcomeKind
from tests.unit.actions.conftest import NAME, Bench
from tests.unit.actions.rollouts import FIRST, GOOD, NEWER, annotations, image, roll_back, settled, ship, verdict
from tests.unit.actions.test_rollback import BY, FROM, replace

pytestmark = pytest.mark.slow


async def rolled_back(bench: Bench) -> None:
    """Revision 2 was rolled back to revision 1."""
    await ship(bench, GOOD)
    await roll_back(bench, revision="2")
    await bench.lab.wait_for(settled)


async def back(bench: Bench) -> Reversal:
    """The way back, as the rollback stands now."""
    (found,) = await bench.ways_back("rollback")
    return found


async def test_the_template_from_before_comes_back(bench: Bench) -> None:
    """By one patch, and a second time there is nothing left to do."""
    await rolled_back(bench)
    way = await back(bench)
    assert str(way) == f"deployment/{NAME}: revision 3 (healer rolled back to 1) -> the template of 2"
    way.check(force=False)
    bench.lab.requests.clear()
    await way.put_back(bench.api, force=False)
    assert (image(bench.lab), bench.writes) == (GOOD, ["patch deployments"])
    await bench.lab.wait_for(settled)
    assert (await back(bench)).done
    bench.lab.requests.clear()
    await (await back(bench)).put_back(bench.api, force=False)
    assert bench.writes == []


async def test_healer_does_not_roll_back_again_what_somebody_has_taken_back(bench: Bench) -> None:
    """The marks stay: no going to and fro with a person."""
    await rolled_back(bench)
    marks = {name: annotations(bench.lab)[name] for name in (FROM, BY)}
    await (await back(bench)).put_back(bench.api, force=False)
    await bench.lab.wait_for(settled)
    assert {name: annotations(bench.lab)[name] for name in (FROM, BY)} == marks
    bench.look()
    bench.kept = {}
    assert verdict(await roll_back(bench, revision="4")) == (OutcomeKind.REFUSED, "PutBack")


async def test_what_somebody_has_rolled_out_since_stays_unless_forced(bench: Bench) -> None:
    """A newer revision may be the cure."""
    await rolled_back(bench)
    await ship(bench, NEWER)
    way = await back(bench)
    with pytest.raises(NotUndone, match=r"is at revision 4, and healer rolled it back to 1: somebody has changed it since"):
        way.check(force=False)
    with pytest.raises(NotUndone, match="somebody has changed it since"):
        await way.put_back(bench.api, force=False)
    assert image(bench.lab) == NEWER
    way.check(force=True)
    await way.put_back(bench.api, force=True)
    assert image(bench.lab) == GOOD


async def test_what_changes_while_it_is_shown_stays(bench: Bench) -> None:
    """The patch is for what was read."""
    await rolled_back(bench)
    way = await back(bench)
    await ship(bench, NEWER)
    with pytest.raises(NotUndone, match="somebody has changed it since"):
        await way.put_back(bench.api, force=False)
    assert image(bench.lab) == NEWER


async def test_a_revision_that_is_not_kept_any_more_cannot_come_back(bench: Bench) -> None:
    """Nobody knows its template."""
    await rolled_back(bench)
    bench.kept["from"] = "9"
    with pytest.raises(NotUndone, match=r"revision 9 of .* is not kept any more \(revisionHistoryLimit\)"):
        (await back(bench)).check(force=True)


async def test_another_workload_of_its_name_and_a_note_of_somebody_else_are_left_alone(bench: Bench) -> None:
    """Only what healer did, on what it did it to."""
    await rolled_back(bench)
    bench.kept = {"step": "0", "from": "2"}
    with pytest.raises(ValueError, match="is no note of a rollback"):
        await bench.ways_back("rollback")
    bench.kept |= {"replicaSet": "x"}
    replace(bench)
    with pytest.raises(NotUndone, match="is now another object"):
        await bench.ways_back("rollback")
    assert image(bench.lab) == FIRST
