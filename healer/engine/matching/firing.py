"""A firing signal: what is known of it, how much it counts, and why healer does nothing about it."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from healer.engine.safety.sick_counts import SickPlace
from healer.model.duration import about
from healer.model.incident import Reason
from healer.model.kube import Pod
from healer.model.signal import Signal
from healer.model.workload import Workload
from healer.rules.triggers import TRIGGERS, Trigger

UNKNOWN = "Unknown"
"""The reason code while it is not known whether a signal still fires."""
UNNAMED = ""
"""Stands for the rules that had matched a signal before a restart, where its incident does not name them."""

NOT_REPEATED = "NotRepeated"
"""The reason code of a signal that fades and that was not repeated in time: healer changes nothing for it."""
UNCONFIRMED = "Unconfirmed"
"""The reason code of a signal that a healer which has just begun knows from the journal alone."""


class Weight(IntEnum):
    """How much a firing signal counts."""

    NOTHING = 0
    """It is suppressed, or was not repeated: healer does nothing about it now."""
    CAUTION = 1
    """It is not known whether it still fires: it may keep healer from taking pods, and is no reason to act."""
    FULL = 2
    """It is known to fire."""


_SET_BACK = 60.0
"""Seconds by which a report may be ahead of now. A report that is further ahead shows that the clock was set back."""


@dataclass(slots=True)
class Firing:
    """A firing signal. `signal` is the newest report, with the target of the first one."""

    signal: Signal
    verdicts: dict[str, str] = field(default_factory=dict)
    """The last reason code of each rule that was asked, "" when it matched: only a change is a decision."""
    workload: str = ""
    """The uid of the workload that it belonged to last."""
    incidents: dict[str, None] = field(default_factory=dict)
    """The incidents that it is part of, oldest first."""
    live_rules: set[str] = field(default_factory=set)
    """The rules that it matches, or that wait until it has lasted or recurred."""
    target: Pod | Workload | None = None
    """Its target as it was when the rules were asked last; objects of the view are replaced, never changed."""
    outside: set[str] = field(default_factory=set)
    """The rules whose scopes do not cover that target, so that they need not be asked again before it changes."""
    sick_place: SickPlace | None = None
    """Where its pod counts as sick; None when it does not count."""
    unknown: str = ""
    """Why it is not known whether it still fires; "" when that is known."""
    confirmed: bool = True
    """Whether its source has reported it since healer started; False while only the journal has it."""
    reported_at: float = 0.0
    """When it was last reported, or read from the journal: a signal that fades counts for a while from then on."""
    weight: Weight = Weight.FULL
    """How much it counted when that was last asked."""
    fades: bool = False
    """Whether the time at which it no longer counts is scheduled."""

    @property
    def trigger(self) -> Trigger[Any]:
        """The trigger that it is a signal of."""
        return TRIGGERS[self.signal.source]

    def join(self, incident: str) -> None:
        """It is part of an incident."""
        self.incidents[incident] = None

    def look_at(self, target: Pod | Workload | None) -> None:
        """The rules are asked about the target as it is now."""
        if target is not self.target:
            self.target, self.outside = target, set()

    def still_outside(self, rule: str) -> bool:
        """Whether a rule would say once more that the target is outside its scope. A pod that terminates may also be gone."""
        going = isinstance(self.target, Pod) and self.target.terminating
        return rule in self.outside and self.verdicts.get(rule) == "OutOfScope" and not going

    def ask_anew(self, rule: str = "") -> None:
        """Have a rule asked about it as if for the first time; "": all that it has matched."""
        self.verdicts = {name: verdict for name, verdict in self.verdicts.items() if (name != rule if rule else verdict)}

    def weigh(self, now: float, freshness: float) -> Weight:
        """How much it counts now."""
        if self.unknown:
            return Weight.CAUTION
        if self.signal.suppressed or (self.trigger.fades and now >= self.reported_at + freshness):
            return Weight.NOTHING
        return Weight.FULL if self.confirmed else Weight.CAUTION

    def doubt(self, now: float, freshness: float) -> Reason | None:
        """Why healer does nothing about it now, although it fires as far as is known; None when healer may act."""
        signal = self.signal
        if self.unknown:
            return not_known(self)
        if not self.confirmed:
            text = f"{signal.source} {signal.name} of {signal.target} is known from the journal alone"
            return Reason(UNCONFIRMED, f"{text}: healer waits until its source says so, too")
        if signal.suppressed:
            return Reason("Suppressed", f"{signal.name}: {signal.suppressed}; healer does nothing about it until that ends")
        age = now - signal.at
        if not self.trigger.fades or -_SET_BACK <= age < freshness:
            return None
        ago = f"{about(age)} ago" if age >= 0 else f"{about(-age)} ahead of now, because the clock was set back"
        text = f"{signal.name} was last reported {ago}, and a report counts for {about(freshness)}"
        return Reason("NotRepeated", f"{text}: healer waits until {self.trigger.repeated_by} says again that it fires")


def not_known(firing: Firing) -> Reason:
    """The reason with which healer waits while it is not known whether a signal fires."""
    why = firing.unknown or firing.signal.message
    return Reason(UNKNOWN, f"whether {firing.signal.target} is still sick is not known: {why}")
