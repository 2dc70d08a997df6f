"""The verb that plays a record, or the history that Prometheus has, to other rules: replay."""

import re
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from healer.cli.common import EXIT_PROBLEMS, EXIT_SETUP, Output, RulePaths, duration, print_json, without_log
from healer.clock import SYSTEM
from healer.daemon.rulefiles import RulesError, load_rules, vocabulary
from healer.operate.explain.show import clean, console
from healer.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from healer.daemon.recording.lines import AnyLine
    from healer.rehearsal.replay.history.history import PrometheusHistory
    from healer.rehearsal.replay.replaying import Replayed
    from healer.rules.rulebook import Rulebook
    from healer.sources.prometheus.client import Prometheus

app = typer.Typer()

_RECORDED = "recorded"
_DEFAULT_SINCE = 7 * 86_400.0
"""Seconds of the history that are played when nothing else is said."""
_SERIES, _TIMEOUT, _MOST_BYTES = 50_000, 60.0, 64 * 1024 * 1024
"""What an answer about the history may have: series, seconds and bytes. No daemon waits for it."""


RecordPath = Annotated[
    Path | None, typer.Argument(metavar="[DIR|FILE]", help="What `healer run --record DIR` wrote: the folder, or a file of it.")
]
Diff = Annotated[
    str,
    typer.Option(
        metavar="DIR|FILE|recorded",
        help="Show only what changes against these rules, or against what was really done (`recorded`).",
    ),
]
Url = Annotated[
    str,
    typer.Option(
        metavar="URL", help="In place of a record, the history that Prometheus has: ALERTS and the series of kube-state-metrics."
    ),
]
Step = Annotated[str, typer.Option(help="With --prometheus: how far apart two looks at the history are.")]
Match = Annotated[
    str, typer.Option(metavar="MATCHERS", help="With --prometheus: only these series, as 'cluster=\"a\"'; rules ask as they are.")
]
Since = Annotated[str, typer.Option(metavar="TIME", help="From then on: RFC 3339, or so long ago (7d).")]
Until = Annotated[str, typer.Option(metavar="TIME", help="Until then, in the same forms.")]
Config = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings in YAML, in place of those that the record was made with.")
]


@app.command("replay")
def replay_verb(
    rules: RulePaths,
    path: RecordPath = None,
    diff: Diff = "",
    prometheus: Url = "",
    step: Step = "30s",
    match: Match = "",
    since: Since = "",
    until: Until = "",
    config: Config = None,
    output: Output = "text",
) -> None:
    """Show what these rules would have done, by a record of what healer saw, or by the history that Prometheus has.

    The same engine decides, in virtual time. The record does not answer to what these rules would have done: an act that really
    happened has its real outcome, any other counts as done, and its incident is verified against the record. Exit code 1 when
    --diff finds a difference, 2 when the record, Prometheus, the rules or the settings cannot be used. The settings `prometheus`
    (HEALER_PROMETHEUS__...) say how Prometheus is asked: token, headers, tenant.
    """
    from healer.rehearsal.replay.diff import differences
    from healer.rehearsal.replay.document import document
    from healer.rehearsal.replay.show import show

    without_log()
    began, ended = _time(since, "--since", -inf), _time(until, "--until", inf)
    if began >= ended:
        raise typer.BadParameter("it is not before --until", param_hint="--since")
    if path is not None and prometheus:
        raise typer.BadParameter(
            "name a record, or --prometheus, and not both: one is played in place of the other", param_hint="--prometheus"
        )
    if path is None and not prometheus:
        raise typer.BadParameter("name a record, or --prometheus", param_hint="DIR|FILE")
    if prometheus and diff == _RECORDED:
        raise typer.BadParameter("Prometheus does not know what healer did: name rules", param_hint="--diff")
    every = duration(step, "--step", 1.0, 3600.0)
    result = _replayed(
        rules, path, diff, config, began, ended, lambda of, books: _history(of, books, prometheus, (began, ended, every), match)
    )
    if output == "json":
        print_json(document(result))
    else:
        show(result, console(), "what was really done" if diff == _RECORDED else f"with the rules of {diff}")
    if result.other is not None and differences(result.story, result.other):
        raise typer.Exit(EXIT_PROBLEMS)


def _replayed(
    rules: list[Path],
    path: Path | None,
    diff: str,
    config: Path | None,
    began: float,
    ended: float,
    history_of: "Callable[[Settings, list[Rulebook]], PrometheusHistory]",
) -> "Replayed":
    """Play; an error ends the program."""
    from healer.daemon.recording.reading import RecordError, found
    from healer.rehearsal.replay.history.history import LACKS, history_settings
    from healer.rehearsal.replay.replaying import lines_of, replay

    remarks: list[str] = []
    try:
        mine = load_rules(rules, vocabulary())
        other = load_rules([Path(diff)], vocabulary()) if diff not in ("", _RECORDED) else None
        history: PrometheusHistory | None = None
        lines: Iterable[AnyLine]
        if path is not None:
            settings = load_settings(config) if config is not None else None
            lines = lines_of(path, began, remarks.append, _progress(sum(file.stat().st_size for file in found(path))))
        else:
            settings = history_settings(load_settings(config))
            lines = history = history_of(settings, [mine] if other is None else [mine, other])
        result = replay(
            lines,
            mine,
            other=other,
            recorded=diff == _RECORDED,
            since=began,
            until=ended,
            settings=settings,
            lacks=None if history is None else LACKS,
        )
        if history is not None:
            result.unjudged += history.unjudged(mine)
            result.remarks += history.remarks
    except (RulesError, RecordError, SettingsError) as error:
        typer.echo(clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_SETUP) from error
    result.remarks += remarks
    return result


def _history(
    settings: Settings, books: "list[Rulebook]", url: str, span: tuple[float, float, float], match: str
) -> "PrometheusHistory":
    from healer.rehearsal.replay.history.history import PrometheusHistory
    from healer.sources.prometheus.client import connect

    if not re.fullmatch(r"https?://\S+", url):
        raise typer.BadParameter(f"{url} is no URL: write it as http://prometheus.monitoring:9090", param_hint="--prometheus")
    (began, ended, step), now = span, SYSTEM.wall()
    end = min(ended, now) // step * step
    start = (now - _DEFAULT_SINCE if began == -inf else began) // step * step
    if start >= end:
        raise typer.BadParameter("it is not before now", param_hint="--since")
    percent = _progress(100)
    shown = 0

    def progress(share: float) -> None:
        nonlocal shown
        percent(int(share * 100) - shown)
        shown = int(share * 100)

    def connection() -> "Prometheus":
        return connect(settings.prometheus, url=url, series=_SERIES, timeout=_TIMEOUT, most_bytes=_MOST_BYTES)

    return PrometheusHistory(connection, settings, books, start, end, step, match=match, progress=progress)


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
    try:
        ago = duration(text, option)
    except typer.BadParameter as error:
        raise typer.BadParameter(
            f"{error}; 7d is a week ago; or write a time: 2026-11-23T10:00:00Z", param_hint=option
        ) from error
    return SYSTEM.wall() - ago


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
