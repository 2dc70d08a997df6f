"""Tells the history that Prometheus has as the lines of a record, a stretch of time after the other."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from healer.daemon.recording.lines import (
    VERSION,
    AnyLine,
    ChangedLine,
    EndLine,
    FedLine,
    FiringLine,
    HeadLine,
    HeldLine,
    SignalsLine,
    WholeLine,
)
from healer.daemon.recording.marks import sections
from healer.daemon.recording.reading import RecordError
from healer.model.kube import KubeObject
from healer.model.signal import Signal
from healer.model.view import View
from healer.rehearsal.replay.chronology import HISTORY
from healer.rehearsal.replay.history.asking import STEPS, Point, Stretch, by_time, changes, state_at
from healer.rehearsal.replay.history.cluster import RebuiltCluster
from healer.rehearsal.replay.history.looks import Looks
from healer.rehearsal.replay.history.metrics import ALERTS, METRICS, PODS, HistoryMetric
from healer.rehearsal.replay.history.patience import PAUSES, PatientPrometheus
from healer.rehearsal.replay.known import Unjudged
from healer.rehearsal.replay.said import moment
from healer.rules.rulebook import Rulebook
from healer.rules.triggers import CANARY, WORKLOAD
from healer.settings import Settings
from healer.sources.alertmanager.alert import Alert, read
from healer.sources.prometheus.client import Prometheus, QueryFailed, TooMuch
from healer.sources.targets import TargetLabels
from healer.workloads.registry import WORKLOADS, core_resources

_NODE = "Node"
_CLUSTER = "cluster"
"""The label by which several clusters in one Prometheus are usually told apart."""
_FEWER = "--match asks for fewer series, as 'namespace=\"ml\"'"
LACKS = {"model": "the history has no answers of model servers", "event": "the history has no Events"}
"""Why rules are not judged, by their trigger."""
_LONG = 3650 * 86_400.0
"""Seconds."""
_LABELS_HINT = (
    "its scope selects by labels, and {metric} has none: start kube-state-metrics with "
    "--metric-labels-allowlist={kinds}=[*] (or with the labels that the rules name)"
)


class PrometheusHistory:
    """Lines from `start` to `end` (epoch, s), one stretch of `step` seconds after the other. Iterate it once."""

    def __init__(
        self,
        prometheus: Callable[[], Prometheus],
        settings: Settings,
        books: Sequence[Rulebook],
        start: float,
        end: float,
        step: float,
        *,
        match: str = "",
        progress: Callable[[float], None] = lambda share: None,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """`books` have the rules for which Prometheus is asked; `match` are matchers of the series, `pauses` see
        `PatientPrometheus`. `progress` is told which share is read."""
        self.remarks: list[str] = []
        self._books = books
        self._match = match
        self._pauses = pauses
        self._make = prometheus
        self._settings = settings
        self._start, self._end, self._step = start, end, step
        self._progress = progress
        self._cluster = RebuiltCluster()
        self._view = View(WORKLOADS)
        self._kinds: dict[str, type[KubeObject]] = {}  # by uid
        self._since: dict[frozenset[tuple[str, str]], float] = {}  # alerts that fire: since when
        self._metrics: list[HistoryMetric] = []
        self._read_to = start
        self._silent: list[float] = []
        """The first and the last moment of a gap that the last stretch ended in."""
        self._head = 0
        self._untargeted: dict[str, str] = {}

    def __iter__(self) -> Iterator[AnyLine]:
        """The lines. Raises RecordError when Prometheus does not answer, or knows nothing."""
        with asyncio.Runner() as runner:
            prometheus = self._make()
            try:
                yield from self._lines(runner, prometheus)
            except QueryFailed as error:
                far = f"; the history was read up to {moment(self._read_to)}" if self._read_to > self._start else ""
                hint = f"; {_FEWER}" if isinstance(error, TooMuch) else ""
                raise RecordError(f"{error}{far}{hint}") from error
            finally:
                runner.run(prometheus.aclose())

    def _lines(self, runner: asyncio.Runner, connection: Prometheus) -> Iterator[AnyLine]:
        names = runner.run(connection.metric_names(self._start, self._end))
        prometheus = PatientPrometheus(connection, self._pauses)
        self._metrics = runner.run(self._known(prometheus, [name for name in METRICS if name in names]))
        looks = self._looks = Looks(self._books, self._settings, self._view, prometheus, self._start)
        if not self._metrics and not looks.marks:
            raise RecordError(
                "Prometheus has neither ALERTS nor metrics of kube-state-metrics in that time: is it the right one, and the time?"
            )
        self._say_what_is_missing(names)
        steady = next((name for name in (PODS, "up") if name in names), "")
        steady = f"{steady}{{{self._match}}}" if steady and self._match else steady
        at = self._start
        yield from self._begin(runner.run(state_at(prometheus, self._metrics, at)), at)
        looks.reach(min(self._end, at + STEPS * self._step))
        yield from looks.take(runner, at)
        while at < self._end - self._step / 2:
            until = min(self._end, at + STEPS * self._step)
            looks.reach(until)
            stretch = runner.run(changes(prometheus, self._metrics, at, until, self._step, steady))
            yield from self._told(runner, prometheus, stretch, until)
            self._read_to = at = until
            self._progress((at - self._start) / (self._end - self._start))
        yield EndLine(self._end)
        for name, why in self._untargeted.items():
            self.remarks.append(f"alert {name}: {why}")
        self.remarks += looks.remarks

    async def _known(self, prometheus: PatientPrometheus, names: Sequence[str]) -> list[HistoryMetric]:
        """The metrics as they are written there. Raises QueryFailed, and RecordError when several clusters are mixed up."""
        found: list[HistoryMetric] = []
        for name in names:
            there = await prometheus.label_names(name, self._start, self._end) if name != ALERTS else ()
            found.append(HistoryMetric(name, there, self._match))
            if name == PODS and _CLUSTER in there:
                await self._one_cluster(prometheus)
        return found

    async def _one_cluster(self, prometheus: PatientPrometheus) -> None:
        matched = f"{PODS}{{{self._match}}}"
        clusters: set[str] = set()
        for at in (self._start, self._end):
            clusters |= {
                sample.labels.get(_CLUSTER, "") for sample in await prometheus.query(f"count by ({_CLUSTER}) ({matched})", at)
            }
        if len(clusters) > 1:
            first, *_ = names = sorted(clusters)
            hint = f"name one, as --match '{_CLUSTER}=\"{first}\"'"
            raise RecordError(f"Prometheus has the pods of {len(names)} clusters ({', '.join(names[:5])}): {hint}")

    def _say_what_is_missing(self, names: Collection[str]) -> None:
        if PODS not in names:
            self.remarks.append("there is no kube-state-metrics: pods, workloads and nodes are not known")
        if ALERTS not in names:
            self.remarks.append("no alert fired in that time, or ALERTS is not kept there")
        else:
            self.remarks.append("ALERTS does not keep annotations, nor whether an alert was silenced")
        self.remarks.append("PodDisruptionBudgets and pauses are not in the history: an eviction may have been refused")

    def _told(self, runner: asyncio.Runner, prometheus: PatientPrometheus, stretch: Stretch, until: float) -> Iterator[AnyLine]:
        """The lines of a stretch. While nothing was seen nothing is told; afterwards all is read anew."""
        before, self._silent = self._silent, []
        gaps = _gaps([*before, *stretch.silent], self._step)
        if gaps and gaps[-1][1] > until - self._step / 2 and until < self._end:
            self._silent = [*gaps.pop()]  # it may go on in the next stretch
        for began, ended in gaps:
            self.remarks.append(f"nothing was seen from {moment(began)} to {moment(ended)}: what happened then is not known")
        skipped = [*gaps, *([(self._silent[0], until)] if self._silent else [])]
        anew = {ended + self._step for _, ended in gaps if ended + self._step <= self._end}
        moments = by_time(stretch.points)
        for at in sorted({*moments, *anew, *self._looks.due(until)}):
            if at in anew:
                yield from self._begin(runner.run(state_at(prometheus, self._metrics, at)), at)
            elif any(began <= at <= ended for began, ended in skipped):
                self._looks.skip(at)
                continue
            else:
                yield from self._moment(at, moments[at])
            yield from self._looks.take(runner, at)

    def _begin(self, points: Iterable[Point], at: float) -> Iterator[AnyLine]:
        """All that there is at a time, as a file of a record begins."""
        before_gap, self._cluster = self._cluster, RebuiltCluster()
        self._cluster.labelled = before_gap.labelled
        self._cluster.workloads_labelled = before_gap.workloads_labelled
        for uid, kind in self._kinds.items():
            self._view.drop(kind, uid)
        self._kinds = {}
        before, self._since = self._since, {}
        yield HeadLine(
            at=at,
            version=VERSION,
            healer=version("healer"),
            run=HISTORY,
            number=self._head,
            why="lost" if self._head else "continued",
            home="healer",
            mode="",
            rules=self._looks.marks,
            kinds=self._watched(),
            namespaces=(),
            settings=sections(self._settings),
        )
        self._head += 1
        alerts: list[Point] = []
        for point in points:
            alerts += [point] if point.metric == "ALERTS" else []
            self._cluster.point(point)
        held = [each for each in self._cluster.take() if isinstance(each, KubeObject)]
        for obj in held:
            self._hold(obj)
            yield HeldLine(at, type(obj).__name__, obj)
        for point in alerts:
            key = frozenset(point.labels.items())
            self._since[key] = before.pop(key, at)
            if (signal := self._signal(point, self._since[key])) is not None:
                yield FiringLine(at, signal)
        yield WholeLine(at, len(held))
        over = [Point(at, "ALERTS", dict(key), None) for key in before]  # they ended meanwhile
        signals = [each for each in (self._signal(point, at) for point in over) if each is not None]
        if signals:
            yield SignalsLine(at, tuple(signals))

    def _moment(self, at: float, points: Iterable[Point]) -> Iterator[AnyLine]:
        """What changes at one moment."""
        alerts: list[Point] = []
        for point in points:
            alerts += [point] if point.metric == "ALERTS" else []
            self._cluster.point(point)
        told = False
        for each in self._cluster.take():
            told = True
            if isinstance(each, KubeObject):
                self._hold(each)
                yield ChangedLine(at, type(each).__name__, each)
            elif (kind := self._kinds.pop(each, None)) is not None:
                self._view.drop(kind, each)
                yield ChangedLine(at, kind.__name__, dropped=each)
        if told:
            yield FedLine(at)
        signals: list[Signal] = []
        for point in alerts:
            key = frozenset(point.labels.items())
            since = self._since.setdefault(key, at) if point.value is not None else self._since.pop(key, at)
            if (signal := self._signal(point, since)) is not None:
                signals.append(signal)
        if signals:
            yield SignalsLine(at, tuple(signals))

    def _hold(self, obj: KubeObject) -> None:
        self._kinds[obj.metadata.uid] = type(obj)
        self._view.put(obj)

    def _signal(self, point: Point, since: float) -> Signal | None:
        """The signal of an alert, as the webhook makes it."""
        firing = point.value is not None
        labels = {name: value for name, value in point.labels.items() if name != "alertstate"}
        began, now = datetime.fromtimestamp(since, UTC), datetime.fromtimestamp(point.at, UTC)
        alert = Alert("firing" if firing else "resolved", labels, began, ends_at=None if firing else now.isoformat())
        alerts = self._settings.alerts
        found = read(alert, self._view, TargetLabels.of(alerts), alerts.replica_labels, point.at)
        if isinstance(found, Signal):
            return found
        self._untargeted.setdefault(found.name, found.reason)
        return None

    def _watched(self) -> tuple[str, ...]:
        names = {metric.name for metric in self._metrics}
        kinds = [each.name for each in core_resources()] if PODS in names else []
        return (*kinds, *([_NODE] if "kube_node_status_condition" in names else []))

    def unjudged(self, rules: Rulebook) -> list[Unjudged]:
        """The rules of which the history says nothing, besides those whose objects it lacks."""
        found: list[Unjudged] = []
        for rule in rules.rules:
            if rule.scope.selector is None or rule.rule.when.trigger.name in LACKS:
                continue
            of_workload = rule.rule.when.trigger in (CANARY, WORKLOAD)
            if not (self._cluster.workloads_labelled if of_workload else self._cluster.labelled):
                metric, kinds = ("kube_deployment_labels", "deployments") if of_workload else ("kube_pod_labels", "pods")
                found.append(Unjudged(rule.name, _LABELS_HINT.format(metric=metric, kinds=kinds), whole=True))
        return found


def history_settings(settings: Settings) -> Settings:
    """The settings, with which an alert counts as long as the history has it: nobody repeats it there."""
    alerts = settings.alerts.model_copy(update={"freshness": _LONG, "expiry": _LONG})
    return settings.model_copy(update={"alerts": alerts})


def _gaps(silent: list[float], step: float) -> list[tuple[float, float]]:
    """The first and the last moment of each gap."""
    found: list[tuple[float, float]] = []
    for at in silent:
        if found and at - found[-1][1] <= step * 1.5:
            found[-1] = (found[-1][0], at)
        else:
            found.append((at, at))
    return found
