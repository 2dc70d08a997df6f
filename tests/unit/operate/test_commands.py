"""What people have the running healer do: by the same code as the verbs, and for what was shown alone."""

import pytest

from healer.daemon.commands import Commands
from healer.model.incident import State
from healer.sinks.commands import CommandRefused
from tests.unit.operate.conftest import SPACE, Place
from tests.unit.operate.test_approve import NAME, waiting

pytestmark = pytest.mark.slow


def commands(place: Place) -> Commands:
    return Commands(place.api, "healer", "healer")


async def test_what_was_shown_is_approved(place: Place) -> None:
    await place.keep(waiting(place))
    shown = await commands(place).look_approve(SPACE, NAME)
    assert f"evict {place.pod}" in shown
    assert "approved by ann (page)" in await commands(place).approve(SPACE, NAME, "ann (page)", shown)
    assert place.annotations("incidents", NAME) == {"healer.dev/approved-by": "ann (page)"}


async def test_what_has_changed_since_it_was_shown_is_not_approved(place: Place) -> None:
    await place.keep(waiting(place))
    shown = await commands(place).look_approve(SPACE, NAME)
    await place.keep(waiting(place, step=1))
    with pytest.raises(CommandRefused, match="changed meanwhile, nothing was approved"):
        await commands(place).approve(SPACE, NAME, "ann", shown)
    assert place.annotations("incidents", NAME) == {}


async def test_a_button_of_another_step_approves_nothing(place: Place) -> None:
    await place.keep(waiting(place, step=1))
    with pytest.raises(CommandRefused, match="changed meanwhile, nothing was approved"):
        await commands(place).approve(SPACE, NAME, "slack:U1 (ann)", step="0")
    assert place.annotations("incidents", NAME) == {}
    await commands(place).approve(SPACE, NAME, "slack:U1 (ann)", step="1")
    assert place.annotations("incidents", NAME) == {"healer.dev/approved-by": "slack:U1 (ann)"}


async def test_what_cannot_be_done_is_said(place: Place) -> None:
    await place.keep(place.incident(State.CLOSED, "Resolved", "all is well"))
    with pytest.raises(CommandRefused, match="it is closed: all is well"):
        await commands(place).approve(SPACE, NAME, "ann")
    with pytest.raises(CommandRefused, match="nothing to undo"):
        await commands(place).look_undo(SPACE, NAME)
    with pytest.raises(CommandRefused, match="there is no deployment/none"):
        await commands(place).pause("deployment/none", SPACE, "ann")
    with pytest.raises(CommandRefused, match="cannot be"):
        await commands(place).approve("../other", NAME, "ann")


async def test_a_workload_is_paused_and_goes_on(place: Place) -> None:
    workload = "deployment/tensorflow-serving"
    said = await commands(place).pause(workload, SPACE, "ann", "a\nload test", 3600)
    assert f"healer is paused for {workload} in {SPACE} until " in said
    paused = place.annotations("deployments", "tensorflow-serving")
    assert paused["healer.dev/paused-by"] == "ann"
    assert "\n" not in paused["healer.dev/paused-reason"]
    assert "healer goes on" in await commands(place).resume(workload, SPACE, "ann")
    assert not any("pause" in key for key in place.annotations("deployments", "tensorflow-serving"))


async def test_an_incident_is_explained(place: Place) -> None:
    await place.keep(waiting(place))
    said = await commands(place).explain(SPACE, NAME)
    assert "tensorflow-serving/crash-loop on deployment/tensorflow-serving: waiting, because a human decides" in said
    assert "next: " in said
    with pytest.raises(CommandRefused, match="there is no incident/none"):
        await commands(place).explain(SPACE, "none")
