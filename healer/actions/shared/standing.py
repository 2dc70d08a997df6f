"""A temporary change that stands: which incident made it, and which changes of others were made on top of it."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from healer.actions.base import Temporary
from healer.model.incident import Incident
from healer.model.temporary import TemporaryChange


@dataclass(frozen=True, slots=True)
class StandingChange:
    """A change that an incident has noted."""

    incident: Incident
    name: str
    """The action that made it."""
    action: Temporary
    key: str
    change: TemporaryChange

    def __str__(self) -> str:
        return f"{self.name} of {self.key} for {self.incident.id}"

    @property
    def thing(self) -> tuple[str, str, str]:
        """What it changes, and by which action."""
        return self.name, self.incident.workload.uid, self.key

    def carries(self, other: "StandingChange") -> bool:
        """Whether the change of another incident was made on top of this one."""
        if other.incident.id == self.incident.id or other.change.ended is not None:
            return False
        same = (other.change.before, other.change.after) == (self.change.before, self.change.after)
        return other.change.is_on_top_of(self.change) or (same and other.incident.opened_at > self.incident.opened_at)


def newest_first(found: Iterable[StandingChange]) -> list[StandingChange]:
    """The changes in the order in which they can be taken back: what was made on top of another comes before it."""
    things: dict[tuple[str, str, str], list[StandingChange]] = defaultdict(list)
    for each in sorted(found, key=lambda each: each.incident.opened_at, reverse=True):
        things[each.thing].append(each)
    ordered: list[StandingChange] = []
    for left in things.values():
        while left:
            top = next((each for each in left if not any(each.carries(other) for other in left)), left[0])
            left.remove(top)
            ordered.append(top)
    return ordered
