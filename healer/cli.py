"""The verbs: what a person or a container types."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
import structlog
import typer
from rich.console import Console

from healer import settings as knobs
from healer.actions.base import specs
from healer.actions.registry import ACTIONS
from healer.cluster.api import Api, ClusterConfigError, ClusterError
from healer.daemon import Daemon, RuleFiles, RulesError
from healer.daemon.rulefiles import read
from healer.engine.rulebook import Rulebook
from healer.engine.rulefile import load_all, remarks
from healer.journal.base import JournalMissing
from healer.model.redact import redact_event
from healer.operate import approve as approving
from healer.operate import pause as pausing
from healer.operate import show as showing
from healer.operate.facts import facts
from healer.operate.objects import OperateError, named, valid
from healer.operate.who import who

EXIT_PROBLEMS = 1
EXIT_SETUP = 2
EXIT_FAILED = 3

app = typer.Typer(
    help="Keeps model-serving workloads in Kubernetes healthy: sees a sick pod, heals it, verifies, and says so.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 well; 1 problems were found, or something did not heal, does not wait or is not known; 2 settings, "
    "rules or cluster are not usable, or what is named is not there; 3 the daemon ended by a failure.",
)


class JournalKind(StrEnum):
    """As settings.journal.kind."""

    KUBERNETES = "kubernetes"
    MEMORY = "memory"


RulePaths = Annotated[
    list[Path], typer.Option("--rules", metavar="DIR|FILE", help="A rule file, or a folder of them. May be given several times.")
]


Context = Annotated[str | None, typer.Option(help="The context of the kubeconfig to use.")]
InNamespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NS", help="Its namespace; by default that of the kubeconfig's context."),
]
HealerNamespace = Annotated[str, typer.Option(metavar="NS", help="The namespace that healer runs in.")]
Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="For people or for programs.")]
Pausable = Annotated[str, typer.Argument(metavar="WHAT", help="deployment/NAME, namespace/NAME, or everything.")]

T = TypeVar("T")


@app.command()
def run(
    rules: RulePaths,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings in YAML; the environment wins over it.")] = None,
    context: Context = None,
    journal: Annotated[JournalKind | None, typer.Option(help="Where incidents are kept; wins over HEALER_JOURNAL__KIND.")] = None,
) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    It finds the cluster like kubectl: the service account inside a pod, else KUBECONFIG or ~/.kube/config. Every setting is in
    docs/settings.md. A rule without `mode: enforce` only observes.
    """
    try:
        settings = knobs.load(config)
        if journal is not None:
            settings = settings.model_copy(update={"journal": settings.journal.model_copy(update={"kind": journal.value})})
        _logs(settings.log)
        files = RuleFiles(rules, specs(ACTIONS))
        rulebook = files.load()
        for remark in remarks(rulebook.rules):
            structlog.get_logger("healer.rules").info(remark)
        asyncio.run(_run(settings, rulebook, files, context))
    except (knobs.SettingsError, RulesError, ClusterConfigError, JournalMissing) as error:
        typer.echo(f"healer: {error}", err=True)
        raise typer.Exit(EXIT_SETUP) from error
    except ExceptionGroup as group:
        structlog.get_logger("healer").critical("healer failed", exc_info=group)
        raise typer.Exit(EXIT_FAILED) from group


async def _run(settings: knobs.Settings, rulebook: Rulebook, files: RuleFiles, context: str | None) -> None:
    # The objects that a watch makes are not tracked (msgspec), and what is loaded by now stays: rare collections find as much.
    # With the defaults, full ones pause the loop for some 30 ms at 10,000 pods (measured).
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    api = await Api.connect(context=context, request_timeout=settings.cluster.request_timeout)
    daemon = Daemon(settings, rulebook, files=files)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stop)
    async with contextlib.aclosing(api):
        await daemon.run(api)


