"""Many sick pods of a workload at once are not the pods' fault: none is taken, one incident speaks for them all."""

from dataclasses import replace
from typing import Any

import pytest

from healer.engine.safety.storms import storm_on
from healer.model.action import OutcomeKind
from healer.model.effects import Record, Verb
from healer.model.incident import Incident, State
from healer.rules.portion import exceeded
from tests.support.world import Drill, World, Yaml, codes, rule, rulebook, state, tuned
from tests.unit.engine.incidents.test_restart import restarted

PAGE = {"page": {"channels": ["#sre"]}, "verify": {"within": "5m", "stable": "1m"}}
NUDGE = {"nudge": {}, "verify": {"within": "5m", "stable": "1m"}}
SLOW = {"alert": ["HighLatency"]}


def drill(*rules: Yaml, replicas: int = 4, **more: Any) -> Drill:
    return Drill(rulebook(*(rules or (rule(**more),))), World(replicas))


def stormy(*rules: Yaml, replicas: int = 4, **more: Any) -> Drill:
    """Three pods crash at once: three of four. Whatever happens to the first one is over: it was paused."""
    d = drill(*rules, replicas=replicas, **more)
    d.world.pause("deployment")
    for number in (1, 2, 3):
        d.world.crash(f"serving-{number}")
    d.world.pause("deployment", "")
    d.wait(15)
    return d


def told(d: Drill, incident: Incident) -> list[str]:
    """The reasons of an incident's history, by code."""
    return [entry.reason.code for entry in d.incidents[incident.id].history]


# what a storm is


@pytest.mark.parametrize(
    ("limit", "sick", "desired", "storm"),
    [
        ("50%", 2, 4, False),
        ("50%", 3, 4, True),
        ("50%", 2, 3, True),
        ("40%", 4, 10, False),
        ("40%", 5, 10, True),
        ("33%", 1, 3, True),
        ("100%", 4, 4, False),
        ("100%", 5, 4, True),
        (3, 3, 100, False),
        (3, 4, 100, True),
        ("50%", 2, 0, True),
    ],
)
def test_a_portion_is_exceeded(limit: int | str, sick: int, desired: int, storm: bool) -> None:
    assert exceeded(limit, sick, desired) == storm


@pytest.mark.parametrize(("limit", "acts"), [("50%", False), ("75%", True), (2, False), (3, True)])
def test_above_the_limit_no_pod_is_taken(limit: int | str, acts: bool) -> None:
    d = stormy(limits={"maxUnhealthy": limit})
    assert bool(d.acts) == acts
    assert ("Storm" in told(d, d.incident)) != acts


def test_the_default_is_half() -> None:
    d = stormy()
    assert d.acts == []
    assert d.incident.reason.code == "Storm"
    assert "3 of 4 pods are sick at once, more than 50%" in d.incident.reason.text


def test_one_sick_pod_alone_is_no_storm() -> None:
    d = drill(replicas=1)
    d.world.crash("serving-1")
    assert d.acted_on == ["serving-1"]


def test_pods_that_a_rule_is_still_waiting_for_count_as_sick() -> None:
    """One has crashed for long enough, the others not yet."""
    d = drill(when={"pod": ["CrashLoopBackOff"], "for": "2m"})
    d.world.crash("serving-1")
    d.wait(60)
    d.world.crash("serving-2")
    d.world.crash("serving-3")
    d.wait(60)
    assert d.acts == []
    assert d.incident.storm


def test_what_other_rules_see_on_the_workload_counts() -> None:
    d = drill(rule(), rule("slow", when=SLOW | {"for": "1h"}))
    d.alert("serving-2")
    d.alert("serving-3")
    d.world.crash("serving-1")
    assert d.acts == []
    assert d.incident.reason.code == "Storm"


def test_what_no_rule_heeds_does_not_count() -> None:
    d = drill(rule(), rule("slow", when=SLOW | {"if": "pod.restarts > 100"}))
    d.alert("serving-2")
    d.alert("serving-3", "Unheard")
    d.world.unready("serving-4")
    d.world.crash("serving-1")
    assert d.acted_on == ["serving-1"]


