"""The base of events: how one is played, and what it is about."""

from typing import Self

from pydantic import model_validator

from healer.model.target import Target
from healer.rehearsal.testing.stage import CaseStage
from healer.rules.form import Model, Names, Text, fault

WELL = "Well"
"""What a target shows that has recovered."""


class Played(Model):
    """The base of all."""

    def play(self, stage: CaseStage) -> str:
        """Let it happen now. Returns what happened, in words. Raises CaseError."""
        raise NotImplementedError

    @property
    def span(self) -> float:
        """Seconds from its first part to its last."""
        return 0.0

    @property
    def parts(self) -> int:
        """In how many parts it happens: each time, with each of its targets."""
        return 1


class OfTarget(Played):
    """The base of what is said about pods or about a workload: exactly one of `pod` and `workload` is needed."""

    pod: Names | None = None
    """The pod that it is about, or a list of pods."""
    workload: Text | None = None
    """The workload that it is about."""

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.pod is None) == (self.workload is None):
            found = "none is given" if self.pod is None else "both are given"
            raise fault(f"exactly one of pod and workload is needed, {found}", "say what it is about: pod: NAME")
        return self

    def targets(self, stage: CaseStage) -> list[Target]:
        """What it is about. Raises CaseError."""
        if self.workload is not None:
            return [stage.kept(self.workload).obj.workload().target]
        return [stage.target(name) for name in self.pod or ()]

    @property
    def parts(self) -> int:
        """One for each target."""
        return len(self.pod or ("",))

    @property
    def about(self) -> str:
        """The same in words."""
        return self.workload or ", ".join(self.pod or ())
