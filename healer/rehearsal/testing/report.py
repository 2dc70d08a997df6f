"""The results of tests of rules: as lines for people, as plain data, and as JUnit's XML."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from healer.model.duration import say
from healer.rehearsal.testing.comparing import acts_of, incidents_of, told_of
from healer.rehearsal.testing.coverage import RulesCoverage
from healer.rehearsal.testing.loading import LoadedTest
from healer.rehearsal.testing.running import GUARD_NAMES, CaseResult
from healer.rehearsal.timeline import EVENT, TimelineLine
from healer.rules.positions import Problem
from healer.rules.schema import API_VERSION

_MARK, _PLAIN = ">", " "
_LINES = 60
"""Lines of a timeline that are shown before the first difference, and after it."""


_HEADING = (
    "    what happened: when, an event or a state or a decision, of which rule and why (docs/safety.md explains each reason)"
)


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One line for people, and how it looks on a terminal."""

    text: str
    style: str = ""


def failure(result: CaseResult) -> Iterator[ReportLine]:
    """What is wrong with a test: the first difference, what there was in its place, and what happened, with the line that
    differs marked."""
    yield ReportLine(f"FAILED {result.where}: {result.name}", "bold red")
    if result.problem is not None:
        yield ReportLine(f"    {result.problem}", "red")
    difference = result.difference
    if difference is not None:
        yield ReportLine(f"    {result.expected}: {difference.text}", "red")
        yield from map(ReportLine, _instead(result, str(difference.path[2])))
    shown = [entry for entry in result.timeline if not entry.quiet or (difference is not None and entry is difference.entry)]
    marked = _marked(shown, result)
    begin = max(0, marked - _LINES)
    if shown:
        yield ReportLine(_HEADING, "dim")
    if begin:
        yield ReportLine(f"      ... {begin} lines before", "dim")
    for number, entry in enumerate(shown[begin : marked + _LINES], begin):
        here = number == marked and difference is not None and difference.entry is not None
        style = "bold red" if here else _style(entry)
        yield ReportLine(f"    {_MARK if here else _PLAIN} {entry}", style)
        if number == marked and difference is not None and difference.entry is None:
            yield _missing(difference.at, difference.text)
    if not shown and difference is not None:
        yield _missing(difference.at, difference.text)


def story(result: CaseResult) -> Iterator[ReportLine]:
    """What happened in a test that passed."""
    yield ReportLine(f"passed {result.where}: {result.name}", "bold green")
    for entry in result.timeline:
        if not entry.quiet:
            yield ReportLine(f"      {entry}", _style(entry))


def _style(entry: TimelineLine) -> str:
    return "dim" if entry.kind == EVENT else ""


def _instead(result: CaseResult, key: str) -> Iterator[str]:
    """What there was of a key of a checkpoint, as a test would expect it. Of decisions the timeline has them all."""
    if key == "decisions":
        return
    found = list(_WRITTEN[key](result.timeline))
    yield f"    there was, as a test says it: {key}:{'' if found else ' []'}"
    yield from (f"        - {each}" for each in found[:_LINES])
    if len(found) > _LINES:
        yield f"        ... and {len(found) - _LINES} more"


def _written_acts(entries: Sequence[TimelineLine], *, dry_run: bool) -> Iterator[str]:
    for entry, act in acts_of(entries, dry_run=dry_run):
        fields = {
            "action": act.action,
            "target": act.target.name,
            "rule": act.incident.rule,
            "step": act.step + 1,
            "at": say(round(entry.at)),
        }
        yield _flow(fields)


def _written_incidents(entries: Sequence[TimelineLine]) -> Iterator[str]:
    for _, incident in incidents_of(entries):
        fields = {
            "rule": incident.rule,
            "state": incident.state.value,
            "workload": incident.workload.name,
            "reason": incident.reason.code,
        }
        yield _flow(fields)


def _flow(fields: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}"


def _written_told(entries: Sequence[TimelineLine]) -> Iterator[str]:
    yield from (f'"{address}"' for address in told_of(entries))


_WRITTEN: Mapping[str, Callable[[Sequence[TimelineLine]], Iterator[str]]] = {
    "acts": partial(_written_acts, dry_run=False),
    "wouldAct": partial(_written_acts, dry_run=True),
    "incidents": _written_incidents,
    "told": _written_told,
}


def _missing(at: float, text: str) -> ReportLine:
    return ReportLine(f"    {_MARK} {TimelineLine(at, 'missing', text.partition(';')[0])}", "bold red")


def _marked(shown: Sequence[TimelineLine], result: CaseResult) -> int:
    """The index of the line that differs, or of the last one before what is missing."""
    difference = result.difference
    if difference is None:
        return max(len(shown) - 1, 0)
    if difference.entry is not None:
        return next(number for number, entry in enumerate(shown) if entry is difference.entry)
    before = [number for number, entry in enumerate(shown) if entry.at <= difference.at]
    return before[-1] if before else 0


