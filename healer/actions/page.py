"""Page people: change nothing in the cluster, make the incident critical, and notify more channels.

The engine does both when the outcome comes back; the sinks send what it records.
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
        """Say whether people are paged: sinks send what the engine records."""
        target = call.act.target
        if call.act.dry_run:
            return Outcome(OutcomeKind.DONE, "WouldPage", f"people would be paged about {target} (observe: nobody was)")
        if not call.reaches_people:
            text = f"{target}: nobody is paged, because no sink but the log is set up; the log has the incident"
            return Outcome(OutcomeKind.DONE, "NobodyToPage", text)
        return Outcome(OutcomeKind.DONE, "Paged", f"people are paged about {target}")
