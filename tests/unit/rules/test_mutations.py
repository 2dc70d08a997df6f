"""Whatever is done to a rule file: a problem or the rules that it says, never an exception, never silently other rules."""

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from healer.rules.loading import load
from healer.rules.positions import Path
from healer.rules.schema import models_by_path
from tests.unit.rules.actions import ACTIONS, VOCABULARY
from tests.unit.rules.test_errors import GOOD
from tests.unit.rules.test_rulefile import FULL

pytestmark = pytest.mark.slow

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml reads some odd keys that PyYAML's own parser refuses
ORIGINAL: dict[str, Any] = yaml.safe_load(FULL)


def paths(data: Any, path: Path = ()) -> list[Path]:
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(found for key, value in entries for found in paths(value, (*path, key)))]


def dig(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def known(path: Path) -> set[str]:
    """The keys that the language has where a path leads."""
    place = tuple("*" if isinstance(part, int) else part for part in path)
    model = dict(models_by_path()).get(place)
    steps = set(ACTIONS) if place[-2:] == ("heal", "*") or place[-1:] == ("onStorm",) else set()
    return steps | {field.alias or name for name, field in model.model_fields.items()} if model else set()


EVERYWHERE = paths(ORIGINAL)
KEYED = [path for path in EVERYWHERE if path and path[-1] in known(path[:-1])]
OTHERS: list[Any] = ["@", 7, 2.5, True, None, ["@"], [], {"@": "@"}]


@st.composite
def misspelt(draw: st.DrawFn) -> tuple[Path, str]:
    path = draw(st.sampled_from(KEYED))
    word, at = str(path[-1]), draw(st.integers(0, len(str(path[-1])) - 1))
    letter = draw(st.sampled_from("abcxyzAZ_-1"))
    typo = draw(
        st.sampled_from(
            [word[:at] + word[at + 1 :], word[:at] + letter + word[at:], word[:at] + letter + word[at + 1 :], word * 2]
        )
    )
    return path, typo


@given(misspelt())
def test_a_misspelt_key_is_always_found(mutation: tuple[Path, str]) -> None:
    path, typo = mutation
    if typo in known(path[:-1]) or not typo:
        return
    data = copy.deepcopy(ORIGINAL)
    around = dig(data, path[:-1])
    around[typo] = around.pop(path[-1])
    rules, problems = load(yaml.safe_dump(data), "f.yaml", VOCABULARY)
    assert rules == []
    assert any(repr(typo) in problem.message for problem in problems), [str(problem) for problem in problems]


@given(st.sampled_from([path for path in EVERYWHERE if path]), st.sampled_from(OTHERS))
def test_a_value_of_another_type_is_always_found(path: Path, other: Any) -> None:
    if type(other) is type(dig(ORIGINAL, path)):
        return
    data = copy.deepcopy(ORIGINAL)
    dig(data, path[:-1])[path[-1]] = other
    text = yaml.safe_dump(data)
    rules, problems = load(text, "f.yaml", VOCABULARY)
    assert rules == []
    assert problems
    for problem in problems:
        assert 1 <= problem.line <= text.count("\n") + 1
        assert problem.message


@given(st.integers(0, len(FULL) - 1), st.text(max_size=3), st.integers(0, 3))
def test_an_edit_anywhere_gives_problems_or_rules_that_say_what_the_yaml_says(at: int, put: str, cut: int) -> None:
    text = FULL[:at] + put + FULL[at + cut :]
    rules, problems = load(text, "f.yaml", VOCABULARY)
    assert bool(rules) != bool(problems)
    for bound in rules:
        written = next(doc for doc in yaml.load_all(text, Loader=LOADER) if doc)["spec"]["rules"][0]
        assert bound.rule.name == written["name"]
        assert list(bound.rule.when.names) == written["when"]["alert"]
        assert bound.rule.when.condition == written["when"].get("if")
        assert bound.rule.when.labels == written["when"].get("labels", {})
        assert (bound.rule.when.count is None) == ("count" not in written["when"])
        assert bound.rule.mode.value == written.get("mode", "observe")
        assert bound.rule.limits.max_unhealthy == written.get("limits", {}).get("maxUnhealthy", "50%")
        assert (bound.rule.on_storm is None) == ("onStorm" not in written)
        assert list(bound.scope.namespaces) == written.get("scope", {"namespaces": ["production", "staging"]})["namespaces"]
        assert [step.action for step in bound.rule.heal] == [
            next(key for key in step if key != "verify") for step in written["heal"]
        ]


@given(st.text())
def test_any_text_gives_problems(text: str) -> None:
    rules, problems = load(text, "f.yaml", VOCABULARY)
    assert rules == []
    assert problems


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x7f"), min_size=1))
def test_any_condition_gives_a_problem_or_is_kept_as_it_is(expression: str) -> None:
    data = yaml.safe_load(GOOD)
    data["spec"]["rules"][0]["when"]["if"] = expression
    rules, problems = load(yaml.safe_dump(data, allow_unicode=True), "f.yaml", VOCABULARY)
    assert bool(rules) != bool(problems)
    assert all(bound.rule.when.condition == expression for bound in rules)
