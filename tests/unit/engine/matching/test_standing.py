"""Whether an alert still stands when healer acts: silenced, not repeated, ended elsewhere, told by two Prometheus."""

from dataclasses import replace
from typing import Any

import pytest

from healer.engine.matching.ended import MOST, Ended
from healer.engine.safety.wide import ENDED_ALERTS
from healer.journal import codec
from healer.model.effects import Dropped, Loss, Remember, Verb
from healer.model.incident import Incident, State
from healer.model.signal import Signal
from tests.support.world import START, Drill, World, codes, decisions, rule, rulebook, state, tuned

SLOW: dict[str, Any] = {"when": {"alert": ["HighLatency"]}}
WAITING: dict[str, Any] = {"when": {"alert": ["HighLatency"], "for": "1m"}}
COUNTED: dict[str, Any] = {"when": {"alert": ["HighLatency"], "count": {"atLeast": 3, "within": "10m"}}}


def drill(freshness: float = 30.0, **more: Any) -> Drill:
    return Drill(rulebook(rule(**(SLOW | more))), World(4), tuned(alert_freshness=freshness))


def said(
    d: Drill, pod: str = "serving-1", *, firing: bool = True, began: float = START, ended: float | None = None, **more: Any
) -> Signal:
    """What an Alertmanager says of an alert on a pod, now."""
    key = more.pop("key", pod)
    target = d.world.target(pod)
    occurrence = f"{key}@{began}"
    return Signal("alert", "HighLatency", target, firing, d.now, key, occurrence, began=began, ended=ended, **more)


# fresh, repeated, silenced


def test_an_alert_that_waited_and_was_not_repeated_is_not_acted_on() -> None:
    """It may have been silenced, and have ended since: nobody would have told."""
    d = drill(**WAITING)
    d.feed(said(d))
    d.wait(120)
    assert d.acts == []
    assert (state(d), d.incident.reason.code) == (State.WAITING, "NotRepeated")
    assert "last reported 1 m ago" in d.incident.reason.text


def test_a_repeat_lets_it_go_on_at_once() -> None:
    d = drill(**WAITING)
    d.feed(said(d))
    d.wait(100)
    d.feed(said(d))
    assert d.acted_on == ["serving-1"]


def test_waiting_for_a_repeat_takes_no_step_and_does_not_give_up() -> None:
    d = drill(**WAITING, heal=[{"evict": {}}, {"restart": {}}])
    d.feed(said(d))
    d.wait(2 * tuned().engine.max_wait)
    assert (state(d), d.incident.step, d.acts) == (State.WAITING, 0, [])


def test_a_fresh_report_is_acted_on() -> None:
    d = drill()
    d.feed(said(d))
    assert d.acted_on == ["serving-1"]


def test_right_before_the_request_a_report_must_still_be_fresh() -> None:
    """The claim may take long: the API server was away."""
    d = drill()
    d.feed(said(d))
    [act] = d.acts
    assert d.engine.unwanted(act, d.world.view, d.now) is None
    reason = d.engine.unwanted(act, d.world.view, d.now + 31)
    assert reason is not None
    assert reason.code == "NotRepeated"


def test_a_report_from_before_the_clock_was_set_back_is_not_fresh() -> None:
    """By the clock of now it is of the future, and would be fresh for an hour."""
    d = drill()
    d.feed(said(d))
    [act] = d.acts
    reason = d.engine.unwanted(act, d.world.view, d.now - 3600)
    assert reason is not None
    assert (reason.code, "1 h ahead of now, because the clock was set back" in reason.text) == ("NotRepeated", True)


def test_a_silenced_alert_is_left_to_people_until_the_silence_ends() -> None:
    d = drill()
    d.feed(said(d, suppressed="it is silenced by ann (I am on it)"))
    assert (state(d), d.incident.reason.code, d.acts) == (State.WAITING, "Suppressed", [])
    assert "silenced by ann (I am on it)" in d.incident.reason.text
    d.feed(said(d))
    assert d.acted_on == ["serving-1"]


def test_one_alert_that_stands_is_enough_for_a_pod() -> None:
    d = drill()
    d.feed(said(d, suppressed="it is silenced"))
    d.feed(said(d, key="another"))
    assert d.acted_on == ["serving-1"]


def test_people_are_paged_for_an_alert_that_is_not_repeated_but_not_for_a_silenced_one() -> None:
    d = drill(**WAITING, heal=[{"page": {"channels": ["#leads"]}}])
    d.feed(said(d))
    d.wait(100)
    assert [act.action for act in d.acts] == ["page"]
    d = drill(heal=[{"page": {"channels": ["#leads"]}}])
    d.feed(said(d, suppressed="it is silenced"))
    assert d.acts == []


def test_pods_conditions_know_no_freshness() -> None:
    d = Drill(rulebook(rule(when={"pod": ["CrashLoopBackOff"], "for": "1m"})), World(4), tuned(alert_freshness=30))
    d.world.crash("serving-1")
    d.wait(120)
    assert d.acted_on == ["serving-1"]