def test_what_no_rule_heeds_any_more_does_not_count() -> None:
    d = drill(rule(), rule("slow", when=SLOW | {"if": "workload.ready >= 3", "for": "1h"}), replicas=3)
    d.alert("serving-2")
    d.world.crash("serving-1")
    assert told(d, d.incident) == ["CrashLoopBackOff", "Storm", "StormOver", "Allowed"]


def test_a_pod_with_several_signals_counts_once() -> None:
    d = drill(rule(), rule("slow", when=SLOW))
    d.alert("serving-1")
    d.alert("serving-1", "HighLatency", key="other")
    d.world.crash("serving-1")
    assert "Storm" not in codes(d.effects)


def test_a_pod_that_is_gone_is_not_sick_whatever_still_fires_for_it() -> None:
    d = drill(when=SLOW)
    d.alert("serving-1")
    d.answer()
    d.world.replace("serving-1")
    d.alert("serving-2")
    d.alert("serving-3")
    assert d.acted_on == ["serving-1", "serving-2"]


def test_more_sick_than_desired_after_scaling_down_is_a_storm_at_once() -> None:
    d = drill(replicas=6)
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.world.crash("serving-2")
    d.world.respecify(replicas=3)
    assert d.incident.storm
    d.world.respecify(replicas=6)
    assert not d.incident.storm


# who takes over


def test_the_oldest_incident_takes_over_and_the_others_wait_naming_it() -> None:
    d = drill(rule(), rule("slow", when=SLOW), replicas=5)
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.alert("serving-2")
    d.world.crash("serving-3")
    d.world.pause("deployment", "")
    d.wait(60)
    first, second = d.incidents.values()
    assert (first.storm, second.storm) == (True, False)
    assert (second.state, second.reason.code) == (State.WAITING, "Storm")
    assert first.id in second.reason.text
    assert d.acts == []


def test_it_is_told_once() -> None:
    d = stormy()
    d.world.crash("serving-4")
    d.wait(3600)
    assert told(d, d.incident).count("Storm") == 1
    assert codes(d.effects, Verb.DEFER).count("Storm") == 1


def test_it_waits_patiently() -> None:
    d = stormy()
    d.wait(86_400)
    assert state(d) is State.WAITING


def test_the_strictest_limit_counts() -> None:
    d = drill(rule(limits={"maxUnhealthy": "90%"}), rule("slow", when=SLOW, limits={"maxUnhealthy": "40%"}), replicas=4)
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.alert("serving-2")
    d.world.pause("deployment", "")
    d.wait(15)
    assert d.acts == []
    assert "more than 40%" in next(iter(d.incidents.values())).reason.text


def test_a_rule_that_only_observes_neither_sets_the_limit_nor_takes_over() -> None:
    watch = rule("watch", mode="observe", limits={"maxUnhealthy": 1})
    d = drill(watch, rule(limits={"maxUnhealthy": "75%"}))
    d.world.crash("serving-1")
    d.answer()
    d.answer()
    d.world.crash("serving-2")
    assert [i.rule for i in d.engine.incidents() if i.storm] == []
    d.world.crash("serving-3")
    d.world.crash("serving-4")
    while d.waiting:
        d.answer()
    assert [i.rule for i in d.engine.incidents() if i.storm] == ["test/crash-loop"]


def test_a_rule_that_observes_takes_over_when_it_is_alone_and_pages_nobody() -> None:
    d = stormy(mode="observe", onStorm=PAGE)
    assert [(act.action, act.dry_run) for act in d.acts] == [("page", True)]
    d.answer()
    assert d.incident.paged is None
    assert (d.incident.severity, d.incident.notify) == ("warning", ())


def test_what_only_observing_rules_heed_is_no_storm_for_those_that_act() -> None:
    """A rule that is tried out must not keep the others from healing."""
    d = drill(rule("watch", mode="observe"), rule("slow", when=SLOW), replicas=6)
    for number in (1, 2, 3, 4):
        d.world.crash(f"serving-{number}")
    while d.waiting:
        d.answer()
    assert [i.storm for i in d.engine.incidents()] == [True], "it may say so in its own story"
    d.alert("serving-5")
    assert [(i.rule, i.storm) for i in d.engine.incidents()] == [("test/watch", False), ("test/slow", False)]
    assert [act.target.name for act in d.acts if not act.dry_run] == ["serving-5"]


