"""The command line: verbs for people, containers and pipelines. Each file has a group of verbs."""

from collections.abc import Iterable
from importlib.metadata import version
from types import ModuleType
from typing import Annotated

import typer

from healer.cli import canary, check, daemon, lab, models, notify, people, replay, retire, schema, simulate, status, testing, undo
from healer.cli.help import Verbs

VERBS = (daemon, check, testing, simulate, replay, lab, schema, status, people, canary, undo, retire, models, notify)
"""The files with verbs, in the order of `healer --help`. Each has its commands in `app`."""

_WIDEST = 1000
"""Columns that --help takes up, where the terminal has so many; typer's own bound is 80."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"healer {version('healer')}")
        raise typer.Exit


def healer(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that stand before the verb."""


def program(verbs: Iterable[ModuleType]) -> typer.Typer:
    """The command line with these verbs."""
    whole = typer.Typer(
        help="Keeps model-serving workloads in Kubernetes healthy: sees a sick pod, heals it, verifies, and says so.",
        no_args_is_help=True,
        cls=Verbs,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _WIDEST},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        callback=healer,
        epilog="Exit codes: 0 well; 1 problems were found, or something did not heal, does not wait or is not known; 2 settings, "
        "rules or cluster are not usable, or what is named is not there; 3 the daemon ended by a failure.",
    )
    for group in verbs:
        whole.add_typer(group.app)
    return whole


app = program(VERBS)


def main() -> None:
    """The entry point."""
    app()
