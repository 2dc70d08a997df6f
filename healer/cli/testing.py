"""The verb that plays the tests of rules: test."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from healer.cli.common import EXIT_INTERRUPTED, EXIT_PROBLEMS, EXIT_SETUP, Output, print_json
from healer.daemon.rulefiles import RulesError, vocabulary
from healer.operate.explain.show import clean, console

if TYPE_CHECKING:
    from healer.rehearsal.testing.loading import LoadedFile, LoadedTest
    from healer.rehearsal.testing.report import ReportLine
    from healer.rehearsal.testing.running import CaseResult
    from healer.rules.positions import Problem

app = typer.Typer()


@app.command("test")
def run_tests(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Files of tests, or folders: every *.test.yaml in them is played.")
    ],
    run: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Only tests whose name, or whose file, this regular expression finds. May be given several times: one of them.",
        ),
    ] = None,
    timeline: Annotated[bool, typer.Option("--timeline", help="Also show what happens in tests that pass.")] = False,
    coverage: Annotated[bool, typer.Option("--coverage", help="Also say which rules, steps and guards no test reaches.")] = False,
    fail_under: Annotated[
        float,
        typer.Option(
            metavar="PERCENT", min=0, max=100, help="Fail where fewer of the rules and steps are reached; guards do not count."
        ),
    ] = 0.0,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the results as JUnit's XML.")] = None,
    output: Output = "text",
) -> None:
    """Play tests of rules in virtual time: hours of a cluster in milliseconds, with healer's own engine (docs/rule-tests.md).

    A test that fails shows what happened, with the first difference marked. Ctrl-C ends the run, and shows what was played.

    Exit code 1 when a test fails, or the coverage is too low. 2 when a file cannot be used. 130 after Ctrl-C.
    """
    from healer.rehearsal.testing.coverage import covered
    from healer.rehearsal.testing.report import coverage_lines, failure, junit_xml, plain, story, summary
    from healer.rehearsal.testing.running import Reached

    patterns = _patterns(run or [])
    files, problems = _load(paths)
    tests = [test for file in files for test in file.tests]
    chosen = [test for test in tests if not patterns or any(each(test.case.name) or each(test.file) for each in patterns)]
    results = _play(chosen)
    unplayed = chosen[len(results) :]
    reached = Reached()
    for result in results:
        reached.add(result.reached)
    found = covered([bound for file in files for bound in file.rules.rules], reached)
    if junit is not None:
        _write(junit, junit_xml(results, problems, unplayed))
    if output == "json":
        print_json(plain(results, problems, found, unplayed))
    else:
        screen = console()
        for problem in problems:
            screen.print(clean(str(problem)), style="red")
        for result in results:
            _show(screen, failure(result) if not result.passed else story(result) if timeline else ())
        _show(screen, coverage_lines(found) if coverage or found.percent < fail_under else ())
        _show(screen, summary(results, problems, unplayed, named=run if tests and not chosen else None))
    if unplayed:
        raise typer.Exit(EXIT_INTERRUPTED)
    if problems or any(result.problem is not None for result in results) or not chosen:
        raise typer.Exit(EXIT_SETUP)
    if not all(result.passed for result in results) or found.percent < fail_under:
        raise typer.Exit(EXIT_PROBLEMS)


def _patterns(written: list[str]) -> list[Callable[[str], object]]:
    try:
        return [re.compile(each).search for each in written]
    except re.error as error:
        raise typer.BadParameter(f"{error}: write a regular expression", param_hint="--run") from error


def _load(paths: list[Path]) -> "tuple[list[LoadedFile], list[Problem]]":
    """The files, and the problems with those that cannot be used."""
    from healer.rehearsal.testing.loading import find, load_tests

    files: list[LoadedFile] = []
    problems: list[Problem] = []
    known = vocabulary()
    try:
        found = find(paths)
    except RulesError as error:
        return [], error.problems
    for path in found:
        try:
            files.append(load_tests(path, known))
        except RulesError as error:
            problems += error.problems
    return files, problems


def _play(tests: "list[LoadedTest]") -> "list[CaseResult]":
    """The results, on a terminal with the progress; after Ctrl-C of the tests that were played to their end."""
    from healer.rehearsal.testing.running import play

    results: list[CaseResult] = []
    screen = console(error=True)
    columns = (TextColumn("testing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bars:
        task = bars.add_task("", total=len(tests))
        try:
            for test in tests:
                bars.update(task, description=clean(test.case.name))
                results.append(play(test))
                bars.advance(task)
        except KeyboardInterrupt:
            return results
    return results


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        typer.echo(f"healer: {file} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(EXIT_SETUP) from error


def _show(screen: Console, lines: "Iterable[ReportLine]") -> None:
    for line in lines:
        screen.print(clean(line.text), style=line.style)
