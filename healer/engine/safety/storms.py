"""Storms of a workload: so many of its pods are sick at once that it is not the pods' fault."""

from collections.abc import Iterable
from dataclasses import dataclass

from healer.model.incident import Incident, State
from healer.rules.portion import exceeded
from healer.rules.schema import Rule

FEWEST = 2
"""One sick pod alone is never a storm, however few replicas there are."""


@dataclass(frozen=True, slots=True)
class Storm:
    """`taker` is the incident that takes over the workload while it lasts; `limit` as its rule has it.

    Not `known`: so many may be sick, and of some it is not known now. That holds pods back, and is no cause to act: nobody takes
    over ("") who has not done so before.
    """

    sick: int
    desired: int
    limit: int | str
    taker: str
    known: bool = True
    units: str = "pods"
    """What is counted, for people: pods, or groups of pods."""

    def has_another(self, incident: Incident) -> bool:
        """Whether another incident speaks for the workload."""
        return self.taker not in ("", incident.id)

    def __str__(self) -> str:
        if self.known:
            return f"{self.sick} of {self.desired} {self.units} are sick at once, more than {self.limit}"
        return (
            f"{self.sick} of {self.desired} {self.units} may be sick at once, more than {self.limit}: of some it is not known now"
        )


def storm_on(sick: int, desired: int, cases: Iterable[tuple[Incident, Rule]], *, known: bool = True) -> Storm | None:
    """The storm on a workload with so many sick pods, of which these incidents are open, oldest first.

    The strictest of their limits counts.
    """
    those = [case for case in cases if case[1].when.trigger.of_pods and able(case[0])]  # a canary's rule is about no pods
    limits = [rule.limits.max_unhealthy for _, rule in those if exceeded(rule.limits.max_unhealthy, sick, desired)]
    if not limits or sick < FEWEST:
        return None
    taker = next((incident.id for incident, _ in those if incident.storm), those[0][0].id if known else "")
    return Storm(sick, desired, min(limits, key=lambda limit: _pods(limit, desired)), taker, known)


def able(incident: Incident) -> bool:
    """Whether an incident can take over; one that has, and is a human's matter now, still speaks for the workload."""
    if incident.state.settled or (incident.state is State.ESCALATED and not incident.storm):
        return False
    return incident.storming or incident.any_sick


def _pods(limit: int | str, desired: int) -> float:
    return limit if isinstance(limit, int) else int(limit.removesuffix("%")) * desired / 100
