"""The index of rules: right answers, at no cost for the rules that a signal does not concern."""

import pytest

from healer.rules.loading import load
from healer.rules.rulebook import BoundRule, Rulebook, scaled
from healer.rules.schema import Budget, Count, Rule, Step, Verify, When
from healer.rules.scope import Scope
from tests.unit.rules.actions import VOCABULARY, Nothing
from tests.unit.rules.test_errors import GOOD
from tests.unit.rules.test_rulefile import FULL


class Counted(BoundRule):
    """A rule that counts how often anybody looks at anything of it."""

    looks = 0

    def __getattribute__(self, name: str) -> object:
        Counted.looks += 1
        return super().__getattribute__(name)


def rule(name: str, *namespaces: str, pod: str | None = "NotReady", alert: str | None = None) -> Counted:
    when = When.model_validate({"pod": (pod,)} if pod is not None and alert is None else {"alert": (alert or "",)})
    return Counted(
        "set", Rule(name=name, when=when, scope=Scope(namespaces=namespaces), heal=(Step(action="evict", params=Nothing()),))
    )


def names(book: Rulebook, source: str, name: str, namespace: str) -> list[str]:
    return [found.rule.name for found in book.concerned(source, name, namespace)]


def test_the_rules_that_a_signal_concerns_in_the_order_of_the_file() -> None:
    book = Rulebook(
        [
            rule("a", "production"),
            rule("b", "*"),
            rule("c", "production", "staging"),
            rule("d", "production", pod="OOMKilled"),
            rule("e", "production", alert="NotReady"),
        ]
    )
    assert names(book, "pod", "NotReady", "production") == ["a", "b", "c"]
    assert names(book, "pod", "NotReady", "staging") == ["b", "c"]
    assert names(book, "pod", "NotReady", "elsewhere") == ["b"]
    assert names(book, "pod", "OOMKilled", "production") == ["d"]
    assert names(book, "pod", "OOMKilled", "staging") == []
    assert names(book, "alert", "NotReady", "production") == ["e"]
    assert names(book, "alert", "Other", "production") == []


def test_a_thousand_rules_that_do_not_concern_a_signal_are_not_looked_at() -> None:
    others = [rule(f"other-{n}", f"ns-{n}") for n in range(500)] + [rule(f"alert-{n}", "*", alert=f"A{n}") for n in range(500)]
    book = Rulebook([*others, rule("mine", "production")])
    Counted.looks = 0
    found = book.concerned("pod", "NotReady", "production")
    assert book.concerned("pod", "Evicted", "production") == ()
    assert Counted.looks == 0
    assert [one.rule.name for one in found] == ["mine"]
    assert Counted.looks == 1  # the counter counts


def test_asking_makes_nothing_that_would_grow() -> None:
    book = Rulebook([rule("a", "*")])
    first = book.concerned("pod", "NotReady", "one")
    assert book.concerned("pod", "NotReady", "two") is first


def test_a_rule_by_its_full_name() -> None:
    book = Rulebook([rule("a", "*")])
    assert book.get("set/a") is book.rules[0]
    assert book.get("a") is None


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two rules have the same name"):
        Rulebook([rule("a", "*"), rule("a", "production")])


def test_a_rule_without_a_scope_is_refused() -> None:
    unscoped = rule("a", "*").rule.model_copy(update={"scope": None})
    with pytest.raises(ValueError, match="rule set/a has no scope"):
        BoundRule("set", unscoped)


def test_scaled_shrinks_every_duration_and_nothing_else() -> None:
    rules, _ = load(FULL, "f.yaml", VOCABULARY)
    (before,) = rules
    (after,) = scaled(Rulebook(rules), 0.1).rules
    assert after.rule.when.count == Count(at_least=3, within=540.0)
    assert [step.verify for step in after.rule.heal] == [Verify(within=12.0, stable=0.05), Verify(within=30.0, stable=3.0)]
    assert after.rule.limits.cooldown == 8640.0
    assert after.rule.limits.budget == Budget(actions=1, per=2160.0)
    assert after.rule.limits.breaker.reset == 1080.0
    assert after.rule.limits.approve_within == 120.0
    assert after.rule.on_storm is not None
    assert after.rule.on_storm.verify == Verify(within=360.0, stable=30.0)
    assert after.condition is before.condition
    assert scaled(Rulebook([after]), 10).rules[0].rule == before.rule


def test_scaled_keeps_what_was_written_apart_from_what_was_not() -> None:
    rules, _ = load(GOOD, "f.yaml", VOCABULARY)
    (after,) = scaled(Rulebook(rules), 0.5).rules
    assert after.rule.when.held_for == 60.0
    assert "mode" not in after.rule.model_fields_set
