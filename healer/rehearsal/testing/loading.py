"""Loads files of tests: the tests with the rules that they are about, or every problem with its line and column."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from healer.daemon.rulefiles import RulesError, is_test, load_rules
from healer.model.duration import say
from healer.rehearsal.kinds import KEPT_KINDS
from healer.rehearsal.testing.schema import KIND, CaseCluster, RuleCase, RuleTest
from healer.rehearsal.testing.stage import CaseError, rule_named
from healer.rules import positions
from healer.rules.messages import worded
from healer.rules.positions import Document, Problem, documents, dotted
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.schema import API_VERSION, Mode
from healer.rules.vocabulary import Vocabulary
from healer.settings import Isolated, SettingsError, isolated
from healer.workloads.registry import WORKLOADS

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
    """The files of tests: each file as given, and of a folder every *.test.yaml, also of the folders in it. Raises RulesError."""
    found: list[Path] = []
    problems: list[Problem] = []
    for path in paths:
        held = sorted(each for each in path.rglob("*") if is_test(each)) if path.is_dir() else [path] if path.exists() else []
        if not held:
            what = "holds no *.test.yaml files" if path.is_dir() else "does not exist"
            problems.append(Problem(str(path), 0, 0, "", what, "name a file of tests, or a folder of them"))
        found += held
    if problems:
        raise RulesError(problems)
    return list(dict.fromkeys(found))


def load_tests(path: Path, known: Vocabulary) -> LoadedFile:
    """The tests of a file. Raises RulesError with every problem."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError([Problem(str(path), 0, 0, "", f"cannot be read: {error}", "UTF-8 text is needed")]) from error
    document, file = _document(text, str(path)), str(path)
    try:
        whole = RuleTest.model_validate(document.data, context=known, by_alias=True, by_name=False)
    except ValidationError as error:
        errors = worded(error.errors(include_url=False), document, file, known, root=RuleTest)
        raise RulesError(sorted(set(errors))) from error
    rules = load_rules(_rule_files(whole, document, path), known)
    problems = [*_unknown_names(whole, rules, document, file, known)]
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


def _document(text: str, file: str) -> Document:
    found, problems = documents(text, file)
    if not problems and len(found) != 1:
        hint = f"begin with apiVersion: {API_VERSION} and kind: {KIND}, and write all tests into its list tests"
        problems = [Problem(file, 1, 1, "", f"the file holds {len(found)} documents, not one of tests", hint)]
    if problems:
        raise RulesError(problems)
    return found[0]


def _rule_files(whole: RuleTest, document: Document, path: Path) -> list[Path]:
    """The files of the rules: those that are named, else the one beside the tests. Raises RulesError."""
    own = path.name.partition(".test.")[0]
    named = [path.parent / each for each in whole.rules] or [path.with_name(own + end) for end in (".yaml", ".yml")]
    found = [each for each in named if each.exists()]
    missing = [(number, each) for number, each in enumerate(named) if each not in found]
    if whole.rules and missing:
        at: Place = ("rules", missing[0][0])
        message = f"there is no file {missing[0][1]}"
        raise RulesError([Problem(str(path), *document.at(at), dotted(at), message, "write it relative to this file")])
    if not found:
        hint = "name the files of the rules: rules: [FILE.yaml]"
        raise RulesError([Problem(str(path), 1, 1, "", f"there are no rules beside it: no file {named[0]}", hint)])
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
            said = line.removeprefix(f"{file}: ")
            problems.append(Problem(file, *document.at(path), dotted(path), said, "see docs/settings.md"))
        return Isolated()


def _unknown_names(whole: RuleTest, rules: Rulebook, document: Document, file: str, known: Vocabulary) -> Iterator[Problem]:
    """Names of rules, actions and kinds that there are not, and times after the end."""
    clusters: list[tuple[Place, CaseCluster]] = [] if whole.cluster is None else [(("cluster",), whole.cluster)]
    for number, case in enumerate(whole.tests):
        place: Place = ("tests", number)
        clusters += [] if case.cluster is None else [((*place, "cluster"), case.cluster)]
        named: list[tuple[Place, str]] = [((*place, "rules", index), name) for index, name in enumerate(case.rules)]
        for index, event in enumerate(case.events):
            rule = getattr(event.played, "rule", None)
            named += [] if rule is None else [((*place, "events", index, event.key, "rule"), rule)]
        for index, check in enumerate(case.expect):
            at: Place = (*place, "expect", index)
            for key, entries in check.rules_named.items():
                named += [((*at, key, i, "rule"), each) for i, each in enumerate(entries) if each is not None]
        for path, name in named:
            try:
                rule_named(name, rules)
            except CaseError as error:
                yield Problem(file, *document.at(path), dotted(path), str(error), error.hint)
        yield from _ill_timed(case, place, document, file)
        for index, after in enumerate(case.after):
            if after.action not in known.actions:
                path = (*place, "after", index, "action")
                hint = f"the actions are {', '.join(sorted(known.actions))}"
                yield Problem(file, *document.at(path), dotted(path), f"there is no action {after.action!r}", hint)
    kept = [kind for kind, each in WORKLOADS.items() if each.struct in KEPT_KINDS]
    for place, cluster in clusters:
        for index, workload in enumerate(cluster.workloads):
            if workload.kind not in kept:
                path = (*place, "workloads", index, "kind")
                message = f"a test has no workloads of the kind {workload.kind}"
                yield Problem(file, *document.at(path), dotted(path), message, f"one of {', '.join(kept)}")


def _ill_timed(case: RuleCase, place: Place, document: Document, file: str) -> Iterator[Problem]:
    """What is after the end of a test."""
    timed = [((*place, "events", index, "at"), event.at) for index, event in enumerate(case.events)]
    timed += [((*place, "expect", index, "at"), check.at or 0.0) for index, check in enumerate(case.expect)]
    for path, at in timed:
        if at > case.length:
            message = f"it is after the end of the test, which lasts {say(case.length)}"
            yield Problem(file, *document.at(path), dotted(path), message, "let the test last longer: lasts")
