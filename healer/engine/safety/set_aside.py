"""The one incident that tells people which others of the journal healer does not believe."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from healer.engine.incidents.opening import noted
from healer.engine.safety.wide import NAMED, SET_ASIDE, closed, telling, wide_incident
from healer.engine.turn import Turn
from healer.model.incident import Incident, Reason, State
from healer.model.target import Target
from healer.rules.schema import Severity


class SetAsideIncident:
    """`home` is the namespace of healer's own incidents; `number` numbers them."""

    def __init__(self, home: str, number: Callable[[], int]) -> None:
        self._home = home
        self._number = number
        self._incident: Incident | None = None

    @property
    def incident(self) -> Incident | None:
        """The incident, while there is something to tell."""
        return self._incident

    def restore(self, incident: Incident) -> None:
        """A journal has it."""
        self._incident = incident

    def tell(self, aside: Sequence[str], turn: Turn) -> None:
        """Tell of these, each as "namespace/name (code)"."""
        before = self._incident
        after = _said(before, aside, self._home, turn.now, self._number())
        if after is not None and after is not before:
            turn.record(after)
        self._incident = None if after is None or after.state is State.CLOSED else after


def _said(before: Incident | None, aside: Sequence[str], home: str, now: float, number: int) -> Incident | None:
    """The one incident that says which others of the journal are not believed; None when there is nothing to say.

    `before` is the one that says so already. `aside` has each as "namespace/name (code)". People hear of it when it opens, and
    by a line when they are others than before.
    """
    if not aside:
        why = Reason("Recovered", "no incident of the journal is set aside any more")
        return None if before is None else closed(before, why, now)
    named = ", ".join(sorted(aside)[:NAMED])
    more = f" and {len(aside) - NAMED} more" if len(aside) > NAMED else ""
    text = (
        f"incidents of the journal that are not believed: {len(aside)}. healer acts on none of them: {named}{more}; look who "
        "wrote them, for they may be forged, and delete them: kubectl get incidents -A"
    )
    reason = Reason("SetAside", text)
    if before is None:
        target = Target("Journal", home, "journal", "journal")
        return telling(replace(wide_incident(SET_ASIDE, target, (), now, number), severity=Severity.WARNING), reason, now)
    return before if before.reason == reason else noted(replace(before, reason=reason), reason, now)
