"""Plays a scenario once, under one policy: from the warm-up of the cluster to the end, in virtual time."""

import asyncio
import math
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from healer.lab.objects import CHANCE, CLOCK
from healer.model.incident import Incident
from healer.rehearsal.simulate.alertmanager import PlayedSilences
from healer.rehearsal.simulate.asking import PlayedRules
from healer.rehearsal.simulate.autoscaling import ModelledAutoscalers
from healer.rehearsal.simulate.happenings import Happenings
from healer.rehearsal.simulate.healing import Healer, NotDone
from healer.rehearsal.simulate.operations import Operations
from healer.rehearsal.simulate.played import PlayedCluster
from healer.rehearsal.simulate.policies import DeleteOnAlert, DoNothing, HealingPolicy, RestartAtOnce, Scene
from healer.rehearsal.simulate.prometheus import ModelledPrometheus
from healer.rehearsal.simulate.promql import PlayedQueries
from healer.rehearsal.simulate.scenario import Scenario
from healer.rehearsal.simulate.serving import Service, Serving, edges
from healer.rehearsal.simulate.strikes import Strike, Strikes
from healer.rehearsal.simulate.telemetry import Telemetry
from healer.rehearsal.simulate.virtual import VirtualLoop, run
from healer.rehearsal.timeline import TimelineLine
from healer.rules.rulebook import Rulebook
from healer.rules.triggers import CANARY
from healer.settings import Settings

MIDNIGHT = 1_799_971_200.0
"""The midnight before the scenario begins, in seconds since the epoch: 15 January 2027."""
_SETTLED = 1800.0
"""Seconds that the cluster has been up, beyond the slowest start, when the scenario begins: a revision counts as healthy then."""
_LOOKBACK = 2 * 3600.0
"""Seconds of samples that are kept for the ranges of queries."""
SAMPLES = 288
"""Samples of each Service over the scenario: one each 5 minutes of a day."""
POLICIES: Mapping[str, Callable[[Scene], HealingPolicy]] = {
    "healer": Healer,
    "none": DoNothing,
    "restart-at-once": RestartAtOnce,
    "delete-on-alert": DeleteOnAlert,
}
"""What can heal, by name."""
_Played = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Life:
    """What happened under a policy. Times are in seconds from the beginning."""

    policy: str
    lasts: float
    services: Mapping[str, Service]
    strikes: list[Strike]
    timeline: list[TimelineLine]
    incidents: list[Incident] = field(default_factory=list)
    not_done: Mapping[NotDone, int] = field(default_factory=dict)
    would: Mapping[str, int] = field(default_factory=dict)
    """How often each action would have been done, by rules that only observe."""
    """The actions of healer that were refused or failed, and how often."""
    unready: list[str] = field(default_factory=list)
    """The workloads that were not whole when the scenario began."""

    @property
    def requests(self) -> float:
        """All that came."""
        return sum(each.requests for each in self.services.values())

    @property
    def failed(self) -> float:
        """Those that failed."""
        return sum(each.failed for each in self.services.values())

    @property
    def availability(self) -> float:
        """The share of the requests that was answered."""
        return 1 - self.failed / self.requests if self.requests else 1.0


