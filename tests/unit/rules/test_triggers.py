"""The table of triggers: what is said of each fits together, and no other code compares their names."""

import ast
from collections.abc import Iterator
from pathlib import Path

from healer.rules.pod_conditions import POD_CONDITIONS
from healer.rules.triggers import TRIGGERS, Ending, Origin

HEALER = Path(__file__).parents[3] / "healer"


def compared(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts that code compares something with, or looks for in a table of its own, by line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        else:
            continue
        for part in parts:
            for inner in ast.walk(part) if isinstance(part, ast.Constant | ast.Set | ast.Tuple | ast.List) else ():
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    yield inner.lineno, inner.value


PLAYED = {"lab", "demo", "simulate"}
"""What plays a cluster and Prometheus: their own words, labels and keys of scenarios, are compared there."""


def test_no_code_compares_the_name_of_a_trigger_or_of_a_pod_condition() -> None:
    """It asks the properties of the table: so a new trigger, and a new condition, is known everywhere."""
    names = {*TRIGGERS, *POD_CONDITIONS} - {"Failed"}  # which is a pod's phase as well
    read_off_pods = {"CrashLoopBackOff", "OOMKilled", "Unschedulable", "Evicted"}  # the kubelet's and the scheduler's own words
    found = [
        f"{path.relative_to(HEALER)}:{line} {text}"
        for path in sorted(HEALER.rglob("*.py"))
        if not PLAYED & {*path.parts}
        for line, text in compared(ast.parse(path.read_text("utf-8")))
        if text in names and not (path.name == "pod_detectors.py" and text in read_off_pods)
    ]
    assert found == []


def test_a_comparison_would_be_found() -> None:
    text = 'if a == "pod" or b in ("x", "alert"):\n    pass\nmatch c:\n    case "query":\n        pass'
    assert sorted(compared(ast.parse(text))) == [(1, "alert"), (1, "pod"), (1, "x"), (4, "query")]


def test_what_is_asked_can_be_asked_every_so_often() -> None:
    """The schedule reads `every` of what a rule writes."""
    for trigger in TRIGGERS.values():
        assert trigger.asked is ("every" in getattr(trigger.key, "model_fields", ())), trigger.name


def test_the_properties_of_a_trigger_fit_together() -> None:
    """What others send may be lost, so that it has to be repeated; what is read off a target ends with what is seen of it."""
    for trigger in TRIGGERS.values():
        assert trigger.fades is trigger.pushed, trigger.name
        assert (trigger.ends in (Ending.OBJECT, Ending.FADES)) is (trigger.origin is Origin.WATCHED), trigger.name
        assert trigger.judged is bool(trigger.judged_by and trigger.instead), trigger.name


def test_a_condition_that_lasts_with_another_is_of_the_same_pods() -> None:
    """Else it could never be seen beside it."""
    for condition in POD_CONDITIONS.values():
        if condition.lasts_with:
            assert condition.states & POD_CONDITIONS[condition.lasts_with].states, condition.name
