"""The daemon's heart in a test: a real engine, the executor against a lab, the view kept by real watches."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from healer.actions.base import Action, Recheck, specs
from healer.actions.registry import ACTIONS
from healer.cluster.api import Api
from healer.cluster.watch import ObjectChange, Reflector
from healer.daemon.event_loop import EventLoop
from healer.daemon.executor import Executor
from healer.daemon.metrics import Metrics
from healer.daemon.recorder import Recorder
from healer.engine.engine import Engine
from healer.journal.base import JournalError
from healer.journal.memory import MemoryJournal
from healer.lab import Lab, serving
from healer.lab.objects import is_ready
from healer.model.effects import Decision
from healer.model.incident import Incident, State
from healer.model.kube import Pod
from healer.model.signal import Signal
from healer.model.view import View, target_of
from healer.model.workload import WorkloadObject
from healer.rules.pod_detectors import PodsSettings
from healer.rules.rulebook import Rulebook
from healer.rules.triggers import POD, WORKLOAD
from healer.rules.workload_detectors import WorkloadsSettings
from healer.sources.pods import PodSource
from healer.sources.watched import WatchedSources
from healer.sources.workloads import WorkloadSource
from healer.workloads.registry import WORKLOADS, core_resources
from tests.support.world import Yaml, rulebook, tuned

NAMESPACE = "production"
PATIENCE = 20.0
"""Seconds; only a broken test waits so long."""


class HeldJournal(MemoryJournal):
    """A journal whose claims take until `kept` is set, as writing to a slow API server does."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = asyncio.Event()
        self.kept.set()
        self.asked = asyncio.Event()
        self.forgets = False
        """Whether what is to be remembered cannot be written."""
        self.most = 0
        """The most claims that were under way at once."""
        self._claims = 0

    async def claim(self, incident: Incident) -> None:
        self._claims += 1
        self.most = max(self.most, self._claims)
        self.asked.set()
        await self.kept.wait()
        await super().claim(incident)
        self._claims -= 1

    async def remembered(self, incident_id: str) -> None:
        if self.forgets:
            raise JournalError("the API server is away")
        await super().remembered(incident_id)


@dataclass
class House:
    """A core and what it lives with."""

    lab: Lab
    api: Api
    event_loop: EventLoop
    executor: Executor
    view: View
    journal: HeldJournal
    group: asyncio.TaskGroup
    decisions: list[Decision] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    rechecks: list[Recheck] = field(default_factory=list)
    """What the executor asks before an action runs."""

    async def sync(self) -> None:
        """Have watches keep the view, and wait until it is whole."""
        reflectors = [Reflector(self.api, resource, self.view, self._changed) for resource in core_resources()]
        self.tasks += [self.group.create_task(reflector.run()) for reflector in reflectors]
        for reflector in reflectors:
            await reflector.synced.wait()

    def _changed(self, change: ObjectChange) -> None:
        self.event_loop.changed(change)
        self.news.set()

    async def begin(self) -> None:
        """Sync, then start the core; returns while it goes on from the journal and the pods."""
        await self.sync()
        self.tasks.append(self.group.create_task(self.event_loop.run(self.executor, await self.journal.load())))
        await asyncio.sleep(0)  # its first turn
        assert not self.event_loop.accepting.is_set()

    async def start(self) -> None:
        """Sync, then start the core; returns when it takes signals."""
        await self.begin()
        await self.event_loop.accepting.wait()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once it holds; it is asked again whenever something was seen, decided or recorded."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self.news.clear()
                await self.news.wait()

    def alert(self, number: int = 0, name: str = "HighLatency", *, firing: bool = True) -> Signal:
        """An alert about one of the pods."""
        pod = sorted(self.view.pods(), key=lambda pod: pod.metadata.name)[number]
        target = target_of(pod)
        key = f"{name}-{target.name}"
        return Signal("alert", name, target, firing, time.time(), key, f"{key}@1", name)

    @property
    def states(self) -> list[State]:
        """The states of all incidents, oldest first."""
        return [incident.state for incident in self.journal.incidents()]

    @property
    def evictions(self) -> int:
        """How many evictions were asked for."""
        return sum(seen.permission == "pods/eviction" for seen in self.lab.requests)


@asynccontextmanager
async def house(
    folder: Path,
    *rules: Yaml,
    queue: int = 100,
    at_once: int = 4,
    patience: float = 10.0,
    sick: bool = False,
    actions: Mapping[str, Action] = ACTIONS,
) -> AsyncIterator[House]:
    """A house around a lab with three ready pods; `sick`: one of them cannot start any more, since before healer came."""
    async with Lab(start_delay=0.005, termination_delay=0.005) as lab:
        await lab.apply(serving(min_available=None))
        await lab.wait_for(ready(3))
        if sick:
            await lab.behave(NAMESPACE, lab.objects("pods", NAMESPACE)[0]["metadata"]["name"], "hang")
            await lab.wait_for(ready(2))
        lab.write_kubeconfig(folder / "config")
        api = await Api.connect(kubeconfig=str(folder / "config"))
        try:
            async with asyncio.TaskGroup() as group:
                inside = _furnished(lab, api, group, rulebook(*rules), queue, at_once, patience, actions)
                yield inside
                for task in inside.tasks:
                    task.cancel()
        finally:
            await api.aclose()


def ready(count: int) -> Callable[[Lab], bool]:
    """Whether exactly so many pods are ready, and the Deployment knows."""

    def holds(lab: Lab) -> bool:
        status = lab.objects("deployments", NAMESPACE)[0].get("status") or {}
        return sum(map(is_ready, lab.objects("pods", NAMESPACE))) == status.get("readyReplicas") == count

    return holds


def _furnished(
    lab: Lab,
    api: Api,
    group: asyncio.TaskGroup,
    rules: Rulebook,
    queue: int,
    at_once: int,
    patience: float,
    actions: Mapping[str, Action],
) -> House:
    view, journal, metrics = View(WORKLOADS), HeldJournal(), Metrics()
    decisions: list[Decision] = []
    rechecks: list[Recheck] = []
    news = asyncio.Event()

    def decided(decision: Decision) -> None:
        decisions.append(decision)
        news.set()

    event_loop = EventLoop(
        engine=Engine(rules, specs(actions), tuned(retry=0.05, recheck=0.05)),
        view=view,
        sources=WatchedSources(
            {
                POD.name: ((Pod,), PodSource(PodsSettings(settle=0.0))),
                WORKLOAD.name: ((WorkloadObject,), WorkloadSource(WorkloadsSettings(unavailable=0.0), view)),
            }
        ),
        recorder=Recorder(journal, metrics, lambda incident: news.set(), deque(), (decided,)),
        journal=journal,
        metrics=metrics,
        clock=time.time,
        queue=queue,
    )
    executor = Executor(
        api=api,
        view=view,
        actions=actions,
        journal=journal,
        metrics=metrics,
        still_sick=event_loop.still_sick,
        still_wanted=event_loop.still_wanted,
        rechecks=rechecks,
        is_leader=lambda: True,
        at_once=at_once,
        timeout=patience,
    )
    return House(lab, api, event_loop, executor, view, journal, group, decisions, news, rechecks=rechecks)
