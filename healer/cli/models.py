"""The verbs for the versions of TensorFlow Serving's models: healer models list, add, promote, rollback."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from healer.cli.common import EXIT_PROBLEMS, Context, InNamespace, Output, print_json, with_cluster
from healer.cluster.api import Api
from healer.model_servers.tensorflow_serving.history import Author
from healer.model_servers.tensorflow_serving.plan import version_of
from healer.model_servers.tensorflow_serving.status import PORT
from healer.model_servers.tensorflow_serving.store import KEY
from healer.operate import models as operating
from healer.operate.explain import show as showing
from healer.operate.models import ModelChangeResult, ModelReport, PlanRefused, Where
from healer.operate.who import who

_LAST = 5
"""Changes of a model on the screen; JSON has all that are kept."""

models = typer.Typer(
    no_args_is_help=True,
    help="Which versions of a model TensorFlow Serving loads, and which of them are stable and canary: its models.config, in a "
    "ConfigMap. Every change is kept there, with who and why.",
    epilog="Servers take a change when the kubelets have copied the ConfigMap (a minute or two; never where it is mounted by "
    "subPath) and they look at the file, which they do only with --model_config_file_poll_wait_seconds; there is no /reload. "
    "A file with labels needs --allow_version_labels_for_unavailable_models, or a server that starts refuses it. "
    "Exit codes: 0 done, or nothing to do; 1 refused, or something is left to do; 2 what is named is not there or not usable.",
)
app = typer.Typer()
app.add_typer(models, name="models")

Model = Annotated[str, typer.Argument(metavar="NAME", help="The model's name.")]
ConfigMap = Annotated[str, typer.Option("--config-map", metavar="MAP", help="The ConfigMap that holds the file.")]
Key = Annotated[str, typer.Option(metavar="KEY", help="The key of the file in it.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="The servers' REST API, asked through the API server.")]
Why = Annotated[str, typer.Option(help="Why, for the history.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change in the file; change nothing.")]


def _version(text: str) -> int:
    try:
        return version_of(text)
    except PlanRefused as error:
        raise typer.BadParameter(str(error)) from error


Version = Annotated[int, typer.Argument(metavar="VERSION", parser=_version, help="The version: the name of its directory.")]


@dataclass(frozen=True, slots=True)
class _ModelsRequest:
    """What the verbs that change something have in common."""

    verb: str
    namespace: str | None
    config_map: str
    key: str
    port: int
    why: str
    output: str
    context: str | None


def _change(work: Callable[[Api, Where, Author], Awaitable[ModelChangeResult]], asked: _ModelsRequest) -> None:
    """Do it, say what was done, and end with the exit code that says whether all of it was."""
    me = who(asked.context)

    async def connected(api: Api) -> ModelChangeResult:
        where = Where(asked.namespace or me.namespace, asked.config_map, asked.key, asked.port)
        return await work(api, where, operating.author(me.user, asked.why, asked.verb))

    try:
        done = with_cluster(connected, asked.context)
    except PlanRefused as error:
        typer.echo(showing.clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_PROBLEMS) from error
    if asked.output == "json":
        print_json(operating.plain_done(done))
    else:
        for line in operating.lines(done):
            typer.echo(showing.clean(line))
        if done.dry_run and done.diff:
            typer.echo(showing.clean(done.diff), nl=False)
    if done.left:
        raise typer.Exit(EXIT_PROBLEMS)


@models.command("list")
def show_models(
    config_map: ConfigMap,
    namespace: InNamespace = None,
    key: Key = KEY,
    port: Port = PORT,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Show the models: what is loaded by which policy, the labels, what the servers say, the last changes."""

    async def work(api: Api) -> list[ModelReport]:
        return await operating.listed(api, Where(namespace or who(context).namespace, config_map, key, port))

    found = with_cluster(work, context)
    if output == "json":
        print_json([operating.plain_found(one) for one in found])
    else:
        _show(found)


def _show(found: list[ModelReport]) -> None:
    screen = showing.console()
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("model", "policy", "labels", "servers"):
        table.add_column(column, overflow="fold")
    for one in found:
        labels = ", ".join(f"{label} {version}" for label, version in sorted(one.served.labels.items()))
        silent = len(one.told.silent)
        servers = [f"{said} on {count}" for said, count in one.versions.items()] + ([f"{silent} do not answer"] if silent else [])
        cells = (one.served.name, str(one.served.policy), labels or "none", ", ".join(servers) or one.told.why or "none loaded")
        table.add_row(*(Text(showing.clean(cell)) for cell in cells))
    screen.print(table)
    for one in found:
        for entry in reversed(one.history[-_LAST:]):
            screen.print(showing.clean(f"{one.served.name}: {entry}"))


@models.command()
def add(
    name: Model,
    version: Version,
    config_map: ConfigMap,
    label: Annotated[str, typer.Option(help="Its label: canary, or one of your own.")] = "",
    namespace: InNamespace = None,
    key: Key = KEY,
    port: Port = PORT,
    why: Why = "",
    dry_run: DryRun = False,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Load a version beside the others. A label that exists moves to it when the servers have it AVAILABLE: say it again then."""
    _change(
        lambda api, where, by: operating.add(api, where, name, version, label, by, dry_run=dry_run),
        _ModelsRequest("add", namespace, config_map, key, port, why, output, context),
    )


@models.command()
def promote(
    name: Model,
    config_map: ConfigMap,
    version: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", parser=_version, help="By default that of label canary.")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Unload all that is not, or was not just now, labelled.")] = False,
    namespace: InNamespace = None,
    key: Key = KEY,
    port: Port = PORT,
    why: Why = "",
    dry_run: DryRun = False,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Make the canary's version stable, or another one. The version before stays loaded, for a rollback."""
    _change(
        lambda api, where, by: operating.promote(api, where, name, version, by, prune=prune, dry_run=dry_run),
        _ModelsRequest("promote", namespace, config_map, key, port, why, output, context),
    )


@models.command()
def rollback(
    name: Model,
    config_map: ConfigMap,
    namespace: InNamespace = None,
    key: Key = KEY,
    port: Port = PORT,
    why: Why = "",
    dry_run: DryRun = False,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Make the version stable again that was so before, as the history has it."""
    _change(
        lambda api, where, by: operating.rollback(api, where, name, by, dry_run=dry_run),
        _ModelsRequest("rollback", namespace, config_map, key, port, why, output, context),
    )
