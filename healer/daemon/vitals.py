"""Whether the daemon is alive and ready: what the probes answer.

Liveness depends on what a restart can mend (a stalled watch or event loop), never on Slack or Prometheus.
"""

import asyncio
import time

from healer.cluster.watch import Reflector
from healer.http.health import Check, Health

_BEAT = 1.0
_STALLED = 30.0


class Vitals:
    """Times by the monotonic clock, in seconds."""

    def __init__(self, reflectors: list[Reflector], stale: float) -> None:
        self._reflectors = reflectors
        self._stale = stale
        self._beaten = time.monotonic()
        self.ready = False
        """Whether the daemon takes signals."""

    async def beat(self) -> None:
        """Show that the event loop turns, for ever."""
        while True:
            self._beaten = time.monotonic()
            await asyncio.sleep(_BEAT)

    def health(self) -> Health:
        """The checks as of now."""
        now = time.monotonic()
        lag = max(0.0, now - self._beaten - _BEAT)
        loop = Check("loop", lag < _STALLED, f"the event loop lags {lag:.1f} s")
        watches = [self._watch(reflector, now) for reflector in self._reflectors]
        synced = [
            Check(f"{r.resource.plural} synced", r.synced.is_set(), "listed" if r.synced.is_set() else "not listed yet")
            for r in self._reflectors
        ]
        taking = Check("taking signals", self.ready, "yes" if self.ready else "starting or stopping")
        return Health(live=[loop, *watches], ready=[*synced, taking])

    def _watch(self, reflector: Reflector, now: float) -> Check:
        age = reflector.age(now)
        return Check(f"watch {reflector.resource.plural}", age < self._stale, f"last heard of {age:.0f} s ago")
