"""E-values: bets against a hypothesis, whose winnings are evidence that may be looked at after every window.

Under the hypothesis the expected winnings never exceed the stake, so by Ville's inequality the chance that they ever reach
1/alpha is at most alpha, however often one looks.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

RATIOS: Final = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""By how much worse than allowed the bets take the canary to be."""
RENEWED: Final = 10
"""A new bet is placed every so many windows: what was lost on a good canary must not hide that it breaks later."""
FIRST: Final = 0.9
"""The share of the stake on the bet from the first window; the n-th bet after it has the rest, over n (n + 1)."""
KEPT: Final = 100
"""So many bets are kept: the first, and the latest. The others are given away, which is fair, so that a look costs no more after
weeks."""
CEILING: Final = 1e300
"""Evidence above is said to be this."""


class Worse:
    """Evidence that the canary's bad share is above what it may be: the mean over RATIOS and over the bets placed so far.

    A bet gives exp(l / phi). The same l is shared by all bets: the winnings of a later one are what l gained since its start.
    Dividing by phi keeps the bet fair for bursts of phi bad requests each, for then every burst counts as one event. phi may
    change from look to look, and be chosen by what this trial has shown, as long as it stays above a phi fixed before the
    trial: by Jensen's inequality the winnings with the larger phi reach 1/alpha only if those with the smaller do.
    """

    def __init__(self) -> None:
        self._logs = [0.0] * len(RATIOS)
        self._bets = [(FIRST, self._logs)]
        self._placed = 1
        self._windows = 0

    def compare(self, requests: float, bad: float, stable_requests: float, stable_bad: float, tolerance: float) -> None:
        """One window of both sides; the hypothesis: p <= tolerance x p_stable, in this window, whatever the two are.

        l_rho += x_c ln rho - (x_c + x_b) ln[(rho r n_c + n_b) / (r n_c + n_b)], r the tolerance (Lindon and Malek,
        arXiv:2011.03567; Turner, Ly and Grunwald, arXiv:2106.02693). With A the quotient's inverse and independent requests
        E[exp l] = (1 + p_c (rho A - 1))^n_c (1 - p_b (1 - A))^n_b <= exp[(rho - 1) n_c n_b (p_c - r p_b) / (rho r n_c + n_b)],
        at most 1 under the hypothesis. The share of traffic may differ from window to window.
        """
        weighed = tolerance * requests
        expected = weighed / (weighed + stable_requests) if weighed else 0.0
        self._add([bad * math.log(rho) - (bad + stable_bad) * math.log1p((rho - 1) * expected) for rho in RATIOS])

    def limit(self, requests: float, bad: float, limit: float) -> None:
        """One window of the canary alone; the hypothesis: p <= limit.

        Wald's l = x ln(p1/p0) + (n - x) ln((1 - p1)/(1 - p0)) at the p1 whose odds are rho times those of p0 = limit.
        """
        self._add([bad * math.log(rho) - requests * math.log1p((rho - 1) * limit) for rho in RATIOS])

    def against(self, phi: float) -> float:
        """The e-value, at most CEILING."""
        logs = [math.log((1 - FIRST) / self._placed)]  # the stake not placed yet
        for share, start in self._bets:
            stake = math.log(share / len(RATIOS))
            logs += [stake + (now - then) / phi for now, then in zip(self._logs, start, strict=True)]
        return _total(logs)

    def _add(self, gains: Sequence[float]) -> None:
        if self._windows and self._windows % RENEWED == 0:
            self._bets.append(((1 - FIRST) / (self._placed * (self._placed + 1)), self._logs))
            self._placed += 1
            del self._bets[1:-KEPT]
        self._windows += 1
        self._logs = [log + gain for log, gain in zip(self._logs, gains, strict=True)]


