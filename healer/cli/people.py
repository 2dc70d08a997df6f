"""The verbs for people on call: pause, resume, approve, explain."""

from typing import Annotated

import typer

from healer.cli.common import (
    EXIT_PROBLEMS,
    CaFile,
    Context,
    HealerNamespace,
    InNamespace,
    LeaseName,
    Output,
    TokenFile,
    Yes,
    confirmed,
    duration,
    print_json,
    with_cluster,
)
from healer.cluster.api import Api
from healer.operate.approve import ApprovalRequest, NotWaiting, approve, plain_request
from healer.operate.asking import DaemonCredentials
from healer.operate.explain.document import document
from healer.operate.explain.facts import facts
from healer.operate.explain.show import clean, console, show_facts
from healer.operate.leases import find_lease
from healer.operate.objects import EVERYTHING, LEASE, ObjectRef, parse_ref, valid
from healer.operate.pause import PauseResult, parse_pause_ref, pause, pause_lines, plain_result, resume
from healer.operate.who import signature, who
from healer.workloads.registry import WORKLOADS

app = typer.Typer()

_WORKLOADS = ", ".join(f"{kind.words[0]}/NAME" for kind in WORKLOADS.values())
Pausable = Annotated[str, typer.Argument(metavar="WHAT", help=f"{_WORKLOADS}, namespace/NAME, or everything.")]


@app.command("pause")
def pause_verb(
    what: Pausable,
    namespace: InNamespace = None,
    reason: Annotated[str, typer.Option(help="Why; others can read it.")] = "",
    for_: Annotated[str | None, typer.Option("--for", metavar="TIME", help="For how long: 2h; by default until resumed.")] = None,
    healer_namespace: HealerNamespace = "healer",
    lease: LeaseName = LEASE,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Keep healer from acting on a workload, in a namespace, or anywhere, until it is resumed or the time is up.

    healer continues to watch, decide and notify. The pause is the annotation healer.dev/paused in the cluster. Exit code 2 when
    the object does not exist.
    """
    me = who(context)
    lasts = None if for_ is None else duration(for_, "--for")

    async def work(api: Api) -> PauseResult:
        place = await _pausable(api, what, namespace or me.namespace, healer_namespace, lease, make=True)
        until = None if lasts is None else api.clock.wall() + lasts
        by = await signature(api, me)
        return await pause(api, place, by, reason, healer_namespace, until=until, make=what == EVERYTHING, lease=lease)

    _print_pause(with_cluster(work, context), output)


@app.command("resume")
def resume_verb(
    what: Pausable,
    namespace: InNamespace = None,
    healer_namespace: HealerNamespace = "healer",
    lease: LeaseName = LEASE,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Remove a pause. Says what else still pauses healer there. Exit code 2 when the object does not exist."""
    me = who(context)

    async def work(api: Api) -> PauseResult:
        place = await _pausable(api, what, namespace or me.namespace, healer_namespace, lease)
        return await resume(api, place, healer_namespace, by=await signature(api, me), lease=lease)

    _print_pause(with_cluster(work, context), output)


async def _pausable(api: Api, what: str, namespace: str, healer_namespace: str, lease: str, *, make: bool = False) -> ObjectRef:
    """The object to pause or resume. With `make`, the Lease need not exist."""
    own, name = valid(healer_namespace, "a namespace"), valid(lease, "the name of a Lease")
    return await find_lease(api, own, name, make=make) if what == EVERYTHING else parse_pause_ref(what, namespace, own)


def _print_pause(done: PauseResult, output: str) -> None:
    if output == "json":
        print_json(plain_result(done))
    else:
        for line in pause_lines(done):
            typer.echo(clean(line))


@app.command("approve")
def approve_verb(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="incident/NAME; the name alone will do.")],
    namespace: InNamespace = None,
    by: Annotated[str | None, typer.Option(help="Who approves; by default your name in the cluster.")] = None,
    yes: Yes = False,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Approve the action of an incident that waits for approval. Shows what will be done and, on a terminal, asks first.

    Exit code 1 when it does not wait for approval or the answer is no. 2 when there is no such incident.
    """
    me = who(context)

    def show(asked: ApprovalRequest) -> None:
        if not confirmed(str(asked), "Approve?", yes=yes, output=output):
            raise NotWaiting(f"nothing was approved: incident {asked.incident.id} waits on")

    async def work(api: Api) -> ApprovalRequest:
        place = parse_ref(what if "/" in what else f"incident/{what}", namespace or me.namespace, ("Incident",))
        return await approve(api, place.namespace, place.name, await signature(api, me) if by is None else by, show)

    try:
        asked = with_cluster(work, context)
    except NotWaiting as error:
        typer.echo(clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_PROBLEMS) from error
    if output == "json":
        print_json(plain_request(asked))
    else:
        typer.echo(clean(f"approved by {asked.approver}: healer asks its guards once more, and goes on"))


@app.command()
def explain(
    what: Annotated[str, typer.Argument(metavar="WHAT", help=f"pod/NAME, incident/NAME, {_WORKLOADS}.")],
    namespace: InNamespace = None,
    url: Annotated[str | None, typer.Option(help="Where the daemon answers, when not through the API server's proxy.")] = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    healer_namespace: HealerNamespace = "healer",
    lease: LeaseName = LEASE,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Explain a pod, a workload or an incident: which rules apply, what healer decided and why, and what happens next.

    It reads the cluster, the journal and the daemon's recent decisions. Exit code 1 when nothing is known about the object.
    """
    me = who(context)

    async def work(api: Api) -> bool:
        place = parse_ref(what, namespace or me.namespace, ("Pod", *WORKLOADS, "Incident"))
        own, name = valid(healer_namespace, "a namespace"), valid(lease, "the name of a Lease")
        found = await facts(api, place, own, url, api.clock.wall(), name, DaemonCredentials(token_file, ca))
        if output == "json":
            print_json(document(found))
        else:
            show_facts(found, console())
        return found.known

    if not with_cluster(work, context):
        raise typer.Exit(EXIT_PROBLEMS)
