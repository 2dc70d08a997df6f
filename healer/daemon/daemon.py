"""The composition root: builds the parts, starts and stops them, nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from healer.actions.base import specs
from healer.actions.registry import ACTIONS
from healer.cluster.api import Api
from healer.cluster.resources import RESOURCES
from healer.cluster.watch import Change, Reflector, WatchSettings
from healer.daemon.core import Core
from healer.daemon.doer import Doer
from healer.daemon.metrics import Metrics
from healer.daemon.recorder import Recorder
from healer.daemon.rulefiles import RuleFiles
from healer.daemon.vitals import Vitals
from healer.engine.engine import Engine
from healer.engine.rulebook import Rulebook
from healer.engine.tuning import Tuning
from healer.http.server import Server
from healer.journal.memory import MemoryJournal
from healer.model.decision import Decision
from healer.model.incident import Incident
from healer.model.view import View
from healer.settings import PREFIX, Settings, SettingsError
from healer.sinks import registry as sinks
from healer.sinks.base import Sink, notifications
from healer.sources.alertmanager import PATH, AlertmanagerWebhook, TargetLabels
from healer.sources.pods import PodSettings, PodSource


@dataclass(slots=True)
class Watchers:
    """What someone in the same process may hang on to a daemon: further sinks, and ears for decisions."""

    sinks: list[Sink] = field(default_factory=list)
    decisions: tuple[Callable[[Decision], None], ...] = ()


class Daemon:
    """One healer. `run` serves until `stop` is called, and then ends in good order.

    Raises SettingsError when the settings do not go together.
    """

    def __init__(
        self, settings: Settings, rulebook: Rulebook, *, files: RuleFiles | None = None, watchers: Watchers | None = None
    ):
        watchers = watchers or Watchers()
        self._settings = settings
        self._files = files
        self._log = structlog.get_logger("healer")
        self._stop = asyncio.Event()
        self.ready = asyncio.Event()
        """Set when the caches are synced and the HTTP server listens."""
        self.port = 0
        """The HTTP server's port, once ready."""
        self._view = View()
        self._metrics = Metrics()
        self.journal = MemoryJournal(settings.journal.keep)
        self._sinks = _sinks(settings, self._metrics, watchers.sinks)
        recorder = Recorder(self.journal, self._metrics, self._sinks.tell, watchers.decisions)
        self._core = Core(
            engine=Engine(rulebook, specs(ACTIONS), _tuning(settings)),
            view=self._view,
            pods=PodSource(PodSettings(**settings.pods.model_dump())),
            recorder=recorder,
            metrics=self._metrics,
            clock=time.time,
            queue=settings.alerts.queue,
        )

    @property
    def incidents(self) -> list[Incident]:
        """Every incident that is kept, oldest first."""
        return self.journal.incidents()

    def stop(self) -> None:
        """Ask `run` to end: no more signals are taken, actions under way finish, sinks are flushed."""
        self._stop.set()

    async def run(self, api: Api) -> None:
        """Serve until stopped or cancelled. Raises SettingsError when the HTTP port cannot be had."""
        reflectors = self._reflectors(api)
        vitals = Vitals(reflectors, self._settings.cluster.watch_stale)
        for kind in RESOURCES.values():
            self._metrics.watch(kind.name, partial(_oldest, [r for r in reflectors if r.resource is kind]))
        server = Server(
            settings=self._settings.http,
            webhooks={PATH: self._webhook()},
            health=vitals.health,
            registry=self._metrics.registry,
        )
        async with _listening(server), asyncio.TaskGroup() as group:
            self.port = server.port
            self._log.info("healer listens", host=self._settings.http.host, port=self.port)
            tasks: list[asyncio.Task[None]] = []
            for reflector in reflectors:
                tasks.append(group.create_task(reflector.run(), name=f"watch {reflector.resource.plural}"))
            tasks.append(group.create_task(self._sinks.run(), name="sinks"))
            tasks.append(group.create_task(vitals.beat(), name="heartbeat"))
            await self._serve(api, reflectors, vitals, group, tasks)

    async def _serve(
        self, api: Api, reflectors: list[Reflector], vitals: Vitals, group: asyncio.TaskGroup, tasks: list[asyncio.Task[None]]
    ) -> None:
        stopped = group.create_task(_wait(self._stop), name="stop")
        synced = group.create_task(_synced(reflectors), name="sync")
        await asyncio.wait((synced, stopped), return_when=asyncio.FIRST_COMPLETED)
        doer = self._doer(api)
        if not stopped.done():
            tasks.append(group.create_task(self._core.run(doer), name="core"))
            vitals.ready = True
            self._log.info("healer is ready", cluster=api.url, port=self.port, pods=len(list(self._view.pods())))
            self.ready.set()
            scheduler = self._scheduler()
            await stopped
            scheduler.shutdown(wait=False)
        vitals.ready = False
        self._core.stopping = True
        self._log.info("healer is stopping")
        end = time.monotonic() + self._settings.shutdown
        finished = await doer.finish(self._settings.shutdown)
        told = await self._sinks.flush(max(0.0, end - time.monotonic()))
        self._log.info("healer has stopped", actions_finished=finished, all_told=told)
        synced.cancel()
        for task in tasks:
            task.cancel()

    # parts

    def _reflectors(self, api: Api) -> list[Reflector]:
        listener: Callable[[Change], None] = self._core.changed
        settings = WatchSettings(page=self._settings.cluster.page)
        namespaces = self._settings.cluster.namespaces or ("",)
        return [
            Reflector(api, resource, self._view, listener, namespace=namespace, settings=settings)
            for resource in RESOURCES.values()
            for namespace in (namespaces if resource.namespaced else ("",))
        ]

    def _webhook(self) -> AlertmanagerWebhook:
        alerts = self._settings.alerts
        return AlertmanagerWebhook(
            view=self._view,
            labels=TargetLabels(alerts.namespace_label, alerts.pod_label, alerts.deployment_label),
            intake=self._core.intake,
            clock=time.time,
            registry=self._metrics.registry,
        )

    def _doer(self, api: Api) -> Doer:
        return Doer(
            api=api,
            view=self._view,
            actions=ACTIONS,
            journal=self.journal,
            metrics=self._metrics,
            still_sick=self._core.still_sick,
            still_wanted=self._core.still_wanted,
            at_once=self._settings.engine.actions_at_once,
            timeout=self._settings.engine.action_timeout,
        )

    def _scheduler(self) -> AsyncIOScheduler:
        """Housekeeping: for now, a look at the rule files."""
        scheduler = AsyncIOScheduler(timezone="UTC")
        if self._files is not None:
            seconds = self._settings.rules_reload
            scheduler.add_job(self._files.reload, "interval", [self._core.use], seconds=seconds, max_instances=1, coalesce=True)
        scheduler.start()
        return scheduler