# two Alertmanagers


def test_what_has_ended_does_not_fire_again_with_the_same_start() -> None:
    """Firing, resolved, firing, resolved: the third is the slower Alertmanager's, and tells of the time that is over."""
    d = drill(**WAITING)
    d.feed(said(d))
    d.wait(10)
    d.feed(said(d, firing=False, ended=d.now))
    d.feed(said(d))
    assert codes(d.effects, Verb.IGNORE) == ["EndedBefore"]
    d.wait(90)
    d.feed(said(d))
    assert d.incidents == {}
    d.feed(said(d, began=d.now))
    d.wait(60)
    d.feed(said(d, began=d.now - 60))
    assert d.acted_on == ["serving-1"], "another time that it fires is news"


def test_an_end_of_an_earlier_time_does_not_end_the_present_one() -> None:
    d = drill()
    d.world.pause("deployment")
    d.feed(said(d, began=START + 100))
    d.feed(said(d, firing=False, ended=START + 50))
    assert state(d) is State.WAITING
    assert codes(d.effects, Verb.IGNORE) == ["BegunSince"]


def test_that_it_has_ended_is_remembered_over_a_restart() -> None:
    d = drill()
    d.world.pause("deployment")
    d.feed(said(d))
    d.wait(10)
    d.feed(said(d, firing=False, ended=d.now))
    assert state(d) is State.CLOSED
    after = Drill(d.rules, d.world, d.tuning, now=d.now)
    d.world.pause("deployment", "")
    after.restore(list(d.incidents.values()), set())
    after.wait(1)
    after.feed(said(d))
    assert after.acts == []
    assert codes(after.effects, Verb.IGNORE) == ["EndedBefore"]


def kept(d: Drill) -> list[Incident]:
    """What healer keeps of ends for itself, as a journal would write it each time."""
    return [effect.incident for effect in d.effects if isinstance(effect, Remember)]


def again(d: Drill, journal: list[Incident]) -> Drill:
    """Another healer leads, which has nothing but the journal."""
    after = Drill(d.rules, d.world, d.tuning, now=d.now)
    believed = after.engine.sift([codec.decode(as_object(incident)) for incident in journal], d.world.view, d.now)
    assert believed.doubted == ()
    after.restore(list(believed.believed), set())
    after.wait(1)
    return after


def as_object(incident: Incident) -> dict[str, Any]:
    spec, status = codec.encode(incident)
    return {"metadata": {"name": incident.id}, "spec": spec, "status": status}


@pytest.mark.parametrize("fired", [True, False], ids=["while-it-was-held", "before-it-was-heard-of"])
def test_an_end_that_no_incident_has_is_remembered_over_restarts_too(fired: bool) -> None:
    d = drill(**WAITING)
    if fired:
        d.feed(said(d))
        d.wait(10)
    d.feed(said(d, firing=False, ended=d.now))
    assert d.incidents == {}, "people are told nothing"
    d = again(again(d, kept(d)[-1:]), kept(d)[-1:])
    d.feed(said(d))
    d.wait(90)
    d.feed(said(d))
    assert d.incidents == {}
    assert codes(d.effects, Verb.IGNORE) == ["EndedBefore"] * 2
    d.feed(said(d, began=d.now))
    d.wait(60)
    d.feed(said(d, began=d.now - 60))
    assert d.acted_on == ["serving-1"], "another time that it fires is news"


def test_one_incident_keeps_all_ends_that_no_other_has() -> None:
    """By the key that its sender waits for, so that the end is written before its sender hears that it was taken."""
    d = drill(**WAITING)
    for pod in ("serving-1", "serving-2"):
        d.feed(said(d, pod, firing=False, ended=d.now))
        d.feed(said(d, pod, firing=False, ended=d.now))
        d.wait(60)
    first, second = kept(d)
    assert first.id == second.id
    assert (second.rule, second.state, second.workload.kind) == (ENDED_ALERTS, State.CLOSED, "Journal")
    assert second.ended == {"serving-1": START, "serving-2": START + 60}
    assert d.engine.incidents_of("serving-1") == d.engine.incidents_of("serving-2") == [first.id]
    assert d.engine.incidents_of("serving-3") == []
    after = again(d, [second])
    after.feed(said(after, "serving-3", firing=False, ended=after.now))
    assert kept(after)[-1].id == first.id, "another healer goes on with it"
    assert kept(after)[-1].ended.keys() == {"serving-1", "serving-2", "serving-3"}


def test_what_healer_keeps_of_ends_is_bounded_in_number_and_in_time() -> None:
    d = drill(**WAITING)
    d.together(*(said(d, key=str(number), firing=False, ended=d.now) for number in range(1005)))
    assert list(kept(d)[-1].ended) == [str(number) for number in range(5, 1005)]
    d.wait(d.tuning.alert_expiry + 1)
    d.feed(said(d, key="late", firing=False, ended=d.now))
    assert kept(d)[-1].ended == {"late": d.now}


