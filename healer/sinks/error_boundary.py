"""The boundary around a sink: an error in one sink harms neither the other sinks nor healing."""

from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

import structlog

from healer.sinks.base import OUTCOMES, SinkMeters

T = TypeVar("T")

_LOGGED = 100
"""Different errors of a sink that are logged; each is logged once."""


class ErrorBoundary:
    """A context that catches every Exception raised inside, counts it as a failed message, and logs it the first time.

    A BaseException that is no Exception (a cancellation, the end of the process) passes.
    """

    def __init__(self, name: str, meters: SinkMeters) -> None:
        self._name = name
        for outcome in OUTCOMES:  # a counter that begins at 1 instead of 0 has no rate
            meters.notifications.labels(name, outcome)
        self._failed = meters.notifications.labels(name, "failed")
        self._log = structlog.get_logger("healer.sinks")
        self._logged: set[str] = set()

    def __enter__(self) -> None:
        """Nothing is needed at the beginning."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        self.failed(error)
        return True

    def around(self, tell: Callable[[T], None]) -> Callable[[T], None]:
        """The same call, inside the boundary."""

        def contained(what: T) -> None:
            with self:
                tell(what)

        return contained

    def failed(self, error: BaseException) -> None:
        """Count an error, and log it the first time."""
        self._failed.inc()
        text = f"{type(error).__name__}: {error}"
        if text not in self._logged and len(self._logged) < _LOGGED:
            self._logged.add(text)
            self._log.error("a sink failed at what it was told; all else goes on", sink=self._name, error=text, exc_info=error)
