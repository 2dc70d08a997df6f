"""The verbs for canaries, for people and pipelines: gate, compare."""

import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from healer.cli.common import (
    EXIT_PROBLEMS,
    EXIT_SETUP,
    Context,
    InNamespace,
    Output,
    PrometheusUrl,
    duration,
    print_json,
    prometheus_url,
    with_cluster,
)
from healer.cli.logs import configure_logging
from healer.cluster.api import Api
from healer.daemon.rulefiles import RulesError, load_rules, vocabulary
from healer.model.verdict import VerdictKind
from healer.operate.canary.chosen import choose_rule
from healer.operate.canary.compare import compare
from healer.operate.canary.gate import Gated, GateProgress, gate, plain_gated, show_gated
from healer.operate.canary.report import Report, plain_report, show_report
from healer.operate.explain.show import clean, console
from healer.operate.objects import ObjectRef, OperateError, parse_ref
from healer.operate.who import who
from healer.rules.rulebook import BoundRule
from healer.settings import SettingsError, load_settings
from healer.settings.sections import Log, PrometheusSettings
from healer.sources.prometheus.client import Prometheus, connect
from healer.workloads.registry import WORKLOADS

T = TypeVar("T")

app = typer.Typer()

_EXITS = {VerdictKind.GOOD: 0, VerdictKind.BAD: EXIT_PROBLEMS}
_MAX_SERIES = 10_000
"""The largest number of series in an answer. It may be large, because no event loop of a daemon waits for it."""
_MIN_INTERVAL, _MAX_INTERVAL = 1.0, 3600.0
"""The limits of the interval between two evaluations, in seconds, as in rules."""


What = Annotated[str, typer.Argument(metavar="deployment/NAME", help="The canary; or statefulset/NAME, and so on.")]
RuleFile = Annotated[
    Path, typer.Option("--canary", metavar="RULEFILE", help="The rule file with the rule that judges it (when: {canary: ...}).")
]
RuleName = Annotated[
    str | None, typer.Option("--rule", metavar="NAME", help="Which rule, where several of the file judge that workload.")
]


@app.command("gate")
def gate_verb(
    what: What,
    canary: RuleFile,
    namespace: InNamespace = None,
    rule: RuleName = None,
    prometheus: PrometheusUrl = None,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="How long to wait.")] = "30m",
    every: Annotated[str | None, typer.Option(metavar="TIME", help="Time between evaluations; by default the rule's.")] = None,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Wait until a canary is rolled out and judged, for pipelines. Changes nothing in the cluster.

    It is judged as by the daemon, from the requests that the route sends to it from now on. The progress is on standard error,
    the result on standard output. Exit code 0: GOOD. 1: BAD, or the rollout failed. 2: no verdict in time, or it cannot be
    judged: unknown, no traffic, no such workload or rule, no Prometheus. 130: interrupted.
    """
    within = duration(timeout, "--timeout")
    between = None if every is None else duration(every, "--every", _MIN_INTERVAL, _MAX_INTERVAL)

    async def work(api: Api, client: Prometheus, judging: BoundRule, place: ObjectRef, ask: PrometheusSettings) -> Gated:
        with _ProgressPrinter(console(error=True)) as tell:
            return await gate(
                api,
                client,
                judging,
                place,
                within=within,
                every=between,
                history=ask.history,
                tell=tell,
            )

    gated = _with_prometheus(work, what, canary, namespace, rule, prometheus, context)
    if output == "json":
        print_json(plain_gated(gated))
    else:
        show_gated(gated, console())
    raise typer.Exit(_EXITS.get(gated.kind, EXIT_SETUP))


@app.command("compare")
def compare_verb(
    what: What,
    canary: RuleFile,
    namespace: InNamespace = None,
    rule: RuleName = None,
    prometheus: PrometheusUrl = None,
    since: Annotated[str, typer.Option(metavar="TIME", help="How far back.")] = "1h",
    output: Output = "text",
    context: Context = None,
) -> None:
    """Compare stable and canary: requests, bad share, latency, evidence, verdict.

    Exit code 0 when the report could be made, whatever the verdict. 2 when it could not.
    """
    back = duration(since, "--since")

    async def work(api: Api, client: Prometheus, judging: BoundRule, place: ObjectRef, ask: PrometheusSettings) -> Report:
        return await compare(api, client, judging, place, since=back, now=api.clock.wall(), history=ask.history)

    report = _with_prometheus(work, what, canary, namespace, rule, prometheus, context)
    if output == "json":
        print_json(plain_report(report))
    else:
        show_report(report, console())


class _ProgressPrinter:
    """Prints the progress: on a terminal in one line that is updated, otherwise as a new line for each change."""

    def __init__(self, screen: Console) -> None:
        self._screen = screen
        self._status = screen.status("...") if screen.is_terminal else None
        self._last_text = ""

    def __enter__(self) -> "_ProgressPrinter":
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, progress: GateProgress) -> None:
        text = clean(str(progress))
        if self._status is not None:
            self._status.update(Text(text))
        elif text != self._last_text:
            self._screen.print(text)
        self._last_text = text


Work = Callable[[Api, Prometheus, BoundRule, ObjectRef, PrometheusSettings], Awaitable[T]]


def _with_prometheus(
    work: Work[T],
    what: str,
    file: Path,
    namespace: str | None,
    rule: str | None,
    url: str | None,
    context: str | None,
) -> T:
    """Run `work` with connections to the cluster and to Prometheus. An error is printed and ends the program with exit code 2."""
    try:
        settings = load_settings()
        configure_logging(Log(level="error"))
        place = parse_ref(what, namespace or who(context).namespace, WORKLOADS)
        judging = choose_rule(load_rules([file], vocabulary()).rules, place, rule)
        ask = settings.prometheus
        address = prometheus_url(url or ask.url)
    except (SettingsError, RulesError, OperateError) as error:
        typer.echo(clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_SETUP) from error

    async def connected(api: Api) -> T:
        client = connect(ask, url=address, series=_MAX_SERIES)
        async with contextlib.aclosing(client):
            return await work(api, client, judging, place, ask)

    return with_cluster(connected, context)
