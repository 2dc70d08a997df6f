"""What one input brings of many signals or incidents is taken up a part at each input: none holds the daemon's loop for long."""

from healer.engine.incidents.resumption import CASES_AT_ONCE, SIGNALS_AT_ONCE
from healer.model.effects import Decided, Effect, Input, Tick, Together, Verb
from healer.model.signal import Answered, Signal, Unanswered
from tests.support.world import Drill, World, rule, rulebook, tuned

RULE = "test/slow"
PODS = 2 * SIGNALS_AT_ONCE + 10


class Many(Drill):
    """A drill with a query that fires for every pod."""

    def fires(self) -> list[Signal]:
        found = [self.world.target(pod.metadata.name) for pod in self.world.pods]
        return [Signal("query", "QueryPassed", each, True, self.now, each.uid, f"{each.uid}@1", rule=RULE) for each in found]

    def parts(self, event: Input) -> list[list[Effect]]:
        """The effects of an input, and of each Tick that is due at once after it."""
        found = [self.feed(event)]
        while (due := self.engine.next_wake()) is not None and due <= self.now:
            found.append(self.feed(Tick()))
        return found


def many(held: str) -> Many:
    limits = {"budget": {"actions": 1, "per": "1h"}}
    when = {"query": {"expr": "x", "above": 0.05}, "for": held}
    rules = rulebook(rule("slow", when=when, heal=[{"evict": {}}], limits=limits))
    return Many(rules, World(PODS), tuning=tuned(node_storm_pods=10_000))


def decided(effects: list[Effect], *verbs: Verb) -> int:
    """How many decisions of these kinds."""
    return sum(isinstance(effect, Decided) and effect.decision.verb in verbs for effect in effects)


def test_rules_are_asked_in_parts_about_the_signals_of_a_source_that_falls_silent() -> None:
    d = many("10m")
    d.feed(Together(tuple(d.fires())))
    parts = [decided(effects, Verb.PEND) for effects in d.parts(Unanswered(RULE, "no answer"))]
    assert max(parts) <= SIGNALS_AT_ONCE
    assert sum(parts) == PODS


def test_what_is_known_to_be_unknown_is_not_asked_about_again() -> None:
    """A Prometheus that is down says so at every look, with other words."""
    d = many("10m")
    d.feed(Together(tuple(d.fires())))
    d.parts(Unanswered(RULE, "no answer"))
    assert len(d.parts(Unanswered(RULE, "HTTP 503"))) == 1


def test_signals_that_have_lasted_long_enough_at_once_match_in_parts() -> None:
    d = many("60s")
    d.feed(Together(tuple(d.fires())))
    d.now = d.world.now = d.now + 60
    parts = [decided(effects, Verb.OPEN, Verb.JOIN) for effects in d.parts(Tick())]
    assert max(parts) <= CASES_AT_ONCE + SIGNALS_AT_ONCE, "those that are due, and those that are looked at every so often"
    assert sum(parts) == PODS


def test_the_ends_that_an_answer_implies_are_known_before_it() -> None:
    """The daemon feeds them in parts; the engine ends the same ones when it is fed the answer alone."""
    d = many("10m")
    signals = d.fires()
    d.feed(Together(tuple(signals)))
    answer = Answered(RULE, frozenset({signals[0].key}))
    ends = list(d.engine.ends(answer))
    assert [end.key for end in ends] == [signal.key for signal in signals[1:]]
    assert not any(end.firing for end in ends)
    d.feed(answer)
    assert list(d.engine.ends(answer)) == []
    assert d.engine.incidents_of(signals[1].key) == []
