"""The verb for the end of a healer: retire."""

import typer

from healer.actions.base import NotUndone
from healer.cli.common import (
    EXIT_PROBLEMS,
    Context,
    HealerNamespace,
    LeaseName,
    Output,
    Yes,
    confirmed,
    print_json,
    with_cluster,
)
from healer.cluster.api import Api
from healer.operate.explain.show import clean
from healer.operate.objects import LEASE, valid
from healer.operate.retire import Retirement, plain, retire

app = typer.Typer()


@app.command("retire")
def retire_verb(
    healer_namespace: HealerNamespace = "healer",
    lease: LeaseName = LEASE,
    yes: Yes = False,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Take back what a healer that was deleted has left: temporary changes that still stand, and every pause.

    It shows what will be done and, on a terminal, asks first. What somebody has changed since is left alone, and named. Exit code
    1 when something is left alone or the answer is no, 2 while a healer leads.
    """

    def show(left: Retirement) -> None:
        if not confirmed(str(left), "Take this back?", yes=yes or left.empty, output=output):
            raise NotUndone("nothing was taken back: the answer was no, and all stays as it is")

    async def work(api: Api) -> Retirement:
        own, name = valid(healer_namespace, "a namespace"), valid(lease, "the name of a Lease")
        return await retire(api, own, name, show)

    try:
        left = with_cluster(work, context)
    except NotUndone as error:
        typer.echo(clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_PROBLEMS) from error
    if output == "json":
        print_json(plain(left))
    elif not left.empty:
        typer.echo("taken back")
    if any(each.way is None for each in left.changes):
        raise typer.Exit(EXIT_PROBLEMS)
