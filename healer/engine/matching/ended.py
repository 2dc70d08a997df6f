"""Which alerts have ended, and when: what is said of them later, by a slower sender, is no news."""

from collections.abc import Iterable, Mapping

MOST = 10_000
"""Ends that are remembered; beyond, the oldest are forgotten."""
AHEAD = 3600.0
"""Seconds by which the clock of whoever sends alerts may be ahead; what it dates later is not believed."""


class Ended:
    """Ends of alerts by key, in seconds since the epoch, by the clock of whoever sent them.

    Two Alertmanagers that flush some milliseconds apart send firing, resolved, firing with the same startsAt, resolved. An alert
    that ended at or after the time when a report says that it began does not fire again with that report. What a journal says of
    an end holds for targets in the namespace of its incident only: who may write there silences nobody else's alerts.
    """

    def __init__(self) -> None:
        self._ends: dict[tuple[str, str], float] = {}  # (namespace of a journal's word, "" for what was heard; key)

    def note(self, key: str, at: float, namespace: str = "") -> None:
        """It has ended then, if not later."""
        key_of = namespace, key
        self._ends[key_of] = max(at, self._ends.pop(key_of, at))
        while len(self._ends) > MOST:
            del self._ends[next(iter(self._ends))]

    def learn(self, ends: Mapping[str, float], namespace: str, now: float) -> None:
        """Take what a journal remembers of an incident in that namespace; what is dated too late costs only itself."""
        for key, at in ends.items():
            if at <= now + AHEAD:
                self.note(key, at, namespace)

    def of(self, keys: Iterable[str]) -> dict[str, float]:
        """The ends that were heard of these."""
        return {key: self._ends["", key] for key in keys if ("", key) in self._ends}

    def spans(self, key: str, began: float | None, namespace: str) -> bool:
        """Whether what began then, on a target in that namespace, has ended."""
        ends = [self._ends[key_of] for key_of in (("", key), (namespace, key)) if key_of in self._ends]
        return began is not None and any(began <= end for end in ends)
