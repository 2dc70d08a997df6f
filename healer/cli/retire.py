"""The verb for the end of a healer: retire."""

from dataclasses import replace
from typing import Annotated

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
from healer.operate.who import signature, who

app = typer.Typer()


@app.command("retire")
def retire_verb(
    healer_namespace: HealerNamespace = "healer",
    lease: LeaseName = LEASE,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", metavar="NS", help="Only what is in this namespace; by default in all.")
    ] = None,
    unmarked: Annotated[
        bool, typer.Option("--unmarked", help="Take back also what does not say which healer it is of; takes that none leads.")
    ] = False,
    nobody_acts: Annotated[
        bool, typer.Option("--nobody-acts", help="You know that no healer acts there without an election, where none answers.")
    ] = False,
    yes: Yes = False,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Take back what a healer that was deleted has left: temporary changes that still stand, and the pauses set for it.

    Which healer it is the options name: what others have changed is left to them. It shows what will be done and, on a terminal,
    asks first. What somebody has changed since is left alone, and named. Exit code 1 when something is left, or the answer is no;
    2 while the healer leads, or acts without an election, or when that is not known.
    """

    def show(left: Retirement) -> None:
        if not confirmed("\n".join(left.lines()), "Take this back?", yes=yes or left.empty, output=output):
            raise NotUndone("nothing was taken back: the answer was no, and all stays as it is")

    async def work(api: Api) -> Retirement:
        own, name = valid(healer_namespace, "a namespace"), valid(lease, "the name of a Lease")
        place = valid(namespace, "a namespace") if namespace else ""
        by = await signature(api, who(context))
        return await retire(api, own, name, show, by=by, namespace=place, unmarked=unmarked, nobody_acts=nobody_acts)

    try:
        left = with_cluster(work, context)
    except NotUndone as error:
        typer.echo(clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_PROBLEMS) from error
    if output == "json":
        print_json(plain(left))
    elif left.changes or left.pauses:
        typer.echo(clean("\n".join(replace(left, notes=[]).lines("taken back", "ended the pause"))))
    if not left.complete:
        raise typer.Exit(EXIT_PROBLEMS)
