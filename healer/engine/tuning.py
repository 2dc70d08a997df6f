"""The engine's own knobs, apart from what each rule says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tuning:
    """Durations in seconds."""

    max_wait: float = 1800.0
    """How long guards may defer one step before it is given up for the next."""
    retry: float = 15.0
    """When to ask again after a deferral that named no time (a PDB's 429 carries no Retry-After)."""
    attempts: int = 3
    """How often one action on one target may fail before the step is given up."""
    recheck: float = 15.0
    """How often a rule whose condition does not hold yet is evaluated again while its signal fires."""
    alert_expiry: float = 43_200.0
    """An alert that was not repeated for so long no longer counts as firing (Alertmanager repeats each 4 h by default)."""

    def scaled(self, factor: float) -> "Tuning":
        """The same with every duration multiplied."""
        return Tuning(
            self.max_wait * factor, self.retry * factor, self.attempts, self.recheck * factor, self.alert_expiry * factor
        )
