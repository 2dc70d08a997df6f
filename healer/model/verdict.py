"""The canary judge's word: which of four, and the figures that it rests on."""

from dataclasses import dataclass
from enum import StrEnum


class VerdictKind(StrEnum):
    """What is known of a canary."""

    GOOD = "GOOD"
    """As good as it has to be, on evidence."""
    BAD = "BAD"
    """Worse than it may be: the chance to say so of a good canary is at most alpha, however often one looks."""
    INSUFFICIENT = "INSUFFICIENT"
    """Judged, and not decided yet: more requests are needed."""
    UNKNOWN = "UNKNOWN"
    """Not to be judged: no data, or data that cannot be trusted. Never bad, never good."""

    @property
    def code(self) -> str:
        """As the reason of a decision: "Good"."""
        return self.value.capitalize()


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests of one side, and how many of them were bad. Whole numbers, but for what a PromQL `increase` extrapolates."""

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
    """What one measure says. `stable` is None when there is nothing to compare with; `evidence` is the larger of the e-values
    and `needed` what it must reach for BAD; `phi` the over-dispersion by which it was tempered,
    where something is known of bursts."""

    measure: str
    kind: VerdictKind
    text: str
    canary: Counts
    stable: Counts | None
    evidence: float
    needed: float
    phi: float
    favour: float = 0.0
    """The e-value for it, which must reach `praise` for GOOD."""
    praise: float = 0.0
    limit: float = 0.0
    """The bad share, 0 to 1, that it must be better than to be GOOD."""
    lacking: float | None = 0.0
    """About how many more requests of the canary GOOD takes if as many of them are bad as so far; None if it cannot become so."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of all measures together; `text` says it in words with the figures."""

    kind: VerdictKind
    text: str
    findings: tuple[MeasureFinding, ...] = ()
