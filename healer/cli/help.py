"""What `--help` prints of a group of verbs."""

from typing import Any

from typer.core import TyperGroup

_WHOLE = 10_000
"""Characters: no sentence is longer."""


class Verbs(TyperGroup):
    """A group whose help has the whole first sentence of each verb, wrapped; typer's own cuts it off at one line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the verbs."""
        verbs = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.get_short_help_str(_WHOLE)) for name, verb in verbs if verb is not None])
