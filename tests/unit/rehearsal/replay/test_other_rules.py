"""A record that is played to other rules: what they would have done, counted once, and what differs from what was done."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from healer.daemon.recording.files import files_in
from healer.daemon.recording.lines import AnyLine, HeadLine
from healer.daemon.recording.reading import RecordError
from healer.model.action import OutcomeKind
from healer.model.effects import Together
from healer.model.incident import State
from healer.model.signal import Answered, Signal
from healer.rehearsal.replay.diff import Differs, differences
from healer.rehearsal.replay.document import document
from healer.rehearsal.replay.replaying import Replayed, lines_of, replay
from healer.rehearsal.replay.show import OPEN_LOOP, show
from healer.rules.probe import QUERY_SIGNAL
from tests.support.recorded import Tape, recorded
from tests.support.world import START, Drill, Yaml, rule, rulebook

SLOWER = rulebook(rule(when={"pod": ["CrashLoopBackOff"], "for": "10m"}))


def record(life: Callable[[Drill], object], *rules: Yaml) -> list[AnyLine]:
    """What is recorded of a life with these rules."""
    drill = Drill(rulebook(*(rules or (rule(),))))
    with recorded(drill) as tape:
        life(drill)
        return tape.stop()


def healed(drill: Drill) -> None:
    """A pod crashes at once, is evicted, and its successor is well; then an hour passes."""
    drill.world.crash("serving-2")
    drill.wait(2)
    drill.answer()
    with drill.at_once():
        drill.world.replace("serving-2")
    drill.wait(3600)


def stays_sick(drill: Drill) -> None:
    """Nobody does anything about a pod that crashes for two hours."""
    drill.world.crash("serving-2")
    drill.wait(7200)


def done(result: Replayed) -> list[tuple[str, str, float, bool, bool]]:
    return [(deed.action, deed.target.name, deed.at - START, deed.recorded, deed.echo) for deed in result.story.deeds]


def text(result: Replayed, compared_with: str = "") -> str:
    printed = io.StringIO()
    show(result, Console(file=printed, width=1000, highlight=False), compared_with)
    return printed.getvalue()


NOBODY = rule("nobody", when={"alert": ["Never"]})


def test_rules_that_nobody_had_would_have_acted_and_the_outcome_is_assumed() -> None:
    result = replay(record(stays_sick, NOBODY), SLOWER)
    action, pod, at, recorded_, echo = done(result)[0]
    assert (action, pod, at, recorded_, echo) == ("evict", "serving-2", 600.0, False, False)
    assert result.story.deeds[0].outcome is not None
    assert result.story.deeds[0].outcome.reason == "Assumed"


def test_a_trouble_is_counted_once_although_the_record_does_not_answer() -> None:
    """The ladder climbs in vain, for the pod stays sick in the record: none of it is counted but the first."""
    ladder = [{"evict": {}, "verify": {"within": "3m"}}, {"restart": {}, "verify": {"within": "3m"}}, {"rolloutRestart": {}}]
    result = replay(record(stays_sick, NOBODY), rulebook(rule(heal=ladder)))
    assert [echo for *_, echo in done(result)] == [False, True, True]
    assert len(result.story.counted) == 1
    assert [each.state for each in result.story.troubles.values()] == [State.ESCALATED]
    assert "acted 1 time on 1 incident: evict 1" in text(result)
    assert "2 further acts not counted" in text(result)


def test_a_pod_that_would_have_been_gone_is_no_new_trouble() -> None:
    def again(drill: Drill) -> None:
        drill.world.crash("serving-2")
        drill.wait(600)
        drill.world.mend("serving-2")
        drill.wait(7200)
        drill.world.crash("serving-2")
        drill.wait(600)

    result = replay(record(again, NOBODY), rulebook(rule()))
    assert [(pod, echo) for _, pod, _, _, echo in done(result)] == [("serving-2", False), ("serving-2", True)]


def test_a_pod_that_stays_in_the_record_holds_back_no_later_act_on_its_workload() -> None:
    """Its replacement never comes there; when its incident is over it counts as replaced."""

    def two(drill: Drill) -> None:
        drill.alert("serving-1", "HighLatency")
        drill.wait(600)
        drill.alert("serving-1", "HighLatency", firing=False)
        drill.wait(7200)
        drill.alert("serving-3", "HighLatency")
        drill.wait(600)

    result = replay(record(two, NOBODY), rulebook(rule("slow", when={"alert": ["HighLatency"]})))
    assert [(pod, echo) for _, pod, _, _, echo in done(result) if not echo] == [("serving-1", False), ("serving-3", False)]
    assert [hold.code for hold in result.story.holds.values() if hold.at > START + 7000] == []


def test_slower_rules_do_not_act_on_what_was_healed_before() -> None:
    lines = record(healed)
    result = replay(lines, SLOWER, recorded=True)
    assert done(result) == []
    assert result.other is not None
    (less,) = differences(result.story, result.other)
    assert less.how is Differs.LESS
    said = text(result, "what was really done")
    assert "less       test/crash-loop: evict pod/serving-2 in production (step 1): " in said
    assert "; only what was really done" in said
    assert "these rules: acted on nothing" in said


def test_the_same_rules_differ_in_nothing() -> None:
    result = replay(record(healed), rulebook(rule()), recorded=True)
    assert result.other is not None
    assert differences(result.story, result.other) == []
    assert result.same == {"test/crash-loop"}
    assert "nothing changes" in text(result, "what was really done")


def test_rules_are_compared_with_other_rules_over_one_record() -> None:
    lines = record(stays_sick, NOBODY)
    sooner = rulebook(rule(when={"pod": ["CrashLoopBackOff"], "for": "1m"}))
    result = replay(lines, SLOWER, other=sooner)
    assert result.other is not None
    (moved,) = [each for each in differences(result.story, result.other) if each.deed is not None or each.before is not None]
    assert (moved.how, moved.deed.at - moved.before.at if moved.deed and moved.before else 0) == (Differs.MOVED, 540.0)
    assert "9 m later than with the rules of old" in text(result, "with the rules of old")


def test_another_rule_and_a_dry_run_are_differences() -> None:
    lines = record(stays_sick, NOBODY)
    result = replay(lines, rulebook(rule("renamed")), other=rulebook(rule()))
    assert result.other is not None
    assert Differs.RULE in {each.how for each in differences(result.story, result.other)}
    result = replay(lines, rulebook(rule(mode="observe")), other=rulebook(rule()))
    assert result.other is not None
    assert [each.how for each in differences(result.story, result.other) if each.deed] == [Differs.RULE]
    assert result.story.deeds[0].dry_run


def test_what_holds_rules_back_is_told_with_its_reason() -> None:
    def paused(drill: Drill) -> None:
        drill.world.pause("deployment", by="ann", reason="maintenance")
        stays_sick(drill)

    result = replay(record(paused, NOBODY), rulebook(rule()))
    assert done(result) == []
    assert [(hold.rule, hold.code) for hold in result.story.holds.values()] == [("test/crash-loop", "Paused")]
    assert "maintenance" in text(result)


def test_a_pause_of_everything_holds_in_a_replay_too() -> None:
    def paused(drill: Drill) -> None:
        drill.world.view.paused_everywhere = "ann: maintenance"
        drill.world.crash("serving-2")
        drill.wait(900)
        drill.world.view.paused_everywhere = ""
        drill.world.relabel("serving-1", app="serving")  # it is noted with the next change
        drill.wait(900)

    result = replay(record(paused, NOBODY), rulebook(rule()))
    assert [at for _, _, at, _, echo in done(result) if not echo] == [pytest.approx(900.0, abs=16)]


def test_only_a_time_is_told_and_what_came_before_is_played() -> None:
    lines = record(stays_sick, NOBODY)
    assert done(replay(lines, SLOWER, since=START + 700)) != done(replay(lines, SLOWER))
    assert [deed.at for deed in replay(lines, SLOWER, since=START + 601).story.deeds if not deed.echo] == []
    assert replay(lines, SLOWER, until=START + 599).story.deeds == []


def test_what_a_record_cannot_say_is_said() -> None:
    asks = rule("asks", when={"query": {"expr": "up", "above": 1, "every": "30s"}})
    happens = rule("happens", when={"event": {"reasons": ["FailedMount"]}})
    result = replay(record(stays_sick, NOBODY), rulebook(asks, happens, rule()))
    assert {(each.rule, each.whole) for each in result.unjudged} == {("test/asks", True), ("test/happens", True)}
    assert "not judged: test/happens: the record has no Event" in text(result)


def test_answers_are_those_of_the_rule_that_asks_the_same() -> None:
    """By what is asked, not by the name of the rule."""
    asks: dict[str, Any] = {"query": {"expr": "up", "above": 1, "every": "30s"}}

    def answered(drill: Drill) -> None:
        target = drill.world.target("serving-2")
        signal = Signal("query", QUERY_SIGNAL, target, True, drill.now, "query/test/asks/1", "1", "up is 2", rule="test/asks")
        drill.feed(Together((signal,)))
        drill.feed(Answered("test/asks", frozenset({signal.key})))
        drill.wait(60)

    lines = record(answered, rule("asks", when=asks, mode="observe"))
    result = replay(lines, rulebook(rule("renamed", when=asks), rule("other", when={"query": {"expr": "up", "above": 2}})))
    assert [(deed.rule, deed.target.name) for deed in result.story.counted] == [("test/renamed", "serving-2")]
    assert [each.rule for each in result.unjudged] == ["test/other"]


def test_answers_about_another_scope_are_no_answers() -> None:
    """The daemon has left out what was outside of the rule's scope."""
    asks: dict[str, Any] = {"query": {"expr": "up", "above": 1, "every": "30s"}}
    lines = record(stays_sick, rule("asks", when=asks, scope={"namespaces": ["staging"]}))
    assert [each.rule for each in replay(lines, rulebook(rule("asks", when=asks))).unjudged] == ["test/asks"]
    same = rulebook(rule("asks", when=asks, scope={"namespaces": ["staging"]}))
    assert replay(lines, same).unjudged == []


