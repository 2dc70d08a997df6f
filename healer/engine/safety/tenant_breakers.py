"""The breakers of namespaces, for the rules of their own RuleSets: too much at once in one namespace stops these rules alone.

While a namespace's breaker is open, its incidents do not count for the breaker of the cluster: whoever may write RuleSets in one
namespace cannot stop healer for all others.
"""

from collections import deque
from collections.abc import Iterable

from healer.engine.tuning import LimitSettings
from healer.model.duration import about
from healer.model.incident import Incident, Reason


class TenantBreakers:
    """One a namespace: closed; or open, until no incident has opened for a while. Times in seconds since the epoch."""

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self.most = max(1, limits.breaker_incidents // 2)
        """More incidents than that open it: half of what opens that of the cluster, so that one namespace never does."""
        self._openings: dict[str, deque[float]] = {}
        self._open: dict[str, float] = {}  # since the last opening

    def count_opening(self, namespace: str, now: float) -> bool:
        """An incident has opened by a rule of the namespace's own; returns whether it counts for the breaker of the cluster."""
        self._forget(now)
        times = self._openings.setdefault(namespace, deque(maxlen=self.most + 1))
        times.append(now)
        full = len(times) == times.maxlen and times[0] > now - self._limits.breaker_window
        if full or namespace in self._open:
            self._open[namespace] = now
        return namespace not in self._open

    def learn(self, openings: Iterable[tuple[float, str]]) -> list[float]:
        """Take in what a journal has: when incidents opened, and of which namespace's own rules ("": of a rule file); returns
        the times that count for the breaker of the cluster."""
        return [at for at, namespace in sorted(openings) if not namespace or self.count_opening(namespace, at)]

    def resumes_at(self, namespace: str, now: float) -> float | None:
        """When the breaker closes by itself; None when it is closed."""
        last = self._open.get(namespace)
        return None if last is None or (until := last + self._limits.breaker_quiet) <= now else until

    def objection(self, incident: Incident, now: float) -> tuple[Reason, float] | None:
        """Why an incident may not act now, and until when; None when it may."""
        namespace = incident.tenant
        if not namespace or (until := self.resumes_at(namespace, now)) is None:
            return None
        window, quiet = about(self._limits.breaker_window), about(self._limits.breaker_quiet)
        text = (
            f"more than {self.most} incidents of the RuleSets in {namespace} opened within {window}: these RuleSets act no more "
            f"until {quiet} have passed without another one, which is in {about(until - now)}"
        )
        return Reason("NamespaceBreaker", text), until

    def rows(self, now: float) -> Iterable[tuple[str, int, float | None]]:
        """The namespaces whose own rules opened incidents lately: how many, and when their breaker closes if it is open."""
        since = now - self._limits.breaker_window
        for namespace, times in self._openings.items():
            until, used = self.resumes_at(namespace, now), sum(at > since for at in times)
            if used or until is not None:
                yield namespace, used, until

    def _forget(self, now: float) -> None:
        """What opened before a breaker closed does not count again, nor what no window holds any more."""
        for namespace in [each for each in self._open if self.resumes_at(each, now) is None]:
            del self._open[namespace], self._openings[namespace]
        since = now - self._limits.breaker_window
        self._openings = {each: times for each, times in self._openings.items() if times[-1] > since or each in self._open}