@app.command()
def check(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Rule files, or folders of them.")],
) -> None:
    """Check rule files: every error with file:line:column and a hint. Exit code 1 when there is one."""
    try:
        texts = read(paths)
    except RulesError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_SETUP) from error
    rules, problems = load_all(texts, specs(ACTIONS))
    out, err = Console(soft_wrap=True, highlight=False), Console(stderr=True, soft_wrap=True, highlight=False)
    for problem in problems:
        err.print(str(problem), style="red", markup=False)
    if problems:
        err.print(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in {len(texts)} file(s)", style="bold red")
        raise typer.Exit(EXIT_PROBLEMS)
    for remark in remarks(rules):
        out.print(remark, style="yellow", markup=False)
    out.print(f"{len(rules)} rules in {len(texts)} file(s): no problems", style="green")


@app.command()
def demo(
    rules: Annotated[Path, typer.Option(metavar="DIR|FILE", help="The rules to show.")] = Path("rules"),
    definition: Annotated[Path, typer.Option(metavar="FILE", help="The manifest that defines incidents in a cluster.")] = Path(
        "deploy/healer/crd.yaml"
    ),
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Also save the timeline as a picture.")] = None,
) -> None:
    """Show a healing from beginning to end, in less than a minute, with nothing but this machine.

    An embedded cluster serves the Kubernetes API on loopback and the real daemon connects to it. Exit code 1 when anything
    did not heal.
    """
    from healer.demo import show  # the other verbs do without the lab

    _logs(knobs.Log(level="error"))
    try:
        healed = asyncio.run(show(rules, definition.read_text("utf-8"), svg))
    except (RulesError, ClusterConfigError, OSError) as error:
        typer.echo(f"healer: {error}", err=True)
        raise typer.Exit(EXIT_SETUP) from error
    raise typer.Exit(0 if healed else EXIT_PROBLEMS)


@app.command()
def pause(
    what: Pausable,
    namespace: InNamespace = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever finds it paused.")] = "",
    healer_namespace: HealerNamespace = "healer",
    output: Output = "text",
    context: Context = None,
) -> None:
    """Keep healer from acting on a Deployment, in a namespace, or anywhere, until it is resumed.

    It goes on watching, deciding and telling. Kept in the cluster, as the annotation healer.dev/paused. Exit code 2 when what
    is named is not there.
    """
    me = who(context)

    async def work(api: Api) -> pausing.Done:
        place = pausing.place_of(what, namespace or me.namespace, valid(healer_namespace, "a namespace"))
        return await pausing.pause(api, place, me.user, reason, healer_namespace)

    _print_pause(_with_cluster(work, context), output)


@app.command()
def resume(
    what: Pausable,
    namespace: InNamespace = None,
    healer_namespace: HealerNamespace = "healer",
    output: Output = "text",
    context: Context = None,
) -> None:
    """Take a pause back. Says what else still pauses healer there. Exit code 2 when what is named is not there."""
    me = who(context)

    async def work(api: Api) -> pausing.Done:
        place = pausing.place_of(what, namespace or me.namespace, valid(healer_namespace, "a namespace"))
        return await pausing.resume(api, place, healer_namespace)

    _print_pause(_with_cluster(work, context), output)


def _print_pause(done: pausing.Done, output: str) -> None:
    if output == "json":
        _print_json(pausing.plain(done))
    else:
        for line in pausing.told(done):
            typer.echo(showing.clean(line))


@app.command()
def approve(
    name: Annotated[str, typer.Argument(metavar="INCIDENT", help="The name of the incident.")],
    namespace: InNamespace = None,
    by: Annotated[str | None, typer.Option(help="Who approves; by default the kubeconfig's user, or $USER.")] = None,
    context: Context = None,
) -> None:
    """Approve the action that an incident waits with; shows what will be done first.

    Exit code 1 when it does not wait for approval, 2 when there is no such incident.
    """
    me = who(context)

    async def work(api: Api) -> approving.Asked:
        return await approving.approve(
            api,
            namespace or me.namespace,
            name,
            me.user if by is None else by,
            lambda asked: typer.echo(showing.clean(str(asked))),
        )

    try:
        asked = _with_cluster(work, context)
    except approving.NotWaiting as error:
        typer.echo(showing.clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_PROBLEMS) from error
    typer.echo(showing.clean(f"approved by {asked.approver}: healer asks its guards once more, and goes on"))


@app.command()
def explain(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="pod/NAME, deployment/NAME or incident/NAME.")],
    namespace: InNamespace = None,
    url: Annotated[str | None, typer.Option(help="Where the daemon answers, when not through the API server's proxy.")] = None,
    healer_namespace: HealerNamespace = "healer",
    output: Output = "text",
    context: Context = None,
) -> None:
    """Say what healer makes of a pod, a Deployment or an incident: rules, decisions with their reasons, what happens next.

    From the cluster, the journal and the daemon's recent decisions, read afresh. Exit code 1 when nothing is known of it.
    """
    me = who(context)

    async def work(api: Api) -> bool:
        place = named(what, namespace or me.namespace, ("Pod", "Deployment", "Incident"))
        found = await facts(api, place, valid(healer_namespace, "a namespace"), url, time.time())
        if output == "json":
            _print_json(showing.plain(found))
        else:
            showing.show(found, showing.console())
        return found.known

    if not _with_cluster(work, context):
        raise typer.Exit(EXIT_PROBLEMS)


def _with_cluster(work: Callable[[Api], Awaitable[T]], context: str | None) -> T:
    """Do it with a connection; what cannot be done is said, and ends the program with exit code 2."""

    async def connected() -> T:
        async with contextlib.aclosing(await Api.connect(context=context)) as api:
            return await work(api)

    try:
        return asyncio.run(connected())
    except (OperateError, ClusterError) as error:
        typer.echo(showing.clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_SETUP) from error


def _print_json(content: object) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(content), indent=2))


def _logs(log: knobs.Log) -> None:
    """Structured logs on standard error: for people on a terminal, JSON lines elsewhere."""
    level = logging.getLevelNamesMapping()[log.level.upper()]
    pretty = log.format == "console" or (log.format == "auto" and sys.stderr.isatty())
    colours = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    rendered: list[structlog.types.Processor] = (
        [structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))]
        if not pretty
        else [structlog.processors.ExceptionRenderer()]
    )  # no locals: they hold tokens
    final: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)
        if pretty
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *rendered,
            redact_event,
            final,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


def main() -> None:
    """The entry point."""
    app()