def test_one_that_acts_takes_over_at_once_from_one_that_observes() -> None:
    d = drill(rule("watch", mode="observe"), rule("slow", when=SLOW))
    for number in (1, 2, 3):
        d.world.crash(f"serving-{number}")
    d.answer()
    d.together(*[d.alarm(f"serving-{number}") for number in (2, 3, 4)])
    assert [(i.rule, i.storm) for i in d.engine.incidents()] == [("test/watch", False), ("test/slow", True)]


def test_one_whose_rule_is_gone_does_not_take_over() -> None:
    d = drill()
    d.world.crash("serving-1")
    d.answer()
    d.use(rulebook(rule("slow", when=SLOW, onStorm=PAGE)))
    for number in (2, 3, 4):
        d.alert(f"serving-{number}")
    assert [(i.rule, i.storm) for i in d.engine.incidents()] == [("test/crash-loop", False), ("test/slow", True)]
    assert d.acts[-1].action == "page"


def test_an_incident_that_closes_hands_the_storm_on() -> None:
    d = drill(rule(), rule("slow", when=SLOW), replicas=5)
    d.world.pause("deployment")
    d.world.crash("serving-1")
    for number in (2, 3, 4):
        d.alert(f"serving-{number}")
    assert [i.storm for i in d.engine.incidents()] == [True, False]
    d.world.mend("serving-1")
    assert [(i.rule, i.storm) for i in d.engine.incidents()] == [("test/slow", True)]


# while an action is under way


def test_a_storm_that_breaks_while_a_pod_is_being_taken_takes_no_further_one() -> None:
    d = drill()
    d.world.crash("serving-1")
    d.world.crash("serving-2")
    d.world.crash("serving-3")
    assert state(d) is State.ACTING
    d.answer()
    assert (state(d), d.incident.reason.code) == (State.WAITING, "Storm")
    d.wait(3600)
    assert d.acted_on == ["serving-1"]


def test_the_budget_of_evictions_is_not_spent() -> None:
    d = stormy(onStorm=PAGE, limits={"budget": {"actions": 1, "per": "6h"}})
    d.answer()
    assert d.incident.acted_at == ()
    d.world.mend("serving-2")
    d.world.mend("serving-3")
    assert [act.action for act in d.acts] == ["page", "evict"]


def test_another_that_verifies_does_so_to_its_end_and_then_waits() -> None:
    d = drill(rule(), rule("slow", when=SLOW, heal=[{"evict": {}}, NUDGE]), replicas=6)
    d.world.pause("serving-1")
    d.world.crash("serving-1")
    d.alert("serving-2")
    d.answer()
    for number in (3, 4):
        d.world.crash(f"serving-{number}")
    first, second = d.engine.incidents()
    assert (first.storm, second.state) == (True, State.VERIFYING)
    d.wait(300)
    first, second = d.engine.incidents()
    assert (second.state, second.reason.code, second.step) == (State.WAITING, "Storm", 0)


def test_another_that_verifies_takes_no_further_pod() -> None:
    d = Drill(rulebook(rule(), rule("slow", when=SLOW)), World(6), tuned(node_storm_pods=50))
    d.world.pause("serving-1")
    d.world.crash("serving-1")
    d.alert("serving-2")
    d.answer()
    d.world.crash("serving-3")
    d.alert("serving-4")
    d.alert("serving-5")
    d.world.replace("serving-2")
    d.wait(60)
    first, second = d.engine.incidents()
    assert (first.storm, second.state) == (True, State.VERIFYING)
    assert d.acted_on == ["serving-2"]


