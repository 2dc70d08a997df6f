"""The verb that prints JSON Schemas, for editors and programs: schema."""

from enum import StrEnum
from typing import Annotated

import typer

from healer.cli.common import print_json
from healer.daemon.rulefiles import vocabulary
from healer.operate.explain.document import explanation_schema
from healer.rules.json_schema import written
from healer.settings import settings_schema

app = typer.Typer()


class Described(StrEnum):
    """What has a schema."""

    RULES = "rules"
    TEST = "test"
    SETTINGS = "settings"
    SCENARIO = "scenario"
    EXPLANATION = "explanation"


@app.command("schema")
def schema_verb(
    of: Annotated[
        str,
        typer.Argument(
            metavar="[rules|test|settings|scenario|explanation]",
            help="Rule files, their tests, settings, scenarios of `healer simulate`, or what `healer explain -o json` prints.",
            autocompletion=lambda: [*Described],
        ),
    ] = Described.RULES,
) -> None:
    """Print the JSON Schema of a kind of file, for editors that complete and check, or of an explanation.

    `healer check` checks more of a rule file: conditions, PromQL, and whether the parts of a rule fit together.
    """
    if of not in [*Described]:
        raise typer.BadParameter(f"there is no schema of {of!r}; there is one of {', '.join(Described)}", param_hint="schema")
    if of == Described.RULES:
        typer.echo(written(vocabulary()))
    elif of == Described.TEST:
        from healer.rehearsal.testing.schema import RuleTest

        typer.echo(written(vocabulary(), RuleTest))
    elif of == Described.SETTINGS:
        print_json(settings_schema())
    elif of == Described.SCENARIO:
        from healer.rehearsal.simulate.scenario import Scenario  # the other verbs do not need the lab

        typer.echo(written(vocabulary(), Scenario))
    else:
        print_json(explanation_schema())
