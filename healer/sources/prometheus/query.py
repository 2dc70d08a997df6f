"""The probe of a query rule: each series of the answer whose value passes the threshold is a signal."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isfinite

import structlog

from healer.model.kube import Pod
from healer.model.signal import Answered, Report, Signal, Unanswered
from healer.model.target import Target
from healer.model.view import View, target_of
from healer.rules.asks import with_unit
from healer.rules.probe import QUERY_SIGNAL, Query
from healer.rules.rulebook import BoundRule
from healer.rules.triggers import QUERY
from healer.sources.base import Asked, Probe, SourceContext
from healer.sources.prometheus.client import QueryApi, QueryFailed, Sample
from healer.sources.prometheus.lingering import Lingering
from healer.sources.prometheus.outliers import PodValue, judged
from healer.sources.targets import Named, Nameless, TargetLabels, named_by
from healer.turns import in_turns

_SERIES_AT_ONCE = 200
"""Series that are read before the loop is yielded: about ten milliseconds."""
_MOST_LABELS = 300
"""Characters of a series' labels in the key of its signal; longer labels are replaced by their hash."""


@dataclass(frozen=True, slots=True)
class _SeenSeries:
    """A series in the last answer that had it. It fires since `since` (epoch, s); None: it does not fire."""

    target: Target
    labels: Mapping[str, str]
    since: float | None
    message: str


@dataclass(frozen=True, slots=True)
class _QueryAnswer:
    """An answer as it was read: the series that have a number, and why others have none, both by key.

    `lost`: why a series that the answer lacks may still fire; "" when it does not. `held`: why a pod that passes the threshold
    cannot be compared with others; "" when all can.
    """

    found: Mapping[str, _SeenSeries]
    doubtful: Mapping[str, str]
    lost: str
    held: str


