"""Tells the history that Prometheus has as the lines of a record, a stretch of time after the other."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
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
from healer.rehearsal.replay.history.asking import ALERTS, METRICS, STEPS, Point, Stretch, by_time, changes, state_at
from healer.rehearsal.replay.history.cluster import RebuiltCluster
from healer.rehearsal.replay.known import Unjudged
from healer.rehearsal.replay.said import moment
from healer.rules.rulebook import Rulebook
from healer.settings import Settings
from healer.sources.alertmanager.alert import Alert, read
from healer.sources.prometheus.client import Prometheus, QueryFailed
from healer.sources.targets import TargetLabels
from healer.workloads.registry import WORKLOADS, core_resources

_NODE = "Node"
_LONG = 3650 * 86_400.0
"""Seconds."""
_LABELS_HINT = (
    "its scope selects by labels, and kube_pod_labels has none: start kube-state-metrics with "
    "--metric-labels-allowlist=pods=[*] (or with the labels that the rules name)"
)


class PrometheusHistory:
    """Lines from `start` to `end` (epoch, s), one stretch of `step` seconds after the other. Iterate it once."""

    def __init__(
        self,
        prometheus: Callable[[], Prometheus],
        settings: Settings,
        start: float,
        end: float,
        step: float,
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        """`progress` is told which share is read."""
        self.remarks: list[str] = []
        self._make = prometheus
        self._settings = settings
        self._start, self._end, self._step = start, end, step
        self._progress = progress
        self._cluster = RebuiltCluster()
        self._view = View(WORKLOADS)
        self._kinds: dict[str, type[KubeObject]] = {}  # by uid
        self._since: dict[frozenset[tuple[str, str]], float] = {}  # alerts that fire: since when
        self._metrics: list[str] = []
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
                raise RecordError(str(error)) from error
            finally:
                runner.run(prometheus.aclose())

    def _lines(self, runner: asyncio.Runner, prometheus: Prometheus) -> Iterator[AnyLine]:
        names = runner.run(prometheus.metric_names(self._start, self._end))
        self._metrics = [metric for metric in (*METRICS, ALERTS) if metric.partition("{")[0] in names]
        if not self._metrics:
            raise RecordError(
                "Prometheus has neither ALERTS nor metrics of kube-state-metrics in that time: is it the right one, and the time?"
            )
        if "kube_pod_info" not in names:
            self.remarks.append("there is no kube-state-metrics: pods, workloads and nodes are not known")
        if "ALERTS" not in names:
            self.remarks.append("no alert fired in that time, or ALERTS is not kept there")
        else:
            self.remarks.append("ALERTS does not keep annotations, nor whether an alert was silenced")
        self.remarks.append("PodDisruptionBudgets and pauses are not in the history: an eviction may have been refused")
        steady = next((name for name in ("kube_pod_info", "up") if name in names), "")
        at = self._start
        yield from self._begin(runner.run(state_at(prometheus, at)), at)
        while at < self._end - self._step / 2:
            until = min(self._end, at + STEPS * self._step)
            stretch = runner.run(changes(prometheus, self._metrics, at, until, self._step, steady))
            yield from self._told(runner, prometheus, stretch, until)
            at = until
            self._progress((at - self._start) / (self._end - self._start))
        yield EndLine(self._end)
        for name, why in self._untargeted.items():
            self.remarks.append(f"alert {name}: {why}")

    def _told(self, runner: asyncio.Runner, prometheus: Prometheus, stretch: Stretch, until: float) -> Iterator[AnyLine]:
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
        for at in sorted({*moments, *anew}):
            if at in anew:
                yield from self._begin(runner.run(state_at(prometheus, at)), at)
            elif not any(began <= at <= ended for began, ended in skipped):
                yield from self._moment(at, moments[at])

    def _begin(self, points: Iterable[Point], at: float) -> Iterator[AnyLine]:
        """All that there is at a time, as a file of a record begins."""
        self._cluster, labelled = RebuiltCluster(), self._cluster.labelled
        self._cluster.labelled = labelled
        self._view, self._kinds = View(WORKLOADS), {}
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
            rules=(),
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
        names = {metric.partition("{")[0] for metric in self._metrics}
        kinds = [each.name for each in core_resources()] if "kube_pod_info" in names else []
        return (*kinds, *([_NODE] if "kube_node_status_condition" in names else []))

    def unjudged(self, rules: Rulebook) -> list[Unjudged]:
        """The rules of which the history says nothing, besides those whose objects it lacks."""
        if self._cluster.labelled:
            return []
        return [Unjudged(rule.name, _LABELS_HINT, whole=True) for rule in rules.rules if rule.scope.selector is not None]


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
