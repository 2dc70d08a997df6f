"""The verb that checks rule files before a daemon reads them: check."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from healer.actions.base import specs
from healer.actions.registry import ACTIONS
from healer.cli.common import EXIT_PROBLEMS, EXIT_SETUP, Output, print_json
from healer.daemon.rulefiles import RulesError, passed_over, read
from healer.engine.rulebook import BoundRule
from healer.engine.rulefile import load_all, remarks
from healer.model.problem import Problem
from healer.operate import show as showing

app = typer.Typer()

STDIN = Path("-")


@app.command()
def check(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Rule files, folders of them, or - for standard input.")],
    output: Output = "text",
) -> None:
    """Check rule files: every error with file:line:column and a hint; and what is no error but may surprise.

    The result is on standard output. Exit code 1 when there is an error, 2 when the files cannot be read.
    """
    named = [path for path in paths if path != STDIN]
    try:
        texts = read(named) if named else {}
    except RulesError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_SETUP) from error
    if STDIN in paths:
        texts["<stdin>"] = _stdin()
    rules, problems = load_all(texts, specs(ACTIONS))
    said = [*passed_over(named), *remarks(rules)]
    if output == "json":
        print_json(_plain(texts, rules, problems, said))
    else:
        _show(texts, rules, problems, said)
    if problems:
        raise typer.Exit(EXIT_PROBLEMS)


def _stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        typer.echo(f"healer: standard input is not UTF-8 text: {error}", err=True)
        raise typer.Exit(EXIT_SETUP) from error


def _show(texts: dict[str, str], rules: list[BoundRule], problems: list[Problem], said: list[str]) -> None:
    screen = showing.console()
    for problem in problems:
        screen.print(showing.clean(str(problem)), style="red")
    for remark in said:
        screen.print(showing.clean(remark), style="yellow")
    if problems:
        screen.print(f"{_counted(len(problems), 'problem')} in {_counted(len(texts), 'file')}", style="bold red")
    else:
        screen.print(f"{_counted(len(rules), 'rule')} in {_counted(len(texts), 'file')}: no problems", style="green")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _plain(texts: dict[str, str], rules: list[BoundRule], problems: list[Problem], said: list[str]) -> dict[str, object]:
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
        "remarks": said,
    }
