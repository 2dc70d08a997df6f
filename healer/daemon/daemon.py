"""The composition root: builds the parts, starts and stops them, nothing else."""

import asyncio
import gc
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import aiohttp
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from healer.clock import SYSTEM, Clock
from healer.cluster.access import own_namespace
from healer.cluster.api import Api
from healer.cluster.resources import RULESETS
from healer.cluster.watch import ObjectChange
from healer.daemon.commands import Commands, controls
from healer.daemon.coverage import RuleCoverage
from healer.daemon.health import DefinitionCheck, HealthChecks, written_and_told
from healer.daemon.leader import Leader
from healer.daemon.leadership import Leadership
from healer.daemon.memory import SinkMemory
from healer.daemon.metrics import Metrics
from healer.daemon.peers import Peers, peers_of, relay_of
from healer.daemon.reach import Reach
from healer.daemon.recorder import Recorder
from healer.daemon.recording.running import record_writer, writing
from healer.daemon.rulefiles import RuleFiles
from healer.daemon.rules_in_force import rules_in_force
from healer.daemon.state import StateReport
from healer.daemon.waits import always, for_ever, listening, until_whole, wait
from healer.daemon.watchers import Watching
from healer.engine.safety.gauges import LimitKind
from healer.engine.safety.wide import ENDED_ALERTS
from healer.http.reviews import Reviewer
from healer.http.server import Server
from healer.http.state import StateRoutes
from healer.http.tls import TlsError
from healer.http.webhook import Receiver
from healer.journal.base import Journal, JournalCounts, JournalError, JournalMissing
from healer.journal.kube import KubeJournal
from healer.journal.memory import MemoryJournal
from healer.model.effects import Decision, Loss
from healer.model.incident import Incident
from healer.model.kube import Pod
from healer.model.ruleset import RuleSet
from healer.model.signal import QueueFull, Signal
from healer.model.view import View
from healer.rules.rulebook import Rulebook
from healer.rules.schema import Mode
from healer.secret import SecretFile
from healer.settings import Settings, SettingsError
from healer.sinks.base import Sink, SinkMeters
from healer.sinks.error_boundary import ErrorBoundary
from healer.sinks.group import Sinks
from healer.sinks.memory import Memory
from healer.sinks.registry import build, wanted
from healer.sinks.tracing import Sampler, TracingSettings
from healer.sources.base import Pushed, WebhookContext, sources
from healer.sources.canary.canary import missing_route
from healer.workloads.registry import WORKLOADS

_COLLECTED_AFTER = 1.0
"""Seconds after which the memory of a leadership that ended is collected."""


@dataclass(slots=True)
class Watchers:
    """What someone in the same process may hang on to a daemon: further sinks, ears for decisions, the state of the log."""

    sinks: list[Sink] = field(default_factory=list)
    decisions: tuple[Callable[[Decision], None], ...] = ()
    lines_dropped: Callable[[], float] | None = None
    """How many lines of the log nobody took."""


