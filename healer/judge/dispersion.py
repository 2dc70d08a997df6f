"""Over-dispersion: how much bad requests come in bursts rather than independently, given the requests."""

import math
from collections import deque

from healer.model.verdict import Counts

SCALES = (1, 4, 16)
"""Block lengths, in windows. At little traffic a burst lasts longer than one window, and no single window shows it."""
LEAST_POSITIONS = 2
"""A block length counts once it was compared at more positions than this times itself: after four blocks."""
MOST = 100.0
"""The largest phi. What is burstier is an outage, and a larger phi would keep the judge from ever condemning again."""
MOST_OWN = 25.0
"""The largest phi by the canary's own windows. Above it, bursts that stable does not have are the canary's fault."""
UNSEEN = 5.0
"""Bad requests of a burst that the history is taken to lack by chance: without any history phi is 5, not 1."""


class Dispersion:
    """One side's counts a window, oldest first, reduced to phi: by how many times the variance of the bad ones is above that of
    requests of which each is bad by itself.

    Neighbouring blocks of windows are compared, and not each with the mean of all: what rises and falls over the day is no burst.
    Of the x bad requests of two blocks x_1 are in the first, which has the part q of the requests; if each is bad by itself that
    is binomial, and phi = sum (x_1 - x q)^2 / sum x q (1 - q). So a minute of thirty times the traffic is no burst either. For
    blocks of one size it is the Allan factor of point processes, sum (a - b)^2 / sum (a + b) (Lowen and Teich, Fractal-Based
    Point Processes, 2005, section 3.5.3). It is 1 for independent requests, B for bursts of B, E[B^2]/E[B] for bursts of random
    size, and does not depend on how many there are, so that it may be learnt at another weight. The largest of several block
    lengths counts.
    """

    def __init__(self) -> None:
        self._squares = dict.fromkeys(SCALES, 0.0)
        self._expected = dict.fromkeys(SCALES, 0.0)
        self._positions = dict.fromkeys(SCALES, 0)
        self.windows = 0
        self.total = Counts()
        self.cut()

    def cut(self) -> None:
        """Do not compare the next windows with those before: stable has another share of the traffic from here on."""
        self._sums = deque([Counts()], maxlen=2 * max(SCALES) + 1)

    def add(self, window: Counts) -> None:
        """Add the next window, in constant time."""
        self.windows += 1
        self.total += window
        self._sums.append(self._sums[-1] + window)
        for scale in SCALES:
            if len(self._sums) > 2 * scale:
                self._compare(scale, self._sums[-1 - 2 * scale], self._sums[-1 - scale], self._sums[-1])

    def _compare(self, scale: int, before: Counts, between: Counts, now: Counts) -> None:
        self._positions[scale] += 1
        requests, bad = now.requests - before.requests, now.bad - before.bad
        part = (between.requests - before.requests) / requests if requests else 0.0
        if 0 < part < 1:
            self._squares[scale] += (between.bad - before.bad - bad * part) ** 2
            self._expected[scale] += bad * part * (1 - part)

    def _at(self, scale: int) -> float:
        return self._squares[scale] / self._expected[scale] if self._expected[scale] else 1.0

    @property
    def seen(self) -> float:
        """The measured phi, at least 1; 1 while there are too few windows."""
        ready = [scale for scale in SCALES if self._positions[scale] > LEAST_POSITIONS * scale]
        return max([1.0, *map(self._at, ready)])

    @property
    def unrest(self) -> float:
        """The phi of a canary in its trial, by neighbouring windows, however few there are: from 1 to MOST_OWN.

        A canary that is evenly bad has a phi of 1. One that breaks shows a single step, whose weight falls with every window.
        """
        return min(MOST_OWN, max(1.0, self._at(1)))

    @property
    def sample(self) -> float:
        """The size of the sample that phi rests on: the windows or the bad requests, whichever are fewer."""
        return min(self.total.bad, self.windows)

    @property
    def upper(self) -> float:
        """The upper bound of the measured phi, from 1 to MOST."""
        return min(MOST, self.unbounded)

    @property
    def unbounded(self) -> float:
        """The same without a largest value, for GOOD.

        The Allan factor of k windows has a relative standard error of sqrt(3/k) (normal counts); two of them are added to what
        exceeds 1.
        """
        return 1 + (self.seen - 1) * (1 + 2 * math.sqrt(3 / self.windows)) if self.windows else 1.0

    @property
    def cautious(self) -> float:
        """The phi for BAD: the upper bound, raised by one burst that a short history may lack."""
        return min(MOST, max(self.upper, (self.upper * self.sample + UNSEEN * UNSEEN) / (self.sample + UNSEEN)))
