"""A rule that observes says what it would have done, and what became of the patient without it; it ends without an alarm."""

import pytest

from healer.model.action import OutcomeKind
from healer.model.effects import Verb
from healer.model.incident import State
from healer.rules.rulebook import capped
from healer.rules.schema import Mode
from tests.support.world import Drill, World, Yaml, codes, rule, rulebook, state, tuned
from tests.unit.engine.incidents.test_restart import restarted

SLOW = {"alert": ["HighLatency"]}
LADDER: list[Yaml] = [{"evict": {}, "verify": {"within": "5m", "stable": "1m"}}, {"rolloutRestart": {}}]
FALSE = ("did not help", "a human is needed", "human is asked")


def drill(heal: list[Yaml] = LADDER) -> Drill:
    return Drill(rulebook(rule(when=SLOW, heal=heal, mode="observe")), World(4), tuned(max_wait=600))


def told(d: Drill) -> str:
    """All that people read of it."""
    return "\n".join([entry.reason.text for entry in d.history] + [decision.reason.text for decision in d.decisions])


def test_it_recovers_by_itself_and_that_is_said() -> None:
    d = drill()
    d.alert("serving-1")
    d.answer()
    d.wait(180)
    d.alert("serving-1", firing=False)
    d.wait(60)
    assert state(d) is State.CLOSED
    assert d.incident.reason.text == "recovered by itself after 3 m, without what healer would have done; well for 1 m"
    assert "would (observe) evict pod/serving-1" in told(d)


def test_it_stays_sick_and_that_is_said_once_and_without_an_alarm() -> None:
    d = drill()
    d.alert("serving-1")
    d.answer()
    d.wait(4 * 3600)
    assert state(d) is State.VERIFYING
    assert [act.action for act in d.acts] == ["evict"]
    assert told(d).count("still sick 5 m after it began") == 1
    assert codes(d.effects, Verb.ESCALATE) == codes(d.effects, Verb.CLIMB) == []
    assert not any(words in told(d) for words in FALSE)
    d.alert("serving-1", firing=False)
    d.wait(60)
    assert state(d) is State.CLOSED
    assert d.incident.reason.text.startswith("recovered by itself after 4 h")


@pytest.mark.parametrize("kind", list(OutcomeKind))
def test_whatever_a_dry_run_comes_to_nobody_is_alarmed(kind: OutcomeKind) -> None:
    d = drill()
    d.alert("serving-1")
    for _ in range(20):
        while d.waiting:
            d.answer(kind)
        d.wait(600)
    assert state(d) is not State.ESCALATED
    assert codes(d.effects, Verb.ESCALATE) == []
    assert not any(words in told(d) for words in FALSE)
    d.alert("serving-1", firing=False)
    d.wait(700)
    assert state(d) is State.CLOSED


def test_a_step_that_would_be_refused_leads_to_what_would_be_next() -> None:
    d = drill()
    d.alert("serving-1")
    d.answer(OutcomeKind.REFUSED)
    assert [act.action for act in d.acts] == ["evict", "rolloutRestart"]
    assert "step 1 (evict) would not have been taken" in told(d)
    assert "next would be rolloutRestart" in told(d)


def test_waiting_for_too_long_is_no_alarm_either() -> None:
    d = drill(heal=[{"evict": {}}])
    d.world.respecify(paused=True)
    d.alert("serving-1")
    d.wait(3600)
    assert (state(d), d.acts) == (State.VERIFYING, [])
    assert "evict would not have been taken: waited 10 m" in told(d)
    assert not any(words in told(d) for words in FALSE)


def test_a_storm_with_nothing_to_do_is_no_alarm_either() -> None:
    d = drill(heal=[{"evict": {}}])
    d.together(*[d.alarm(f"serving-{number}") for number in (1, 2, 3)])
    d.wait(3600)
    assert "a human would be asked" in told(d)
    assert not any(words in told(d) for words in FALSE)


def test_a_further_sick_pod_is_told_of_while_it_observes_on() -> None:
    d = drill()
    d.alert("serving-1")
    d.answer()
    d.wait(3600)
    d.alert("serving-2")
    assert d.acted_on == ["serving-1", "serving-2"]


def test_after_a_restart_it_observes_on() -> None:
    d = drill()
    d.alert("serving-1")
    d.answer()
    d.wait(3600)
    again = restarted(d)
    again.wait(3600)
    assert again.acts == []
    again.alert("serving-1", firing=False)
    again.wait(60)
    assert state(again) is State.CLOSED


@pytest.mark.parametrize(
    ("most", "modes"),
    [
        (Mode.OBSERVE, ["observe", "observe", "observe"]),
        (Mode.APPROVE, ["observe", "approve", "approve"]),
        (Mode.ENFORCE, ["observe", "approve", "enforce"]),
    ],
)
def test_a_cap_lets_no_rule_go_further(most: Mode, modes: list[str]) -> None:
    rules = capped(rulebook(*[rule(f"rule-{mode}", mode=mode) for mode in ("observe", "approve", "enforce")]), most)
    assert [bound.rule.mode for bound in rules.rules] == modes
