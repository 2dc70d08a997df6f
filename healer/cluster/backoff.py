"""How long to wait before trying again: doubled from the first wait to the cap, with full jitter.

Full jitter (uniform between 0 and the ceiling) spreads the clients of a server that comes back; see Brooker, "Exponential
Backoff And Jitter", AWS architecture blog, 2015.
"""

from collections.abc import Callable


class Backoff:
    """Waits in seconds; forgets its failures after `reset` seconds without one."""

    def __init__(self, first: float, cap: float, reset: float, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._first = first
        self._cap = cap
        self._reset = reset
        self._clock = clock
        self._random = random
        self._last = clock()
        self.failures = 0
        """Failures in a row."""

    def next(self) -> float:
        """Count a failure; returns how long to wait, in seconds."""
        now = self._clock()
        if now - self._last >= self._reset:
            self.failures = 0
        self._last = now
        ceiling = min(self._cap, self._first * 2.0 ** min(self.failures, 64))
        self.failures += 1
        return ceiling * self._random()
