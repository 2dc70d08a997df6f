"""Refused requests: each is counted, and some are logged."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import get_args

import structlog
from aiohttp.web import BaseRequest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from healer.http.health import Check
from healer.model.text import free_text
from healer.settings.http import Guarded

LOG_INTERVAL = 60.0
"""Seconds between two log lines about one status: a sender that is refused may try again for ever."""
_LIKELY = (400, 401, 403, 413, 415, 429, 503)
_UNTAKEN = (400, 413, 415)
"""Statuses of webhooks that may be Alertmanager's, whose alerts healer does not have."""
LATELY = 900.0
"""Seconds for which the status shows such a webhook."""
_HANDSHAKE = 0
"""Stands for a status where there is none: the handshake of TLS failed."""
REASONS = ("certificate", "loopback", "network", "rate", "token", "unavailable")


@dataclass(frozen=True, slots=True)
class Objection:
    """What a door refused a request for."""

    endpoint: Guarded
    reason: str


class Refusals(Collector):
    """The counts. Alertmanager only logs an answer that it does not like; here healer's side shows it too.

    `clock` is in seconds; `webhooks` are the paths at which alerts arrive.
    """

    def __init__(self, clock: Callable[[], float], webhooks: Collection[str] = ()) -> None:
        self._webhooks = frozenset(webhooks)
        self._untaken: tuple[float, str] | None = None  # when the last webhook was not taken, and why
        self._counts = dict.fromkeys(_LIKELY, 0)  # by status
        self._denials = {Objection(endpoint, reason): 0 for endpoint in get_args(Guarded) for reason in REASONS}
        self._handshakes = 0
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
        denied = CounterMetricFamily(
            "healer_http_denied", "HTTP requests of clients that may not make them, by reason.", labels=["endpoint", "reason"]
        )
        for objection, count in self._denials.items():
            denied.add_metric([objection.endpoint, objection.reason], count)
        yield denied
        yield CounterMetricFamily(
            "healer_tls_handshakes_failed", "TLS handshakes with clients that failed.", value=self._handshakes
        )

    def note(self, request: BaseRequest, status: int, error: str, hint: str, *, log: bool = True) -> None:
        """Count a request that was answered with this status, and log it unless `log` is False."""
        self._counts[status] = self._counts.get(status, 0) + 1
        if status in _UNTAKEN and request.path in self._webhooks:
            self._untaken = self._clock(), f"with {status}: {hint} (the log says more)"  # not the error: all may read this
        if log:
            path = free_text(request.path, 100)
            said = {"status": status, "method": request.method, "path": path, "sender": request.remote}
            self._say("a request was refused", status, said, error, hint)

    def check(self) -> Check:
        """Whether all alerts were taken lately, for people: Alertmanager sends what was not again, until it is taken."""
        ago = LATELY if self._untaken is None else self._clock() - self._untaken[0]
        if self._untaken is None or ago >= LATELY:
            return Check("alerts", True, "none was refused lately", informative=True)
        return Check("alerts", False, f"some were refused {ago:.0f} s ago, {self._untaken[1]}", informative=True)

    def deny(self, objection: Objection) -> None:
        """Count a request of a client that may not make it. `note` logs it."""
        self._denials[objection] += 1

    def handshake(self, peer: str, error: OSError) -> None:
        """Count a handshake of TLS that failed, and log it."""
        self._handshakes += 1
        hint = "the client must speak https, trust healer's certificate, and show one that healer trusts where it shows one"
        self._say("a TLS handshake failed", _HANDSHAKE, {"sender": peer}, str(error) or type(error).__name__, hint)

    def _say(self, event: str, status: int, said: dict[str, object], error: str, hint: str) -> None:
        now = self._clock()
        if now < self._logged.get(status, -LOG_INTERVAL) + LOG_INTERVAL:
            self._unlogged[status] = self._unlogged.get(status, 0) + 1
            return
        self._logged[status] = now
        more = self._unlogged.pop(status, 0)
        self._log.warning(event, **said, error=free_text(error, 300), hint=hint, more_since_the_last_line=more)
