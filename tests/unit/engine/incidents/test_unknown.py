"""Unknown is not bad, and not good: nothing is done, climbed or called healed on what is not known, and no clock runs."""

from typing import Any

import pytest

from healer.model.action import OutcomeKind
from healer.model.incident import State
from healer.model.signal import Answered, Signal, Unanswered
from healer.model.target import Target
from tests.support.world import Drill, World, rule, rulebook, state

RULE = "test/slow"
LADDER: list[dict[str, Any]] = [
    {"rolloutRestart": {}, "verify": {"within": "60s", "stable": "10s"}},
    {"rollback": {}, "verify": {"within": "60s", "stable": "10s"}},
    {"page": {}},
]
MAX_WAIT = 1800.0


class Queried(Drill):
    """A drill whose rule has a query: what looks at it say."""

    def key(self, target: Target, series: str = "") -> str:
        return f"query/{RULE}/{target.uid}/{series}"

    def look(self, *sick: str | Target, nan: tuple[str, ...] = ()) -> None:
        """A whole answer: these fire, of those nothing is known, all others are well."""
        found = [self.world.target(each) if isinstance(each, str) else each for each in sick]
        for target in found:
            key = self.key(target)
            self.feed(Signal("query", "QueryPassed", target, True, self.now, key, f"{key}@1", "0.2 above 0.05", rule=RULE))
        doubtful = frozenset(self.key(self.world.target(name)) for name in nan)
        if doubtful:
            self.feed(Unanswered(RULE, "the value is +inf", doubtful))
        self.feed(Answered(RULE, frozenset(map(self.key, found)) | doubtful))

    def silence(self, why: str = "no answer within 10 s") -> None:
        """A look that came to nothing."""
        self.feed(Unanswered(RULE, why))


def queried(heal: list[dict[str, Any]] | None = None, pods: int = 3, held: str = "0s", **limits: Any) -> Queried:
    when = {"query": {"expr": "x", "above": 0.05}, "for": held}
    return Queried(rulebook(rule("slow", when=when, heal=heal or LADDER, limits=limits)), World(pods))


# for


def test_unknown_stops_the_clock_of_for() -> None:
    """It fired once and a second later nothing answered any more: ten seconds of no answer are no ten seconds of sickness."""
    d = queried([{"evict": {}}], held="10s")
    d.look("serving-1")
    d.wait(1)
    d.silence()
    d.wait(600)
    assert (d.acts, d.incidents) == ([], {})
    d.look("serving-1")
    d.wait(9.9)
    assert d.acts == [], "only what was seen counts"
    d.look("serving-1")
    d.wait(0.2)
    assert d.acted_on == ["serving-1"]


def test_one_signal_that_is_known_keeps_the_clock_running() -> None:
    """Two series of one pod: one has become NaN, the other fires on."""
    d = queried([{"evict": {}}], held="20s")
    pod = d.world.target("serving-1")
    for series in ("a", "b"):
        d.feed(Signal("query", "QueryPassed", pod, True, d.now, d.key(pod, series), series, rule=RULE))
    d.wait(10)
    d.feed(Unanswered(RULE, "NaN", frozenset({d.key(pod, "a")})))
    d.feed(Signal("query", "QueryPassed", pod, True, d.now, d.key(pod, "b"), "b", rule=RULE))
    d.wait(10.1)
    assert d.acted_on == ["serving-1"]


def test_an_answer_without_the_series_ends_it() -> None:
    """`expr > 0.05` is empty when all is well."""
    d = queried([{"evict": {}}], held="10s")
    d.look("serving-1")
    d.wait(1)
    d.look()
    d.wait(600)
    assert d.incidents == {}
    assert not d.engine.concerns(d.world.workload.uid)


# before an action


def test_what_is_not_known_is_not_acted_on() -> None:
    """The signal matched, a guard put it off, and then nothing is known: when the guard lets go, nothing is done."""
    d = queried([{"evict": {}}])
    d.world.pause("deployment")
    d.look("serving-1")
    d.silence()
    d.world.pause("deployment", "")
    d.wait(60)
    assert d.acts == []
    assert (state(d), d.incident.reason.code) == (State.WAITING, "Unknown")
    assert "no answer within 10 s" in d.incident.reason.text
    assert [entry.reason.code for entry in d.history].count("Unknown") == 1, "said once"
    d.look("serving-1")
    assert d.acted_on == ["serving-1"]


def test_of_two_pods_the_one_that_is_known_is_treated() -> None:
    d = queried([{"evict": {}}], pods=6)
    d.world.pause("deployment")
    d.look("serving-1", "serving-2")
    d.look("serving-2", nan=("serving-1",))
    d.world.pause("deployment", "")
    assert d.acted_on == ["serving-2"]


