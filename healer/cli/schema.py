"""The verb that prints the JSON Schema of rule files, for editors: schema."""

import typer

from healer.daemon.rulefiles import vocabulary
from healer.rules.json_schema import written

app = typer.Typer()


@app.command("schema")
def schema_verb() -> None:
    """Print the JSON Schema of rule files, by which editors complete and check them.

    `healer check` checks more: conditions, PromQL, and whether the parts of a rule fit together.
    """
    typer.echo(written(vocabulary()))
