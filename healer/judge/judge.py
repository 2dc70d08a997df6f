"""The canary judge: whether a canary's requests are worse than stable's, by a test that is valid after every window.

The mathematics is in `healer.judge.evidence`. The figures are requests and the bad ones among them, of both sides in the same
windows, so that what hits both cancels. alpha is the chance of ever condemning a good canary in one trial (one revision at one
weight), over all windows and measures.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from healer.judge.dispersion import Dispersion
from healer.judge.evidence import Better, Drift, NoRuns, Worse
from healer.model.verdict import Counts, MeasureFinding, Verdict, VerdictKind

PRAISE = 20.0
"""The evidence that GOOD needs. The chance that a canary at its limit is ever called GOOD is at most 1/20."""
DOUBT = 3.0
"""A canary with more evidence against it is not GOOD."""
LEAST_LIMIT = 0.01
"""The least limit without an slo, a share: a canary with fewer than 1 % bad requests can be GOOD, however good stable is."""
MOST_LIMIT = 0.5
"""The largest limit, a share: a canary with half of its requests bad is not GOOD, however bad stable is."""
LEAST_WINDOWS = 2
"""Windows with requests that GOOD needs: one window is not enough, however many requests it has."""
LEAST_SAMPLE = 20
"""Bad requests of stable's, and windows, that must precede the trial. With fewer it is not known whether bad requests come in
bursts, and the trial itself must show it."""
LEARNT = 300
"""Windows, those of the trial included, after which bursts are known even if hardly any request was bad: they are rare."""
SHORT, LONG = 20.0, 200.0
"""Bad requests in a burst that are assumed while bursts are not known: SHORT keeps the first few windows from condemning a good
canary, LONG keeps that many bad requests alone from condemning it."""
LOWER = 0.5
"""Standard errors that are subtracted from stable's measured share, so that the chance to call a canary GOOD that is just at its
tolerance stays below 1/20 (docs/canary.md)."""
LARGEST = 2.0**53
"""The largest count: above it, a float cannot tell single requests apart."""


@dataclass(frozen=True, slots=True)
class Window:
    """What one measure counted since the last window, of both sides in the same time. `stable` is None when stable is gone (no
    ready pods, scaled to 0): then only the slo decides."""

    canary: Counts
    stable: Counts | None
    warming: float = 0.0
    """Requests to servers of the canary that are still cold; its counts do not include them."""
    doubt: str = ""
    """Why a count of no bad requests may be wrong, in words; "" for no reason. With one the canary is not GOOD."""


@dataclass(frozen=True, slots=True)
class Missing:
    """The measure could not be read; `why`, in words."""

    why: str


@dataclass(frozen=True, slots=True)
class Yardstick:
    """One measure as the judge needs it. The canary's bad share may be `tolerance` times stable's, and is condemned above `slo`
    (a share, 0 to 1) whatever stable does. `bad` says it in words: "bad", "slower than 218.6 ms"."""

    name: str
    tolerance: float
    slo: float | None
    bad: str = "bad"
    warmup: str = ""
    """How long servers warm up, in words."""


class Judge:
    """Holds the evidence of one canary, and what is known of how stable's bad requests come.

    Each update adds one window for each measure. BAD stays until `restart`, because the evidence has been spent. GOOD is lost
    when later windows are evidence against it. UNKNOWN is the verdict of one update only; the evidence is kept.
    """

    def __init__(self, alpha: float, yardsticks: Sequence[Yardstick]) -> None:
        """`alpha` (0 to 1) is split evenly over all tests: one for each measure, and one more for each with an slo.

        Raises ValueError for no measure at all, or two of one name.
        """
        tests = len(yardsticks) + sum(yardstick.slo is not None for yardstick in yardsticks)
        self._measures = {yardstick.name: _MeasureState(yardstick, tests / alpha) for yardstick in yardsticks}
        if not yardsticks or len(self._measures) < len(yardsticks):
            raise ValueError("a judge needs measures, each with a name of its own")
        self._condemned: list[str] = []
        self._verdict = _UNSEEN

    @property
    def verdict(self) -> Verdict:
        """The last one."""
        return self._verdict

    def learn(self, measure: str, stable: Iterable[Counts | float], /) -> None:
        """Add stable's windows before the trial, oldest first, as long as those to come.

        A plain number is the bad requests of a window whose requests are not known; they are taken to be as many as in the
        others. A window without numbers, or with a negative one, is left out. Raises KeyError for an unknown measure.
        """
        self._measures[measure].learn(stable)

    def update(self, windows: Mapping[str, Window | Missing]) -> Verdict:
        """The verdict with one more window of each measure. A measure without one is missing. Raises KeyError for an unknown
        measure."""
        if strange := windows.keys() - self._measures.keys():
            raise KeyError(f"no such measure: {', '.join(sorted(strange))}")
        findings = {name: each.update(windows.get(name, Missing("not measured"))) for name, each in self._measures.items()}
        bad = [name for name, finding in findings.items() if finding.kind is VerdictKind.BAD]
        self._condemned += [name for name in bad if name not in self._condemned]
        self._verdict = _together(findings, self._condemned)
        return self._verdict

    def restart(self) -> None:
        """Begin a new trial (a new revision or weight): drop the evidence; keep what was learnt of stable's bursts."""
        for measure in self._measures.values():
            measure.restart()
        self._condemned = []
        self._verdict = _UNSEEN


