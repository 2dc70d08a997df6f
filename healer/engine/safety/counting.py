"""What was done is counted here, and nowhere else: from how an incident was, and is after a transition."""

from healer.engine.safety.guards.question import GuardState
from healer.model.action import ActionSpec
from healer.model.incident import Incident, State
from healer.rules.schema import Mode

UNKNOWN_TOO_LONG = "UnknownTooLong"
"""The code of an incident that is escalated because nothing is known: that shows nothing for or against its rule."""
LOST = frozenset({"JournalLost", "NotKept"})
"""The codes of one that is escalated because nothing can be kept of it: it ends, and shows nothing either."""


def count(before: Incident, after: Incident, action: ActionSpec, state: GuardState) -> None:
    """Count a transition for budgets, cooldowns, disruptions and the breaker of the rule; `action` is that of the step before."""
    ledger, rules = state.ledger, state.rule_breakers
    ledger.saw(after)
    if after.mode != Mode.OBSERVE and after.denied is not before.denied:  # what a dry run was told stops nobody else
        for pod, answer in after.denied.items():
            if before.denied.get(pod) != answer:
                ledger.was_denied(pod, answer)
    for at in after.acted_at[len(before.acted_at) :]:
        ledger.acted(after, at)
        taken = after.disruption
        if action.disrupts and taken is not None and taken.target.uid in after.treated - before.treated:
            ledger.disrupted(taken)
    if after.acted_at and after.ended_at is not None and after.ended_at != before.ended_at:
        ledger.ended(after, after.ended_at)
    if after.state is not before.state:
        match after.state:
            case State.ACTING if after.mode != Mode.OBSERVE:
                rules.acts(after)
            case State.HEALED:
                rules.healed(after.rule)
            case State.CLOSED:
                rules.left(after)
            case State.ESCALATED if after.reason.code in LOST:
                rules.left(after)
            case State.ESCALATED if after.acted_at and after.reason.code != UNKNOWN_TOO_LONG:
                rules.failed(after.rule, after.changed_at)
