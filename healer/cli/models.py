"""The verbs for model versions: healer models list, add, promote, rollback."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from healer.cli.common import EXIT_PROBLEMS, Context, InNamespace, Output, print_json, with_cluster
from healer.cli.help import Verbs
from healer.cluster.api import Api
from healer.model_servers.history import Author
from healer.model_servers.registry import SERVERS
from healer.model_servers.versions import PlanRefused, version_of
from healer.operate import models
from healer.operate.explain.show import clean, console
from healer.operate.models import ModelChangeResult, ModelReport, Where
from healer.operate.who import who
from healer.rules.vocabulary import DEFAULT_SERVER

_LAST = 5
"""The most changes of a model in the text output. JSON has all that are stored."""

_FILES = {name: server.file for name, server in SERVERS.items() if server.file is not None}
"""The model servers whose versions can be changed."""

group = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    help="Manage the versions of a model that the servers load, and their labels stable and canary, in a file in a ConfigMap. "
    "The ConfigMap also stores the history of changes: who and why.",
    epilog=" ".join(
        [
            *(file.about for file in _FILES.values()),
            "Exit codes: 0 done, or nothing to do; 1 refused, or something is left to do; 2 an object does not exist or is not "
            "usable.",
        ]
    ),
)
app = typer.Typer()
app.add_typer(group, name="models")


def _defaults(value: Callable[[str], object]) -> str:
    """The help text for the default of an option that differs between servers."""
    return ", ".join(f"{value(name)}" if len(_FILES) == 1 else f"{name}: {value(name)}" for name in _FILES)


Model = Annotated[str, typer.Argument(metavar="NAME", help="The model's name.")]
ConfigMap = Annotated[str, typer.Option("--config-map", metavar="MAP", help="The ConfigMap that holds the file.")]
Server = Annotated[str, typer.Option(metavar="SERVER", help=f"The model server: {', '.join(_FILES)}.")]
Key = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="The file's key in it.", show_default=_defaults(lambda each: _FILES[each].key)),
]
Port = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=65535,
        help="The port of the servers. Requests go through the API server.",
        show_default=_defaults(lambda name: SERVERS[name].port),
    ),
]
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
    """The options that the changing verbs share."""

    verb: str
    server: str
    namespace: str | None
    config_map: str
    key: str | None
    port: int | None
    why: str
    output: str
    context: str | None


def _change(work: Callable[[Api, Where, Author], Awaitable[ModelChangeResult]], asked: _ModelsRequest) -> None:
    """Make the change, print the result, and exit with code 1 when it was refused or something is left to do."""
    me = who(asked.context)

    async def connected(api: Api) -> ModelChangeResult:
        where = Where.of(asked.server, asked.namespace or me.namespace, asked.config_map, asked.key, asked.port)
        return await work(api, where, models.author(me.user, asked.why, asked.verb, api.clock.stamp()))

    try:
        done = with_cluster(connected, asked.context)
    except PlanRefused as error:
        typer.echo(clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_PROBLEMS) from error
    if asked.output == "json":
        print_json(models.plain_result(done))
    else:
        for line in models.lines(done):
            typer.echo(clean(line))
        if done.dry_run and done.diff:
            typer.echo(clean(done.diff), nl=False)
    if done.left:
        raise typer.Exit(EXIT_PROBLEMS)


@group.command("list")
def show_models(
    config_map: ConfigMap,
    namespace: InNamespace = None,
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    port: Port = None,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Show the models: policy, labels, status on the servers, last changes."""

    async def work(api: Api) -> list[ModelReport]:
        return await models.listed(api, Where.of(server, namespace or who(context).namespace, config_map, key, port))

    found = with_cluster(work, context)
    if output == "json":
        print_json([models.plain_report(one) for one in found])
    else:
        _show(found)


def _show(found: list[ModelReport]) -> None:
    screen = console()
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("model", "policy", "labels", "servers"):
        table.add_column(column, overflow="fold")
    for one in found:
        labels = ", ".join(f"{label} {version}" for label, version in sorted(one.model.labels.items()))
        unanswered = len(one.fleet.unanswered)
        servers = [f"{version} on {count}" for version, count in one.versions.items()]
        servers += [f"{unanswered} do not answer"] if unanswered else []
        cells = (one.model.name, str(one.model.policy), labels or "none", ", ".join(servers) or one.fleet.why or "none loaded")
        table.add_row(*(Text(clean(cell)) for cell in cells))
    screen.print(table)
    for one in found:
        for entry in reversed(one.history[-_LAST:]):
            screen.print(clean(f"{one.model.name}: {entry}"))


@group.command()
def add(
    name: Model,
    version: Version,
    config_map: ConfigMap,
    label: Annotated[str, typer.Option(help="Its label: canary, or one of your own.")] = "",
    namespace: InNamespace = None,
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    port: Port = None,
    why: Why = "",
    dry_run: DryRun = False,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Load a version beside the others. An existing label moves only when the servers have it AVAILABLE: then run it again."""
    _change(
        lambda api, where, by: models.add(api, where, name, version, label, by, dry_run=dry_run),
        _ModelsRequest("add", server, namespace, config_map, key, port, why, output, context),
    )


@group.command()
def promote(
    name: Model,
    config_map: ConfigMap,
    version: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", parser=_version, help="By default that of label canary.")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Unload versions that neither have nor had a label.")] = False,
    namespace: InNamespace = None,
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    port: Port = None,
    why: Why = "",
    dry_run: DryRun = False,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Make the canary's version, or another one, stable. The earlier version stays loaded, for a rollback."""
    _change(
        lambda api, where, by: models.promote(api, where, name, version, by, prune=prune, dry_run=dry_run),
        _ModelsRequest("promote", server, namespace, config_map, key, port, why, output, context),
    )


@group.command()
def rollback(
    name: Model,
    config_map: ConfigMap,
    namespace: InNamespace = None,
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    port: Port = None,
    why: Why = "",
    dry_run: DryRun = False,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Move the label stable back to the version that had it before, according to the history."""
    _change(
        lambda api, where, by: models.rollback(api, where, name, by, dry_run=dry_run),
        _ModelsRequest("rollback", server, namespace, config_map, key, port, why, output, context),
    )
