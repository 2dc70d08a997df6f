"""Files that are not tests are recognized, and files of tests and of rules are found as they are named."""

from pathlib import Path

import pytest
import yaml

from healer.daemon.rulefiles import RulesError, vocabulary
from healer.rehearsal.testing.loading import find, load_tests
from healer.rules.positions import Problem
from tests.unit.rehearsal.testing.cases import GOOD, rule, run, write


def problem_of(path: Path) -> Problem:
    """The only thing that is wrong with what is named."""
    with pytest.raises(RulesError) as raised:
        load(path)
    (problem,) = raised.value.problems
    return problem


def load(path: Path) -> None:
    for file in find([path]):
        load_tests(file, vocabulary())


OTHERS: dict[str, tuple[str, str, str]] = {
    "a RuleSet": (
        "# mine\nkind: RuleSet\nspec: {}",
        "this is a RuleSet; its tests belong in other.test.yaml, beside it",
        "write them, beginning with apiVersion: healer.dev/v1alpha1, kind: RuleTest, tests: [...]",
    ),
    "two RuleSets": ("kind: RuleSet\n---\nkind: RuleSet", "this is a RuleSet; its tests", "kind: RuleTest"),
    "a Scenario": ("kind: Scenario", "this is a Scenario, and no file of tests", "run: healer simulate "),
    "another object": ("kind: Deployment", "this is a Deployment, and no file of tests", "kind: RuleTest"),
    "settings": ("limits:\n  budget_workload: 1", "these are settings, and no tests", "--config"),
    "promtool's tests": ("rule_files: [a.yaml]\ntests: []", "these are tests of Prometheus' rules", "run: promtool test rules "),
    "an empty file": ("# nothing\n", "the file is empty", "kind: RuleTest"),
    "a wrong kind": (
        "kind: RuleTests\napiVersion: healer.dev/v1alpha1\ntests: [{name: a, expect: [{acts: []}]}]",
        "'RuleTests'",
        "RuleTest?",
    ),
    "two documents": ("kind: RuleTest\n---\nkind: RuleTest", "the file holds 2 documents, and may hold one", "list tests"),
    "a list": ("- 1", "must be a mapping", ""),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_file_of_tests_is_told_what_it_is_and_what_to_do(tmp_path: Path, what: str) -> None:
    text, said, hint = OTHERS[what]
    file = tmp_path / "other.yaml"
    file.write_text(text)
    problem = problem_of(file)
    assert said in problem.message
    assert hint in problem.hint
    assert problem.line >= 1
    assert run(file).exit_code == 2


def test_rules_that_have_tests_name_them(tmp_path: Path) -> None:
    tests = write(tmp_path, [rule()], GOOD)
    assert problem_of(tmp_path / "mine.yaml").hint == f"run: healer test {tests}"


def test_a_folder_without_tests_says_where_to_begin(tmp_path: Path) -> None:
    assert problem_of(tmp_path).message == "holds no *.test.yaml files, and no folder in it does"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "values.yaml").write_text("a: 1")
    write(tmp_path, [rule()], GOOD).unlink()
    assert f"write tests of {tmp_path}/mine.yaml into {tmp_path}/mine.test.yaml" in problem_of(tmp_path).hint


def test_tests_are_found_below_a_folder_once_and_hidden_ones_are_not(tmp_path: Path) -> None:
    write(tmp_path, [rule()], GOOD)
    for folder in (".venv", "inner"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, [rule()], GOOD)
    (tmp_path / "inner" / "mine.test.yaml").rename(tmp_path / "inner" / "mine.test.yml")
    (tmp_path / "link").symlink_to(tmp_path / "inner")
    found = find([tmp_path, tmp_path / "inner", tmp_path / "link", tmp_path / "inner" / ".." / "mine.test.yaml"])
    assert [each.name for each in found] == ["mine.test.yml", "mine.test.yaml"]
    assert run(tmp_path).stdout.splitlines()[-1] == "2 tests: 2 passed, 0 failed"


def test_the_rules_are_beside_the_tests_or_named_also_by_a_pattern(tmp_path: Path) -> None:
    file = write(tmp_path, [rule()], GOOD)
    (tmp_path / "rules").mkdir()
    (tmp_path / "mine.yaml").rename(tmp_path / "rules" / "mine.yml")
    (tmp_path / "rules" / "mine.test.yaml").write_text("no rules")
    assert problem_of(file).message == f"there are no rules beside it: no file {tmp_path}/mine.yaml"
    data = yaml.safe_load(file.read_text())
    for named in (["rules/mine.yml"], ["rules/*"], ["**/*.yml", "rules/mine.yml"]):
        file.write_text(yaml.safe_dump(data | {"rules": named}))
        assert [bound.name for bound in load_tests(file, vocabulary()).rules.rules] == ["mine/crash"]
    for named in (["rules/other.yml"], ["other/*.yaml"]):
        file.write_text(yaml.safe_dump(data | {"rules": named}))
        assert problem_of(file).path == "rules[0]"
    other = file.rename(tmp_path / "cases.yaml")
    other.write_text(yaml.safe_dump(data))
    problem = problem_of(other)
    assert (problem.message, "cases.test.yaml" in problem.hint) == ("it is not said whose tests these are", True)


def test_rules_in_a_file_named_as_tests_are_told_their_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.test.yaml"
    file.write_text("kind: RuleSet")
    problem = problem_of(file)
    assert problem.message == "this is a RuleSet, in a file named as tests are"
    assert problem.hint == "name it mine.yaml, and its tests mine.test.yaml"
