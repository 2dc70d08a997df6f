"""What repeats but for its figures is said once an incident and step: in the history, in the log, to people."""

from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Acted, Decided, Record, Verb
from healer.model.incident import State
from tests.support.world import Drill, World, Yaml, rule, rulebook, state, tuned


def drill() -> Drill:
    heal: list[Yaml] = [{"evict": {}}, {"nudge": {}}]
    return Drill(rulebook(rule(when={"alert": ["HighLatency"]}, heal=heal)), World(4), tuned(max_wait=900, retry=15))


def refuse(d: Drill, text: str) -> None:
    act = d.waiting.pop(0)
    d.feed(Acted(act.incident.id, act.step, act.attempt, Outcome(OutcomeKind.DEFERRED, "BudgetRefused", text, denied=True)))
    d.wait(15)


def test_the_same_refusal_is_told_once_however_often_it_is_given() -> None:
    d = drill()
    d.alert("serving-1")
    asked = 0
    while d.waiting[0].action == "evict":
        refuse(d, f"a PodDisruptionBudget refuses: needs 4 healthy pods and has {4 - asked % 2} currently")
        asked += 1
    assert asked > 50
    lines = [entry for entry in d.history if entry.step == 0]
    assert sum(entry.reason.code == "BudgetRefused" for entry in lines) == 1
    assert sum(entry.reason.code == "Allowed" for entry in lines) == 1
    said = [effect for effect in d.effects if isinstance(effect, Decided) and effect.decision.reason.code == "BudgetRefused"]
    assert [effect.again for effect in said].count(False) == 1
    assert len(said) == asked, "each is counted"
    assert d.engine.incidents()[0].state is State.ACTING, "the state is told to the journal all the same"


def test_two_that_take_turns_are_told_once_each() -> None:
    d = drill()
    d.alert("serving-1")
    for turn in range(20):
        refuse(d, "one budget refuses" if turn % 2 else "another budget refuses")
    assert sum(entry.reason.code == "BudgetRefused" for entry in d.history) == 2


def test_what_names_another_object_is_another_thing() -> None:
    d = drill()
    d.alert("serving-1")
    refuse(d, "pod/serving-1 is not to be moved")
    refuse(d, "pod/serving-2 is not to be moved")
    refuse(d, "budget serving-3 refuses")
    refuse(d, "budget serving-4 refuses")
    assert sum(entry.reason.code == "BudgetRefused" for entry in d.history) == 4


def test_the_journal_has_every_state_all_the_same() -> None:
    d = drill()
    d.alert("serving-1")
    refuse(d, "a budget refuses")
    refuse(d, "a budget refuses")
    silent = [effect.incident.state for effect in d.effects if isinstance(effect, Record) and effect.entry is None]
    assert silent.count(State.ACTING) >= 1
    assert state(d) is State.ACTING


def test_in_the_next_step_it_is_said_again() -> None:
    heal: list[Yaml] = [{"nudge": {}}, {"nudge": {}}]
    d = Drill(rulebook(rule(when={"alert": ["HighLatency"]}, heal=heal)), World(4), tuned(max_wait=60, retry=15))
    d.alert("serving-1")
    while d.waiting:
        refuse(d, "a budget refuses")
    told = [entry.step for entry in d.history if entry.reason.code == "BudgetRefused"]
    assert told == [0, 1]
    assert len([each for each in d.decisions if each.verb is Verb.DEFER]) > 2
