"""How many requests each client may make: a token bucket a client, for a bounded number of clients."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

_CLIENTS = 4096
"""Clients that are remembered. One that is forgotten begins with a full bucket, as after a pause."""


class Rates:
    """Buckets that hold `burst` requests and fill by `per_minute`; 0 a minute: any number is allowed. `clock` is in seconds."""

    def __init__(self, per_minute: int, burst: int, clock: Callable[[], float], *, clients: int = _CLIENTS) -> None:
        self._per_second = per_minute / 60
        self._burst = float(burst)
        self._clock = clock
        self._clients = clients
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # client -> requests left, when; oldest first

    def wait(self, client: Hashable, cost: float = 1.0) -> float:
        """Count a request, or as many as it costs: 0 when it is allowed, otherwise the seconds until the next one is."""
        if not self._per_second:
            return 0.0
        left, now = self._left(client)
        self._buckets.pop(client, None)
        allowed = left >= cost
        self._buckets[client] = (left - cost * allowed, now)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (cost - left) / self._per_second

    def look(self, client: Hashable, cost: float = 1.0) -> float:
        """What `wait` would return, without a request that counts."""
        if not self._per_second:
            return 0.0
        return max(0.0, cost - self._left(client)[0]) / self._per_second

    def _left(self, client: Hashable) -> tuple[float, float]:
        """The requests that are left to a client, and the time."""
        now = self._clock()
        left, at = self._buckets.get(client, (self._burst, now))
        return min(self._burst, left + (now - at) * self._per_second), now


class ClientRates:
    """The two kinds of rates of the port: of whoever is let in, by who it is, and of whoever is not, by address.

    They are apart, so that a client without a token does not use up what belongs to the others behind its address.
    """

    def __init__(self, per_minute: int, burst: int, clock: Callable[[], float]) -> None:
        self.let_in = Rates(per_minute, burst, clock)
        self.refused = Rates(per_minute, burst, clock)
