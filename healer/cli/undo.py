"""The verb that reverts what healer did for an incident: undo."""

from typing import Annotated

import typer

from healer.actions.base import NotUndone
from healer.cli.common import EXIT_PROBLEMS, Context, InNamespace, Output, Yes, confirmed, print_json, with_cluster
from healer.cluster.api import Api
from healer.operate.explain.show import clean
from healer.operate.objects import parse_ref
from healer.operate.undo import Undoing, plain, undo
from healer.operate.who import signature, who

app = typer.Typer()


@app.command("undo")
def undo_incident(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="incident/NAME, or the name alone.")],
    namespace: InNamespace = None,
    by: Annotated[str | None, typer.Option(help="Who undoes it; by default your name in the cluster.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Undo also when somebody else has changed it since.")] = False,
    yes: Yes = False,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Undo what healer did for an incident: restore weights, replicas, a revision, a model's versions; uncordon a node.

    It shows what will be done and, on a terminal, asks first. Exit code 1 when nothing is undone: healer took no action that can
    be undone, the note is about another workload, somebody else has made a change since, the canary has no ready endpoints, the
    answer is no. Exit code 2 when there is no such incident.
    """
    me = who(context)

    def show(found: Undoing) -> None:
        if not confirmed(str(found), "Put this back?", yes=yes or not found.needed, output=output):
            raise NotUndone("nothing was undone: the answer was no, and all stays as it is")

    async def work(api: Api) -> Undoing:
        place = parse_ref(what if "/" in what else f"incident/{what}", namespace or me.namespace, ("Incident",))
        return await undo(api, place.namespace, place.name, await signature(api, me) if by is None else by, show, force=force)

    try:
        found = with_cluster(work, context)
    except NotUndone as error:
        typer.echo(clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_PROBLEMS) from error
    if output == "json":
        print_json(plain(found, undone=found.needed))
    else:
        message = f"undone by {found.by}" if found.needed else f"nothing was left to do: undone by {found.by}"
        typer.echo(clean(message))
