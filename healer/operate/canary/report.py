"""The A/B report on a canary: its fields, its printed form and its JSON form."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from healer.model.duration import about
from healer.model.verdict import Counts, MeasureFinding, Verdict
from healer.operate.canary.chosen import STYLES, plain_counts, plain_finding
from healer.operate.canary.figures import Quantile, interval
from healer.operate.explain.show import clean
from healer.operate.explain.words import clock
from healer.operate.objects import ObjectRef
from healer.rules.named_workload import NamedWorkload

SHARES: Mapping[str, float] = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Column:
    """One side's figures of one measure. `times` has the keys of SHARES; it is empty for a measure without a histogram."""

    counts: Counts
    times: Mapping[str, Quantile | None]


@dataclass(frozen=True, slots=True)
class MeasureRow:
    """One measure. `bad` describes the requests that count as bad. `stable` is None if there was nothing to compare with."""

    measure: str
    bad: str
    canary: Column
    stable: Column | None
    finding: MeasureFinding | None
    read: int
    """Windows that could be read."""
    unread: int
    why: str
    """Why the last unread window could not be read."""


@dataclass(frozen=True, slots=True)
class Report:
    """Stable and canary from `since` to `until` (seconds since the epoch), in windows of `step` seconds."""

    ref: ObjectRef
    stable: NamedWorkload
    rule: str
    since: float
    until: float
    step: float
    share: float | None
    """The canary's share of the traffic by the route's weights now, 0 to 1; None when they cannot be read."""
    rows: tuple[MeasureRow, ...]
    verdict: Verdict
    verdict_at: float | None
    """Since when the verdict has this kind, in seconds since the epoch; None without a verdict."""
    notes: tuple[str, ...]


# for people


def show_report(report: Report, screen: Console) -> None:
    """Print what is compared, the figures side by side, the verdict and the notes."""
    ref, now = report.ref, report.until
    screen.print(clean(f"{ref} beside {report.stable}, {span(report)}"), style="bold")
    table = Table(box=None, pad_edge=True, padding=(0, 2), header_style="dim")
    table.add_column("")
    for name in (f"stable: {report.stable.name}", f"canary: {ref.name}"):
        table.add_column(Text(clean(name)), justify="right", overflow="fold")
    for row in report.rows:
        table.add_row(Text(clean(row.measure), style="bold"), "", "")
        for title, stable, canary in _lines(row):
            table.add_row(*(Text(clean(text)) for text in (f"  {title}", stable, canary)))
    screen.print(table)
    kind, at = report.verdict.kind, report.verdict_at
    since = "" if at is None else f" since {clock(at, now)}"
    screen.print(Text.assemble((str(kind), STYLES[kind]), clean(f"{since}: {report.verdict.text}")))
    for note in report.notes:
        screen.print(clean(f"note: {note}"), style="dim")


def span(report: Report) -> str:
    """Return the time from the first evaluation to the last as text, with its date."""
    first, last = report.since, report.until
    evaluations = round((last - first) / report.step) + 1
    times = f"{datetime.fromtimestamp(first, UTC):%Y-%m-%d %H:%M:%SZ} to {clock(last, first)}"
    return f"{times} ({about(last - first)}: {evaluations} looks, windows of {about(report.step)})"


def _lines(row: MeasureRow) -> Iterable[tuple[str, str, str]]:
    """Yield the title, stable's text and the canary's text of each line."""

    def line(title: str, figure: Callable[[Column], str]) -> tuple[str, str, str]:
        return title, "-" if row.stable is None else figure(row.stable), figure(row.canary)

    yield line("requests", lambda column: f"{column.counts.requests:,.0f}")
    yield line(row.bad, lambda column: f"{column.counts.bad:,.0f}")
    yield line("share, 95 % interval", lambda column: _share(column.counts))
    for name in SHARES if row.canary.times else ():
        yield name, "-" if row.stable is None else _time(row.stable.times[name]), _time(row.canary.times[name])
    if row.finding is not None:
        yield "evidence it is worse", "", f"{_figure(row.finding.evidence)} of {_figure(row.finding.needed)}"


def _share(counts: Counts) -> str:
    if not counts.requests:
        return "-"
    around = interval(counts.requests, counts.bad)
    return f"{_percent(counts.share)} % ({_percent(around.low)} to {_percent(around.high)})"


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.1f}" if percent >= 10 else f"{percent:.2f}" if percent >= 0.1 or not percent else f"{percent:.1g}"


def _time(quantile: Quantile | None) -> str:
    if quantile is None:
        return "-"
    seconds = quantile.seconds
    text = f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
    return f"above {text}, the last edge" if quantile.beyond else text


def _figure(value: float) -> str:
    return f"{value:.0e}" if value >= 1e6 else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


# for programs


def plain_report(report: Report) -> dict[str, object]:
    """Return the JSON form. Shares are from 0 to 1, durations in seconds, times RFC 3339."""
    ref = report.ref
    return {
        "target": {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name},
        "stable": report.stable.name,
        "rule": report.rule,
        "since": _moment(report.since),
        "until": _moment(report.until),
        "spanSeconds": report.until - report.since,
        "looks": round((report.until - report.since) / report.step) + 1,
        "window": report.step,
        "shareNow": report.share,
        "verdict": report.verdict.kind,
        "text": report.verdict.text,
        "verdictSince": None if report.verdict_at is None else _moment(report.verdict_at),
        "measures": [_plain_row(row) for row in report.rows],
        "notes": report.notes,
    }


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def _plain_row(row: MeasureRow) -> dict[str, object]:
    return {
        "measure": row.measure,
        "bad": row.bad,
        "stable": None if row.stable is None else _plain_column(row.stable),
        "canary": _plain_column(row.canary),
        "finding": None if row.finding is None else plain_finding(row.finding),
        "windows": {"read": row.read, "unread": row.unread, "why": row.why},
    }


def _plain_column(column: Column) -> dict[str, object]:
    counts = column.counts
    around = interval(counts.requests, counts.bad)
    times = {name: None if at is None else {"seconds": at.seconds, "beyond": at.beyond} for name, at in column.times.items()}
    share = counts.share if counts.requests else None
    return {**plain_counts(counts), "share": share, "interval95": [around.low, around.high], **times}
