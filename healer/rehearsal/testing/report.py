"""The results of tests of rules: as lines for people, as plain data, and as JUnit's XML."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from healer.rehearsal.testing.coverage import RulesCoverage
from healer.rehearsal.testing.running import CaseResult
from healer.rehearsal.timeline import EVENT, TimelineLine, clock
from healer.rules.positions import Problem

_MARK, _PLAIN = ">", " "
_LINES = 60
"""Lines of a timeline that are shown before the first difference, and after it."""


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One line for people, and how it looks on a terminal."""

    text: str
    style: str = ""


def failure(result: CaseResult) -> Iterator[ReportLine]:
    """What is wrong with a test: the first difference, and what happened, with the line that differs marked."""
    yield ReportLine(f"FAILED {result.where}: {result.name}", "bold red")
    if result.problem is not None:
        yield ReportLine(f"    {result.problem}", "red")
    difference = result.difference
    if difference is not None:
        yield ReportLine(f"    first difference, at {clock(difference.at)} ({result.expected}): {difference.text}", "red")
    shown = [entry for entry in result.timeline if not entry.quiet or (difference is not None and entry is difference.entry)]
    marked = _marked(shown, result)
    begin = max(0, marked - _LINES)
    if begin:
        yield ReportLine(f"      ... {begin} lines before", "dim")
    for number, entry in enumerate(shown[begin : marked + _LINES], begin):
        here = number == marked and difference is not None and difference.entry is not None
        style = "bold red" if here else "dim" if entry.kind == EVENT else ""
        yield ReportLine(f"    {_MARK if here else _PLAIN} {entry}", style)
        if number == marked and difference is not None and difference.entry is None:
            yield _missing(difference.at, difference.text)
    if not shown and difference is not None:
        yield _missing(difference.at, difference.text)


def _missing(at: float, text: str) -> ReportLine:
    return ReportLine(f"    {_MARK} {TimelineLine(at, 'missing', text)}", "bold red")


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
        ("no test takes", coverage.untaken),
        ("no test holds back", coverage.unheld),
    ):
        for name in names:
            yield ReportLine(f"    {title} {name}", "yellow")
    if coverage.silent:
        yield ReportLine(f"    guards that object in no test: {', '.join(coverage.silent)}")


def plain(results: Sequence[CaseResult], problems: Sequence[Problem], coverage: RulesCoverage) -> dict[str, object]:
    """The results for programs."""
    return {
        "passed": sum(result.passed for result in results),
        "failed": sum(not result.passed for result in results),
        "tests": [_plain(result) for result in results],
        "problems": [_problem(problem) for problem in problems],
        "coverage": {
            "percent": coverage.percent,
            "rules": coverage.rules,
            "steps": coverage.steps,
            "unopened": coverage.unopened,
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


def junit_xml(results: Sequence[CaseResult], problems: Sequence[Problem]) -> bytes:
    """The results as Jenkins and GitLab read them: a testsuite for each file."""
    root = Element("testsuites", name="healer test")
    files = list(dict.fromkeys([*(result.file for result in results), *(problem.file for problem in problems)]))
    for file in files:
        mine = [result for result in results if result.file == file]
        wrong = [problem for problem in problems if problem.file == file]
        failed, errors = sum(result.difference is not None for result in mine), sum(result.problem is not None for result in mine)
        counts = {"tests": str(len(mine) + len(wrong)), "failures": str(failed), "errors": str(errors + len(wrong))}
        suite = SubElement(root, "testsuite", {"name": file, **counts, "skipped": "0", "time": "0"})
        for result in mine:
            case = SubElement(suite, "testcase", name=_printable(result.name), classname=file, time="0")
            _verdict(case, result)
        for problem in wrong:
            case = SubElement(suite, "testcase", name="the file can be read", classname=file, time="0")
            SubElement(case, "error", message=_printable(problem.message), type="Problem").text = _printable(str(problem))
    indent(root)
    written: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _verdict(case: Element, result: CaseResult) -> None:
    if result.passed:
        return
    text = _printable("\n".join(line.text for line in failure(result)))
    if result.problem is not None:
        SubElement(case, "error", message=_printable(result.problem.message), type="Problem").text = text
    elif result.difference is not None:
        SubElement(case, "failure", message=_printable(result.difference.text), type="Difference").text = text


def _printable(text: str) -> str:
    """Without what XML 1.0 does not allow."""
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)
