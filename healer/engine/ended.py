"""Which alerts have ended, and when: what is said of them later, by a slower sender, is no news."""

from collections.abc import Iterable, Mapping

MOST = 10_000
"""Ends that are remembered; beyond, the oldest are forgotten."""


class Ended:
    """Ends of alerts by key, in seconds since the epoch, by the clock of whoever sent them.

    Two Alertmanagers that flush some milliseconds apart send firing, resolved, firing with the same startsAt, resolved. An alert
    that ended at or after the time when a report says that it began does not fire again with that report.
    """

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    def note(self, key: str, at: float) -> None:
        """It has ended then, if not later."""
        self._ends[key] = max(at, self._ends.pop(key, at))
        while len(self._ends) > MOST:
            del self._ends[next(iter(self._ends))]

    def learn(self, ends: Mapping[str, float]) -> None:
        """Take what a journal remembers."""
        for key, at in ends.items():
            self.note(key, at)

    def of(self, keys: Iterable[str]) -> dict[str, float]:
        """The ends that are known of these."""
        return {key: self._ends[key] for key in keys if key in self._ends}

    def spans(self, key: str, began: float | None) -> bool:
        """Whether what began then has ended."""
        end = self._ends.get(key)
        return end is not None and began is not None and began <= end
