"""Where a fault of one place to tell people ends: it harms neither the others nor healing."""

from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

import structlog

from healer.sinks.base import OUTCOMES, SinkMeters

T = TypeVar("T")

_SAID = 100
"""Faults of a place that are said; the same one is said once."""


class Boundary:
    """A context: what raises inside ends there, is counted as a failed message, and said in the log the first time.

    What is no Exception (a cancellation, the end of the process) goes through.
    """

    def __init__(self, name: str, meters: SinkMeters) -> None:
        self._name = name
        for outcome in OUTCOMES:  # each stands at 0 from the beginning: what is born at 1 has no rate
            meters.notifications.labels(name, outcome)
        self._failed = meters.notifications.labels(name, "failed")
        self._log = structlog.get_logger("healer.sinks")
        self._said: set[str] = set()

    def __enter__(self) -> None:
        """Nothing is needed at the beginning."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        self.failed(error)
        return True

    def around(self, tell: Callable[[T], None]) -> Callable[[T], None]:
        """The same call, within the boundary."""

        def contained(what: T) -> None:
            with self:
                tell(what)

        return contained

    def failed(self, error: BaseException) -> None:
        """Count a fault, and say it."""
        self._failed.inc()
        fault = f"{type(error).__name__}: {error}"
        if fault not in self._said and len(self._said) < _SAID:
            self._said.add(fault)
            self._log.error("a sink failed at what it was told; all else goes on", sink=self._name, error=fault, exc_info=error)
