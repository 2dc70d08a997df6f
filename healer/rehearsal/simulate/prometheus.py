"""The modelled Prometheus and Alertmanager of a scenario: which alerts fire, since when, and what is posted to healer's webhook.

The alerts are those of the faults, those that a workload declares, and two of every kube-prometheus (`KubePodCrashLooping`,
`KubePodNotReady`, each for 15 minutes). They are evaluated at each scrape, with their `for`. Alertmanager posts each alert after
`group_wait`, again at each repeat, and once when it is resolved. Of a silenced alert it posts nothing, not even its end. In a
gap nothing is evaluated, and what was firing is resolved when Alertmanager has heard nothing of it for five minutes.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2s
from typing import Any

from healer.lab.objects import Object, is_ready
from healer.rehearsal.simulate.alertmanager import PlayedSilences
from healer.rehearsal.simulate.cluster_spec import AlertSpec, Gap, PlayedWorkload, PrometheusSpec
from healer.rehearsal.simulate.happenings import ALERT, RESOLVED, Happenings
from healer.rehearsal.simulate.played import PlayedCluster, node_of, workload_of
from healer.rehearsal.simulate.serving import Serving
from healer.rehearsal.simulate.strikes import Strikes

CRASHES, UNREADY = "KubePodCrashLooping", "KubePodNotReady"
_KUBE_FOR = 900.0
_RESOLVE_TIMEOUT = 300.0
Labels = Mapping[str, str]
Posted = Mapping[str, Any]
"""An alert as Alertmanager posts it."""


@dataclass(frozen=True, slots=True)
class _TrueAlert:
    """An alert whose expression is true now, with the time for which that must be so."""

    labels: tuple[tuple[str, str], ...]
    held: float
    summary: str
    workload: str


@dataclass(slots=True)
class ActiveAlert:
    """An alert that is pending or firing. Times are in seconds from the beginning."""

    labels: Labels
    summary: str
    workload: str
    since: float
    held: float
    fired: float | None = None
    told: float | None = None
    seen: float = 0.0
    """When its expression was true last."""

    @property
    def fingerprint(self) -> str:
        """As Alertmanager makes one from the labels: 16 hexadecimal digits."""
        return blake2s(json.dumps(sorted(self.labels.items())).encode(), digest_size=8).hexdigest()


class ModelledPrometheus:
    """Evaluates the alerts, and posts them. `clock` gives seconds from the beginning, `start` is the wall time of it; `post` is
    given each alert as it is posted, `fires` each workload of which an alert begins to fire; `scrape` scrapes."""

    def __init__(
        self,
        spec: PrometheusSpec,
        cluster: PlayedCluster,
        serving: Serving,
        strikes: Strikes,
        happenings: Happenings,
        clock: Callable[[], float],
        start: float,
        post: Callable[[Posted], Awaitable[None]],
        fires: Callable[[str], None],
        scrape: Callable[[], None],
        silences: PlayedSilences,
    ) -> None:
        self._spec = spec
        self._cluster = cluster
        self._serving = serving
        self._strikes = strikes
        self._happenings = happenings
        self._clock = clock
        self._start = start
        self._post = post
        self._fires = fires
        self._scrape = scrape
        self._silences = silences
        self.active: dict[tuple[tuple[str, str], ...], ActiveAlert] = {}
        self._odd = False

    async def run(self) -> None:
        """Evaluate at each scrape, until cancelled."""
        while True:
            await asyncio.sleep(self._spec.scrape)
            await self.evaluate()

    def firing(self) -> list[ActiveAlert]:
        """The alerts that Alertmanager has as firing, silenced ones too."""
        return [each for each in self.active.values() if each.fired is not None]

    async def evaluate(self) -> None:
        """Look once which alerts are true, and post what is new."""
        now = self._clock()
        if not _within(self._spec.gaps, now):
            self._scrape()
            for asked in self._asked(now):
                alert = self.active.get(asked.labels)
                if alert is None:
                    alert = ActiveAlert(dict(asked.labels), asked.summary, asked.workload, now, asked.held)
                    self.active[asked.labels] = alert
                alert.seen = now
                if alert.fired is None and now - alert.since >= alert.held:
                    alert.fired = now
        await self._notify(now)

    async def _notify(self, now: float) -> None:
        gap = _within(self._spec.gaps, now)
        self._odd = not self._odd
        for labels, alert in list(self.active.items()):
            over = alert.seen < now if not gap else alert.seen + _RESOLVE_TIMEOUT <= now
            if self._silences.of(alert.labels):
                alert.told = None  # nobody hears of it, not even that it is resolved
            if over:
                del self.active[labels]
                if alert.told is not None:
                    self._happenings.add(RESOLVED, _said(alert), alert.workload)
                    await self._send(alert, now, resolved=True)
            elif alert.fired is not None and not self._silences.of(alert.labels):
                await self._tell(alert, now)

    async def _tell(self, alert: ActiveAlert, now: float) -> None:
        """Post a firing alert: for the first time, again, or as a pair that does not agree."""
        if alert.told is None:
            if now < (alert.fired or 0.0) + self._spec.group_wait:
                return
            self._happenings.add(ALERT, f"{_said(alert)}: {alert.summary}", alert.workload)
            self._fires(alert.workload)
        elif _within(self._spec.flapping, now):
            alert.told = now
            await self._send(alert, now, resolved=self._odd)
            return
        elif now < alert.told + self._spec.repeat:
            return
        alert.told = now
        await self._send(alert, now, resolved=False)

    async def _send(self, alert: ActiveAlert, now: float, *, resolved: bool) -> None:
        fired = alert.fired if alert.fired is not None else now
        entry = {
            "status": "resolved" if resolved else "firing",
            "labels": dict(alert.labels),
            "annotations": {"summary": alert.summary},
            "startsAt": self.stamp(fired),
            "endsAt": self.stamp(now) if resolved else "0001-01-01T00:00:00Z",
            "fingerprint": alert.fingerprint,
        }
        await self._post(entry)

    def seconds(self, stamp: str) -> float:
        """The seconds from the beginning of a time in RFC 3339."""
        return datetime.fromisoformat(stamp).timestamp() - self._start

    def stamp(self, at: float) -> str:
        """A time of the scenario in RFC 3339."""
        return datetime.fromtimestamp(self._start + at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    # what is true now

    def _asked(self, now: float) -> Iterator[_TrueAlert]:
        for strike in self._strikes.all:
            alert = strike.spec.shows.alert
            if alert is None or strike.over or now < strike.began + alert.after:
                continue
            for labels, workload in self._about(alert.of, self._strikes.sick(strike), strike.spec.target.workload, strike.node):
                yield _asked(alert.name, {**labels, **alert.labels}, 0.0, alert.summary or f"{strike.spec.name}", workload)
        for each in self._cluster.spec.workloads:
            for spec in each.alerts:
                yield from self._measured(each, spec)
        yield from self._of_every_cluster()

    def _about(self, of: str, pods: Sequence[Object], workload: str | None, node: str) -> Iterator[tuple[dict[str, str], str]]:
        """The labels of each thing that an alert is about, and the workload that it concerns."""
        for pod in pods if of == "pod" else ():
            yield _pod_labels(pod), workload_of(pod)
        if of == "workload" and (pods or workload):
            names = [workload] if workload else sorted({workload_of(pod) for pod in pods})
            for name in names:
                yield _workload_labels(self._cluster.workloads[name]), name
        if of == "node" and node:
            yield {"node": node}, workload or ""

    def _measured(self, workload: PlayedWorkload, spec: AlertSpec) -> Iterator[_TrueAlert]:
        service = self._serving.services[workload.name]
        if spec.of == "workload":
            desired = self._cluster.desired(workload.name)
            value = {
                "errors": service.failing_now() / service.rate if service.rate else 0.0,
                "saturation": service.load() if service.rate else 0.0,
                "unready": 1 - self._cluster.ready(workload.name) / desired if desired else 0.0,
            }[spec.measures]
            if value > spec.above:
                labels = {**_workload_labels(workload), **spec.labels}
                yield _asked(
                    spec.name, labels, spec.held, f"{spec.measures} of {workload.name} above {spec.above:.0%}", workload.name
                )
            return
        for pod in self._cluster.pods(workload.name):
            if service.measured(pod["metadata"]["uid"], spec.measures, ready=is_ready(pod)) > spec.above:
                labels = {**_pod_labels(pod), **spec.labels}
                yield _asked(spec.name, labels, spec.held, f"{spec.measures} above {spec.above:.0%}", workload.name)

    def _of_every_cluster(self) -> Iterator[_TrueAlert]:
        for pod in self._cluster.troubled():
            waiting = [(each.get("state") or {}).get("waiting") or {} for each in pod["status"].get("containerStatuses") or []]
            labels, workload = _pod_labels(pod), workload_of(pod)
            if any(each.get("reason") == "CrashLoopBackOff" for each in waiting):
                yield _asked(CRASHES, labels, _KUBE_FOR, "a container is in a crash loop", workload)
            yield _asked(UNREADY, labels, _KUBE_FOR, "the pod is not ready", workload)


def _asked(name: str, labels: Labels, held: float, summary: str, workload: str) -> _TrueAlert:
    return _TrueAlert(tuple(sorted({"alertname": name, **labels}.items())), held, summary, workload)


def _pod_labels(pod: Object) -> dict[str, str]:
    metadata = pod["metadata"]
    found = {"namespace": metadata["namespace"], "pod": metadata["name"]}
    return found | ({"node": node_of(pod)} if node_of(pod) else {})


def _workload_labels(workload: PlayedWorkload) -> dict[str, str]:
    return {"namespace": workload.namespace, workload.kind.lower(): workload.name}


def _within(times: Sequence[Gap], now: float) -> bool:
    return any(gap.at <= now < gap.at + gap.lasts for gap in times)


def _said(alert: ActiveAlert) -> str:
    kinds = ("pod", "deployment", "statefulset", "daemonset", "node")
    about = next((alert.labels[name] for name in kinds if name in alert.labels), "")
    return f"{alert.labels['alertname']} {about}".strip()
