"""A signal that fires: what is known of it, what it counts for now, and why healer does nothing about it."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from healer.engine.safety.sick_counts import SickPlace
from healer.model.duration import about
from healer.model.incident import Reason
from healer.model.signal import Signal
from healer.rules.triggers import TRIGGERS, Trigger

UNKNOWN = "Unknown"
"""The reason's code while it is not known whether a signal still fires."""
UNNAMED = ""
"""The rules that had matched a signal before a restart, where the incident that it is part of does not say which."""

NOT_REPEATED = "NotRepeated"
"""The code of what keeps healer from changing anything for an alert: nobody has said lately that it fires."""


class Weight(IntEnum):
    """What a signal that fires counts for."""

    NOTHING = 0
    """Nothing is to be done about it now: it is silenced, or was not repeated."""
    CAUTION = 1
    """It is not known whether it still fires: it may hold pods back, and is no cause to act."""
    FULL = 2
    """It is known to fire."""


_SET_BACK = 60.0
"""Seconds by which a report may be ahead of now: more, and the clock was set back since."""


@dataclass(slots=True)
class Firing:
    """A signal that fires. `signal` is the newest report of it; its target stays the one of the first report."""

    signal: Signal
    verdicts: dict[str, str] = field(default_factory=dict)
    """The last reason code for each rule that was asked, so that only changes are decisions."""
    workload: str = ""
    """The uid of the workload that it was last seen to belong to."""
    incidents: dict[str, None] = field(default_factory=dict)
    """The incidents that it is part of, oldest first."""
    live_rules: set[str] = field(default_factory=set)
    """The rules that it has matched, or that wait for it to last or to recur."""
    sick_place: SickPlace | None = None
    """Where the sick_counts counts its pod as sick."""
    unknown: str = ""
    """Why it is not known whether it still fires; "" when that is known."""
    confirmed: bool = True
    """Whether its source has reported it to this engine; False for what only a journal says."""
    reported_at: float = 0.0
    """When it was last reported, or read from a journal: an alert counts for a while from then on."""
    weight: Weight = Weight.FULL
    """What it counted for when it was last looked at."""
    fades: bool = False
    """Whether it is to be looked at again when it no longer counts."""

    @property
    def trigger(self) -> Trigger[Any]:
        """The trigger that it is a signal of."""
        return TRIGGERS[self.signal.source]

    def weigh(self, now: float, freshness: float) -> Weight:
        """What it counts for now."""
        if self.unknown:
            return Weight.CAUTION
        if self.signal.suppressed or (self.trigger.fades and now >= self.reported_at + freshness):
            return Weight.NOTHING
        return Weight.FULL if self.confirmed else Weight.CAUTION

    def doubt(self, now: float, freshness: float) -> Reason | None:
        """Why nothing is to be done about it now, though it fires as far as is known; None when it may."""
        signal = self.signal
        if self.unknown:
            return not_known(self)
        if not self.confirmed:
            text = f"{signal.source} {signal.name} of {signal.target} is known from the journal alone"
            return Reason("Unconfirmed", f"{text}: healer waits until its source says so, too")
        if signal.suppressed:
            return Reason("Suppressed", f"{signal.name}: {signal.suppressed}; healer does nothing about it until that ends")
        age = now - signal.at
        if not self.trigger.fades or -_SET_BACK <= age < freshness:
            return None
        ago = f"{about(age)} ago" if age >= 0 else f"{about(-age)} ahead of now, for the clock was set back"
        text = f"{signal.name} was last reported {ago}, and a report counts for {about(freshness)}"
        return Reason("NotRepeated", f"{text}: healer waits until {self.trigger.repeated_by} says again that it fires")


def not_known(firing: Firing) -> Reason:
    """Why nothing follows from a signal."""
    why = firing.unknown or firing.signal.message
    return Reason(UNKNOWN, f"whether {firing.signal.target} is still sick is not known: {why}")