def _sinks(settings: Settings, metrics: Metrics, further: list[Sink]) -> sinks.Sinks:
    wanted: dict[str, dict[str, object]] = {"log": {}}
    slack = settings.slack
    if slack.token_file is not None:
        if not slack.channel:
            raise SettingsError(f"{PREFIX}SLACK__CHANNEL: not given; incidents of rules without `notify` need a channel to go to")
        wanted["slack"] = {"token_file": slack.token_file, "channel": slack.channel, "base_url": slack.base_url}
    return sinks.build(wanted, notifications(metrics.registry), further)


def _tuning(settings: Settings) -> Tuning:
    engine = settings.engine
    return Tuning(engine.max_wait, engine.retry, engine.attempts, engine.recheck, settings.alerts.expiry)


def _oldest(reflectors: list[Reflector]) -> float:
    now = time.monotonic()
    return max(reflector.age(now) for reflector in reflectors)


@asynccontextmanager
async def _listening(server: Server) -> AsyncIterator[None]:
    """The server from entry to exit; where it listens is a matter of the settings."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            raise SettingsError(f"{PREFIX}HTTP__HOST, {PREFIX}HTTP__PORT: {error.strerror or error}") from error
        yield


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _synced(reflectors: list[Reflector]) -> None:
    for reflector in reflectors:
        await reflector.synced.wait()
