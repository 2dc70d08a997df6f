"""Loads files of tests: the tests with the rules that they are about, or every problem with its line and column."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from glob import glob
from pathlib import Path

from pydantic import ValidationError

from healer.daemon.rulefiles import RulesError, is_test, lies_beside, load_rules
from healer.rehearsal.testing.checking import faults
from healer.rehearsal.testing.recognizing import BEGINNING, not_tests, tests_of
from healer.rehearsal.testing.schema import CaseCluster, RuleCase, RuleTest
from healer.rehearsal.testing.stage import rule_named
from healer.rules import positions
from healer.rules.messages import worded
from healer.rules.positions import Document, Problem, documents, dotted
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.schema import Mode
from healer.rules.vocabulary import Vocabulary
from healer.settings import Isolated, SettingsError, isolated

Place = positions.Path


@dataclass(frozen=True, slots=True)
class LoadedTest:
    """A test that is ready to be played."""

    case: RuleCase
    rules: Rulebook
    """Those in force, in the mode of the test."""
    cluster: CaseCluster
    settings: Isolated
    where: str
    """Its place: "rules/vllm.test.yaml:12"."""
    file: str
    document: Document
    path: Place

    def place(self, path: Place) -> str:
        """The place of what is at a path below the test: "rules/vllm.test.yaml:14"."""
        return f"{self.file}:{self.document.at((*self.path, *path))[0]}"

    def problem(self, path: Place, message: str, hint: str) -> Problem:
        """What is wrong at a path below the test."""
        whole = (*self.path, *path)
        return Problem(self.file, *self.document.at(whole), dotted(whole), message, hint)


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file of tests, with all its rules."""

    name: str
    rules: Rulebook
    tests: tuple[LoadedTest, ...]


def find(paths: Iterable[Path]) -> list[Path]:
    """The files of tests: each file as given, and of a folder every *.test.yaml and *.test.yml, also of the folders in it. A file
    that is named twice is there once. Raises RulesError."""
    found: dict[Path, Path] = {}
    problems: list[Problem] = []
    for path in paths:
        held = [each for each in _below(path) if is_test(each)] if path.is_dir() else [path] if path.exists() else []
        if not held:
            problems.append(_nothing(path))
        for each in held:
            found.setdefault(each.parent.resolve() / each.name, each)
    if problems:
        raise RulesError(problems)
    return list(found.values())


def _nothing(path: Path) -> Problem:
    """Why a path has no tests."""
    if not path.is_dir():
        return Problem(str(path), 0, 0, "", "does not exist", "name a file of tests, or a folder of them")
    hint = "name a file of tests, or a folder of them"
    rules = next((each for each in _below(path) if each.suffix in (".yaml", ".yml") and _has_rules(each)), None)
    if rules is not None:
        hint = f"write tests of {rules} into {tests_of(rules)}, beginning with {BEGINNING} (docs/rule-tests.md)"
    return Problem(str(path), 0, 0, "", "holds no *.test.yaml files, and no folder in it does", hint)


def _below(folder: Path) -> list[Path]:
    """The files in a folder, and in the folders in it that are not hidden."""
    every = (each for each in folder.rglob("*") if not any(part.startswith(".") for part in each.relative_to(folder).parts))
    return sorted(each for each in every if each.is_file())


def _has_rules(file: Path) -> bool:
    try:
        return "kind: RuleSet" in file.read_text("utf-8", errors="replace")
    except OSError:
        return False