class Daemon:
    """One healer. `run` serves until `stop` is called, and then ends in good order."""

    def __init__(
        self,
        settings: Settings,
        rulebook: Rulebook,
        *,
        files: RuleFiles | None = None,
        watchers: Watchers | None = None,
        clock: Clock = SYSTEM,
    ):
        watchers = watchers or Watchers()
        self._settings = settings
        self._clock = clock
        self._log = structlog.get_logger("healer")
        self._stop = asyncio.Event()
        self.ready = asyncio.Event()
        """Set when the caches are synced and the HTTP server listens."""
        self.port = 0
        """The HTTP server's port, once it listens."""
        self._view = View(WORKLOADS)
        self._rules = rules_in_force(settings, rulebook, files, self._view, clock)
        self._metrics = Metrics()
        self._metrics.use(rulebook.by_name)
        self._metrics.cap(Mode(settings.mode))
        self._record = record_writer(settings.record, clock, self._metrics.registry)
        for section in settings.sinks.values():
            if isinstance(section, TracingSettings):
                self._metrics.traced(Sampler(section, settings.site).exemplar)
        if watchers.lines_dropped is not None:
            self._metrics.lines_dropped(watchers.lines_dropped)
        self._journal: Journal = MemoryJournal(settings.journal.keep)
        self._counts = JournalCounts()
        meters = self._meters = SinkMeters(self._metrics.registry)
        secrets = [SecretFile(section.secret) for section in settings.sinks.values() if section.secret is not None]
        memory = SinkMemory(lambda: self._journal, lambda: self._leadership.is_leader(), next(iter(secrets), None))
        self._sinks = _sinks(settings, meters, watchers.sinks, memory)
        self._coverage = RuleCoverage(self._view, rulebook, settings.cluster, self._metrics.registry)
        self._reach = Reach(self._sinks, settings.sinks, rulebook)
        self._decisions: deque[Decision] = deque(maxlen=1000)
        self._observers = tuple(ErrorBoundary("observer", meters).around(observe) for observe in watchers.decisions)
        self._leader: Leader | None = None
        self._watching: Watching | None = None
        self._home = settings.leader.namespace or own_namespace()
        self._role = asyncio.Event()
        """Set when we lead, or know who does."""
        self._leadership = Leadership(settings.leader, self._home, self._view, lambda: self.port, self._role, clock)

    @property
    def incidents(self) -> list[Incident]:
        """Every incident that is kept and was told of, oldest first, as of our last leadership."""
        return [incident for incident in self._journal.incidents() if incident.rule != ENDED_ALERTS]

    def stop(self) -> None:
        """Ask `run` to end: no more signals are taken, actions under way finish, sinks are flushed."""
        self._stop.set()

    # running

    async def run(self, api: Api) -> None:
        """Serve until stopped or cancelled.

        Raises SettingsError when the HTTP port cannot be had, JournalMissing when the cluster does not know incidents.
        """
        await self._check_journal(api)
        further = [RULESETS] if self._settings.rulesets.enabled else []
        watching = self._watching = Watching(
            api, self._view, self._changed, self._settings.cluster, self._clock, self._measure_watch, further
        )
        watching.use(self._rules.rulebook.rules)
        kept_in = next(iter(self._journaled_namespaces()), "")
        definition = DefinitionCheck(self._home, kept_in, needed=self._settings.journal.kind == "kubernetes")
        stale = self._settings.cluster.watch_stale
        vitals = HealthChecks(watching, stale, api.contact, self._leadership.check, definition.check, self._clock)
        self._metrics.contact(api.contact)
        self._metrics.rules(self._rules)
        self._metrics.journal(self._counts, lambda: len(self._journal.incidents()))
        self._metrics.breakers(self._rule_breakers)
        self._metrics.leads(lambda: self._leader is not None and self._leadership.is_leader())
        peers = peers_of(self._settings, api, self._home, lambda: self._leadership.address)
        async with aiohttp.ClientSession() as session, writing(self._record):
            server = self._server(api, session, peers, vitals)
            async with listening(server), asyncio.TaskGroup() as group:
                self.port = server.port
                self._log.info("healer listens", host=self._settings.http.host, port=self.port)
                tasks = [group.create_task(for_ever(watching.run()), name="watches")]
                tasks.append(group.create_task(self._sinks.run(), name="sinks"))
                tasks.append(group.create_task(vitals.beat(), name="heartbeat"))
                tasks.append(group.create_task(for_ever(self._reach.run()), name="reach"))
                whole = group.create_task(self._whole(api, watching, definition), name="sync")
                await self._serve(api, whole, vitals, peers, group)
                for task in tasks:
                    task.cancel()

    async def _whole(self, api: Api, watching: Watching, definition: DefinitionCheck) -> None:
        """Return when the view is whole, the RuleSets in it are read, and incidents can be kept."""
        await watching.synced()
        if await self._rules.begin():
            await self._use(self._rules.rulebook)
        await until_whole(api, watching, definition)

    async def _serve(
        self, api: Api, whole: asyncio.Task[None], vitals: HealthChecks, peers: Peers, group: asyncio.TaskGroup
    ) -> None:
        stopped = group.create_task(wait(self._stop), name="stop")
        await asyncio.wait((whole, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            leading = group.create_task(for_ever(self._leadership.run(api, partial(self._lead, api))), name="lead")
            settled = group.create_task(wait(self._role), name="role")
            await asyncio.wait((settled, stopped), return_when=asyncio.FIRST_COMPLETED)
            settled.cancel()
            scheduler = self._scheduler()
            vitals.ready = True
            self._log.info(
                "healer is ready",
                cluster=api.url,
                port=self.port,
                pods=self._view.count(Pod),
                role="follower" if self._leader is None else "leader",
            )
            self.ready.set()
            reloading = group.create_task(for_ever(self._rules.run(self._use, self._rules_read)), name="rules")
            covering = group.create_task(self._coverage.run(partial(missing_route, api)), name="coverage")
            finding = group.create_task(peers.look(), name="peers")
            await stopped
            self._log.info("healer is stopping")
            finding.cancel()
            reloading.cancel()
            vitals.ready = False
            covering.cancel()
            scheduler.shutdown(wait=False)
            leading.cancel()
            await asyncio.wait((leading,))
        whole.cancel()
        self._log.info("healer has stopped")

    async def _lead(self, api: Api, is_leader: Callable[[], bool]) -> None:
        self._journal = self._new_journal(api, is_leader)
        self._metrics.begin_leadership()
        self._leader = Leader(
            settings=self._settings,
            home=self._home,
            journaled=self._journaled_namespaces(),
            rules=self._rules,
            api=api,
            view=self._view,
            journal=self._journal,
            metrics=self._metrics,
            sinks=self._sinks,
            recorder=Recorder(self._journal, self._metrics, self._sinks.tell, self._decisions, self._observers),
            is_leader=is_leader,
            replica=self._leadership.identity.partition("@")[0],
            on_started=self._role.set,
            record=self._record,
        )
        self._leadership.serving = True
        try:
            await self._leader.run()
        finally:
            self._leader, self._leadership.serving = None, False
            self._metrics.queue(float)  # 0.0, and no reference to the leader
            # Its objects refer to each other, and the collector runs rarely. Not at once: the caller still refers to them.
            asyncio.get_running_loop().call_later(_COLLECTED_AFTER, gc.collect)

    def _measure_watch(self, kind: str) -> None:
        if self._watching is not None:
            self._metrics.watch(kind, partial(self._watching.oldest, kind))

    def _changed(self, change: ObjectChange) -> None:
        if change.kind is RuleSet:
            self._rules.changed()
        elif self._leader is not None:
            self._leader.event_loop.changed(change)

    async def _use(self, rulebook: Rulebook) -> None:
        await asyncio.to_thread(self._metrics.use, rulebook.by_name)
        self._reach.use(rulebook)
        self._coverage.use(rulebook)
        if self._watching is not None:
            self._watching.use(rulebook.rules)
        if self._leader is not None:
            self._leader.use(rulebook)

    def _rules_read(self) -> None:
        if self._leader is not None:
            self._leader.rules_read()

    async def _intake(self, signals: list[Signal]) -> None:
        if not self.ready.is_set():
            raise QueueFull("healer does not know the cluster yet")
        if self._leader is None:
            raise QueueFull("this healer does not lead at the moment", retry_after=2)
        await self._leader.event_loop.intake(signals)

    # parts

    def _server(self, api: Api, session: aiohttp.ClientSession, peers: Peers, vitals: HealthChecks) -> Server:
        http = self._settings.http
        commands = Commands(api, self._home, self._settings.leader.name)
        self._sinks.use(commands)
        reviewer = None
        if http.token_review:
            places = max(1, http.max_connections // 2)  # so that who needs no review still finds a connection
            reviewer = Reviewer(api, http.token_review_audience, http.token_review_cache, places, self._clock.steady)
        try:
            return Server(
                settings=http,
                webhooks=self._webhooks(),
                health=vitals.health,
                registry=self._metrics.registry,
                decisions=lambda: list(self._decisions),
                rules=self._coverage.rows,
                state=self._state(vitals),
                controls=controls(commands) if http.control else None,
                signed=self._sinks.posts,
                relay=relay_of(self._settings, session, peers, self._leadership, self._follows, self._clock),
                reviewer=reviewer,
                clock=self._clock,
            )
        except TlsError as error:
            raise SettingsError(str(error)) from error

    def _state(self, vitals: HealthChecks) -> StateRoutes:
        report = StateReport(
            settings=self._settings,
            view=self._view,
            rulebook=lambda: self._rules.rulebook,
            incidents=lambda: self._journal.incidents(),
            rows=self._coverage.rows,
            health=vitals.health,
            further=lambda: written_and_told(self._counts, len(self._journal.incidents()), self._reach.problems, self._meters),
            leader=lambda: self._leadership.holder,
            sight=lambda: None if self._leader is None else self._leader.sight,
            threads=self._sinks,
            clock=self._clock.wall,
            loaded=self._rules.shown,
        )
        return StateRoutes(report.whole, report.incident)

    def _follows(self) -> bool:
        """Whether another replica decides."""
        return self._leader is None and self._leadership.elected and self.ready.is_set()

    def _webhooks(self) -> dict[str, Receiver]:
        """What takes the posts of each pushed source, by path."""
        context = WebhookContext(self._settings, self._view, self._clock.wall, self._intake, self._metrics.registry)
        return {source.path: source.receiver(context) for source in sources().values() if isinstance(source, Pushed)}

    def _rule_breakers(self) -> dict[str, bool]:
        """Of each rule in force whether its breaker is open. A follower decides nothing: none is open there."""
        known = dict.fromkeys(self._rules.rulebook.by_name, False)
        if self._leader is not None:
            found = self._leader.sight.engine.gauges(self._view, self._clock.wall())
            known |= {each.rule: each.open for each in found if each.kind is LimitKind.RULE_BREAKER and each.rule in known}
        return known

    def _new_journal(self, api: Api, is_leader: Callable[[], bool]) -> Journal:
        journal = self._settings.journal
        if journal.kind == "memory":
            return self._journal
        return KubeJournal(
            api,
            keep=journal.keep,
            keep_for=journal.keep_for,
            namespaces=self._journaled_namespaces(),
            is_leader=is_leader,
            home=self._home,
            healer=f"{self._home}/{self._settings.leader.name}",
            counts=self._counts,
            on_lost=self._lost,
        )

    def _lost(self, incident: str, why: str, how: Loss) -> None:
        if self._leader is not None:
            self._leader.event_loop.lost(incident, why, how)

    def _journaled_namespaces(self) -> tuple[str, ...]:
        """Where incidents are: with their workloads, and at home those of nodes and of the cluster."""
        namespaces = self._settings.cluster.namespaces
        return tuple(dict.fromkeys((*namespaces, self._home))) if namespaces else ()

    async def _check_journal(self, api: Api) -> None:
        try:
            await self._new_journal(api, always).check()
        except JournalMissing:
            raise
        except JournalError as error:
            log_it = self._log.debug if api.contact.trouble else self._log.warning  # the contact has said it for all
            log_it("the journal cannot be read yet", error=str(error))

    def _scheduler(self) -> AsyncIOScheduler:
        """Housekeeping: a look at incidents that need not be kept any more."""
        scheduler = AsyncIOScheduler(timezone="UTC", job_defaults={"max_instances": 1, "coalesce": True})
        scheduler.add_job(self._prune, "interval", seconds=self._settings.journal.prune)
        scheduler.start()
        return scheduler

    async def _prune(self) -> None:
        if self._leader is not None:
            await self._journal.prune(self._clock.wall())


def _sinks(settings: Settings, meters: SinkMeters, further: list[Sink], memory: Memory) -> Sinks:
    try:
        return build(wanted(settings.sinks), meters, further, memory, settings.site)
    except ValueError as error:
        raise SettingsError(str(error)) from error
