"""What a condition may cost: what could hold the loop is refused when it is read, and too large facts are not looked at."""

import re

import pytest

from healer.rules.condition import CelCondition, ConditionError, ConditionFailed
from healer.rules.triggers import ALERT, POD

LABELS = "pod.labels"
NESTED_3 = f"{LABELS}.all(a, {LABELS}.exists(b, {LABELS}.exists_one(c, a == b || c == a)))"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (NESTED_3, "macros are nested deeper than 2: exists_one()"),
        (f"{LABELS}.map(a, {LABELS}.map(b, {LABELS}.map(c, a))).size() > 0", "macros are nested deeper than 2: map()"),
        (f"{LABELS} .map (a, ({LABELS}. filter( b, [1, 2].all (c, c > 0)))).size() > 0", "nested deeper than 2: all()"),
        (f"{LABELS}.map(a, {LABELS}.map(b, signal.message + signal.message + a + b)).size() > 0", "more than 2 sums inside"),
        (f"[{LABELS}].all(m, m.map(a, {{a: signal.message + signal.message + signal.message + a}}).size() > 0)", "2 sums inside"),
        (f"{LABELS}.exists(a, signal.message.matches(a))", "the pattern of matches() is made anew"),
        ("pod.ready" + " || pod.ready" * 1000, "more than 8192 characters"),
        ("(" * 5000 + "pod.ready" + ")" * 5000, "more than 8192 characters"),
    ],
)
def test_what_could_cost_too_much_is_refused_when_it_is_read(expression: str, message: str) -> None:
    with pytest.raises(ConditionError, match=re.escape(message)) as refused:
        CelCondition(expression, POD)
    assert refused.value.hint


@pytest.mark.parametrize(
    "expression",
    [
        f"{LABELS}.all(a, {LABELS}.exists(b, a == b))",
        f"{LABELS}.exists(a, a == 'x.all(b.all(c.all(') && {LABELS}.exists(a, a != '+++')",
        f"{LABELS}.map(a, a).filter(b, b != '').exists(c, c == 'app') && {LABELS}.all(a, true)",
        f"{LABELS}.exists(a, signal.message.matches('^' + 'x') || a.matches(r'^app$'))",
        "pod.restarts + pod.restarts + pod.restarts + pod.restarts > 3",
        "pod.name.matches('^' + pod.namespace)",
    ],
)
def test_what_rules_need_is_not_refused(expression: str) -> None:
    CelCondition(expression, POD)


def alert(labels: dict[str, str], annotations: dict[str, str]) -> dict[str, object]:
    return {"alert.labels": labels, "alert.annotations": annotations}


def test_more_than_a_condition_may_see_is_not_evaluated_and_said() -> None:
    condition = CelCondition("alert.labels.exists(a, a == 'k1')", ALERT)
    with pytest.raises(ConditionFailed, match=r"alert\.labels has 5000 keys, and a condition sees at most 250"):
        condition.holds(alert({f"k{number}": "" for number in range(5000)}, {}))
    with pytest.raises(ConditionFailed, match=r"alert\.labels has \d+ characters, and a condition sees at most 32768"):
        condition.holds(alert({f"k{number}": "x" * 1000 for number in range(100)}, {}))


def test_only_what_an_expression_names_is_looked_at() -> None:
    """An alert with a long description is judged by its labels all the same."""
    many = {f"k{number}": "x" * 5000 for number in range(5000)}
    assert CelCondition("alert.labels.team == 'ml'", ALERT).holds(alert({"team": "ml"}, many))


def test_a_long_text_is_cut() -> None:
    facts = alert({}, {"description": "x" * 100_000 + "end"})
    assert CelCondition("alert.annotations.description.size() == 2048", ALERT).holds(facts)


def test_the_largest_facts_run_out_of_rounds_and_not_of_memory() -> None:
    """All that a condition may see, in macros as deep as they may be: CEL gives up, and the rule has not matched."""
    condition = CelCondition("alert.labels.map(a, alert.labels.map(b, signal.message + signal.message + b)).size() > 0", ALERT)
    facts = alert({f"{number:03}": "x" * 100 for number in range(250)}, {}) | {"signal.message": "x" * 1000}
    with pytest.raises(ConditionFailed, match=r"[Bb]udget"):
        condition.holds(facts)
