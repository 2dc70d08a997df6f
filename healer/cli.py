"""The verbs: what a person or a container types."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console

from healer import settings as knobs
from healer.actions.base import specs
from healer.actions.registry import ACTIONS
from healer.cluster.api import Api, ClusterConfigError
from healer.daemon import Daemon, RuleFiles, RulesError
from healer.daemon.rulefiles import read
from healer.engine.rulebook import Rulebook
from healer.engine.rulefile import load_all, remarks
from healer.model.redact import redact_event

EXIT_PROBLEMS = 1
EXIT_SETUP = 2
EXIT_FAILED = 3

_FRAMES = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # locals hold tokens

app = typer.Typer(
    help="Keeps model-serving workloads in Kubernetes healthy: sees a sick pod, heals it, verifies, and says so.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 well; 1 problems were found, or something did not heal; 2 settings, rules or cluster are not usable; "
    "3 the daemon ended by a failure.",
)

RulePaths = Annotated[
    list[Path], typer.Option("--rules", metavar="DIR|FILE", help="A rule file, or a folder of them. May be given several times.")
]


@app.command()
def run(
    rules: RulePaths,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings in YAML; the environment wins over it.")] = None,
    context: Annotated[str | None, typer.Option(help="The context of the kubeconfig to use.")] = None,
) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    It finds the cluster like kubectl: the service account inside a pod, else KUBECONFIG or ~/.kube/config. Every setting is in
    docs/settings.md. A rule without `mode: enforce` only observes.
    """
    try:
        settings = knobs.load(config)
        _logs(settings.log)
        files = RuleFiles(rules, specs(ACTIONS))
        rulebook = files.load()
        for remark in remarks(rulebook.rules):
            structlog.get_logger("healer.rules").info(remark)
        asyncio.run(_run(settings, rulebook, files, context))
    except (knobs.SettingsError, RulesError, ClusterConfigError) as error:
        typer.echo(f"healer: {error}", err=True)
        raise typer.Exit(EXIT_SETUP) from error
    except ExceptionGroup as group:
        structlog.get_logger("healer").critical("healer failed", exc_info=group)
        raise typer.Exit(EXIT_FAILED) from group


async def _run(settings: knobs.Settings, rulebook: Rulebook, files: RuleFiles, context: str | None) -> None:
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
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Also save the timeline as a picture.")] = None,
) -> None:
    """Show a healing from beginning to end, in less than a minute, with nothing but this machine.

    An embedded cluster serves the Kubernetes API on loopback and the real daemon connects to it. Exit code 1 when anything
    did not heal.
    """
    from healer.demo import show  # the other verbs do without the lab

    _logs(knobs.Log(level="error"))
    try:
        healed = asyncio.run(show(rules, svg))
    except (RulesError, ClusterConfigError) as error:
        typer.echo(f"healer: {error}", err=True)
        raise typer.Exit(EXIT_SETUP) from error
    raise typer.Exit(0 if healed else EXIT_PROBLEMS)


def _logs(log: knobs.Log) -> None:
    """Structured logs on standard error: for people on a terminal, JSON lines elsewhere."""
    level = logging.getLevelNamesMapping()[log.level.upper()]
    pretty = log.format == "console" or (log.format == "auto" and sys.stderr.isatty())
    colours = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    final: list[structlog.types.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)]
        if pretty
        else [structlog.processors.ExceptionRenderer(_FRAMES), structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact_event,
            *final,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


def main() -> None:
    """The entry point."""
    app()
