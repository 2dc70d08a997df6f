"""Which alerts have ended, and when: a slower sender reports an ended alert once more."""

from collections.abc import Iterable, Mapping

MOST = 10_000
"""Ends that are remembered; beyond, the oldest are forgotten."""
AHEAD = 3600.0
"""Seconds by which the clock of a sender may be ahead. An end with a later date is not believed."""


class Ended:
    """Ends of alerts by key, in seconds since the epoch, by the clock of their sender.

    Two Alertmanagers that flush some milliseconds apart send firing, resolved, firing with the same startsAt, resolved. A report
    does not fire when the alert ended at or after the time at which the report says that it began. An end from the journal holds
    only for targets in the namespace of its incident, so that who may write there cannot end the alerts of others.
    """

    def __init__(self) -> None:
        self._ends: dict[tuple[str, str], float] = {}  # (namespace of the journal's incident, "" for a report; key)

    def note(self, key: str, at: float, namespace: str = "") -> None:
        """Note an end, unless a later one is known."""
        key_of = namespace, key
        self._ends[key_of] = max(at, self._ends.pop(key_of, at))
        while len(self._ends) > MOST:
            del self._ends[next(iter(self._ends))]

    def learn(self, ends: Mapping[str, float], namespace: str, now: float) -> None:
        """Take the ends that the journal has of an incident in that namespace; an end with a date too late is left out."""
        for key, at in ends.items():
            if at <= now + AHEAD:
                self.note(key, at, namespace)

    def of(self, keys: Iterable[str]) -> dict[str, float]:
        """The reported ends of these alerts."""
        return {key: self._ends["", key] for key in keys if ("", key) in self._ends}

    def spans(self, key: str, began: float | None, namespace: str) -> bool:
        """Whether an alert that began then, on a target in that namespace, has ended."""
        ends = [self._ends[key_of] for key_of in (("", key), (namespace, key)) if key_of in self._ends]
        return began is not None and any(began <= end for end in ends)
