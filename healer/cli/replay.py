"""The verb that plays a record, or the history that Prometheus has, to other rules: replay."""

import re
import sys
from collections.abc import Callable
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from healer.cli.common import EXIT_PROBLEMS, EXIT_SETUP, Output, RulePaths, duration, print_json
from healer.clock import SYSTEM
from healer.daemon.rulefiles import RulesError, load_rules, vocabulary
from healer.operate.explain.show import clean, console
from healer.settings import SettingsError, load_settings

app = typer.Typer()

_RECORDED = "recorded"


@app.command("replay")
def replay_verb(
    rules: RulePaths,
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR|FILE]", help="What `healer run --record DIR` wrote: the folder, or a file of it."),
    ] = None,
    diff: Annotated[
        str,
        typer.Option(
            metavar="DIR|FILE|recorded",
            help="Show only what changes against these rules, or against what was really done (`recorded`).",
        ),
    ] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="From then on: RFC 3339, or so long ago (7d).")] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="Until then, in the same forms.")] = "",
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings in YAML, in place of those that the record was made with.")
    ] = None,
    output: Output = "text",
) -> None:
    """Show what these rules would have done, by a record of what healer saw.

    The same engine decides, in virtual time. The record does not answer to what these rules would have done: an act that really
    happened has its real outcome, any other counts as done, and its incident is verified against the record. Exit code 1 when
    --diff finds a difference, 2 when the record, the rules or the settings cannot be used.
    """
    from healer.daemon.recording.reading import RecordError, found
    from healer.rehearsal.replay.diff import differences
    from healer.rehearsal.replay.document import document
    from healer.rehearsal.replay.replaying import lines_of, replay
    from healer.rehearsal.replay.show import show

    began, ended = _time(since, "--since", -inf), _time(until, "--until", inf)
    if path is None:
        raise typer.BadParameter("name a record", param_hint="DIR|FILE")
    remarks: list[str] = []
    try:
        mine = load_rules(rules, vocabulary())
        other = load_rules([Path(diff)], vocabulary()) if diff not in ("", _RECORDED) else None
        settings = load_settings(config) if config is not None else None
        lines = lines_of(path, began, remarks.append, _progress(sum(file.stat().st_size for file in found(path))))
        result = replay(lines, mine, other=other, recorded=diff == _RECORDED, since=began, until=ended, settings=settings)
    except (RulesError, RecordError, SettingsError) as error:
        typer.echo(clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_SETUP) from error
    result.remarks += remarks
    if output == "json":
        print_json(document(result))
    else:
        show(result, console(), "what was really done" if diff == _RECORDED else f"with the rules of {diff}")
    if result.other is not None and differences(result.story, result.other):
        raise typer.Exit(EXIT_PROBLEMS)


def _time(text: str, option: str, otherwise: float) -> float:
    """A time of the command line, in seconds since the epoch."""
    if not text:
        return otherwise
    if re.match(r"\d{4}-", text):
        try:
            at = datetime.fromisoformat(text)
        except ValueError as error:
            raise typer.BadParameter(f"{text} is no time: write 2026-11-23T10:00:00Z, or 7d", param_hint=option) from error
        if at.tzinfo is None:
            raise typer.BadParameter(f"{text} has no time zone: write 2026-11-23T10:00:00Z", param_hint=option)
        return at.timestamp()
    return SYSTEM.wall() - duration(text, option)


def _progress(whole: int) -> Callable[[int], None]:
    """What shows how much of the record is read, on a terminal."""
    if not sys.stderr.isatty():
        return lambda _: None
    read = shown = 0

    def progress(count: int) -> None:
        nonlocal read, shown
        read += count
        percent = read * 100 // max(1, whole)
        if percent != shown:
            shown = percent
            sys.stderr.write(f"\r{percent} % read" if percent < 100 else "\r           \r")
            sys.stderr.flush()

    return progress
