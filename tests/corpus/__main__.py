"""`make corpus`: judge healer and three simpler policies by the corpus.

Exit code 1 when healer does harm, or not what a scenario expects.
"""

import logging
import sys

import structlog
import typer
from rich.console import Console
from rich.progress import track

from tests.corpus.corpus import SCENARIOS, judge_all, table


def main() -> int:
    """Print the table, with progress on a terminal."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    screen = Console(stderr=True)
    judged = [
        *track(judge_all(), "scenarios", len(SCENARIOS), console=screen, transient=True, disable=not screen.is_terminal),
    ]
    for line in table(judged):
        typer.echo(line)
    return 0 if all(each.met for each in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