class _MeasureState:
    def __init__(self, yardstick: Yardstick, needed: float) -> None:
        self.yardstick = yardstick
        self._needed = needed
        self._history = Dispersion()
        self._before = Counts()
        """Stable's requests before any trial, where it is known how many they were."""
        self.restart()

    def restart(self) -> None:
        self.condemned: MeasureFinding | None = None
        self._canary = Counts()
        self._stable = Counts()
        self._windows = 0
        self._against_stable = Worse()
        self._against_slo = Worse()
        self._drift_from_stable = Drift()
        self._drift_from_slo = Drift()
        self._praise = Better()
        self._no_runs = NoRuns()
        self._own = Dispersion()
        self._least_phi: float | None = None
        self._knew_bursts = True
        self._warming = 0.0
        self._doubt = ""

    def learn(self, stable: Iterable[Counts | float]) -> None:
        for each in stable:
            window = each if isinstance(each, Counts) else Counts(_SOME, each)
            if not all(0 <= figure <= LARGEST for figure in (window.requests, window.bad)):
                continue
            self._history.add(window)
            if isinstance(each, Counts):
                self._before += window

    def update(self, window: Window | Missing) -> MeasureFinding:
        window = self._usable(window)
        if isinstance(window, Window):
            self._add(window)
        if self.condemned is not None:
            return self.condemned
        if isinstance(window, Missing):
            against = max(self._against())
            return self._finding(VerdictKind.UNKNOWN, f"{self.yardstick.name}: {window.why}", self._stable, against)
        finding = self._judged(alone=window.stable is None)
        if finding.kind is VerdictKind.BAD:
            self.condemned = finding
        return finding

    def _usable(self, window: Window | Missing) -> Window | Missing:
        if isinstance(window, Window) and window.stable is None and self.yardstick.slo is None:
            return Missing("nothing to compare with: stable is gone, and there is no slo")
        return _sound(window) if isinstance(window, Window) else window

    def _add(self, window: Window) -> None:
        if self._least_phi is None:
            self._least_phi = self._history.cautious
            self._knew_bursts = self._history.sample >= LEAST_SAMPLE
            self._history.cut()
        canary, stable, slo = window.canary, window.stable, self.yardstick.slo
        limit = self._praise_limit
        self._praise.limit(canary.requests, canary.bad, limit, self._praised_by)
        self._no_runs.add(canary.requests, canary.bad, limit)
        self._canary += canary
        self._windows += bool(canary.requests)
        self._warming += window.warming
        self._doubt = window.doubt
        self._own.add(canary)
        counted = bool(canary.requests) or not window.warming
        if slo is not None:
            self._against_slo.limit(canary.requests, canary.bad, slo)
            if counted:
                self._drift_from_slo.limit(canary.requests, canary.bad, slo)
        if stable is not None:
            tolerance = self.yardstick.tolerance
            self._against_stable.compare(canary.requests, canary.bad, stable.requests, stable.bad, tolerance)
            if counted:
                self._drift_from_stable.compare(canary.requests, canary.bad, stable.requests, stable.bad, tolerance)
            self._stable += stable
            self._history.add(stable)

    @property
    def _praise_limit(self) -> float:
        """The bad share (0 to 1) that the canary must stay below to be GOOD: the slo; without one, the tolerance times a lower
        bound of stable's share by the windows before this one, so that a few bad requests of stable do not excuse any number of
        the canary's.

        Where stable is in the trial as it was before, its past counts as well, because it gives its share more exactly. Where
        its bursts are not known, its first windows may be one.
        """
        if self.yardstick.slo is not None:
            return self.yardstick.slo
        counts, before, phi = self._stable, self._before, self._praised_by
        expected = before.share * counts.requests
        if before.requests and abs(counts.bad - expected) <= 3 * math.sqrt(phi * max(expected, 1)):
            counts += before
        early = not self._knows_bursts and self._history.windows < LEAST_SAMPLE
        least = 0.0 if early else max(0.0, counts.bad - LOWER * math.sqrt(phi * counts.bad))
        share = least / counts.requests if least else 0.0
        return min(MOST_LIMIT, max(LEAST_LIMIT, self.yardstick.tolerance * share))

    @property
    def _favour(self) -> float:
        """The evidence for GOOD, the smaller of two: the share is small, and bad requests do not come in runs of the canary's."""
        return min(self._praise.value, self._no_runs.value)

    @property
    def _lacking(self) -> float:
        """About how many more requests GOOD takes if the bad share stays as it is; infinite if they cannot make it GOOD."""
        by_share = self._praise.lacking(PRAISE, self._praise_limit, self._praised_by, self._canary.share)
        return max(by_share, self._no_runs.lacking(PRAISE))

    @property
    def _knows_bursts(self) -> bool:
        return self._knew_bursts or self._history.windows >= LEARNT

    @property
    def _phi(self) -> float:
        return max(self._stables_phi, self._own.unrest)

    @property
    def _praised_by(self) -> float:
        """The phi for GOOD, without an upper bound."""
        return max(self._stables_phi, self._history.unbounded)

    @property
    def _stables_phi(self) -> float:
        return max(self._least_phi or 1.0, self._history.cautious)

    def _judged(self, *, alone: bool) -> MeasureFinding:
        by_slo, by_stable = self._against()
        against, favour = max(by_slo, by_stable), self._favour
        stable = None if alone else self._stable
        if against >= self._needed:
            stable = None if by_slo > by_stable else self._stable
            words = f"evidence {_evidence(against)} where {_evidence(self._needed)} is enough"
            return self._finding(VerdictKind.BAD, self._words(stable, words), stable, against)
        if not self._canary.requests:
            none = f"no requests yet{self._left_out}"
            return self._finding(VerdictKind.INSUFFICIENT, f"{self.yardstick.name}: {none}", stable, against)
        if self._doubt:
            return self._finding(VerdictKind.INSUFFICIENT, f"{self.yardstick.name}: {self._doubt}", stable, against)
        if favour >= PRAISE and against < DOUBT and self._windows >= LEAST_WINDOWS:
            words = f"evidence for it {_evidence(favour)} where {_evidence(PRAISE)} is enough"
            return self._finding(VerdictKind.GOOD, self._words(stable, words), stable, against)
        words = f"evidence against it {_evidence(against)} of {_evidence(self._needed)}"
        words += f", for it {_evidence(favour)} of {_evidence(PRAISE)}"
        outlook = f"; {self._outlook}" if against < DOUBT else ""
        return self._finding(VerdictKind.INSUFFICIENT, self._words(stable, words) + outlook, stable, against)

    @property
    def _outlook(self) -> str:
        """What GOOD takes, in words, where there is no evidence against the canary."""
        lacking, limit = self._lacking, 100 * self._praise_limit
        if math.isinf(lacking):
            return f"so far no sign of harm; GOOD takes a bad share further below {limit:.2g} %"
        more = f"about {_rounded(lacking)} more requests" if lacking else "another window"
        return f"so far no sign of harm; GOOD takes {more}"

    def _against(self) -> tuple[float, float]:
        by_slo = self._evidence(self._against_slo, self._drift_from_slo)
        return by_slo, self._evidence(self._against_stable, self._drift_from_stable)

    def _evidence(self, worse: Worse, drift: Drift) -> float:
        """Where bursts are known, the bets by the cautious phi. Where they are not, the larger of two: the confidence sequence,
        limited by the bets for SHORT bursts until it is settled; and the bets for LONG bursts."""
        if self._knows_bursts:
            return worse.against(self._phi)
        sequence = drift.value if drift.settled else min(drift.value, worse.against(max(self._phi, SHORT)))
        return max(sequence, worse.against(LONG))

    def _words(self, stable: Counts | None, evidence: str) -> str:
        name, bad, slo, canary = self.yardstick.name, self.yardstick.bad, self.yardstick.slo or 0, self._canary
        other = (
            f"{100 * slo:g} % are allowed"
            if stable is None
            else f"stable {_figure(stable.bad)} of {_figure(stable.requests)}{_percentage(stable)}"
        )
        if self._knows_bursts:
            bursts = f", tempered by {self._phi:.1f} for bursts" if self._phi >= 1.5 else ""
        else:
            bursts = ", with too little earlier traffic to learn from"
        counted = f"canary {_figure(canary.bad)} of {_figure(canary.requests)} {bad}{_percentage(canary)}, {other}"
        return f"{name}: {counted}; {evidence}{bursts}{self._left_out}"

    @property
    def _left_out(self) -> str:
        """The requests that are not counted, in words; "" for none."""
        if not self._warming:
            return ""
        return f" (its first {_figure(self._warming)} requests do not count: warm-up, {self.yardstick.warmup})"

    def _finding(self, kind: VerdictKind, text: str, stable: Counts | None, against: float) -> MeasureFinding:
        lacking = self._lacking
        praise = (self._favour, PRAISE, self._praise_limit, None if math.isinf(lacking) else math.ceil(lacking))
        return MeasureFinding(self.yardstick.name, kind, text, self._canary, stable, against, self._needed, self._phi, *praise)