def load_tests(path: Path, known: Vocabulary) -> LoadedFile:
    """The tests of a file. Raises RulesError with every problem."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError([Problem(str(path), 0, 0, "", f"cannot be read: {error}", "UTF-8 text is needed")]) from error
    document, file = _document(text, path), str(path)
    try:
        whole = RuleTest.model_validate(document.data, context=known, by_alias=True, by_name=False)
    except ValidationError as error:
        errors = worded(error.errors(include_url=False), document, file, known, root=RuleTest)
        raise RulesError(sorted(set(errors))) from error
    rules = load_rules(_rule_files(whole, document, path), known)
    problems = [Problem(file, *document.at(at), dotted(at), said, hint) for at, said, hint in faults(whole, rules, known)]
    tests: list[LoadedTest] = []
    for number, case in enumerate(whole.tests):
        settings = _settings(whole, case, document, file, number, problems)
        if not problems:
            place: Place = ("tests", number)
            cluster = case.cluster or whole.cluster or CaseCluster()
            in_force = _in_force(case, whole, rules)
            where = f"{file}:{document.at(place)[0]}"
            tests.append(LoadedTest(case, in_force, cluster, settings, where, file, document, place))
    if problems:
        raise RulesError(sorted(set(problems)))
    return LoadedFile(file, rules, tuple(tests))


def _document(text: str, path: Path) -> Document:
    """The only document of a file. Raises RulesError."""
    found, problems = documents(text, str(path))
    if not problems and (other := not_tests(found, path)) is not None:
        problems = [other]
    if not problems and len(found) != 1:
        message = f"the file holds {len(found)} documents, and may hold one"
        problems = [Problem(str(path), *found[1].at(()), "", message, "write all tests into the list tests of one")]
    if problems:
        raise RulesError(problems)
    return found[0]


def _rule_files(whole: RuleTest, document: Document, path: Path) -> list[Path]:
    """The files of the rules: those that are named, else the one beside the tests. Raises RulesError."""
    if whole.rules:
        named = [_named(name, number, document, path) for number, name in enumerate(whole.rules)]
        return list(dict.fromkeys(each for files in named for each in files))
    if not is_test(path):
        message = "it is not said whose tests these are"
        hint = f"name the rule files: rules: [FILE.yaml]; or name this file after its rules: {tests_of(path).name}"
        raise RulesError([Problem(str(path), 1, 1, "", message, hint)])
    own = path.name.rpartition(".test.")[0]
    beside = [path.with_name(own + end) for end in (".yaml", ".yml")]
    found = [each for each in beside if each.exists()]
    if not found:
        hint = "name the files of the rules: rules: [FILE.yaml]"
        raise RulesError([Problem(str(path), 1, 1, "", f"there are no rules beside it: no file {beside[0]}", hint)])
    return found


def _named(name: str, number: int, document: Document, path: Path) -> list[Path]:
    """The rule files that an entry of `rules` names, which may be a pattern. Raises RulesError."""
    if any(sign in name for sign in "*?["):
        whole = path.parent / name
        found = sorted(each for each in map(Path, glob(str(whole), recursive=True)) if each.is_file() and not lies_beside(each))
        message = f"no rule file is named like {whole}"
    else:
        found = [each for each in [path.parent / name] if each.exists()]
        message = f"there is no file {path.parent / name}"
    if not found:
        at: Place = ("rules", number)
        raise RulesError([Problem(str(path), *document.at(at), dotted(at), message, "write it relative to this file")])
    return found


def _in_force(case: RuleCase, whole: RuleTest, rules: Rulebook) -> Rulebook:
    """The rules that a test is about, in its mode."""
    names = {rule_named(name, rules).name for name in case.rules} or {bound.name for bound in rules.rules}
    mode = case.mode or whole.mode
    bound = [each for each in rules.rules if each.name in names]
    return Rulebook(bound if mode is None else map(partial(_in_mode, mode), bound))


def _in_mode(mode: Mode, bound: BoundRule) -> BoundRule:
    return replace(bound, rule=bound.rule.model_copy(update={"mode": mode}))


def _settings(whole: RuleTest, case: RuleCase, document: Document, file: str, number: int, problems: list[Problem]) -> Isolated:
    """The settings of a test, by which an alert counts until it is resolved unless they say otherwise."""
    values: dict[str, dict[str, object]] = {"alerts": {"freshness": "3650d", "expiry": "3650d"}}
    for section, knobs in [*whole.settings.items(), *case.settings.items()]:
        values[section] = values.get(section, {}) | dict(knobs)
    try:
        return isolated(values, file)
    except SettingsError as error:
        path: Place = ("tests", number, "settings") if case.settings else ("settings",)
        for line in str(error).splitlines():
            said = line.removeprefix(f"{file}: ").removesuffix(" (see docs/settings.md)")
            problems.append(Problem(file, *document.at(path), dotted(path), said, "see docs/settings.md"))
        return Isolated()