def live(
    scenario: Scenario,
    rulebook: Rulebook,
    settings: Settings,
    *,
    policy: str,
    seed: int,
    lasts: float | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Life:
    """Play the scenario under a policy. `progress` is given the share (0 to 1) that has passed."""
    loop = VirtualLoop()
    return run(_Play(scenario, rulebook, settings, policy, seed, lasts or scenario.spec.lasts, progress, loop).run(), loop)


class _Play:
    """The parts of one life."""

    def __init__(
        self,
        scenario: Scenario,
        rulebook: Rulebook,
        settings: Settings,
        policy: str,
        seed: int,
        lasts: float,
        progress: Callable[[float], None],
        loop: VirtualLoop,
    ) -> None:
        self._scenario = scenario
        self._spec = scenario.spec
        self._rulebook = rulebook
        self._settings = settings
        self._name = policy
        self._seed = seed
        self._lasts = lasts
        self._progress = progress
        self._loop = loop
        slowest = max(each.starts + each.loads for each in self._spec.cluster.workloads)
        self._origin = math.ceil(_SETTLED + slowest)
        self._start = MIDNIGHT + math.floor(self._spec.starts)
        self._clock = loop.clock(self._start - self._origin)

    def now(self) -> float:
        """Seconds from the beginning of the scenario; negative in the warm-up."""
        return self._loop.time() - self._origin

    async def run(self) -> Life:
        """Play it."""
        CLOCK.set(self._clock.wall)
        CHANCE.set(random.Random(f"{self._seed} names"))
        happenings = Happenings(self.now)
        async with PlayedCluster(self._spec.cluster) as cluster:
            strikes = Strikes(
                self._spec.faults,
                cluster,
                self._lasts,
                self._seed,
                happenings,
                self.now,
                lambda uid: serving.answered_otherwise(uid),
                lambda workload: serving.served(workload),
            )
            serving = Serving(self._spec.cluster.workloads, self._spec.starts, self.now, strikes.answers)
            serving.splits.read(cluster.lab.store.get)
            silences = PlayedSilences(self.now)
            operations = Operations(self._spec.operations, cluster, happenings, self.now, silences)
            cluster.lab.store.listeners.extend([serving.observe, strikes.observe, operations.observe])
            asking = PlayedRules(self._scenario, self._rulebook)
            telemetry = self._telemetry(cluster, serving, asking)
            queries = PlayedQueries(telemetry.select, self._settings.prometheus.stale, self._answers)
            scene = Scene(
                cluster=cluster,
                happenings=happenings,
                clock=self._clock,
                rulebook=self._rulebook,
                settings=self._settings,
                prometheus=lambda: prometheus,
                silences=silences,
                strikes=strikes,
                gaps=self._spec.prometheus.gaps,
                asking=asking,
                queries=lambda: queries,
                now=self.now,
                asked=strikes.mended,
            )
            policy = POLICIES[self._name](scene)
            prometheus = ModelledPrometheus(
                self._spec.prometheus,
                cluster,
                serving,
                strikes,
                happenings,
                self.now,
                self._start,
                policy.alerted,
                lambda workload: strikes.mended(workload, "an alert told of it"),
                telemetry.scrape,
                silences,
            )
            scalers = ModelledAutoscalers(cluster, serving, self.now)
            ticking = partial(self._tick, serving)
            played: list[_Played] = [ticking, strikes.run, operations.run, prometheus.run, scalers.run]
            unready = await self._play(scene, policy, serving, telemetry, played)
        return self._lived(Life(self._name, self._lasts, serving.services, strikes.all, happenings.all, unready=unready), policy)

    def _lived(self, life: Life, policy: HealingPolicy) -> Life:
        """The life, with what only healer knows."""
        if isinstance(policy, Healer):
            return replace(life, incidents=policy.incidents, not_done=policy.not_done, would=policy.would)
        return life

    def _telemetry(self, cluster: PlayedCluster, serving: Serving, asking: PlayedRules) -> Telemetry:
        """What is scraped: only where healer heals, and only what its rules ask for."""
        wanted = asking.metrics if POLICIES[self._name] is Healer else set()
        canaries = [rule.rule.when.get(CANARY) for rule in asking.real.values()]
        past = max((each.every * self._settings.prometheus.history for each in canaries if each is not None), default=0.0)
        return Telemetry(cluster, serving, self._seed, self._clock.wall, wanted=wanted, keep=past + _LOOKBACK)

    def _answers(self) -> bool:
        """Whether Prometheus answers now."""
        return not any(gap.at <= self.now() < gap.at + gap.lasts for gap in self._spec.prometheus.gaps)

    async def _play(
        self,
        scene: Scene,
        policy: HealingPolicy,
        serving: Serving,
        telemetry: Telemetry,
        played: Iterable[_Played],
    ) -> list[str]:
        """Warm up, then play until the scenario is over. Returns the workloads that were not whole when it began."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(policy.run())]
            await self._warm_up(serving, telemetry)
            scene.happenings.all.clear()
            cluster = scene.cluster
            unready = [name for name in cluster.workloads if cluster.ready(name) < cluster.desired(name)]
            tasks += [group.create_task(each()) for each in played]
            await self._sample(serving)
            for task in tasks:
                task.cancel()
        return unready

    async def _warm_up(self, serving: Serving, telemetry: Telemetry) -> None:
        """What is before the beginning: the cluster starts, and gets requests, which count only in what is scraped."""
        serving.tick()
        while self.now() < 0:
            telemetry.scrape()
            await asyncio.sleep(min(self._spec.prometheus.scrape, -self.now()))
        serving.begin()

    async def _tick(self, serving: Serving) -> None:
        for edge in edges(self._spec.cluster.workloads, self._lasts):
            await asyncio.sleep(max(0.0, edge - self.now()))
            serving.tick()

    async def _sample(self, serving: Serving) -> None:
        """Sample the Services until the scenario is over."""
        for number in range(1, SAMPLES + 1):
            await asyncio.sleep(number * self._lasts / SAMPLES - self.now())
            serving.sample()
            self._progress(number / SAMPLES)
