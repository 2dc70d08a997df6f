"""Over-dispersion: by how much bad requests come in bursts rather than alone."""

import math
from collections import deque

from healer.model.verdict import Counts

SCALES = (1, 4, 16)
"""Windows a block: at little traffic a burst lasts longer than one window, and each of its windows looks calm by itself."""
LEAST_PLACES = 2
"""A block length counts once it was compared at more than so many places, times itself: after four blocks."""
MOST = 100.0
"""The largest phi: what is burstier is an outage, and must not keep the judge from ever condemning again."""
MOST_OWN = 25.0
"""The largest phi by the canary's own windows. Above, bursts that stable has not are the canary's fault."""
UNSEEN = 5.0
"""A burst of so many bad requests is taken to be missing in the history by chance: with nothing learnt phi is 5, not 1."""


class Dispersion:
    """Stable's bad counts a window, oldest first, reduced to phi: by how many times the variance of a count is above its mean.

    Neighbouring blocks a and b of windows are compared, phi = sum (a - b)^2 / sum (a + b), and not each with the mean of all:
    traffic that rises and falls over the day is no burst. The quotient is the Allan factor of point processes (Lowen and Teich,
    Fractal-Based Point Processes, 2005, section 3.5.3). It is 1 for independent requests, B for bursts of B, E[B^2]/E[B] for
    bursts of random size, and does not depend on how many there are, so that it may be learnt at another weight. The largest of
    several block lengths counts.
    """

    def __init__(self) -> None:
        self._squares = dict.fromkeys(SCALES, 0.0)
        self._both = dict.fromkeys(SCALES, 0.0)
        self._places = dict.fromkeys(SCALES, 0)
        self._windows = 0
        self._bad = 0.0
        self.cut()

    def cut(self) -> None:
        """What comes is not a neighbour of what was: stable has another share of the traffic from here on."""
        self._sums = deque([0.0], maxlen=2 * max(SCALES) + 1)

    def add(self, bad: float) -> None:
        """The next window. Its cost does not grow with the history."""
        self._windows += 1
        self._bad += bad
        self._sums.append(self._sums[-1] + bad)
        for scale in SCALES:
            if len(self._sums) > 2 * scale:
                before, between, now = self._sums[-1 - 2 * scale], self._sums[-1 - scale], self._sums[-1]
                self._squares[scale] += (now - 2 * between + before) ** 2
                self._both[scale] += now - before
                self._places[scale] += 1

    @property
    def seen(self) -> float:
        """The phi that the windows show, from 1 to MOST; 1 while there are too few of them."""
        ready = [scale for scale in SCALES if self._places[scale] > LEAST_PLACES * scale and self._both[scale]]
        return min(MOST, max([1.0, *(self._squares[scale] / self._both[scale] for scale in ready)]))

    @property
    def cautious(self) -> float:
        """The phi to condemn by: what was seen, at its upper bound, and what a short history may not have shown.

        The Allan factor of k windows has a relative standard error of sqrt(3/k) (normal counts); two of them are added to what
        exceeds 1. What a history can tell of bursts is limited by its windows and by its bad requests, whichever are fewer; one
        unseen burst is added to that.
        """
        if not self._windows:
            return UNSEEN
        upper = 1 + (self.seen - 1) * (1 + 2 * math.sqrt(3 / self._windows))
        told = min(self._bad, self._windows)
        return min(MOST, max(upper, (upper * told + UNSEEN * UNSEEN) / (told + UNSEEN)))


class Unrest:
    """The same of the canary's own windows, of one trial: bursts that stable does not have.

    Only neighbouring windows, and nothing before the first: a canary that is evenly bad shows none, one that breaks shows a
    single step, which weighs less with every window. Of the x bad requests of two windows x_1 are in the first, which has the
    part q of the requests; if each is bad by itself that is binomial, and phi = sum (x_1 - x q)^2 / sum x q (1 - q), which for
    windows of one size is the quotient above. So requests that come unevenly are no unrest.
    """

    def __init__(self) -> None:
        self._squares = 0.0
        self._expected = 0.0
        self._last = Counts()

    def add(self, counts: Counts) -> None:
        """The next window."""
        both = self._last + counts
        if self._last.requests and counts.requests:
            part = self._last.requests / both.requests
            self._squares += (self._last.bad - both.bad * part) ** 2
            self._expected += both.bad * part * (1 - part)
        self._last = counts

    @property
    def seen(self) -> float:
        """From 1 to MOST_OWN."""
        return min(MOST_OWN, max(1.0, self._squares / self._expected)) if self._expected else 1.0