def test_a_file_can_be_played_alone_and_goes_on_from_its_state(tmp_path: Path) -> None:
    """The incidents and the alerts of its beginning are known: the alert is not sent again."""
    drill = Drill(rulebook(NOBODY))
    tape = Tape(drill, tmp_path, file_size=4096, total_size=1024 * 1024)
    drill.alert("serving-1", "HighLatency")
    full = False
    while not full:  # the thread of the writer says when
        full = tape.writer.wants is not None
        drill.world.relabel("serving-3", app="serving", n=str(drill.now))
        drill.wait(15)
    lines = tape.stop()
    heads = [line for line in lines if isinstance(line, HeadLine)]
    assert len(heads) > 1
    last = files_in(tmp_path)[-1]
    result = replay(lines_of(last, START, print), rulebook(rule("slow", when={"alert": ["HighLatency"]})))
    assert [deed.target.name for deed in result.story.counted] == ["serving-1"]
    assert result.story.deeds[0].at == pytest.approx(heads[-1].at, abs=1)


def test_a_rule_waits_on_from_one_file_to_the_next(tmp_path: Path) -> None:
    """What a rule waits for, and an act that is under way, are not in the state of a file: it is passed over there."""
    drill = Drill(rulebook(NOBODY))
    tape = Tape(drill, tmp_path, file_size=4096, total_size=1024 * 1024)
    drill.world.crash("serving-2")
    while drill.now < START + 599:
        drill.world.relabel("serving-3", app="serving", n=str(drill.now))
        drill.wait(1)
        while tape.writer.waiting:
            time.sleep(0)
    lines = tape.stop()
    assert sum(isinstance(line, HeadLine) for line in lines) > 1
    result = replay(lines, rulebook(rule(when={"pod": ["CrashLoopBackOff"], "for": "9m"})))
    assert [deed.at - START for deed in result.story.counted] == [540.0]