def test_a_claimed_attempt_is_not_wanted_when_nothing_is_known() -> None:
    """What the last look before the request asks the engine."""
    d = queried([{"evict": {}}])
    d.look("serving-1")
    [act] = d.acts
    d.silence("HTTP 503")
    unwanted = d.engine.unwanted(act, d.world.view, d.now)
    assert unwanted is not None
    assert (unwanted.code, "HTTP 503" in unwanted.text) == ("Unknown", True)
    d.answer(OutcomeKind.DEFERRED, "Unknown")
    d.wait(MAX_WAIT - 60)
    assert (len(d.acts), d.incident.step) == (1, 0)
    d.look()
    assert state(d) is State.CLOSED


# verifying


def acted() -> Queried:
    """The first step was taken, and accepted."""
    d = queried()
    d.look(d.world.workload)
    d.answer()
    assert state(d) is State.VERIFYING
    return d


@pytest.mark.parametrize("partly", [False, True], ids=["no answer", "not a number"])
def test_no_step_is_climbed_on_what_is_not_known(partly: bool) -> None:
    """Prometheus is away after the first step: nothing is rolled back, people are told once, and asked after a while."""
    d = acted()
    d.wait(30)
    for _ in range(50):
        if partly:
            d.feed(Unanswered(RULE, "the value is NaN", frozenset({d.key(d.world.workload)})))
        else:
            d.silence()
        d.wait(30)
    assert (state(d), d.incident.step, len(d.acts)) == (State.VERIFYING, 0, 1)
    assert [entry.reason.code for entry in d.history].count("Unknown") == 1
    d.wait(MAX_WAIT)
    assert (state(d), d.incident.reason.code) == (State.ESCALATED, "UnknownTooLong")
    assert len(d.acts) == 1
    d.look()
    assert state(d) is State.CLOSED


def test_the_time_in_which_nothing_is_known_does_not_count() -> None:
    """Verified for as long as the step says, the silence left out: the first look after it may still show what was before."""
    d = acted()
    d.wait(30)
    d.look(d.world.workload)
    d.silence()
    d.wait(500)
    d.look(d.world.workload)
    d.wait(29)
    assert d.incident.step == 0
    d.wait(2)
    assert d.incident.step == 1
    assert d.acts[-1].action == "rollback"


def test_silence_is_not_health_either() -> None:
    """The last look was fine, and then nothing answers: not healed before it does."""
    d = acted()
    d.look()
    d.wait(5)
    d.silence()
    d.wait(600)
    assert state(d) is State.VERIFYING
    d.look()
    d.wait(9)
    assert state(d) is State.VERIFYING, "stable is counted anew"
    d.wait(2)
    assert state(d) is State.HEALED


def test_a_workload_that_is_gone_is_waited_for_no_longer() -> None:
    d = acted()
    d.silence()
    d.world.delete_deployment()
    d.wait(1)
    assert (state(d), d.incident.reason.code) == (State.CLOSED, "WorkloadGone")


def test_what_is_not_known_opens_no_breaker() -> None:
    """A rule whose Prometheus was away has not failed: it acts again when there is something to act on."""
    d = queried(LADDER[:1], breaker={"failures": 1, "reset": "1d"}, cooldown="1s")
    d.look(d.world.workload)
    d.answer()
    d.silence()
    d.wait(MAX_WAIT + 120)
    assert d.incident.reason.code == "UnknownTooLong"
    d.look()
    d.wait(60)
    d.look(d.world.workload)
    assert len(d.acts) == 2


# storms, restarts


def test_a_storm_neither_breaks_nor_ends_by_silence() -> None:
    d = queried([{"evict": {}}], pods=4)
    d.world.pause("deployment")
    d.look("serving-1", "serving-2", "serving-3")
    assert d.incident.storm
    d.silence()
    d.wait(300)
    assert d.incident.storm
    d.look()
    d.wait(60)
    assert not d.incident.storm


def test_what_was_sick_before_a_restart_is_asked_again_first() -> None:
    """And what no answer has any more is over."""
    for answer in ("sick", "well", "silent"):
        d = queried([{"evict": {}}])
        d.world.pause("deployment")
        d.look("serving-1")
        after = Queried(d.rules, d.world, now=d.now)
        d.world.listeners.remove(d.changed)
        after.restore([d.incident], set())
        d.world.pause("deployment", "")
        after.wait(60)
        assert after.acts == [], "nothing is known since"
        if answer == "silent":
            after.silence()
        else:
            after.look(*(["serving-1"] if answer == "sick" else []))
        assert after.acted_on == (["serving-1"] if answer == "sick" else [])
        assert state(after) is {"sick": State.ACTING, "well": State.CLOSED, "silent": State.WAITING}[answer]