@pytest.mark.parametrize("how", [Loss.DELETED, Loss.EDITED])
def test_what_healer_keeps_of_ends_is_kept_anew_when_somebody_deletes_it(how: Loss) -> None:
    d = drill(**WAITING)
    d.feed(said(d, firing=False, ended=d.now))
    (first,) = kept(d)
    d.feed(Dropped(first.id, "somebody has deleted it", how))
    second = kept(d)[-1]
    assert (second.id != first.id, second.ended) == (True, first.ended)
    d.feed(Dropped(second.id, "its namespace is ending", Loss.NO_NAMESPACE))
    assert kept(d) == [first, second], "where nothing can be kept, nothing is tried for ever"
    d.feed(said(d, "serving-2", firing=False, ended=d.now))
    assert kept(d)[-1].ended == {"serving-2": d.now}


def test_the_end_of_an_alert_on_a_pod_that_healer_took_is_kept_with_what_was_done() -> None:
    """Its incident has let go of it by then, and is open."""
    d = drill()
    d.feed(said(d))
    d.answer()
    gone = d.world.target("serving-1")
    d.world.replace("serving-1")
    assert d.incident.sick == []
    d.feed(replace(said(d, "serving-2", firing=False, ended=d.now), key="serving-1", target=gone))
    assert d.incident.ended == {"serving-1": d.now}
    assert kept(d) == []


def test_an_end_that_an_incident_has_is_kept_there_alone() -> None:
    d = drill()
    d.world.pause("deployment")
    d.feed(said(d))
    d.feed(said(d, firing=False, ended=d.now))
    assert d.incident.ended == {"serving-1": d.now}
    assert kept(d) == []


def test_the_memory_of_ends_is_bounded() -> None:
    ended = Ended()
    for number in range(MOST + 10):
        ended.note(str(number), float(number))
    assert ended.of(map(str, range(12))) == {"10": 10.0, "11": 11.0}


def test_alerts_that_no_rule_is_about_leave_no_memory() -> None:
    d = drill()
    d.feed(replace(said(d, firing=False, ended=START), name="Unheard"))
    assert kept(d) == []
    d.use(rulebook(rule(when={"alert": ["Unheard"]})))
    d.feed(replace(said(d), name="Unheard"))
    assert d.acted_on == ["serving-1"]


# two Prometheus


def test_what_two_replicas_of_a_prometheus_report_counts_once() -> None:
    """Their alerts differ in one external label, and so in their fingerprints; the rule asks for three times."""
    d = drill(**COUNTED)
    for began in (START, START + 60):
        for replica in ("a", "b"):
            d.feed(said(d, key=replica, began=began + 5 * (replica == "b"), trouble="t"))
        d.wait(30)
        for replica in ("a", "b"):
            d.feed(said(d, key=replica, firing=False, ended=d.now, began=began, trouble="t"))
        d.wait(30)
    assert d.incidents == {}, "seen twice, told four times"
    d.feed(said(d, key="a", began=d.now, trouble="t"))
    assert len(d.incidents) == 1


def test_a_replica_that_is_late_does_not_count_again() -> None:
    """The other's report has come and ended before."""
    d = drill(**COUNTED)
    for turn in range(2):
        began = d.now
        d.feed(said(d, key="a", began=began, trouble="t"))
        d.wait(20)
        d.feed(said(d, key="a", firing=False, began=began, ended=d.now, trouble="t"))
        d.feed(said(d, key="b", began=began + 5, trouble="t"))
        d.wait(10)
        d.feed(said(d, key="b", firing=False, began=began + 5, ended=d.now, trouble="t"))
        d.wait(10)
        assert d.incidents == {}, turn


def test_the_first_replica_may_end_before_the_second() -> None:
    d = drill(**COUNTED)
    d.feed(said(d, key="a", trouble="t"))
    d.feed(said(d, key="b", began=START + 5, trouble="t"))
    d.wait(20)
    d.feed(said(d, key="a", firing=False, ended=d.now, trouble="t"))
    for _ in range(4):
        d.wait(20)
        d.feed(said(d, key="b", began=START + 5, trouble="t"))
    assert d.incidents == {}


def test_a_late_report_alone_leaves_a_count_of_nothing_which_is_forgotten() -> None:
    """The end from one replica of a Prometheus, then both reports of another: none of them is an occurrence."""
    d = drill(**COUNTED)
    d.feed(said(d, key="a", firing=False, ended=d.now + 10, trouble="t"))
    d.feed(said(d, key="b", began=START + 5, trouble="t"))
    assert "seen 0 of 3 times" in decisions(d.effects, Verb.PEND)[-1].reason.text
    d.feed(said(d, key="b", firing=False, began=START + 5, ended=d.now + 10, trouble="t"))
    d.wait(1200)
    assert not d.engine._parts.matcher.waits()


def test_two_troubles_count_twice() -> None:
    d = drill(when={"alert": ["HighLatency"], "count": {"atLeast": 2, "within": "10m"}})
    d.feed(said(d, key="a", trouble="t"))
    d.feed(said(d, "serving-2", key="b", trouble="u"))
    assert len(d.incidents) == 1