def test_an_answer_that_was_lost_is_not_forgotten_when_the_pod_is_seen_to_go() -> None:
    """The storm breaks with the very signal after which the pod's end is first looked at."""
    d = drill()
    d.world.crash("serving-1")
    d.world.crash("serving-2")
    d.answer(OutcomeKind.FAILED)
    d.world.listeners.clear()
    d.world.terminate("serving-1")
    d.world.listeners.append(d.changed)
    d.world.crash("serving-3")
    assert len(d.incident.acted_at) == 1
    assert d.incident.storm


# when it is over


def test_the_ladder_goes_on_for_what_is_still_sick() -> None:
    d = stormy()
    d.world.mend("serving-2")
    assert told(d, d.incident)[-2:] == ["StormOver", "Allowed"]
    assert not d.incident.storm
    assert d.acted_on == ["serving-1"]


def test_the_ladder_goes_on_where_it_was() -> None:
    """Its first step had acted: whether that helped is looked at anew, for as long as the step allows."""
    heal = [{"evict": {}, "verify": {"within": "5m", "stable": "1m"}}, NUDGE]
    d = drill(heal=heal, limits={"maxUnhealthy": 1})
    d.world.crash("serving-1")
    d.world.crash("serving-2")
    d.world.crash("serving-3")
    d.answer()
    d.wait(600)
    assert d.incident.storm
    d.world.mend("serving-2")
    d.world.mend("serving-3")
    assert (state(d), d.incident.step) == (State.VERIFYING, 0)
    d.wait(299)
    assert len(d.acts) == 1
    d.wait(1)
    assert [act.action for act in d.acts] == ["evict", "nudge"]


def test_a_storm_that_passes_by_itself_closes_the_incident() -> None:
    d = stormy()
    d.world.pause("deployment")
    for number in (1, 2, 3):
        d.world.mend(f"serving-{number}")
    assert state(d) is State.CLOSED
    assert d.acts == []


def test_the_others_go_on_too() -> None:
    d = drill(rule(heal=[NUDGE]), rule("slow", when=SLOW), replicas=5)
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.alert("serving-2")
    d.world.crash("serving-3")
    d.world.pause("deployment", "")
    d.wait(60)
    assert d.acts == []
    d.world.mend("serving-3")
    assert d.acted_on == ["serving-1"]
    d.answer()
    d.world.mend("serving-1")
    d.wait(60)
    assert d.acted_on == ["serving-1", "serving-2"]


# onStorm


def test_on_storm_is_taken_on_the_workload() -> None:
    d = stormy(onStorm=NUDGE)
    (act,) = d.acts
    assert (act.action, act.target, act.step) == ("nudge", d.world.workload, 0)
    assert (act.incident.storm, act.incident.storming) == (True, True)


def test_a_page_makes_it_critical_and_is_told_in_its_channels_too() -> None:
    d = stormy(onStorm=PAGE, notify=["#ml"], severity="info")
    assert (d.incident.severity, d.incident.notify) == ("info", ("#ml",))
    d.answer()
    assert (d.incident.severity, d.incident.notify, d.incident.paged) == ("critical", ("#ml", "#sre"), ("#sre",))
    (record,) = [e for e in d.effects if isinstance(e, Record) and e.incident.state is State.VERIFYING]
    assert record.incident.notify == ("#ml", "#sre")


def test_a_channel_that_is_told_already_is_not_told_twice() -> None:
    d = stormy(onStorm=PAGE, notify=["#sre", "#ml"])
    d.answer()
    assert d.incident.notify == ("#sre", "#ml")


def test_it_is_verified_and_when_that_fails_the_incident_holds() -> None:
    d = stormy(onStorm=PAGE)
    d.answer()
    d.wait(299)
    assert state(d) is State.VERIFYING
    d.wait(1)
    assert (state(d), d.incident.reason.code) == (State.WAITING, "Storm")
    said = d.incident.reason.text
    assert said.startswith("people were paged, and it is not over: still sick: pod/serving-1 ")
    assert said.endswith("; healer does nothing more until fewer are sick, a human is needed")
    d.wait(86_400)
    assert len(d.acts) == 1


