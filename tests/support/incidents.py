"""An incident with nothing in it but what every incident has."""

from dataclasses import replace
from typing import Any

from healer.model.incident import Incident, Reason, State
from healer.model.target import Target

WORKLOAD = Target("Deployment", "production", "tfs", "u1")
_BARE = Incident(
    id="x",
    rule="pack/rule",
    workload=WORKLOAD,
    severity="warning",
    mode="enforce",
    notify=(),
    opened_at=1.0,
    changed_at=1.0,
    state=State.OPEN,
    reason=Reason("Why", "because"),
    targets={},
    steps=("evict",),
)


def bare(state: State, **fields: Any) -> Incident:
    """One in this state, which has no target and no history unless `fields` give them."""
    return replace(_BARE, state=state, **fields)
