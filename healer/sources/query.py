"""A query rule: a PromQL expression is asked, and each series of the answer that passes the threshold is a signal."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isnan

import structlog

from healer.engine.rulebook import BoundRule
from healer.model.kube import Deployment, Pod
from healer.model.probe import Query
from healer.model.rule import QUERY_SIGNAL
from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.view import View, target_of
from healer.sources.prometheus import Asked, QueryFailed, Sample
from healer.sources.targets import Named, Nameless, TargetLabels, named_by

Unknown = Callable[[str, str], None]
"""Told a rule's full name and why nothing is known of it; "" once it is known again."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A series at the last look that saw it; it fires since `since` (epoch), or does not (None)."""

    target: Target
    labels: Mapping[str, str]
    since: float | None
    message: str


class QueryLook:
    """The looks of one rule, and what they have seen.

    A series fires while its value is on the wrong side of the threshold, and is over when it is seen on the right one, or when
    its target is gone from the cluster. No series, NaN, no answer: unknown. Then what fired goes on firing, nothing new fires,
    and it is said once. The first sight of a series is told whichever it is: what fired before a restart may be over.
    """

    def __init__(self, rule: BoundRule, prometheus: Asked, view: View, names: TargetLabels, unknown: Unknown) -> None:
        query = rule.rule.when.query
        if query is None:
            raise ValueError(f"rule {rule.name} has no query")
        self._rule = rule
        self._query: Query = query
        self._prometheus = prometheus
        self._view = view
        self._names = names
        self._unknown = unknown
        self._why = ""
        self._known: dict[str, _Seen] = {}
        self._log = structlog.get_logger("healer.query").bind(rule=rule.name)
        self._complained: set[str] = set()

    async def look(self, now: float) -> list[Signal]:
        """Ask once. `now` in seconds since the epoch."""
        try:
            samples = await self._prometheus.query(self._query.expr, now)
        except QueryFailed as error:
            self._say(str(error))
            return self._gone(now)
        found = self._read(samples, now)
        told = [self._signal(key, seen, now) for key, seen in found.items() if seen.since is not None or self._was_not_over(key)]
        absent = {key: seen for key, seen in self._known.items() if key not in found and seen.since is not None}
        self._known = found | absent
        told += self._gone(now)
        self._say(self._doubt(found, absent.keys() & self._known.keys()))
        return told

    def _read(self, samples: list[Sample], now: float) -> dict[str, _Seen]:
        """The series that have a number and are about something that the cluster has and the rule covers."""
        found: dict[str, _Seen] = {}
        for sample in samples:
            target = self._target(sample)
            if target is None or isnan(sample.value):
                continue
            key = f"query/{self._rule.name}/{target.uid}/{_written(sample.labels)}"
            before = self._known.get(key)
            since = None
            if self._passes(sample.value):
                since = now if before is None or before.since is None else before.since
            found[key] = _Seen(target, sample.labels, since, self._message(sample.value))
        return found

    def _target(self, sample: Sample) -> Target | None:
        named: Named | Nameless = named_by(sample.labels, self._names, self._view)
        if isinstance(named, Nameless) and named.code == "NoLabel" and self._query.deployment is not None:
            named = Named("Deployment", self._rule.scope.namespaces[0], self._query.deployment)
        if isinstance(named, Nameless):
            if named.code not in self._complained:
                self._complained.add(named.code)
                self._log.warning("a series of the query names no target", series=_written(sample.labels), reason=named.reason)
            return None
        held: Pod | Deployment | None = named.held(self._view) if self._rule.scope.covers(named.namespace) else None
        return None if held is None else target_of(held)

    def _passes(self, value: float) -> bool:
        above, below = self._query.above, self._query.below
        return (above is not None and value > above) or (below is not None and value < below)

    def _message(self, value: float) -> str:
        above, below = self._query.above, self._query.below
        if above is not None:
            return f"value {value:.6g} {'above' if value > above else 'not above'} {above:.6g}"
        assert below is not None  # one of the two, as the rule's model has seen to
        return f"value {value:.6g} {'below' if value < below else 'not below'} {below:.6g}"

    def _was_not_over(self, key: str) -> bool:
        before = self._known.get(key)
        return before is None or before.since is not None

    def _gone(self, now: float) -> list[Signal]:
        """The end of what fired for targets that the cluster has no more."""
        gone = {key: seen for key, seen in self._known.items() if not self._held(seen.target)}
        for key in gone:
            del self._known[key]
        return [
            self._signal(key, seen, now, over=f"{seen.target} is gone") for key, seen in gone.items() if seen.since is not None
        ]

    def _held(self, target: Target) -> bool:
        held = self._view.pod(target.uid) if target.kind == "Pod" else self._view.deployment(target.uid)
        return held is not None

    def _signal(self, key: str, seen: _Seen, now: float, over: str = "") -> Signal:
        return Signal(
            source="query",
            name=QUERY_SIGNAL,
            target=seen.target,
            firing=seen.since is not None and not over,
            at=now,
            key=key,
            occurrence="" if seen.since is None else f"{key}@{seen.since:.3f}",
            message=over or seen.message,
            labels=seen.labels,
            rule=self._rule.name,
        )

    def _doubt(self, found: Mapping[str, _Seen], absent: set[str]) -> str:
        """Why something is not known, in words; "" when all is."""
        if absent:
            targets = Counter(str(self._known[key].target) for key in absent)
            return f"no value any more, and it fired: {', '.join(sorted(targets))}"
        return "" if found else "no series of the query has a value for anything in the rule's scope"

    def _say(self, why: str) -> None:
        """Tell of a change between known and unknown; another reason is no change."""
        if bool(why) is bool(self._why):
            return
        self._why = why
        if why:
            self._log.warning("a query rule cannot be judged: what fired goes on firing, nothing new does", reason=why)
        else:
            self._log.info("a query rule can be judged again")
        self._unknown(self._rule.name, why)


def _written(labels: Mapping[str, str]) -> str:
    """Labels as PromQL writes them, in an order of their own."""
    escaped = ((name, value.replace("\\", "\\\\").replace('"', '\\"')) for name, value in sorted(labels.items()))
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"
