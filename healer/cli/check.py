"""The verb that checks rule files before a daemon reads them: check."""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from healer.cli.common import EXIT_PROBLEMS, EXIT_SETUP, Context, Output, print_json, with_cluster
from healer.daemon.rulefiles import RulesError, passed_over, read, vocabulary
from healer.engine.matching.coverage import Coverage, counted
from healer.operate.coverage import coverage
from healer.operate.explain.show import clean, console
from healer.rules.loading import load_all, remarks
from healer.rules.positions import Problem
from healer.rules.rulebook import BoundRule

app = typer.Typer()

STDIN = Path("-")


@app.command()
def check(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Rule files, folders of them, or - for standard input.")],
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Also show which workloads in the cluster each rule covers now.")
    ] = False,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Check rule files. Print every error with file:line:column and a hint, and remarks about rules that may surprise.

    The result is on standard output. Exit code 1 when there is an error. 2 when the files, or with --cluster the cluster, cannot
    be read.
    """
    named = [path for path in paths if path != STDIN]
    try:
        texts = read(named) if named else {}
    except RulesError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_SETUP) from error
    if STDIN in paths:
        texts["<stdin>"] = _stdin()
    rules, problems = load_all(texts, vocabulary())
    notes = [*passed_over(named), *remarks(rules)]
    covered: list[Coverage] = []
    if cluster and not problems:
        covered, doubts = with_cluster(lambda api: coverage(api, rules), context)
        notes += doubts
    if output == "json":
        print_json(_plain(texts, rules, problems, notes, covered))
    else:
        _show(texts, rules, problems, notes, covered)
    if problems:
        raise typer.Exit(EXIT_PROBLEMS)


def _stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        typer.echo(f"healer: standard input is not UTF-8 text: {error}", err=True)
        raise typer.Exit(EXIT_SETUP) from error


def _show(
    texts: dict[str, str], rules: list[BoundRule], problems: list[Problem], notes: list[str], covered: list[Coverage]
) -> None:
    screen = console()
    for problem in problems:
        screen.print(clean(str(problem)), style="red")
    for remark in notes:
        screen.print(clean(f"remark: {remark}"), style="yellow")
    said = Counter(doubt for each in covered for doubt in each.doubts)
    for each in covered:
        screen.print(clean(str(each)), style="" if each.pods else "yellow")
        for doubt in each.doubts:
            if said[doubt] == 1:
                screen.print(clean(f"    {doubt}"), style="yellow")
    for doubt, rules_of_it in said.items():
        if rules_of_it > 1:
            screen.print(clean(f"{rules_of_it} rules: {doubt}"), style="yellow")
    if problems:
        screen.print(f"{counted(len(problems), 'problem')} in {counted(len(texts), 'file')}", style="bold red")
        return
    doubts = len(notes) + len(said)
    found = f"no errors, {counted(doubts, 'remark')}" if doubts else "no problems"
    screen.print(
        f"{counted(len(rules), 'rule')} in {counted(len(texts), 'file')}: {found}", style="yellow" if doubts else "green"
    )


def _plain(
    texts: dict[str, str], rules: list[BoundRule], problems: list[Problem], notes: list[str], covered: list[Coverage]
) -> dict[str, object]:
    return {
        "files": list(texts),
        "rules": [{"name": bound.name, "where": bound.where, "mode": bound.rule.mode} for bound in rules],
        "problems": [
            {
                "file": problem.file,
                "line": problem.line,
                "column": problem.column,
                "path": problem.path,
                "message": problem.message,
                "hint": problem.hint,
            }
            for problem in problems
        ],
        "remarks": notes,
        "coverage": [
            {
                "rule": each.rule,
                "pods": each.pods,
                "workloads": each.workloads,
                "watched": each.watched,
                "doubts": each.doubts,
            }
            for each in covered
        ],
    }
