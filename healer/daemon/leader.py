"""What runs while this replica leads: the engine and everything that acts, from the load of the journal until the lease ends.

A follower has none of it: it watches, so that its view is up to date, and waits.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping

import structlog

from healer.actions.base import Clients, specs
from healer.actions.registry import ACTIONS
from healer.actions.shared.standing import StandingChange
from healer.actions.silence import SilenceAlerts
from healer.actions.undo_silence import marked
from healer.cluster.api import Api
from healer.cluster.errors import Backoff
from healer.cluster.resources import RULESETS
from healer.daemon.audit import Audit, Standing, approves, standing, took_effect, why_over, why_sick
from healer.daemon.event_loop import EventLoop
from healer.daemon.executor import Executor
from healer.daemon.metrics import Metrics
from healer.daemon.object_events import LEASE, ObjectEvents
from healer.daemon.recorder import Recorder
from healer.daemon.recording.recorded import RecordedEngine, RecordedSources, Recording
from healer.daemon.recording.writer import RecordWriter
from healer.daemon.rules_in_force import RulesInForce
from healer.daemon.ruleset_status import RuleSetStatuses
from healer.daemon.rulesets import JudgedRuleSet
from healer.daemon.scheduled_probes import ScheduledProbes
from healer.daemon.state import Sight
from healer.daemon.taking_back import TakingBack
from healer.engine.engine import Engine
from healer.engine.incidents.restoring import FOUND_DONE
from healer.engine.matching.firing import UNKNOWN
from healer.engine.safety.wide import ENDED_ALERTS
from healer.engine.tuning import Tuning
from healer.journal.base import Journal, JournalError
from healer.journal.kube import KubeJournal
from healer.journal.watch import Incidents
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Act
from healer.model.incident import Incident, State
from healer.model.ruleset import ACCEPTED
from healer.model.silence import AUTHOR
from healer.model.target import Target
from healer.model.temporary import End, any_standing
from healer.model.view import View
from healer.rules.rulebook import Rulebook
from healer.rules.schema import Mode
from healer.settings import Settings
from healer.sinks.group import Sinks
from healer.sources.alertmanager.silences import own_silences
from healer.sources.base import WatchContext
from healer.sources.watched import WatchedSources


class Leader:
    """Built anew for each leadership, so that no state of an earlier one is believed.

    `home` is healer's own namespace; `journaled` are the namespaces with incidents, empty for all; `is_leader` says whether this
    replica may act at this moment; `on_started` is called when signals are taken.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        home: str,
        journaled: tuple[str, ...],
        rules: RulesInForce,
        api: Api,
        view: View,
        journal: Journal,
        metrics: Metrics,
        sinks: Sinks,
        recorder: Recorder,
        is_leader: Callable[[], bool],
        replica: str,
        on_started: Callable[[], None],
        record: RecordWriter | None = None,
    ) -> None:
        self._settings = settings
        self._home = home
        self._rules = rules
        self._rulebook = rulebook = rules.rulebook
        self._journal = journal
        self._metrics = metrics
        self._sinks = sinks
        self._api = api
        self._journaled = journaled
        self._is_leader = is_leader
        self._on_started = on_started
        self._log = structlog.get_logger("healer")
        self._clock = api.clock.unset()
        self._audit = Audit(replica, on=settings.log.audit)
        self._object_events = ObjectEvents(api, metrics, replica) if settings.events.post else None
        self._silences = own_silences(settings.alerts, api.clock)
        engine = Engine(rulebook, specs(ACTIONS), tuning_of(settings, home))
        sources = WatchedSources.of(WatchContext(settings, view, lambda: self._rulebook))
        self._recording = None if record is None else Recording(record, settings, home, view, journal.incidents)
        if self._recording is not None:
            engine = RecordedEngine(rulebook, specs(ACTIONS), tuning_of(settings, home), self._recording)
            sources = RecordedSources(sources, self._recording)
        self.event_loop = EventLoop(
            engine=engine,
            view=view,
            sources=sources,
            recorder=recorder,
            journal=journal,
            metrics=metrics,
            clock=self._clock,
            queue=settings.alerts.queue,
        )
        self._view = view
        self._probes = self._new_probes(recorder)
        self._probes.use(rulebook)
        self.sight = Sight(engine, self._probes.canaries.rows)
        """What people may see of its decisions."""
        self._executor = self._new_executor(settings, view)
        self._taking_back = self._new_taking_back(settings, view)

    def _new_probes(self, recorder: Recorder) -> ScheduledProbes:
        return ScheduledProbes(
            settings=self._settings,
            api=self._api,
            view=self._view,
            metrics=self._metrics,
            clock=self._clock,
            report=self.event_loop.observed,
            decided=recorder.decided,
            firing=self.event_loop.alerts,
            shifts=self._shifts,
            occurrence=self.event_loop.occurrence,
            own_silence=self._own_silence,
        )

    def _new_executor(self, settings: Settings, view: View) -> Executor:
        return Executor(
            api=self._api,
            view=view,
            actions=ACTIONS,
            journal=self._journal,
            metrics=self._metrics,
            still_sick=self.event_loop.still_sick,
            still_wanted=self.event_loop.still_wanted,
            rechecks=(self._ask_source_again,),
            is_leader=self._is_leader,
            at_once=settings.engine.actions_at_once,
            timeout=settings.engine.action_timeout,
            reaches_people=self._sinks.reach_people,
            silences=self._silences,
            limits=settings.limits,
            ended=self._ended,
        )

    def _ended(self, act: Act, outcome: Outcome, before: Standing, after: Standing) -> None:
        """An attempt to act has ended: write it down, and say it on the objects."""
        self._audit.acted(act, outcome, before, after)
        if self._object_events is not None:
            self._object_events.acted(act, outcome, why_sick(act.incident, act.target))

    def _found_done(self, restored: list[Incident]) -> None:
        """The same of the actions of an earlier leadership that took effect, as the engine has found: nobody saw their end."""
        for incident in restored:
            now = self._journal.incident(incident.id) if incident.state is State.ACTING else None
            lines = () if now is None else now.history
            found = next((line for line in lines if line.reason.code == FOUND_DONE and line not in incident.history), None)
            if found is None:
                continue
            action, target = incident.steps[incident.step], incident.acting_on or incident.workload
            note = self._journal.recall(incident.id).get(action, {})
            self._audit.found_done(incident, found.reason, standing(incident.workload, self._view, note))
            if self._object_events is not None:
                text = f"{found.reason.text}, because {why_sick(incident, target)}"
                about = (target, incident.workload)
                self._object_events.tell(incident, text, reason=FOUND_DONE, action=action, about=about)

    def _change_ended(self, change: StandingChange, end: End, text: str) -> None:
        """A temporary change has ended: the same."""
        self._audit.taken_back(change, end, text)
        if self._object_events is not None:
            said, warns = f"{text}, because {why_over(change)}", end is End.LEFT_ALONE
            self._object_events.tell(change.incident, said, reason=str(end), action=f"take back {change.name}", warns=warns)

    def _by_person(self, incident: Incident, text: str, *, reason: str, action: str) -> None:
        if self._object_events is not None:
            self._object_events.tell(incident, text, reason=reason, action=action)

    def _new_taking_back(self, settings: Settings, view: View) -> TakingBack:
        return TakingBack(
            clients=Clients(self._api, self._silences),
            view=view,
            actions=ACTIONS,
            journal=self._journal,
            event_loop=self.event_loop,
            metrics=self._metrics,
            is_leader=self._is_leader,
            every=settings.engine.retry,
            timeout=settings.engine.action_timeout,
            ended=self._change_ended,
            observes=Mode(settings.mode) is Mode.OBSERVE,
        )

    def rules_read(self) -> None:
        """The rule files were read anew: say on healer's Lease what became of them."""
        if self._object_events is None:
            return
        lease = Target(LEASE, self._home, self._settings.leader.name, "")
        rules, problems = self._rules, self._rules.problems
        if problems:
            text = f"rule files have errors: the last good rules stay: {'; '.join(map(str, problems))}"
            self._object_events.say(lease, text, reason="RulesRefused", action="reload rules", warns=True)
        else:
            text = f"{len(rules.rulebook.rules)} rules are in force (digest {rules.digest})"
            self._object_events.say(lease, text, reason="RulesReloaded", action="reload rules")

    def _ruleset_judged(self, judged: JudgedRuleSet, message: str) -> None:
        if self._object_events is not None:
            meta, action = judged.object.metadata, "accept RuleSet"
            target = Target(RULESETS.name, meta.namespace, meta.name, meta.uid)
            self._object_events.say(target, message, reason=judged.reason or ACCEPTED, action=action, warns=bool(judged.reason))

    def use(self, rulebook: Rulebook) -> None:
        """Put other rules in force."""
        self._rulebook = rulebook
        self.event_loop.use(rulebook)
        self._probes.use(rulebook)

    async def run(self) -> None:
        """Run until cancelled. If the lease is still ours then, it ends in order.

        It takes no more signals, finishes the actions under way, and sends what people must be told.
        """
        serving = asyncio.create_task(self._serve(), name="leader")
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            if self._is_leader():
                await self._wind_down()
            raise
        finally:
            serving.cancel()
            await asyncio.wait((serving,))
            self._sinks.reset()
            if self._recording is not None:
                self._recording.end(self._clock())

    def _shifts(self, key: str) -> Mapping[str, str] | None:
        """The notes of the actions that divert traffic, for the open incident of a firing signal (see `EventLoop.accepted`)."""
        notes = [self.event_loop.accepted(key, name) for name, action in ACTIONS.items() if action.spec.diverts]
        known = [each for each in notes if each is not None]
        return {name: note for each in known for name, note in each.items()} if known else None

    def _own_silence(self, author: str, comment: str) -> bool:
        """Whether a silence is healer's own, of an incident for which the journal has it standing."""
        kept = self._journal.recall(marked(comment)).get(SilenceAlerts.spec.name, {})
        return author == AUTHOR and any_standing({SilenceAlerts.spec.name: kept})

    async def _ask_source_again(self, act: Act) -> Outcome | None:
        """Ask the source again right before acting, for only it knows (a `Recheck`)."""
        await self._probes.again(act.incident.rule)
        unwanted = self.event_loop.still_wanted(act, None)
        if unwanted is None:
            return None
        kind = OutcomeKind.DEFERRED if unwanted.code == UNKNOWN else OutcomeKind.RECOVERED
        return Outcome(kind, unwanted.code, unwanted.text)

    async def _serve(self) -> None:
        incidents, aside = await self._believed(await self._read())
        for incident in incidents:
            if incident.rule != ENDED_ALERTS:
                self._sinks.resume(incident)
            await asyncio.sleep(0)
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            if self._silences is not None:
                await stack.enter_async_context(contextlib.aclosing(self._silences))
            group.create_task(self._journal.run(), name="journal")
            group.create_task(self.event_loop.run(self._executor, incidents, aside), name="event loop")
            await self.event_loop.accepting.wait()
            self._found_done(incidents)
            self._on_started()
            group.create_task(self._probes.run(), name="probes")
            group.create_task(self._taking_back.run(), name="taking back")
            if self._object_events is not None:
                group.create_task(self._object_events.run(), name="events on objects")
            if self._rules.rulesets is not None:
                incidents_kept, told = self._journal.incidents, self._ruleset_judged
                statuses = RuleSetStatuses(self._api, self._rules.rulesets, incidents_kept, self._is_leader, told)
                group.create_task(statuses.run(), name="statuses of RuleSets")
            if isinstance(self._journal, KubeJournal):
                group.create_task(self._watch_approvals(self._journal), name="approvals")

    async def _read(self) -> list[Incident]:
        """The incidents of the journal. While it cannot be read, nothing is decided; it is tried again while we lead."""
        backoff = Backoff(0.5, 30.0, 60.0, self._api.clock.steady, random.random)
        said = ""
        while True:
            try:
                return await self._journal.load()
            except JournalError as error:
                if str(error) != said:
                    self._log.error("the journal cannot be read: healer acts on nothing until it can", error=str(error))
                said = str(error)
                await asyncio.sleep(backoff.next())

    async def _believed(self, read: list[Incident]) -> tuple[list[Incident], list[str]]:
        """The incidents that healer restores, and the names of the others: those are counted, logged, and left as they are."""
        sifted = await self.event_loop.sift(read)
        unread = self._journal.unread if isinstance(self._journal, KubeJournal) else {}
        self._metrics.set_aside(["Unreadable"] * len(unread) + [reason.code for _, reason in sifted.doubted])
        self._journal.set_aside([incident.id for incident, _ in sifted.doubted])
        for incident, reason in sifted.doubted:
            self._log.error(
                "an incident of the journal is not believed: it is set aside; look who wrote it, and delete it",
                incident=incident.id,
                namespace=incident.workload.namespace,
                reason=reason.code,
                text=reason.text,
            )
        aside = [f"{incident.workload.namespace}/{incident.id} ({reason.code})" for incident, reason in sifted.doubted]
        return list(sifted.believed), aside + [f"{namespace}/{name} (Unreadable)" for namespace, name in unread]

    async def _watch_approvals(self, journal: KubeJournal) -> None:
        """Pass on what people write on incidents, until cancelled.

        An approval from before this leadership is ignored in two cases: its incident is closed; or the incident has had an
        approval of the same person already, which was for an earlier step. Who means this step writes it again.
        """

        def approved(incident_id: str, by: str) -> None:
            incident = self.event_loop.incident(incident_id)
            done = incident is None or any(approval.by == by for approval in incident.approvals)
            if done and not all(reflector.synced.is_set() for reflector in watch.reflectors):
                self._log.debug("an approval from before is not taken for a new one", incident=incident_id, by=by)
                return
            self.event_loop.approved(incident_id, by)
            if incident is not None:
                after = self.event_loop.incident(incident_id)
                self._audit.approved(incident, by, after)
                if took_effect(incident, after):
                    text = f"{by} approved {approves(incident)}, because {why_sick(incident)}"
                    self._by_person(incident, text, reason="Approved", action="approve")

        def undone(incident_id: str, by: str) -> None:
            before = self._journal.incident(incident_id)
            self.event_loop.undone(incident_id, by)
            after = self._journal.incident(incident_id)
            if before is not None and after is not before:
                self._audit.undone(before, by, after)
                text = f"{by} has undone what healer did because {why_sick(before)}"
                self._by_person(before, text, reason="Undone", action="undo")

        watch = Incidents(self._api, approved, uid_of=journal.made_as, undone=undone, namespaces=self._journaled)
        await watch.run()

    async def _wind_down(self) -> None:
        self.event_loop.stopping = True
        steady = self._api.clock.steady
        end = steady() + self._settings.shutdown
        finished = await self._executor.finish(self._settings.shutdown)
        told = await self._sinks.flush(max(0.0, end - steady()))
        kept = await self._journal.flush(max(1.0, end - steady()))
        self._log.info("healer acts no more", actions_finished=finished, all_told=told, all_kept=kept)


def tuning_of(settings: Settings, home: str) -> Tuning:
    """What the engine is set to by settings; `home` is healer's own namespace."""
    alerts, fade = settings.alerts, settings.events.fade
    return Tuning(settings.engine, settings.limits, alerts.expiry, alerts.freshness, home, fade)
