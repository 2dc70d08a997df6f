"""Page people: it changes nothing in the cluster, but makes the incident critical and has it told in more channels.

The engine does that when the outcome comes back; sinks tell what it records.
"""

from healer.actions.base import Call
from healer.model.action import ActionSpec, Outcome, OutcomeKind
from healer.model.target import ActsOn
from healer.rules.schema import PageParams


class Page:
    """The action `page`."""

    spec = ActionSpec(
        name="page",
        params=PageParams,
        targets=frozenset({ActsOn.WORKLOAD}),
        disrupts=False,
        verb="page people about",
        changes=False,
        meaning=(
            "changes nothing in the cluster: the incident gets critical, and is told in these channels besides those "
            "of `notify` (instead of the default channel, where there is no `notify`)"
        ),
    )

    async def run(self, call: Call) -> Outcome:
        """There is nothing to send: sinks tell what the engine records."""
        target = call.act.target
        if call.act.dry_run:
            return Outcome(OutcomeKind.DONE, "WouldPage", f"people would be paged about {target} (observe: nobody was)")
        if not call.reaches_people:
            text = f"{target}: nobody is paged, for no sink but the log is set up; the log has the incident"
            return Outcome(OutcomeKind.DONE, "NobodyToPage", text)
        return Outcome(OutcomeKind.DONE, "Paged", f"people are paged about {target}")
