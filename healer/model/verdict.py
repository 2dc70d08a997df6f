"""The verdict of the canary judge, and the figures that it is based on."""

from dataclasses import dataclass
from enum import StrEnum


class VerdictKind(StrEnum):
    """The four verdicts on a canary."""

    GOOD = "GOOD"
    """There is evidence that it is good enough."""
    BAD = "BAD"
    """Worse than allowed. A good canary gets this verdict with a probability of at most alpha, however often it is judged."""
    INSUFFICIENT = "INSUFFICIENT"
    """Judged, but not decided yet: more requests are needed."""
    UNKNOWN = "UNKNOWN"
    """Cannot be judged: there is no data, or the data cannot be trusted."""

    @property
    def code(self) -> str:
        """The code for the reason of a decision: "Good"."""
        return self.value.capitalize()


@dataclass(frozen=True, slots=True)
class Counts:
    """The requests of one side, and the bad ones among them. PromQL's `increase` extrapolates to fractions."""

    requests: float = 0.0
    bad: float = 0.0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.requests + other.requests, self.bad + other.bad)

    @property
    def share(self) -> float:
        """The bad share, 0 to 1; 0 without requests."""
        return self.bad / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class MeasureFinding:
    """The result of one measure.

    `stable` is None when there is nothing to compare with. `evidence` is the larger of the e-values; it must reach `needed` for
    BAD. `phi` is the over-dispersion by which the evidence was reduced, when bursts are known.
    """

    measure: str
    kind: VerdictKind
    text: str
    canary: Counts
    stable: Counts | None
    evidence: float
    needed: float
    phi: float
    favour: float = 0.0
    """The e-value in favour of the canary. It must reach `praise` for GOOD."""
    praise: float = 0.0
    limit: float = 0.0
    """The bad share, 0 to 1, that the canary must stay below for GOOD."""
    lacking: float | None = 0.0
    """The estimated number of further requests for GOOD at the same bad share; None when GOOD is not reachable."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of all measures together. `text` explains it with figures."""

    kind: VerdictKind
    text: str
    findings: tuple[MeasureFinding, ...] = ()
