"""The verbs for a cluster to practise on: healer lab run, sicken."""

from pathlib import Path
from typing import Annotated

import typer

from healer import shipped
from healer.cli.common import EXIT_SETUP, Context, with_cluster
from healer.cli.help import Verbs
from healer.cluster.api import Api
from healer.operate.objects import OperateError, valid

group = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    help="A cluster on this machine to practise on, without containers: run it, and make its pods sick.",
)
app = typer.Typer()
app.add_typer(group, name="lab")

_HOW = (
    "What it does from then on. It crashes (crash), is killed out of memory (oom; init-oom: its init container), runs and is "
    "never ready (hang); cannot pull its image (image), or may not (never-pull), or its name is none (invalid-image); its "
    "container cannot be configured (config), created (create-error) or run (run-error); it waits for ever for its init "
    "container (initializing) or for its containers to be created (creating); it fails (fail), is evicted by its kubelet "
    "(evicted), or ends as if done (complete). ok: it is well again."
)
"""In words what healer.demo.practice has; the other verbs do not load that."""


@group.command()
def run(
    kubeconfig: Annotated[
        Path, typer.Option(metavar="FILE", help="Where its kubeconfig is written; the file goes when the cluster ends.")
    ] = Path("lab.kubeconfig"),
    port: Annotated[int, typer.Option(metavar="PORT", help="Its port on 127.0.0.1; 0 for any that is free.")] = 0,
    speed: Annotated[
        float, typer.Option(metavar="N", min=1, max=1000, help="Kubernetes' own times, as back-off, are so many times shorter.")
    ] = 1.0,
) -> None:
    """Serve a cluster until Ctrl-C, with two workloads, and print how to reach it.

    It serves the Kubernetes API on loopback, to healer and to kubectl, and has the definitions of incidents and RuleSets.
    """
    from healer.demo.practice import practise  # the other verbs do not need the lab

    definitions = [path.read_text("utf-8") for path in (shipped.DEFINITION, shipped.RULESETS)]
    try:
        practise(kubeconfig, definitions, typer.echo, port=port, speed=speed)
    except (OperateError, OSError) as error:
        typer.echo(f"healer: {error}", err=True)
        raise typer.Exit(EXIT_SETUP) from error


@group.command("sicken")
def sicken_verb(
    pod: Annotated[
        str, typer.Argument(metavar="[POD]", help="The pod; by default the first of the namespace that is ready.")
    ] = "",
    namespace: Annotated[str, typer.Option("--namespace", "-n", metavar="NS", help="Its namespace.")] = "production",
    how: Annotated[str, typer.Option(metavar="HOW", help=_HOW)] = "crash",
    context: Context = None,
) -> None:
    """Make a pod of the lab sick: it crashes at each start, or does what --how says. A new pod in its place is well.

    The cluster is that of the kubeconfig. Any other than a lab is refused, with exit code 2.
    """
    from healer.demo.practice import sicken

    async def done(api: Api) -> str:
        return await sicken(api, pod, valid(namespace, "a namespace"), how)

    typer.echo(with_cluster(done, context))
