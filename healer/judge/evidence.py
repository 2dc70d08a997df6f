"""E-values: bets against a hypothesis, whose winnings are evidence that is valid after every window.

Under the hypothesis the expected winnings never exceed the stake, so by Ville's inequality the chance that they ever reach
1/alpha is at most alpha, however often they are read.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from healer.model.verdict import Counts

RATIOS: Final = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""How many times worse than allowed the bets take the canary to be."""
RENEWED: Final = 10
"""Windows between two new bets. Without new bets, the losses on a good canary would hide that it breaks later."""
FIRST: Final = 0.9
"""The share of the stake on the bet from the first window; the n-th bet after it has the rest, over n (n + 1)."""
KEPT: Final = 100
"""Bets that are kept: the first, and the latest. The others are dropped, which only lowers the winnings, so that a window costs
no more after weeks."""
CEILING: Final = 1e300
"""The largest e-value that is reported."""
_STEPS: Final = 3


class Worse:
    """Evidence that the canary's bad share is above the allowed one: the mean over RATIOS and over the bets placed so far.

    A bet gives exp(l / phi). The same l is shared by all bets: the winnings of a later one are what l gained since its start.
    Dividing by phi keeps the bet fair for bursts of phi bad requests each, because then every burst counts as one event. phi may
    change from window to window, and depend on this trial's windows, as long as it stays above a phi fixed before the trial: by
    Jensen's inequality the winnings with the larger phi reach 1/alpha only if those with the smaller do.
    """

    def __init__(self) -> None:
        self._logs = [0.0] * len(RATIOS)
        self._bets = [(FIRST, self._logs)]
        self._placed = 1
        self._windows = 0

    def compare(self, requests: float, bad: float, stable_requests: float, stable_bad: float, tolerance: float) -> None:
        """Add one window of both sides. The hypothesis: p <= tolerance x p_stable, in this window, whatever the two are.

        l_rho += x_c ln rho - (x_c + x_b) ln[(rho r n_c + n_b) / (r n_c + n_b)], r the tolerance (Lindon and Malek,
        arXiv:2011.03567; Turner, Ly and Grunwald, arXiv:2106.02693). With A the quotient's inverse and independent requests
        E[exp l] = (1 + p_c (rho A - 1))^n_c (1 - p_b (1 - A))^n_b <= exp[(rho - 1) n_c n_b (p_c - r p_b) / (rho r n_c + n_b)],
        at most 1 under the hypothesis. The share of traffic may differ from window to window.
        """
        weighed = tolerance * requests
        expected = weighed / (weighed + stable_requests) if weighed else 0.0
        self._add([bad * math.log(rho) - (bad + stable_bad) * math.log1p((rho - 1) * expected) for rho in RATIOS])

    def limit(self, requests: float, bad: float, limit: float) -> None:
        """Add one window of the canary alone. The hypothesis: p <= limit.

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
    """Evidence that the canary has more bad requests than allowed, by a test that learns the bursts from the trial itself.

    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (arXiv:2103.06476, theorem 2.2 and
    its one-sided form) for the mean of y = x_c - allowed, a window each: the mean of t windows is above 0 when
    mean > sd sqrt(2 (t rho^2 + 1) / (t rho)^2 ln(1 + sqrt(t rho^2 + 1) / (2 alpha))). The evidence is 1 / alpha for the smallest
    alpha at which it is so. It needs no phi, but some windows, and it takes windows for independent.
    """

    LEAST: Final = 3
    """Windows before there is any evidence."""
    SETTLED: Final = 5
    """Windows before it may decide alone: with fewer, its variance rests on too few."""
    OUTWEIGHED: Final = 1.25
    """The most requests of the canary for each of stable's with which it may decide alone. Where stable has fewer, each of its
    bad requests weighs as much as several windows of the canary, and until one comes the canary looks bad in all of them: at a
    weight of 95 % most good canaries would be condemned."""
    EVENEST: Final = 0.25
    """The least variance, as a part of that of independent requests: more even windows are so by chance."""
    SHARP: Final = 20
    """Windows at which the bound is the tightest."""
    RHO2: Final = (-2 * math.log(0.01) + math.log(1 - 2 * math.log(0.01))) / SHARP

    def __init__(self) -> None:
        self._windows = 0
        self._sum = self._squares = self._alone = 0.0
        self._requests = self._stables = 0.0

    def compare(self, requests: float, bad: float, stable_requests: float, stable_bad: float, tolerance: float) -> None:
        """Add one window of both sides (see Worse.compare). One without requests of stable is left out: no bad request is allowed
        in it, and a canary that gets nearly all the traffic would be condemned by such windows."""
        if stable_requests:
            self._requests += requests
            self._stables += stable_requests
            part = tolerance * requests / stable_requests
            self._add(bad - part * stable_bad, bad + part * part * stable_bad)

    def limit(self, requests: float, bad: float, limit: float) -> None:
        """Add one window of the canary alone (see Worse.limit)."""
        self._add(bad - limit * requests, bad)

    def _add(self, excess: float, alone: float) -> None:
        """`alone`: the variance of the excess if bad requests are independent."""
        self._windows += 1
        self._sum += excess
        self._squares += excess * excess
        self._alone += alone

    @property
    def settled(self) -> bool:
        """Whether it may decide alone."""
        return self._windows >= self.SETTLED and self._requests <= self.OUTWEIGHED * self._stables

    @property
    def value(self) -> float:
        """The evidence, at most CEILING; 0 where there is none."""
        count, total = self._windows, self._sum
        if count < self.LEAST or total <= 0:
            return 0.0
        least = (self.EVENEST if self.settled else 1.0) * self._alone / count
        variance = max((self._squares - total * total / count) / (count - 1), least)
        grown = count * self.RHO2 + 1
        exponent = total * total * self.RHO2 / (2 * variance * grown)
        return CEILING if exponent > math.log(CEILING) else min(CEILING, 2 * math.expm1(exponent) / math.sqrt(grown))


class Better:
    """Evidence that the canary's bad share is below a limit, which may differ from window to window if set before each.

    Wald's test in the other direction: each bet is that the share is a certain part of the limit, with its part of the stake.
    Winnings are capped, which only lowers them, so that a canary that goes bad is no longer GOOD soon.
    """

    PARTS: Final[Mapping[float, float]] = {0.0: 0.9, 0.3: 0.01, 0.5: 0.02, 0.7: 0.07}
    """Parts of the limit, with their stakes. Nearly all is on no bad request at all, so that without one 4 % more than
    n = ln .05 / ln(1 - limit) requests suffice. Most of the rest is on a canary that is as good as stable, which may be somewhat
    worse."""
    CAP: Final = math.log(10_000)

    def __init__(self, parts: Mapping[float, float] = PARTS) -> None:
        self._parts = tuple(parts)
        self._logs = [math.log(share) for share in parts.values()]

    def limit(self, requests: float, bad: float, limit: float, phi: float) -> None:
        """Add one window. The hypothesis: p >= limit."""
        gains = self._gains(requests, bad, limit, phi)
        self._logs = [min(log + gain, self.CAP) for log, gain in zip(self._logs, gains, strict=True)]

    @property
    def value(self) -> float:
        """The e-value."""
        return _total(self._logs)

    def lacking(self, goal: float, limit: float, phi: float, share: float) -> float:
        """About how many more requests bring the e-value to `goal` when this share of them is bad; infinite if none do."""
        if self.value >= goal:
            return 0.0
        gains = self._gains(1.0, share, limit, phi)
        growing = [(log, gain) for log, gain in zip(self._logs, gains, strict=True) if gain >= 0]
        more = min(((math.log(goal) - log) / gain for log, gain in growing if gain), default=math.inf)
        for _ in range(_STEPS if math.isfinite(more) else 0):  # Newton's: each bet alone would take so many, all together fewer
            won = [(math.exp(log + gain * more), gain) for log, gain in growing]
            total = math.fsum(each for each, _ in won)
            more -= math.log(total / goal) * total / math.fsum(each * gain for each, gain in won)
        return more

    def _gains(self, requests: float, bad: float, limit: float, phi: float) -> list[float]:
        gains = []
        for part in self._parts:
            lost = (bad * math.log(part) if part else -math.inf) if bad else 0.0
            gains.append((lost + (requests - bad) * (math.log1p(-part * limit) - math.log1p(-limit))) / phi)
        return gains


class NoRuns:
    """Evidence that the canary does not have runs of RUN bad requests so often that HARM of all requests are bad.

    Between such runs a canary looks healthy, for g = RUN (1 - HARM) / HARM = 2,700 requests on average: the chance to begin
    between two runs, and to meet none in n requests, is (1 - HARM) exp(-n / g). Stable's bursts in the past do not help, because
    the runs are the canary's own. So the bet is that of Better with HARM as the limit, and a run counts as one event (phi is
    RUN). Independent bad requests are no run: of a window, only the bad requests count that the tolerated share does not explain,
    with some standard errors added. Evidence of 20 takes 10,640 requests without a run; 1.7 % of the canaries with such runs show
    none in as many.
    """

    RUN: Final = 300.0
    """Bad requests in a row."""
    HARM: Final = 0.1
    """The bad share that must not become GOOD when it comes in such runs."""
    PARTS: Final[Mapping[float, float]] = {0.02: 0.5, 1.0: 0.5}
    """Half of the stake is not placed: this keeps the chance well below 1/20 even if only the end of a run was seen."""
    ERRORS: Final = 2.0
    """Standard errors."""

    def __init__(self) -> None:
        self._bets = Better(self.PARTS)
        self._counted = Counts()

    def add(self, requests: float, bad: float, tolerated: float) -> None:
        """Add one window. `tolerated` is a share (0 to 1) that was set before it."""
        alone = requests * tolerated
        in_run = max(0.0, bad - alone - self.ERRORS * math.sqrt(alone))
        self._bets.limit(requests, in_run, self.HARM, self.RUN)
        self._counted += Counts(requests, in_run)

    @property
    def value(self) -> float:
        """The e-value."""
        return self._bets.value

    def lacking(self, goal: float) -> float:
        """About how many more requests bring the e-value to `goal`, if they are like those so far; infinite if none do."""
        return self._bets.lacking(goal, self.HARM, self.RUN, self._counted.share)


def _total(logs: Iterable[float]) -> float:
    """The sum of exponentials, without overflow."""
    terms = list(logs)
    top = max(terms)
    if top > math.log(CEILING):
        return CEILING
    return min(CEILING, math.exp(top) * math.fsum(math.exp(term - top) for term in terms))