_SOME = 1.0
"""Requests of a window whose requests are not known."""
_UNSEEN = Verdict(VerdictKind.INSUFFICIENT, "no window yet")


def _together(findings: Mapping[str, MeasureFinding], condemned: Sequence[str]) -> Verdict:
    """The worst finding decides, and the text is of the findings like it; of BAD ones in the order in which they condemned."""
    found = tuple(findings.values())
    if condemned:
        return Verdict(VerdictKind.BAD, ". ".join(findings[name].text for name in condemned), found)
    kinds = {finding.kind for finding in found}
    kind = next((kind for kind in (VerdictKind.UNKNOWN, VerdictKind.INSUFFICIENT) if kind in kinds), VerdictKind.GOOD)
    return Verdict(kind, ". ".join(each.text for each in found if each.kind is kind), found)


def _sound(window: Window) -> Window | Missing:
    """The window with its bad counts limited to its requests, because PromQL's extrapolation can put them above; or why not."""
    if fault := _fault("canary", window.canary) or (window.stable and _fault("stable", window.stable)):
        return Missing(fault)
    return replace(window, canary=_capped(window.canary), stable=window.stable and _capped(window.stable))


def _fault(side: str, counts: Counts) -> str:
    for figure in (counts.requests, counts.bad):
        if not 0 <= figure <= LARGEST:
            return f"{side} has a count of {figure:g}"
    if counts.bad > counts.requests * 1.01 + 1:
        return f"{side} has {_figure(counts.bad)} bad of {_figure(counts.requests)} requests: the two do not belong together"
    return ""


def _capped(counts: Counts) -> Counts:
    return Counts(counts.requests, min(counts.bad, counts.requests))


def _figure(value: float) -> str:
    """A count in words: whole from ten on, with thousands separators."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _percentage(counts: Counts) -> str:
    """The bad share in words; "" where there is none."""
    if not counts.bad or not counts.requests:
        return ""
    share = 100 * counts.bad / counts.requests
    return f" ({share:.3g} %)" if share >= 0.001 else " (under 0.001 %)"


def _rounded(value: float) -> str:
    """An estimate in words: its first two digits, rounded up."""
    step = 10 ** max(0, math.floor(math.log10(max(value, 1.0))) - 1)
    return f"{math.ceil(value / step) * step:,}"


def _evidence(value: float) -> str:
    """An e-value in words, rounded down: a threshold that is not reached must not look reached."""
    if value >= 1e6:
        return "over a million"
    return f"{math.floor(value):,}" if value >= 100 else f"{math.floor(10 * value + 1e-9) / 10:g}"
