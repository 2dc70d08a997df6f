"""The verb that tells people for a test: notify test."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from healer.cli.common import EXIT_PROBLEMS, EXIT_SETUP
from healer.cli.help import Verbs
from healer.clock import SYSTEM
from healer.operate.explain.show import clean
from healer.operate.notify import NotSetUp, tell_test
from healer.settings import SettingsError, load_settings
from healer.sinks.delivery import MessageRefused, TryAgain

app = typer.Typer()
group = typer.Typer(cls=Verbs, no_args_is_help=True)
app.add_typer(group, name="notify", help="Try out how healer tells people.")


@group.callback()
def notify() -> None:
    """Try out how healer tells people."""


@group.command("test")
def send_test(
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="An address as in `notify` of rules: '#ml-oncall', webhook:teams.")
    ],
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="The daemon's settings, if it has a file of them.")] = None,
) -> None:
    """Send one marked test message through a sink as it is set up, and say what the other side answered.

    It reads the settings of the daemon, from the environment and --config; in a cluster: kubectl -n healer exec deploy/healer --
    healer notify test ADDRESS. An alert that it triggers in PagerDuty is to be resolved there. Exit code 1 when the message is
    not taken; 2 when the settings are not usable, or the address is not set up.
    """
    try:
        said = asyncio.run(tell_test(address, load_settings(config), SYSTEM.wall()))
    except (SettingsError, NotSetUp) as error:
        typer.echo(clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_SETUP) from error
    except TryAgain as error:
        typer.echo(clean(f"healer: {address} did not take the message, and may later: {error}"), err=True)
        raise typer.Exit(EXIT_PROBLEMS) from error
    except MessageRefused as error:
        typer.echo(clean(f"healer: {address} refuses the message: {error}: {error.hint}"), err=True)
        raise typer.Exit(EXIT_PROBLEMS) from error
    typer.echo(clean(f"{address} took the message: {said}"))