def test_it_is_healed_by_on_storm() -> None:
    d = stormy(onStorm=NUDGE)
    d.answer()
    for number in (1, 2, 3):
        d.world.mend(f"serving-{number}")
    d.wait(60)
    assert state(d) is State.HEALED
    assert (d.incident.storm, d.incident.storming) == (False, False)


def test_a_page_heals_nothing() -> None:
    d = stormy(onStorm=PAGE)
    d.answer()
    d.world.pause("deployment")
    for number in (1, 2, 3):
        d.world.mend(f"serving-{number}")
    d.wait(60)
    assert (state(d), d.incident.reason.code) == (State.CLOSED, "Recovered")
    assert d.incident.acted_at == ()


def test_below_the_limit_after_a_page_the_ladder_goes_on() -> None:
    d = stormy(onStorm=PAGE)
    d.answer()
    d.world.mend("serving-1")
    assert [(act.action, act.target.name) for act in d.acts] == [("page", "serving"), ("evict", "serving-2")]


def test_below_the_limit_after_a_change_that_has_its_time_to_help_what_is_left() -> None:
    d = stormy(onStorm=NUDGE)
    d.answer()
    d.world.mend("serving-1")
    d.wait(299)
    assert (state(d), d.incident.storm) == (State.VERIFYING, False)
    assert len(d.acts) == 1
    d.wait(1)
    assert [(act.action, act.target.name) for act in d.acts] == [("nudge", "serving"), ("evict", "serving-2")]


def test_it_runs_once_an_incident() -> None:
    d = stormy(onStorm=PAGE)
    d.answer()
    for number in (1, 2, 3):
        d.world.pause(f"serving-{number}")
    d.world.mend("serving-1")
    assert not d.incident.storm
    d.world.crash("serving-1")
    d.wait(3600)
    assert d.incident.storm
    assert [act.action for act in d.acts] == ["page"]


@pytest.mark.parametrize("heal", [[{"evict": {}}], [{"evict": {}}, {"restart": {}}]], ids=["pods alone", "then the workload"])
def test_it_does_not_run_again_when_the_storm_is_back_while_it_is_verified(heal: list[Yaml]) -> None:
    """Whether the ladder has a step that takes no pods or not: what onStorm did has its time first."""
    d = stormy(heal=heal, onStorm=NUDGE)
    d.answer()
    d.world.mend("serving-3")
    assert told(d, d.incident)[-1] == "StormOver"
    d.world.crash("serving-3")
    assert (d.incident.storm, d.incident.state) == (True, State.VERIFYING)
    assert "what onStorm did is still being verified" in d.incident.history[-1].reason.text
    d.wait(600)
    assert [act.action for act in d.acts].count("nudge") == 1


@pytest.mark.parametrize("kind", [OutcomeKind.REFUSED, OutcomeKind.FAILED])
def test_when_it_cannot_be_done_the_incident_holds(kind: OutcomeKind) -> None:
    d = stormy(onStorm=NUDGE)
    while d.waiting:
        d.answer(kind)
        d.wait(60)
    assert (state(d), d.incident.reason.code) == (State.WAITING, "Storm")
    assert d.incident.stormed
    assert set(d.acted_on) == {"serving"}


def test_a_guard_may_put_it_off_and_in_the_end_it_is_given_up() -> None:
    d = drill(onStorm=NUDGE)
    d.world.pause("deployment")
    for number in (1, 2, 3):
        d.world.crash(f"serving-{number}")
    d.world.respecify(paused=True)
    d.world.pause("deployment", "")
    d.wait(1799)
    assert d.incident.reason.code == "RolloutInProgress"
    d.wait(60)
    assert (state(d), d.incident.reason.code, d.incident.stormed) == (State.WAITING, "Storm", True)
    assert d.acts == []


@pytest.mark.parametrize("how", ["rollout", "cooldown", "other ladder"])
def test_a_page_waits_for_nothing_that_only_concerns_changes(how: str) -> None:
    d = drill(rule(onStorm=PAGE, limits={"cooldown": "10h"}), rule("slow", when=SLOW), replicas=6)
    if how == "cooldown":
        d.world.crash("serving-1")
        d.answer()
        d.world.replace("serving-1")
        d.wait(60)
    d.world.pause("serving-2")
    d.world.crash("serving-2")
    if how == "other ladder":
        d.alert("serving-3")
        d.answer()
    if how == "rollout":
        d.world.respecify(paused=True)
    for number in (4, 5, 6):
        d.world.crash(f"serving-{number}")
    assert d.acts[-1].action == "page"