class QueryProbe:
    """Asks the query of one rule, and remembers the series that it has seen. `unanswered` see `SourceContext`.

    A series fires while its value is a number past the threshold. It ends when its value is a number that is not, when a whole
    answer does not have it, or when its target is gone from the cluster. NaN, infinity, a partial answer and no answer are
    reported as unknown. A series that is seen for the first time is reported in either case: it may have fired before a restart.
    """

    def __init__(
        self, rule: BoundRule, prometheus: QueryApi, view: View, names: TargetLabels, unanswered: Callable[[str, str], None]
    ) -> None:
        query = rule.rule.when.get(QUERY)
        if query is None:
            raise ValueError(f"rule {rule.name} has no query")
        self._rule = rule
        self._query: Query = query
        self._prometheus = prometheus
        self._view = view
        self._names = names
        self._unanswered = unanswered
        self._why = ""
        self._known: dict[str, _SeenSeries] = {}
        self._lingering = Lingering()
        self._log = structlog.get_logger("healer.query").bind(rule=rule.name)
        self._complained: set[str] = set()

    async def ask(self, now: float) -> list[Report]:
        """Ask once, and report. `now` is in seconds since the epoch."""
        try:
            samples = await self._prometheus.query(self._query.expr, now)
        except QueryFailed as error:
            self._say(str(error))
            return [*await self._gone(now), Unanswered(self._rule.name, str(error))]
        async for seen in in_turns(self._known.values(), _SERIES_AT_ONCE):
            if seen.since is not None and not self._exists(seen.target):
                self._lingering.note(_written(seen.labels), now)
        read = await self._read(samples, now)
        reports: list[Report] = []
        async for key, seen in in_turns(read.found.items(), _SERIES_AT_ONCE):
            if seen.since is not None or self._was_not_over(key):
                reports.append(self._signal(key, seen, now))
        doubtful = dict(read.doubtful)
        reports += await self._left_out(read, doubtful, now)
        reports += await self._gone(now)
        reports += _unanswered(self._rule.name, doubtful)
        if not read.lost:
            reports.append(Answered(self._rule.name, frozenset({*read.found, *doubtful})))
        self._say(self._doubt(read, doubtful.keys() & self._known.keys()))
        return reports

    async def _left_out(self, read: _QueryAnswer, doubtful: dict[str, str], now: float) -> list[Signal]:
        """The ends of the series that fired and that the answer does not have; where it may lack them, they are `doubtful`.

        What is known afterwards is the answer, and what fires still.
        """
        over: list[Signal] = []
        known = dict(read.found)
        async for key, seen in in_turns(self._known.items(), _SERIES_AT_ONCE):
            if seen.since is None or key in read.found:
                continue
            if read.lost:
                doubtful.setdefault(key, read.lost)
            if key not in doubtful and self._exists(seen.target):
                over.append(self._signal(key, seen, now, over="the query has no such series any more"))
            else:
                known[key] = seen
        self._known = known
        return over

    async def _read(self, samples: list[Sample], now: float) -> _QueryAnswer:
        """The series of the answer whose targets exist and are in the rule's scope. It yields to the loop on the way."""
        found: dict[str, _SeenSeries] = {}
        doubtful: dict[str, str] = {}
        lost, nameless, odd = "", "", ""
        compared: dict[str, PodValue] = {}
        async for sample in in_turns(samples, _SERIES_AT_ONCE):
            if sample.odd:
                self._complain(sample.odd, "a series of the query cannot be used", sample)
            named = self._named(sample)
            if isinstance(named, Nameless):
                lost = lost or sample.odd  # its target is not known
                if not isfinite(sample.value) or self._passes(sample.value):  # else it is not sick, whatever its target is
                    nameless = nameless or named.reason
                continue
            obj = named.find(self._view) if self._rule.scope.covers(named.namespace) else None
            if obj is None:
                continue
            target = target_of(obj)
            key = self._key(target, sample.labels)
            if not isfinite(sample.value):
                doubtful[key] = sample.odd or f"the value is {sample.value:+}, which is no number"
                self._complain("not finite", f"a value of the query is {sample.value:+}: is something divided by 0?", sample)
                continue
            passes = self._passes(sample.value)
            if passes and key not in self._known and self._lingering.holds(_written(sample.labels), now):
                doubtful[key] = f"{target} has the name of one that the series fired for, and the expression may look back"
                self._complain("lingering", "a series may be about a pod that is gone: nothing is done for its successor", sample)
                continue
            if self._query.outliers is not None and isinstance(obj, Pod):
                compared[key] = PodValue(obj, sample.value, passes)
            elif self._query.outliers is not None:
                odd = doubtful[key] = f"a series is about {target}, and only pods can be outliers: sum by (namespace, pod) (...)"
                continue
            found[key] = self._seen(key, target, sample, now, passes)
        undecided, held = await self._compare(compared, found)
        doubtful = undecided | doubtful
        if nameless and not found and not doubtful:
            lost = lost or f"no series of the query names a target: {nameless}"
        return _QueryAnswer(found, doubtful, lost, held or odd)

    def _seen(self, key: str, target: Target, sample: Sample, now: float, fires: bool) -> _SeenSeries:
        before = self._known.get(key)
        since = None if not fires else now if before is None or before.since is None else before.since
        return _SeenSeries(target, sample.labels, since, self._message(sample.value))

    async def _compare(self, compared: Mapping[str, PodValue], found: dict[str, _SeenSeries]) -> tuple[dict[str, str], str]:
        """Let only outliers fire. Returns why it is not known whether others fire, by key; and what of that to say."""
        if self._query.outliers is None:
            return {}, ""
        fired = {key for key, seen in self._known.items() if seen.since is not None}
        doubtful = dict.fromkeys(fired - found.keys(), "the answer has no value of it, so that it cannot be compared")
        held = ""
        for key, verdict in (await judged(compared, self._query, self._view)).items():
            if verdict.fires is None:
                seen = found.pop(key)
                held = held or (f"{seen.target}: {verdict.why}" if verdict.told else "")
                doubtful[key] = verdict.why
            elif verdict.why:
                since = found[key].since if verdict.fires else None
                found[key] = replace(found[key], since=since, message=f"{found[key].message}, {verdict.why}")
        return doubtful, held

    def _key(self, target: Target, labels: Mapping[str, str]) -> str:
        written = _written(labels)
        if len(written) > _MOST_LABELS:
            written = hashlib.sha256(written.encode()).hexdigest()
        return f"query/{self._rule.name}/{target.uid}/{written}"

    def _named(self, sample: Sample) -> Named | Nameless:
        named = named_by(sample.labels, self._names, self._view)
        if isinstance(named, Named) or sample.odd:
            return named
        if named.code == "NoLabel" and (workload := self._query.workload) is not None:
            return Named(workload.kind, self._rule.scope.namespaces[0], workload.name)
        hint = self._hint if named.code == "NoLabel" else ""
        self._complain(named.code, "a series of the query names no target", sample, reason=named.reason, hint=hint)
        return named

    @property
    def _hint(self) -> str:
        names = self._names
        return (
            f"keep the labels that name it: sum by ({names.namespace}, {names.pod}) (...) or by ({names.namespace}, "
            f"{names.deployment}); or name the workload in the rule, as query.deployment"
        )

    def _complain(self, what: str, event: str, sample: Sample, **more: str) -> None:
        """Log something once."""
        if what not in self._complained:
            self._complained.add(what)
            self._log.warning(event, series=_written(sample.labels)[:_MOST_LABELS], **more)

    def _passes(self, value: float) -> bool:
        above, below = self._query.above, self._query.below
        return (above is not None and value > above) or (below is not None and value < below)

    def _message(self, value: float) -> str:
        above, below, unit = self._query.above, self._query.below, self._query.unit
        if above is not None:
            return with_unit(f"value {value:.6g} {'above' if value > above else 'not above'} {above:.6g}", unit)
        assert below is not None  # the rule's model has checked that one of the two is given
        return with_unit(f"value {value:.6g} {'below' if value < below else 'not below'} {below:.6g}", unit)

    def _was_not_over(self, key: str) -> bool:
        before = self._known.get(key)
        return before is None or before.since is not None

    async def _gone(self, now: float) -> list[Signal]:
        """The ends of the signals whose targets are gone from the cluster."""
        ends: list[Signal] = []
        left: dict[str, _SeenSeries] = {}
        async for key, seen in in_turns(self._known.items(), _SERIES_AT_ONCE):
            if self._exists(seen.target):
                left[key] = seen
            elif seen.since is not None:
                ends.append(self._signal(key, seen, now, over=f"{seen.target} is gone"))
        self._known = left
        return ends

    def _exists(self, target: Target) -> bool:
        return self._view.find(target) is not None

    def _signal(self, key: str, seen: _SeenSeries, now: float, over: str = "") -> Signal:
        return Signal(
            source=QUERY.name,
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

    def _doubt(self, read: _QueryAnswer, doubtful: set[str]) -> str:
        """Why something is not known, in words; "" when everything is."""
        if read.lost:
            return read.lost
        if read.held:
            return read.held
        if doubtful:
            targets = ", ".join(sorted({str(self._known[key].target) for key in doubtful}))
            return f"it fired, and has no finite value any more: {targets}"
        return "no series of the query has a finite value" if read.doubtful and not read.found else ""

    def _say(self, why: str) -> None:
        """Count the answer, and log when the rule can no longer be judged, and when it can again."""
        self._unanswered(self._rule.name, why)
        if bool(why) is not bool(self._why):
            if why:
                self._log.warning("a query rule cannot be judged: healer does nothing for it, and resolves nothing", reason=why)
            else:
                self._log.info("a query rule can be judged again")
        self._why = why


def _unanswered(rule: str, doubtful: Mapping[str, str]) -> list[Unanswered]:
    """One report for each reason. `doubtful`: the reasons, by key."""
    keys: dict[str, set[str]] = defaultdict(set)
    for key, why in doubtful.items():
        keys[why].add(key)
    return [Unanswered(rule, why, frozenset(found)) for why, found in keys.items()]


def _written(labels: Mapping[str, str]) -> str:
    """Labels as PromQL writes them, sorted by name."""
    escaped = ((name, value.replace("\\", "\\\\").replace('"', '\\"')) for name, value in sorted(labels.items()))
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"


def _probe(context: SourceContext, rule: BoundRule) -> Probe:
    labels = TargetLabels.of(context.settings.alerts)
    return QueryProbe(rule, context.needed_prometheus(), context.view, labels, context.unanswered).ask


SOURCE = Asked(_probe)