def test_a_record_without_its_beginning_is_refused() -> None:
    lines = record(stays_sick, NOBODY)
    whole = next(number for number, line in enumerate(lines) if type(line).__name__ == "WholeLine")
    with pytest.raises(RecordError, match="does not begin with a state"):
        replay(lines[whole + 1 :], SLOWER)


def test_the_document_has_what_the_text_has() -> None:
    result = replay(record(stays_sick, NOBODY), SLOWER, recorded=True)
    made = document(result)
    assert made["acts"][0]["target"]["name"] == "serving-2"
    assert made["acts"][0]["at"].startswith("2027-01-15T08:10:00")
    assert made["totals"]["acts"] == 1
    assert made["openLoop"] == OPEN_LOOP
    assert {each["how"] for each in made["differences"]} >= {"more"}


def refused(drill: Drill) -> None:
    """The budget refuses the eviction six times, and grants the seventh."""
    drill.world.crash("serving-2")
    drill.wait(2)
    for _ in range(6):
        drill.answer(OutcomeKind.DEFERRED, "BudgetRefused", denied=True)
        while not drill.waiting:
            drill.wait(5)
    drill.answer()
    with drill.at_once():
        drill.world.replace("serving-2")
    drill.wait(3600)


def test_what_was_refused_is_no_act_and_its_retries_are_one_line() -> None:
    result = replay(record(refused), rulebook(rule()), recorded=True)
    of_rules = replay(record(refused), rulebook(rule()))
    assert [(deed.refused, deed.times) for deed in of_rules.story.told] == [(True, 6), (False, 1)]
    assert differences(result.story, result.other or result.story) == []
    for said in (text(of_rules), text(result, "what was really done")):
        assert "acted 1 time on 1 incident: evict 1; 6 attempts refused, and not counted: evict: BudgetRefused 6" in said
    (line,) = [line for line in text(of_rules).splitlines() if "  refused  " in line]
    assert "nothing was done (6 times): BudgetRefused: evict" in line
    slower = replay(record(refused), SLOWER, recorded=True)
    assert slower.other is not None
    less = [each.before for each in differences(slower.story, slower.other) if each.how is Differs.LESS]
    assert [each.times for each in less if each is not None] == [6, 1]
    assert "only what was really done (BudgetRefused, 6 times)" in text(slower, "what was really done")
    made = document(of_rules)
    assert [(act["times"], act["refused"]) for act in made["acts"]] == [(6, True), (1, False)]
    assert (made["totals"]["acts"], made["totals"]["refusedAttempts"], made["totals"]["furtherActs"]) == (1, 6, 0)