@pytest.mark.parametrize("where", ["deployment", "namespace"])
def test_a_pause_holds_a_page_too(where: str) -> None:
    d = drill(onStorm=PAGE)
    d.world.pause(where)
    for number in (1, 2, 3):
        d.world.crash(f"serving-{number}")
    d.wait(600)
    assert d.acts == []
    assert d.incident.reason.code == "Paused"


def test_a_changed_rule_ends_the_storm_s_incident_and_the_new_rule_s_takes_over() -> None:
    d = stormy(onStorm=PAGE)
    d.answer()
    d.wait(300)
    d.use(rulebook(rule(onStorm=PAGE, severity="info")))
    old, new = d.incidents.values()
    assert (old.state, old.reason.code, old.storm) == (State.CLOSED, "RuleChanged", False)
    assert new.storm
    assert [act.action for act in d.acts] == ["page", "page"]


def test_new_rules_act_on_nothing_before_it_is_known_how_much_is_sick() -> None:
    d = drill(when={"alert": ["X"]})
    for number in (1, 2, 3):
        d.world.crash(f"serving-{number}")
    d.use(rulebook(rule()))
    assert d.acts == []
    assert d.incident.storm


# the choice, in plain terms


def test_an_escalated_incident_takes_over_only_if_it_had_before() -> None:
    d = stormy()
    incident, bound = d.incident, d.rules.rules[0].rule
    done = replace(incident, state=State.ESCALATED)
    assert storm_on(3, 4, [(done, bound)]) is not None
    assert storm_on(3, 4, [(replace(done, storm=False), bound)]) is None
    healed = replace(incident, state=State.HEALED)
    assert storm_on(3, 4, [(healed, bound)]) is None
    assert storm_on(1, 0, [(incident, bound)]) is None


def test_the_one_that_has_taken_over_keeps_it_though_an_older_one_could() -> None:
    d = stormy()
    incident, bound = d.incident, d.rules.rules[0].rule
    older = replace(incident, id="older", storm=False)
    storm = storm_on(3, 4, [(older, bound), (incident, bound)])
    assert storm is not None
    assert storm.taker == incident.id


def test_an_incident_without_a_sick_pod_does_not_take_over_but_onstorm_is_seen_to_its_end() -> None:
    d = stormy()
    incident, bound = d.incident, d.rules.rules[0].rule
    well = replace(incident, id="well", targets={}, storm=False)
    storm = storm_on(3, 4, [(well, bound), (replace(incident, storm=False), bound)])
    assert storm is not None
    assert storm.taker == incident.id
    storm = storm_on(3, 4, [(replace(well, storming=True), bound)])
    assert storm is not None
    assert storm.taker == "well"


def test_of_two_limits_the_strictest_is_named() -> None:
    d = stormy()
    loose, strict = (rulebook(rule(limits={"maxUnhealthy": limit})).rules[0].rule for limit in ("50%", 1))
    storm = storm_on(3, 4, [(d.incident, loose), (d.incident, strict)])
    assert str(storm) == "3 of 4 pods are sick at once, more than 1"


# after a restart


def test_a_storm_goes_on_after_a_restart() -> None:
    d = restarted(stormy())
    d.wait(600)
    assert d.acts == []
    d.world.mend("serving-1")
    assert d.acted_on == ["serving-2"]


def test_nothing_is_acted_on_before_it_is_known_what_fires() -> None:
    """One incident is open; two pods more, which no incident has, began to crash while healer was away."""
    d = drill()
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.world.listeners.clear()
    d.world.crash("serving-2")
    d.world.crash("serving-3")
    d.world.pause("deployment", "")
    d = restarted(d)
    assert d.acts == []
    assert d.incident.storm


