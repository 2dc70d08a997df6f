"""What happens in a scenario, in its order: the timeline."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

What = Literal["fault", "cured", "alert", "resolved", "operation", "decision", "action", "incident", "person"]


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line. `at` is in seconds from the beginning; `code` is the reason's, as `healer explain` has it."""

    at: float
    kind: What
    text: str
    workload: str = ""
    code: str = ""
    rule: str = ""
    fault: str = ""


class Happenings:
    """The timeline of one life. `clock` gives seconds from the beginning."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.all: list[TimelineEntry] = []

    def add(self, what: What, text: str, workload: str = "", *, code: str = "", rule: str = "", fault: str = "") -> None:
        """Something happens now."""
        self.all.append(TimelineEntry(self._clock(), what, text, workload, code, rule, fault))
