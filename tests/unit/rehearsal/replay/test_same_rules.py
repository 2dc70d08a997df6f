"""A record that is played to the rules that it was made with: they do what they did, at the same time, whatever happened."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from healer.rehearsal.replay.replaying import replay
from healer.rehearsal.replay.story import ToldAct
from healer.rules.rulebook import Rulebook
from tests.support.recorded import recorded
from tests.support.world import Drill, World, rule, rulebook
from tests.unit.engine.test_properties import EVICT, LIMITS, MOVES, play
from tests.unit.engine.test_properties import TUNING as LIFE

pytestmark = pytest.mark.slow

RULES: Rulebook = rulebook(
    rule("crash-loop", heal=[EVICT, {"restart": {}, "verify": {"within": "2m", "stable": "10s"}}], limits=LIMITS),
    rule("not-ready", when={"pod": ["NotReady"], "for": "1m"}, heal=[EVICT], limits=LIMITS),
    rule("asks", when={"alert": ["HighErrors"]}, mode="approve", heal=[EVICT], limits=LIMITS),
    rule("often", when={"alert": ["HighLatency"], "count": {"atLeast": 2, "within": "10m"}}, heal=[EVICT], limits=LIMITS),
    rule("slow", when={"alert": ["HighLatency", "HighErrors"], "if": "workload.ready >= 2"}, heal=[EVICT], limits=LIMITS),
    rule("watch", when={"pod": ["CrashLoopBackOff"]}, heal=[EVICT], limits=LIMITS, mode="observe"),
)
TUNING = replace(LIFE, alert_freshness=40_000.0)
"""Without a time that JSON does not have."""
LIVES = st.lists(MOVES.filter(lambda move: move[0] != "rules"), min_size=12, max_size=50)


def told(drill: Drill) -> list[tuple[Any, ...]]:
    """What a drill did."""
    return [(act.incident.id, act.incident.rule, act.action, act.target, act.step, act.dry_run) for act in drill.acts]


def done(deeds: list[ToldAct]) -> list[tuple[Any, ...]]:
    """What a story tells."""
    return [(deed.incident, deed.rule, deed.action, deed.target, deed.step, deed.dry_run) for deed in deeds]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60, derandomize=True)
@given(LIVES)
def test_the_same_rules_do_what_they_did(life: list[tuple[Any, ...]]) -> None:
    drill = Drill(RULES, World(4), TUNING)
    with recorded(drill) as tape:
        for move in life:
            with drill.at_once():  # as a daemon does: no input comes before what the view knows
                play(drill, move)
        lines = tape.stop()
    result = replay(lines, RULES, recorded=True)

    assert done(result.story.deeds) == told(drill)
    assert all(deed.recorded for deed in result.story.deeds)
    assert result.other is not None
    assert [deed.at for deed in result.story.deeds] == [deed.at for deed in result.other.deeds]
    assert result.story.holds == result.other.holds
    assert {name: each.state for name, each in result.story.troubles.items()} == {
        name: incident.state for name, incident in drill.incidents.items()
    }


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=20, derandomize=True)
@given(LIVES)
def test_several_files_are_as_good_as_one(life: list[tuple[Any, ...]]) -> None:
    drill = Drill(RULES, World(4), TUNING)
    with recorded(drill, file_size=4096, total_size=1024 * 1024 * 1024) as tape:
        for move in life:
            with drill.at_once():  # as a daemon does: no input comes before what the view knows
                play(drill, move)
        lines = tape.stop()
    deeds = [
        (deed.incident, deed.rule, deed.action, deed.target, deed.step, deed.dry_run) for deed in replay(lines, RULES).story.deeds
    ]
    assert deeds == told(drill)