def test_nor_at_the_first_start() -> None:
    d = drill()
    d.world.listeners.clear()
    for number in (1, 2, 3):
        d.world.crash(f"serving-{number}")
    d = restarted(d)
    assert d.acts == []
    assert d.incident.storm


def test_a_page_is_not_repeated_and_what_it_raised_is_raised_again() -> None:
    """What an incident was opened with never changes in the object that it is kept in."""
    before = stormy(onStorm=PAGE, notify=["#ml"])
    before.answer()
    before.wait(300)
    kept = replace(before.incident, severity="warning", notify=("#ml",))
    d = drill(onStorm=PAGE, notify=["#ml"])
    d.world.listeners.clear()
    for number in (1, 2, 3):
        d.world.crash(f"serving-{number}")
    signals = [s for pod in d.world.pods for s in d.source.put(pod, None, d.now)]
    d.restore([kept], {signal.key for signal in signals})
    for signal in signals:
        d.feed(signal)
    d.wait(600)
    (incident,) = d.engine.incidents()
    assert (incident.severity, incident.notify) == ("critical", ("#ml", "#sre"))
    assert d.acts == []


def test_an_on_storm_that_the_rule_has_no_more_ends_the_incident() -> None:
    d = stormy(onStorm=NUDGE)
    d.answer()
    d.rules = rulebook(rule())
    old, new = restarted(d).incidents.values()
    assert (old.state, old.reason.code) == (State.CLOSED, "RuleChanged")
    assert new.storm


def test_an_on_storm_that_was_under_way_is_tried_again() -> None:
    d = restarted(stormy(onStorm=NUDGE))
    d.wait(15)
    assert [(act.action, act.target.name) for act in d.acts] == [("nudge", "serving")]


# the dead are not counted


def test_records_of_finished_pods_are_no_storm() -> None:
    d = drill(rule("tidy", when={"pod": ["Evicted", "Failed"]}), rule(), replicas=3)
    for name, reason in (("serving-1", "Evicted"), ("serving-2", "OutOfcpu"), ("serving-3", "NodeShutdown")):
        d.world.finish(name, reason)
    assert not any(incident.storm for incident in d.engine.incidents())
    for name in ("serving-1", "serving-2", "serving-3"):
        d.answer()
        d.world.remove(name)
    d.world.finish("serving-4", "Evicted", phase="Succeeded")
    d.wait(600)
    d.world.crash("serving-5")
    assert not any(incident.storm for incident in d.engine.incidents())
    assert d.acted_on[-1] == "serving-5"


def test_an_alert_on_a_pod_that_has_finished_counts_no_more() -> None:
    d = drill(rule("slow", when=SLOW), rule(), replicas=3)
    d.world.pause("deployment")
    d.alert("serving-1")
    d.world.finish("serving-1")
    d.world.crash("serving-2")
    assert not any(incident.storm for incident in d.engine.incidents())


def test_an_incident_about_records_does_not_speak_for_the_living() -> None:
    """Neither its onStorm nor its limit is for a storm of pods that live."""
    tidy = rule("tidy", when={"pod": ["Evicted"]}, onStorm=NUDGE, limits={"maxUnhealthy": 1})
    d = drill(tidy, rule(limits={"maxUnhealthy": "70%"}), replicas=4)
    d.world.pause("deployment")
    d.world.finish("serving-1")
    for name in ("serving-2", "serving-3"):
        d.world.crash(name)
    assert not any(incident.storm for incident in d.engine.incidents())
    d.world.crash("serving-4")
    (taker,) = (incident for incident in d.engine.incidents() if incident.storm)
    assert taker.rule == "test/crash-loop"


def test_pods_that_should_be_gone_are_no_storm_of_those_that_replaced_them() -> None:
    d = drill(rule("stuck", when={"pod": ["StuckTerminating"]}, heal=[PAGE]), rule(), replicas=3)
    for name in ("serving-1", "serving-2"):
        d.world.terminate(name)
        d.world.add()
    d.wait(120)
    d.answer()
    d.world.crash("serving-3")
    d.wait(300)
    assert not any(incident.storm for incident in d.engine.incidents())
    assert d.acted_on[-1] == "serving-3"


