"""What happens in a scenario, in its order: the timeline."""

from collections.abc import Callable

from healer.rehearsal.timeline import TimelineLine

FAULT, CURED, ALERT, RESOLVED, OPERATION = "fault", "cured", "alert", "resolved", "operation"
"""The kinds of what is played; what is done is an `act`, and what healer says has the kind of its state or verb."""


class Happenings:
    """The timeline of one life. `clock` gives seconds from the beginning."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.all: list[TimelineLine] = []

    def add(
        self, kind: str, text: str, workload: str = "", *, code: str = "", rule: str = "", fault: str = "", asks: str = ""
    ) -> None:
        """Something happens now."""
        self.all.append(TimelineLine(self._clock(), kind, text, workload, rule, code, fault, asks))
