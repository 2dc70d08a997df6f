"""Refused requests: each is counted, and some are logged."""

from collections.abc import Callable, Iterable

import structlog
from aiohttp import web
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from healer.model.text import free_text

LOG_INTERVAL = 60.0
"""Seconds between two log lines about one status: a sender that is refused may try again for ever."""
_LIKELY = (400, 401, 403, 408, 413, 415, 503)


class Refusals(Collector):
    """The counts. Alertmanager drops a notification at a 4xx and only logs it; here healer's side shows it too."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._counts = dict.fromkeys(_LIKELY, 0)  # by status
        self._clock = clock
        self._logged: dict[int, float] = {}  # status -> when
        self._unlogged: dict[int, int] = {}  # status -> refusals since then
        self._log = structlog.get_logger("healer.http")

    def collect(self) -> Iterable[Metric]:
        """The counts, for Prometheus."""
        refused = CounterMetricFamily("healer_http_refused", "HTTP requests that were not served, by status.", labels=["status"])
        for status, count in self._counts.items():
            refused.add_metric([str(status)], count)
        yield refused

    def note(self, request: web.Request, status: int, error: str, hint: str, *, log: bool = True) -> None:
        """Count a request that was answered with this status, and log it unless `log` is False."""
        self._counts[status] = self._counts.get(status, 0) + 1
        now = self._clock()
        if not log:
            return
        if now < self._logged.get(status, -LOG_INTERVAL) + LOG_INTERVAL:
            self._unlogged[status] = self._unlogged.get(status, 0) + 1
            return
        self._logged[status] = now
        self._log.warning(
            "a request was refused",
            status=status,
            method=request.method,
            path=free_text(request.path, 100),
            sender=request.remote,
            error=free_text(error, 300),
            hint=hint,
            more_since_the_last_line=self._unlogged.pop(status, 0),
        )
