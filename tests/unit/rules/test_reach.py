"""Remarks of `healer check` on rules that can never match, never hold for long, or give up before they can know."""

import pytest

from healer.rules.loading import remarks
from tests.support.canary import when
from tests.support.world import rule, rulebook


def said(*conditions: str, **when: str) -> list[str]:
    """The remarks on a rule on these conditions, without where it stands and its name."""
    rules = rulebook(rule(when={"pod": list(conditions), **when})).rules
    return [remark.split(" ", 2)[2] for remark in remarks(rules)]


@pytest.mark.parametrize(
    ("condition", "expression"),
    [
        ("NotReady", "pod.ready"),
        ("ImagePullBackOff", "pod.ready && pod.restarts > 3"),
        ("Evicted", "pod.phase == 'Running'"),
        ("Evicted", "pod.reason == 'OutOfcpu'"),
        ("CrashLoopBackOff", "pod.phase == 'Failed'"),
        ("Unschedulable", "pod.phase == 'Running'"),
        ("NotReady", "signal.name == 'CrashLoopBackOff'"),
    ],
)
def test_a_condition_that_is_false_of_every_such_pod_is_remarked(condition: str, expression: str) -> None:
    assert said(condition, **{"if": expression}) == [
        f"never matches {condition}: its `if` is false of every pod that has it ({expression})"
    ]


@pytest.mark.parametrize(
    ("condition", "expression"),
    [
        ("CrashLoopBackOff", "pod.ready"),  # between two crashes
        ("CrashLoopBackOff", "pod.phase == 'Pending'"),  # an init container's
        ("Failed", "pod.reason == 'OutOfcpu'"),
        ("StuckTerminating", "pod.phase == 'Failed'"),
        ("NotReady", "pod.restarts >= 5"),
        ("NotReady", "pod.labels['tier'] == 'gold' && !pod.ready"),
        ("NotReady", "pod.reason == ''"),
    ],
)
def test_what_may_be_so_is_not_remarked(condition: str, expression: str) -> None:
    assert said(condition, **{"if": expression}) == []


def test_of_several_conditions_the_one_that_cannot_match_is_named() -> None:
    (remark,) = said("Evicted", "NotReady", **{"if": "pod.phase != 'Failed'"})
    assert remark.startswith("never matches Evicted: ")


@pytest.mark.parametrize(
    ("condition", "expression"),
    [
        ("ImagePullBackOff", "pod.reason == 'ImagePullBackOff'"),
        ("ErrImagePull", "pod.reason == 'ErrImagePull' && pod.age > duration('1h')"),
        ("CrashLoopBackOff", "pod.reason == 'CrashLoopBackOff'"),
        ("CrashLoopBackOff", "!pod.ready"),
    ],
)
def test_an_if_that_is_false_in_between_never_lets_for_pass(condition: str, expression: str) -> None:
    (remark,) = said(condition, **{"if": expression, "for": "10m"})
    assert remark.startswith(f"may never hold {condition} for 10 m: the pod's phase, readiness and reason alternate")
    assert said(condition, **{"if": expression}) == []


@pytest.mark.parametrize("expression", ["pod.reason != 'Completed'", "pod.restarts > 3", "pod.phase == 'Pending'"])
def test_an_if_that_is_so_throughout_lets_for_pass(expression: str) -> None:
    assert said("CrashLoopBackOff", **{"if": expression, "for": "10m"}) == []


def test_out_of_memory_does_not_last() -> None:
    """The container has its fresh start at once, and is well a minute later."""
    (remark,) = said("OOMKilled", **{"for": "10m"})
    assert remark.startswith("may never hold OOMKilled for 10 m: ")
    assert said("OOMKilled", **{"for": "1m"}) == []
    assert said("OOMKilled", "CrashLoopBackOff", **{"for": "10m"}) == []


@pytest.mark.parametrize(
    ("within", "every", "remarked"), [("1m", "30s", True), ("90s", "30s", False), ("2m", "1m", True), ("2m", "30s", False)]
)
def test_a_shift_is_given_time_for_the_looks_that_show_what_came_of_it(within: str, every: str, remarked: bool) -> None:
    short = {"within": "1s", "stable": "1s"}
    heal = [{"divert": {}, "verify": {"within": within, "stable": "1s"}}, {"page": {}, "verify": short}]
    rules = rulebook(rule("bad-canary", when=when("Ingress", every=every), heal=heal)).rules
    assert ["may give up divert before it can have helped" in remark for remark in remarks(rules)] == [True] * remarked
