"""The verbs: what a person, a container or a pipeline types. A group of verbs is a file."""

import typer

from healer.cli import canary, daemon, models, people, undo

app = typer.Typer(
    help="Keeps model-serving workloads in Kubernetes healthy: sees a sick pod, heals it, verifies, and says so.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 well; 1 problems were found, or something did not heal, does not wait or is not known; 2 settings, "
    "rules or cluster are not usable, or what is named is not there; 3 the daemon ended by a failure.",
)

for group in (daemon, people, canary, undo, models):
    app.add_typer(group.app)


def main() -> None:
    """The entry point."""
    app()
