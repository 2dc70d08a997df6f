"""The verbs that show the state of healer: status once, top again and again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from healer.cli.common import (
    EXIT_PROBLEMS,
    CaFile,
    Context,
    HealerNamespace,
    LeaseName,
    Output,
    TokenFile,
    duration,
    print_json,
    with_cluster,
)
from healer.cluster.api import Api, ClusterError
from healer.operate.asking import DaemonCredentials
from healer.operate.explain.show import console
from healer.operate.objects import LEASE, valid
from healer.operate.status import HealerStatus, plain_status, status
from healer.operate.status_screen import show_status, status_screen

app = typer.Typer()

Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NS", help="Only what is in one namespace; by default in all."),
]
Url = Annotated[str | None, typer.Option(help="Where the daemon answers, when not through the API server's proxy.")]
Reading = Callable[[Api], Awaitable[HealerStatus]]


@app.command("status")
def status_verb(
    namespace: Namespace = None,
    url: Url = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    healer_namespace: HealerNamespace = "healer",
    lease: LeaseName = LEASE,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Show who leads, what needs a human, the open incidents, workloads, canaries and limits, and the rules in force.

    Exit code 1 when no replica leads, so that healer does not act. 2 when the cluster cannot be reached.
    """
    found = with_cluster(_reading(namespace, url, DaemonCredentials(token_file, ca), healer_namespace, lease), context)
    if output == "json":
        print_json(plain_status(found))
    else:
        show_status(found, console())
    if not found.led:
        raise typer.Exit(EXIT_PROBLEMS)


@app.command("top")
def top_verb(
    namespace: Namespace = None,
    every: Annotated[str, typer.Option(metavar="TIME", help="The time between two looks.")] = "2s",
    url: Url = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    healer_namespace: HealerNamespace = "healer",
    lease: LeaseName = LEASE,
    context: Context = None,
) -> None:
    """Show the same as `healer status`, live, until Ctrl-C. Where the output is no terminal, show it once.

    While the cluster does not answer, it shows what it saw last and says so. Exit code 2 when it cannot be reached at the start.
    """
    pause = duration(every, "--every", shortest=0.5)
    read = _reading(namespace, url, DaemonCredentials(token_file, ca), healer_namespace, lease)
    screen = console()

    async def work(api: Api) -> HealerStatus:
        found = await read(api)
        if screen.is_terminal:
            await _live(api, read, found, screen, pause)
        return found

    try:
        found = with_cluster(work, context)
    except KeyboardInterrupt:
        return
    show_status(found, screen)


def _reading(
    namespace: str | None, url: str | None, credentials: DaemonCredentials, healer_namespace: str, lease: str
) -> Reading:
    """What reads the state. Raises OperateError for a wrong name when it is called."""

    async def read(api: Api) -> HealerStatus:
        space = "" if namespace is None else valid(namespace, "a namespace")
        own, name = valid(healer_namespace, "a namespace"), valid(lease, "the name of a Lease")
        return await status(api, space, own, url, api.clock.wall(), name, credentials)

    return read


async def _live(api: Api, read: Reading, found: HealerStatus, screen: Console, pause: float) -> None:
    """Show the state until cancelled; `pause` is in seconds."""
    with Live(status_screen(found), console=screen, screen=True, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(pause)
            trouble = ""
            try:
                found = await read(api)
            except ClusterError as error:
                trouble = str(error)
            live.update(status_screen(found, trouble), refresh=True)
