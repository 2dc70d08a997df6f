"""Shared by the verbs: exit codes, options, the connection to the cluster, and output."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
import structlog
import typer

from healer.cluster.api import Api, ClusterError
from healer.model.duration import LONGEST, parse, say
from healer.operate.explain.show import clean
from healer.operate.objects import OperateError
from healer.rules.grants import Tenant, granted, named
from healer.rules.loading import TenantOf
from healer.rules.positions import Document
from healer.settings import Settings, load_settings

EXIT_PROBLEMS = 1
EXIT_SETUP = 2
EXIT_FAILED = 3
EXIT_INTERRUPTED = 130
"""After Ctrl-C, as shells have it."""

RulePaths = Annotated[
    list[Path], typer.Option("--rules", metavar="DIR|FILE", help="A rule file, or a folder of them. May be given several times.")
]


Context = Annotated[str | None, typer.Option(help="The context of the kubeconfig to use.")]
InNamespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NS", help="Its namespace; by default that of the kubeconfig's context."),
]
HealerNamespace = Annotated[
    str, typer.Option(metavar="NS", envvar="HEALER_LEADER__NAMESPACE", help="The namespace that healer runs in, with its Lease.")
]
LeaseName = Annotated[str, typer.Option(metavar="NAME", envvar="HEALER_LEADER__NAME", help="healer's Lease in that namespace.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]
Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="For people or for programs.")]

TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        envvar="HEALER_HTTP__READ_TOKEN_FILE",
        help="A file with the token that the daemon asks for (HEALER_HTTP__READ_TOKEN_FILE); the first line is sent.",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        "--ca", metavar="FILE", envvar="HEALER_LEADER__CA_FILE", help="The certificates to trust, where --url begins with https."
    ),
]

PrometheusUrl = Annotated[
    str | None,
    typer.Option(
        "--prometheus", metavar="URL", help="Prometheus; by default HEALER_PROMETHEUS__URL. Its token file, too, is a setting."
    ),
]

T = TypeVar("T")


def tenants(config: Path | None, namespace: str = "") -> TenantOf:
    """Who the tenant of a document is: that of `namespace`, if given, else of the namespace in its metadata, with what the
    settings grant it. Settings are read when the first such document comes. Raises SettingsError."""

    @cache
    def settings() -> Settings:
        return load_settings(config)

    def tenant_of(document: Document) -> Tenant | None:
        home = named(document, namespace)
        return granted(settings().rulesets.grants, home) if home else None

    return tenant_of


def without_log() -> None:
    """A verb prints its own errors: the log lines of what it uses are for the daemon only."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def with_cluster(work: Callable[[Api], Awaitable[T]], context: str | None) -> T:
    """Run `work` with a connection to the cluster. An error is printed and ends the program with exit code 2."""

    without_log()

    async def connected() -> T:
        async with contextlib.aclosing(await Api.connect(context=context)) as api:
            return await work(api)

    try:
        return asyncio.run(connected())
    except (OperateError, ClusterError) as error:
        typer.echo(clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_SETUP) from error


def confirmed(shown: str, question: str, *, yes: bool, output: str) -> bool:
    """Show what will be done, and ask for confirmation. Returns whether to go on.

    With --yes, and when standard input is not a terminal, it does not ask. With -o json, it shows what will be done only when it
    asks, on standard error.
    """
    asks = not yes and sys.stdin.isatty()
    if asks or output == "text":
        typer.echo(clean(shown), err=output == "json")
    return not asks or typer.confirm(question, err=True)


def duration(text: str, option: str, shortest: float = 0.001, longest: float = LONGEST) -> float:
    """Parse a duration of the command line to seconds. Raises typer.BadParameter."""
    try:
        seconds = parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}: write a number with a unit: 90s, 30m, 1h30m", param_hint=option) from error
    if not shortest <= seconds <= longest:
        raise typer.BadParameter(f"{text} is not between {say(shortest)} and {say(longest)}", param_hint=option)
    return seconds


def print_json(content: object) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(content), indent=2))


def prometheus_url(text: str) -> str:
    """The URL of Prometheus. Raises OperateError."""
    if not text:
        raise OperateError("which Prometheus? Give its URL by --prometheus, or in HEALER_PROMETHEUS__URL")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise OperateError(f"{text!r} is no URL of Prometheus: write it like http://prometheus.monitoring:9090")
    return text
