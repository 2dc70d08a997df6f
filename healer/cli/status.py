"""The verb that shows the status of healer itself: status."""

from typing import Annotated

import typer

from healer.cli.common import (
    EXIT_PROBLEMS,
    CaFile,
    Context,
    HealerNamespace,
    LeaseName,
    Output,
    TokenFile,
    print_json,
    with_cluster,
)
from healer.cluster.api import Api
from healer.operate.asking import DaemonCredentials
from healer.operate.explain.show import console
from healer.operate.objects import LEASE, valid
from healer.operate.status import HealerStatus, plain_status, show_status, status

app = typer.Typer()


@app.command("status")
def status_verb(
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", metavar="NS", help="Pauses and incidents of one namespace; by default of all."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Where the daemon answers, when not through the API server's proxy.")] = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    healer_namespace: HealerNamespace = "healer",
    lease: LeaseName = LEASE,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Show which replica leads, which rules are in force and what they cover, what is paused, and which incidents are open.

    Exit code 1 when no replica leads, so that healer does not act. 2 when the cluster cannot be reached.
    """

    async def work(api: Api) -> HealerStatus:
        space = "" if namespace is None else valid(namespace, "a namespace")
        own, name = valid(healer_namespace, "a namespace"), valid(lease, "the name of a Lease")
        return await status(api, space, own, url, api.clock.wall(), name, DaemonCredentials(token_file, ca))

    found = with_cluster(work, context)
    if output == "json":
        print_json(plain_status(found))
    else:
        show_status(found, console())
    if not found.led:
        raise typer.Exit(EXIT_PROBLEMS)
