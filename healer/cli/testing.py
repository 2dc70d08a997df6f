"""The verb that plays the tests of rules: test."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from healer.cli.common import EXIT_PROBLEMS, EXIT_SETUP, Output, print_json
from healer.daemon.rulefiles import RulesError, vocabulary
from healer.operate.explain.show import clean, console

if TYPE_CHECKING:
    from healer.rehearsal.testing.coverage import RulesCoverage
    from healer.rehearsal.testing.loading import LoadedFile, LoadedTest
    from healer.rehearsal.testing.running import CaseResult
    from healer.rules.positions import Problem

app = typer.Typer()


@app.command("test")
def run_tests(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Files of tests, or folders: every *.test.yaml in them is played.")
    ],
    run: Annotated[
        str, typer.Option(metavar="PATTERN", help="Only tests whose name, or whose file, this regular expression finds.")
    ] = "",
    coverage: Annotated[bool, typer.Option("--coverage", help="Also say which rules, steps and guards no test reaches.")] = False,
    fail_under: Annotated[
        float, typer.Option(metavar="PERCENT", min=0, max=100, help="Fail where fewer of the rules and steps are reached.")
    ] = 0.0,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the results as JUnit's XML.")] = None,
    output: Output = "text",
) -> None:
    """Play tests of rules in virtual time: hours of a cluster in milliseconds, with healer's own engine (docs/rules-as-code.md).

    A test that fails shows what happened, with the first difference marked.

    Exit code 1 when a test fails, or the coverage is too low. 2 when a file cannot be used.
    """
    from healer.rehearsal.testing.coverage import covered
    from healer.rehearsal.testing.report import junit_xml, plain
    from healer.rehearsal.testing.running import Reached

    files, problems = _load(paths)
    chosen = _chosen(files, run)
    results = _play(chosen)
    reached = Reached()
    for result in results:
        reached.add(result.reached)
    found = covered([bound for file in files for bound in file.rules.rules], reached)
    if junit is not None:
        _write(junit, junit_xml(results, problems))
    if output == "json":
        print_json(plain(results, problems, found))
    else:
        _show(results, problems, found if coverage or found.percent < fail_under else None, run if not chosen else "")
    if problems or any(result.problem is not None for result in results) or not chosen:
        raise typer.Exit(EXIT_SETUP)
    if not all(result.passed for result in results) or found.percent < fail_under:
        raise typer.Exit(EXIT_PROBLEMS)


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


def _chosen(files: "list[LoadedFile]", pattern: str) -> "list[LoadedTest]":
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise typer.BadParameter(f"{error}: write a regular expression", param_hint="--run") from error
    return [test for file in files for test in file.tests if wanted.search(test.case.name) or wanted.search(file.name)]


def _play(tests: "list[LoadedTest]") -> "list[CaseResult]":
    from healer.rehearsal.testing.running import play

    screen = console(error=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bars:
        return [play(test) for test in bars.track(tests, description="testing rules")]


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        typer.echo(f"healer: {file} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(EXIT_SETUP) from error


def _show(results: "list[CaseResult]", problems: "list[Problem]", coverage: "RulesCoverage | None", unmatched: str) -> None:
    from healer.rehearsal.testing.report import coverage_lines, failure

    screen: Console = console()
    for problem in problems:
        screen.print(clean(str(problem)), style="red")
    for result in results:
        for line in failure(result) if not result.passed else ():
            screen.print(clean(line.text), style=line.style)
    for line in coverage_lines(coverage) if coverage is not None else ():
        screen.print(clean(line.text), style=line.style)
    failed = sum(not result.passed for result in results)
    if unmatched:
        screen.print(clean(f"no test is named like {unmatched!r}"), style="bold red")
    said = f"{len(results)} tests: {len(results) - failed} passed, {failed} failed"
    said += f"; {len(problems)} problems in files that cannot be used" if problems else ""
    screen.print(said, style="bold red" if failed or problems else "green")
