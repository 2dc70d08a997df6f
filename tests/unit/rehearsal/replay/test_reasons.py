"""Why these rules do not do what was done, or what other rules would have done, at that moment."""

import re

import pytest

from healer.model.effects import Decision, Verb
from healer.model.incident import Reason
from healer.rehearsal.replay import reasons
from healer.rehearsal.replay.diff import Differs, differences
from healer.rehearsal.replay.document import document
from healer.rehearsal.replay.reasons import LastDecisions
from healer.rehearsal.replay.replaying import Replayed, replay
from tests.support.recorded import recorded
from tests.support.world import START, Drill, Yaml, rule, rulebook
from tests.unit.rehearsal.replay.test_other_rules import NOBODY, healed, record, stays_sick, text

DONE = "what was really done"
TEN = {"pod": ["CrashLoopBackOff"], "for": "10m"}
ELSEWHERE = {"namespaces": ["production"], "selector": {"matchLabels": {"app": "other"}}}


def whys(result: Replayed) -> list[tuple[str, str]]:
    """How each act differs, and why."""
    assert result.other is not None
    return [(each.how, each.why) for each in differences(result.story, result.other) if each.hold is None]


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (rule(when=TEN), "test/crash-loop waits, .*: NotLongEnough: CrashLoopBackOff held for 0 s of 10 m"),
        (rule(limits={"minReady": 3}), "test/crash-loop is waiting since .*: BelowFloor: it would leave 2 ready replicas"),
        (rule(scope=ELSEWHERE), "test/crash-loop does not match, .*: OutOfScope: pod/serving-2 is outside the rule's scope"),
        (
            rule(when={"pod": ["CrashLoopBackOff"], "if": "pod.restarts > 99"}),
            "test/crash-loop does not match, .*: ConditionUnmet",
        ),
        (rule(mode="approve"), "test/crash-loop is waiting since .*: NeedsApproval: a human must approve"),
        (
            rule(when={"query": {"expr": "up", "above": 1}}),
            "test/crash-loop cannot be judged: the record has no answers about its",
        ),
        (NOBODY, "there is no rule test/crash-loop among these; no rule is about pod .*CrashLoopBackOff in production"),
        (rule(when={"pod": ["OOMKilled"]}), "no rule is about pod .*CrashLoopBackOff in production"),
        (rule(heal=[{"page": {}}]), "test/crash-loop is .*"),
    ],
)
def test_an_act_that_only_the_others_do_says_why_not(new: Yaml, why: str) -> None:
    result = replay(record(healed), rulebook(new), recorded=True)
    ((_, said),) = [each for each in whys(result) if each[0] == Differs.LESS]
    assert re.match(why, said), said
    (line,) = [line for line in text(result, DONE).splitlines() if "  less  " in line]
    assert "really done too" not in line
    assert line.endswith(f"; only {DONE} (Done), and not with these rules: {said}")
    assert said in [each["why"] for each in document(result)["differences"]]


def test_a_dry_run_says_which_mode_it_is() -> None:
    assert whys(replay(record(healed), rulebook(rule(mode="observe")), recorded=True)) == [
        (Differs.RULE, "test/crash-loop has the mode observe")
    ]


def test_an_act_at_another_time_says_why_the_later_one_waited() -> None:
    """Hours pass between two lines of the record: the reason is that of the moment at which the others act."""
    drill = Drill(rulebook(NOBODY))
    with recorded(drill) as tape:
        drill.world.crash("serving-2")
        drill.now += 7200
        drill.world.relabel("serving-1", app="serving")
        lines = tape.stop()
    later, sooner = rulebook(rule(when=TEN)), rulebook(rule(when={"pod": ["CrashLoopBackOff"], "for": "1m"}))
    said = r"test/crash-loop waits, as of .*: NotLongEnough: CrashLoopBackOff held for 0 s of 10 m"
    for mine, other in ((later, sooner), (sooner, later)):
        ((how, why),) = whys(replay(lines, mine, other=other))
        assert how is Differs.MOVED
        assert re.match(said, why), why


def test_an_act_that_only_these_rules_do_says_what_held_healer_back() -> None:
    def held(drill: Drill) -> None:
        drill.world.crash("serving-2")
        drill.wait(900)

    result = replay(
        record(held, rule(limits={"minReady": 3})), rulebook(rule(when={"pod": ["CrashLoopBackOff"], "for": "1m"})), recorded=True
    )
    ((how, why),) = whys(result)
    assert how is Differs.MORE
    assert why == "test/crash-loop was held back: BelowFloor: it would leave 2 ready replicas; minReady asks for 3"


def test_a_rule_of_another_name_is_said_to_be_missing() -> None:
    result = replay(record(stays_sick, NOBODY), rulebook(rule("renamed")), other=rulebook(rule()))
    ((_, why),) = [each for each in whys(result) if each[0] == Differs.RULE]
    assert why.startswith("there is no rule test/crash-loop among these")


def test_decisions_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "_MOST", 10)
    drill = Drill(rulebook(rule()))
    target = drill.world.target("serving-2")
    kept = LastDecisions()
    for number in range(100):
        kept.note(Decision(START + number, Verb.PEND, Reason("X", "x"), target, f"test/{number}"), "w")
    found = kept.about(drill.world.target("serving-2"), target)
    assert found == []
    workload = target.__class__("Deployment", "production", "w", "w")
    assert [each.rule for each in kept.about(workload, target)] == [f"test/{number}" for number in range(99, 89, -1)]