def coverage_lines(coverage: RulesCoverage) -> Iterator[ReportLine]:
    """The coverage for people."""
    opened, taken = coverage.rules - len(coverage.unopened), coverage.steps - len(coverage.untaken)
    whole = coverage.percent == 100.0
    style = "green" if whole else "yellow"
    yield ReportLine(
        f"coverage {coverage.percent:.1f} %: {opened} of {coverage.rules} rules, {taken} of {coverage.steps} steps", style
    )
    for title, names in (
        ("no test opens an incident of", coverage.unopened),
        ("no test shows", coverage.unshown),
        ("no test takes", coverage.untaken),
        ("no test holds back", coverage.unheld),
    ):
        for name in names:
            yield ReportLine(f"    {title} {name}", "yellow")
    objecting, guards = len(GUARD_NAMES) - len(coverage.silent), len(GUARD_NAMES)
    yield ReportLine(f"guards: {objecting} of {guards} object in a test", "yellow" if coverage.silent else "green")
    if coverage.silent:
        yield ReportLine(
            "    A guard keeps a rule from acting where that would do harm; docs/safety.md has them all. Guards do not count for "
            "--fail-under.",
            "dim",
        )
    for name in coverage.silent:
        yield ReportLine(f"    no test meets {name}: {GUARD_NAMES[name]}", "yellow")


def summary(
    results: Sequence[CaseResult],
    problems: Sequence[Problem],
    unplayed: Sequence[LoadedTest] = (),
    named: Sequence[str] | None = None,
) -> Iterator[ReportLine]:
    """How it went, in a line. `named`: the patterns of --run that no test is named like."""
    if named:
        yield ReportLine(f"no test is named like {' or '.join(map(repr, named))}", "bold red")
    failed = sum(not result.passed for result in results)
    said = f"{_many(len(results), 'test')}: {len(results) - failed} passed, {failed} failed"
    if unplayed:
        said += f"; interrupted: {_many(len(unplayed), 'test')} of {len(results) + len(unplayed)} not played"
    if problems:
        files = len({problem.file for problem in problems})
        said += f"; {_many(files, 'file')} that cannot be used, with {_many(len(problems), 'problem')}"
    yield ReportLine(said, "bold red" if failed or problems or unplayed else "green")


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def plain(
    results: Sequence[CaseResult],
    problems: Sequence[Problem],
    coverage: RulesCoverage,
    unplayed: Sequence[LoadedTest] = (),
) -> dict[str, object]:
    """The results for programs. The same files give the same."""
    return {
        "apiVersion": API_VERSION,
        "kind": "RuleTestReport",
        "passed": sum(result.passed for result in results),
        "failed": sum(not result.passed for result in results),
        "notPlayed": len(unplayed),
        "tests": [_plain(result) for result in results],
        "problems": [_problem(problem) for problem in problems],
        "coverage": {
            "percent": coverage.percent,
            "rules": coverage.rules,
            "steps": coverage.steps,
            "unopened": coverage.unopened,
            "unshown": coverage.unshown,
            "untaken": coverage.untaken,
            "unheld": coverage.unheld,
            "silentGuards": coverage.silent,
        },
    }


def _plain(result: CaseResult) -> dict[str, object]:
    difference = result.difference
    return {
        "name": result.name,
        "where": result.where,
        "passed": result.passed,
        "difference": None if difference is None else {"at": difference.at, "text": difference.text, "where": result.expected},
        "problem": None if result.problem is None else _problem(result.problem),
        "timeline": [
            each.plain() | {"differs": difference is not None and each is difference.entry}
            for each in result.timeline
            if not each.quiet
        ],
    }


def _problem(problem: Problem) -> dict[str, object]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    }


def junit_xml(results: Sequence[CaseResult], problems: Sequence[Problem], unplayed: Sequence[LoadedTest] = ()) -> bytes:
    """The results as Jenkins, GitLab and others read them: a testsuite for each file. A test that was not played is skipped."""
    root = Element("testsuites", name="healer test")
    suites: dict[str, Element] = {}
    for result in results:
        _verdict(_case(root, suites, result.file, result.name, result.where, result.seconds), result)
    for test in unplayed:
        case = _case(root, suites, test.file, test.case.name, test.where, 0.0)
        SubElement(case, "skipped", message="the run was interrupted before")
    for problem in problems:
        where = f"{problem.file}:{problem.line}"
        case = _case(root, suites, problem.file, "the file can be used", where, 0.0)
        SubElement(case, "error", message=_printable(problem.message), type="Problem").text = _printable(str(problem))
    for group in [*suites.values(), root]:
        _count(group)
    indent(root)
    written: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _case(root: Element, suites: dict[str, Element], file: str, name: str, where: str, seconds: float) -> Element:
    """A testcase in the suite of its file. Readers take what is before the last dot of a classname for a package."""
    suite = suites.get(file)
    if suite is None:
        suite = suites[file] = SubElement(root, "testsuite", name=_printable(file), file=_printable(file))
    parts = file.rpartition(".test.")[0] or file
    fields = {
        "name": _printable(name),
        "classname": _printable(parts.lstrip("./").replace("/", ".")),
        "file": _printable(file),
        "line": where.rpartition(":")[2],
        "time": f"{seconds:.3f}",
    }
    return SubElement(suite, "testcase", fields)


def _count(group: Element) -> None:
    cases = list(group.iter("testcase"))
    group.set("tests", str(len(cases)))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        group.set(key, str(sum(case.find(tag) is not None for case in cases)))
    group.set("time", f"{sum(float(case.attrib['time']) for case in cases):.3f}")


def _verdict(case: Element, result: CaseResult) -> None:
    if result.passed:
        return
    text = _printable("\n".join(line.text for line in failure(result)))
    if result.problem is not None:
        SubElement(case, "error", message=_printable(result.problem.message), type="Problem").text = text
    elif result.difference is not None:
        SubElement(case, "failure", message=_printable(result.difference.text), type="Difference").text = text


def _printable(text: str) -> str:
    """Without what XML 1.0 does not allow, and without what could control a terminal."""
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)
