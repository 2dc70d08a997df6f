"""Series that fire for a while after their pod is gone: they say nothing about the pod that has got its name."""

from healer.sources.targets import LINGERS


class Lingering:
    """The labels of the series that fired for a pod that is gone, and until when they may be about it (epoch, s)."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def note(self, labels: str, now: float) -> None:
        """Note that the pod of a series that fires is gone."""
        self._until = {each: until for each, until in self._until.items() if now < until}
        self._until.setdefault(labels, now + LINGERS.total_seconds())

    def holds(self, labels: str, now: float) -> bool:
        """Whether a series may still be about a pod that is gone."""
        return now < self._until.get(labels, now)