class Drift:
    """Evidence that the canary has more bad requests than it may, by a test that learns the bursts from the trial itself.

    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (arXiv:2103.06476, theorem 2.2 and
    its one-sided form) for the mean of y = x_c - allowed, a window each: the mean of t windows is above 0 when
    mean > sd sqrt(2 (t rho^2 + 1) / (t rho)^2 ln(1 + sqrt(t rho^2 + 1) / (2 alpha))). The evidence is 1 / alpha for the smallest
    alpha at which it is so. It needs no phi, but some windows; those of one burst are not told apart from each other, so that the
    variance is also taken between neighbouring blocks, and never below that of requests that are bad each by itself.
    """

    LEAST: Final = 3
    """Windows."""
    SHARP: Final = 20
    """Windows at which the bound is the tightest."""
    SCALES: Final = (1, 4, 16)
    RHO2: Final = (-2 * math.log(0.01) + math.log(1 - 2 * math.log(0.01))) / SHARP

    def __init__(self) -> None:
        self._windows = 0
        self._squares = self._alone = 0.0
        self._sums = deque([0.0], maxlen=2 * max(self.SCALES) + 1)
        self._blocks = dict.fromkeys(self.SCALES, 0.0)
        self._places = dict.fromkeys(self.SCALES, 0)

    def compare(self, requests: float, bad: float, stable_requests: float, stable_bad: float, tolerance: float) -> None:
        """One window of both sides, as Worse.compare has it."""
        part = tolerance * requests / stable_requests if stable_requests else 0.0
        self._add(bad - part * stable_bad, bad + part * part * stable_bad)

    def limit(self, requests: float, bad: float, limit: float) -> None:
        """One window of the canary alone, as Worse.limit has it."""
        self._add(bad - limit * requests, bad)

    def _add(self, excess: float, alone: float) -> None:
        """`alone`: the variance of the excess, were each bad request bad by itself."""
        self._windows += 1
        self._squares += excess * excess
        self._alone += alone
        self._sums.append(self._sums[-1] + excess)
        for scale in self.SCALES:
            if len(self._sums) > 2 * scale:
                before, between, now = self._sums[-1 - 2 * scale], self._sums[-1 - scale], self._sums[-1]
                self._blocks[scale] += (now - 2 * between + before) ** 2
                self._places[scale] += 1

    @property
    def value(self) -> float:
        """The evidence, at most CEILING; below 1 where there is none."""
        count = self._windows
        mean = self._sums[-1] / count if count else 0.0
        if count < self.LEAST or mean <= 0:
            return 0.0
        ready = [scale for scale in self.SCALES if self._places[scale] > 2 * scale]
        blocks = [self._blocks[scale] / self._places[scale] / (2 * scale) for scale in ready]
        variance = max([(self._squares - count * mean * mean) / (count - 1), self._alone / count, *blocks])
        if not variance:
            return 0.0
        grown = count * self.RHO2 + 1
        exponent = mean * mean * count * count * self.RHO2 / (2 * variance * grown)
        return CEILING if exponent > math.log(CEILING) else min(CEILING, 2 * math.expm1(exponent) / math.sqrt(grown))


class Better:
    """Evidence that the canary's bad share is below a limit, which may differ from window to window if set before each.

    Wald's test again, the other way round; the bets are that the share is so small a part of the limit. Nearly all is on no
    bad request at all, so that without one n = ln .05 / ln(1 - limit) requests suffice, and 4 % more; most of the rest on the
    share of a canary that is as good as stable, which is tolerated to be somewhat worse. Winnings are capped: what
    is above is given away, which is fair, so that a canary that goes bad loses its good name soon.
    """

    PARTS: Final = {0.0: 0.9, 0.3: 0.01, 0.5: 0.02, 0.7: 0.07}
    CAP: Final = math.log(10_000)

    def __init__(self) -> None:
        self._logs = [math.log(share) for share in self.PARTS.values()]

    def limit(self, requests: float, bad: float, limit: float, phi: float) -> None:
        """One window; the hypothesis: p >= limit."""
        for index, part in enumerate(self.PARTS):
            lost = (bad * math.log(part) if part else -math.inf) if bad else 0.0
            gain = lost + (requests - bad) * (math.log1p(-part * limit) - math.log1p(-limit))
            self._logs[index] = min(self._logs[index] + gain / phi, self.CAP)

    @property
    def value(self) -> float:
        """The e-value."""
        return _total(self._logs)


def _total(logs: Iterable[float]) -> float:
    """The sum of exponentials, without overflow."""
    terms = list(logs)
    top = max(terms)
    if top > math.log(CEILING):
        return CEILING
    return min(CEILING, math.exp(top) * math.fsum(math.exp(term - top) for term in terms))
