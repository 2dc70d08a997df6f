"""The canaries as they were judged lately: the last verdict of each, and the past of its evidence, for people."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from healer.http.state import CanaryMeasure, CanaryRow, Share
from healer.judge.interval import interval
from healer.model.verdict import Counts, MeasureFinding
from healer.sources.base import Judgement

POINTS = 240
"""Looks whose evidence is kept: two hours of a look every 30 s."""
MOST = 200
"""Canaries that are kept; beyond, the one that was judged longest ago goes."""


@dataclass(slots=True)
class _Followed:
    """One canary of one rule."""

    last: Judgement
    at: float
    findings: Sequence[MeasureFinding] = ()
    """Those of the last look that found anything: after a canary has lost its traffic, they still say why."""
    lines: dict[str, deque[tuple[float, float]]] = field(default_factory=dict)
    """By measure: the times of the looks and the evidence."""


class CanaryBoard:
    """Filled by the looks of one leadership. Times in seconds since the epoch."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Followed] = {}

    def judged(self, judgement: Judgement, at: float) -> None:
        """Note the verdict of a look."""
        key = judgement.rule, judgement.target.uid
        known = self._known.pop(key, None) or _Followed(judgement, at)
        self._known[key] = known  # the last one is the newest
        known.last, known.at = judgement, at
        known.findings = judgement.verdict.findings or known.findings
        for finding in judgement.verdict.findings:
            known.lines.setdefault(finding.measure, deque(maxlen=POINTS)).append((at, finding.evidence))
        while len(self._known) > MOST:
            del self._known[next(iter(self._known))]

    def rows(self, rules: Iterable[str]) -> Iterator[CanaryRow]:
        """Those of these rules, the one that was judged last at the end."""
        known = frozenset(rules)
        for (rule, _), each in self._known.items():
            if rule in known:
                last = each.last
                measures = [_measure(finding, each.lines[finding.measure]) for finding in each.findings]
                yield CanaryRow(
                    rule=rule,
                    workload=last.target,
                    route=last.route,
                    weight=last.share,
                    verdict=last.verdict.kind,
                    text=last.verdict.text,
                    at=each.at,
                    measures=measures,
                )


def _measure(finding: MeasureFinding, line: Iterable[tuple[float, float]]) -> CanaryMeasure:
    stable = None if finding.stable is None else _share(finding.stable)
    return CanaryMeasure(
        name=finding.measure,
        verdict=finding.kind,
        text=finding.text,
        canary=_share(finding.canary),
        stable=stable,
        evidence=finding.evidence,
        needed=finding.needed,
        line=list(line),
    )


def _share(counts: Counts) -> Share:
    low, high = interval(counts.requests, counts.bad)
    return Share(counts.requests, counts.bad, low, high)