# steps that take no pods

LADDER = [
    {"evict": {}, "verify": {"within": "5m", "stable": "1m"}},
    {"rolloutRestart": {}, "verify": {"within": "5m", "stable": "1m"}},
    {"restart": {}},
    PAGE,
]


def test_a_ladder_that_begins_with_an_eviction_goes_to_its_first_step_that_takes_no_pods() -> None:
    d = stormy(heal=LADDER)
    assert [(act.action, act.target.name) for act in d.acts] == [("rolloutRestart", "serving")]
    assert "next is rolloutRestart" in next(e.reason.text for e in d.history if e.reason.code == "Storm")


def test_it_climbs_on_from_there_to_further_steps_that_take_none() -> None:
    d = stormy(heal=LADDER)
    d.answer()
    d.wait(300)
    assert [act.action for act in d.acts] == ["rolloutRestart", "page"]
    d.answer()
    assert d.incident.paged == ("#sre",)


def test_it_goes_through_the_guards_as_any_step() -> None:
    d = drill(heal=LADDER)
    d.world.respecify(paused=True)
    d.together(*[d.alarm(f"serving-{n}", "Unheard") for n in (1,)])
    for number in (1, 2, 3):
        d.world.crash(f"serving-{number}")
    assert d.acts == []
    assert d.incident.reason.code == "RolloutInProgress"
    d.world.respecify(paused=False)
    assert [act.action for act in d.acts] == ["rolloutRestart"]


def test_a_storm_that_passes_before_that_step_has_acted_leads_back_to_the_pods() -> None:
    """What is left sick is a pod or two: the workload need not be rolled for them."""
    d = drill(heal=LADDER)
    d.world.respecify(paused=True)
    for number in (1, 2, 3):
        d.world.crash(f"serving-{number}")
    assert (d.incident.step, d.acts) == (1, [])
    d.world.mend("serving-2")
    d.world.mend("serving-3")
    assert (d.incident.step, d.incident.storm) == (0, False)
    d.world.respecify(paused=False)
    assert [(act.action, act.target.name) for act in d.acts] == [("evict", "serving-1")]


def test_one_that_acts_on_the_workload_already_is_not_stopped() -> None:
    d = drill(rule(heal=[LADDER[1]]))
    d.world.crash("serving-1")
    d.answer()
    d.world.crash("serving-2")
    d.world.crash("serving-3")
    assert (state(d), d.incident.storm) == (State.VERIFYING, True)
    d.wait(300)
    assert state(d) is State.ESCALATED


def test_one_with_nothing_but_steps_on_pods_holds_and_says_that_a_human_is_needed() -> None:
    d = stormy(heal=[{"evict": {}}, {"restart": {}}])
    d.wait(3600)
    assert (d.acts, state(d)) == ([], State.WAITING)
    assert "a human is needed" in d.incident.reason.text


def test_a_page_of_another_rule_is_held_by_no_storm() -> None:
    d = drill(rule(), rule("slow", when=SLOW, heal=[PAGE]), replicas=5)
    for number in (1, 2, 3):
        d.world.pause("deployment")
        d.world.crash(f"serving-{number}")
    d.world.pause("deployment", "")
    d.alert("serving-4")
    assert [act.action for act in d.acts] == ["page"]


def test_a_page_is_held_by_no_rollout_no_budget_and_no_breaker() -> None:
    nudge: list[Yaml] = [{"nudge": {}}]
    rules = rule(heal=nudge), rule("errors", when={"alert": ["HighErrors"]}, heal=nudge), rule("slow", when=SLOW, heal=[PAGE])
    d = Drill(rulebook(*rules), World(4), tuned(breaker_incidents=1, budget_cluster=1))
    d.world.crash("serving-1")
    d.answer()
    d.alert("serving-2", "HighErrors")
    d.world.respecify(paused=True)
    assert "healer/breaker" in [incident.rule for incident in d.engine.incidents()]
    d.alert("serving-3")
    assert [act.action for act in d.acts] == ["nudge", "page"]
