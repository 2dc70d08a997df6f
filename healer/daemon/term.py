"""One term of leadership: the engine and everything that acts, from the journal's load until the lease ends.

A follower has none: it watches, so that its view is warm, and waits.
"""

import asyncio
import random
from collections.abc import Callable, Mapping

import structlog

from healer.actions.base import specs
from healer.actions.registry import ACTIONS
from healer.cluster.api import Api
from healer.cluster.errors import Backoff
from healer.daemon.event_loop import EventLoop
from healer.daemon.executor import Executor
from healer.daemon.metrics import Metrics
from healer.daemon.recorder import Recorder
from healer.daemon.scheduled_probes import ScheduledProbes
from healer.engine.engine import Engine
from healer.engine.matching.firing import UNKNOWN
from healer.engine.safety.wide import ENDED_ALERTS
from healer.engine.tuning import Tuning
from healer.journal.base import Journal, JournalError
from healer.journal.kube import KubeJournal
from healer.journal.watch import Incidents
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Act
from healer.model.incident import Incident
from healer.model.view import View
from healer.rules.rulebook import Rulebook
from healer.settings.settings import Settings
from healer.sinks.group import Sinks
from healer.sources.watched import WatchedSources


class Term:
    """Built anew for each term, so that nothing of an earlier one is believed.

    `home` is healer's own namespace; `journaled` are those with incidents, empty for all; `held` says whether we may act at this
    moment; `began` is called when signals are taken.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        home: str,
        journaled: tuple[str, ...],
        rulebook: Rulebook,
        api: Api,
        view: View,
        journal: Journal,
        metrics: Metrics,
        sinks: Sinks,
        recorder: Recorder,
        held: Callable[[], bool],
        began: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._metrics = metrics
        self._sinks = sinks
        self._api = api
        self._journaled = journaled
        self._held = held
        self._began = began
        self._log = structlog.get_logger("healer")
        self._clock = api.clock.unset()
        self.core = EventLoop(
            engine=Engine(rulebook, specs(ACTIONS), _tuning(settings, home)),
            view=view,
            sources=WatchedSources.of(settings),
            recorder=recorder,
            journal=journal,
            metrics=metrics,
            clock=self._clock,
            queue=settings.alerts.queue,
        )
        self._asking = ScheduledProbes(
            settings=settings,
            api=api,
            view=view,
            metrics=metrics,
            clock=self._clock,
            report=self.core.observed,
            decided=recorder.decided,
            firing=self.core.alerts,
            shifts=self._shifts,
            occurrence=self.core.occurrence,
        )
        self._asking.use(rulebook)
        self._executor = self._new_executor(settings, view)

    def _new_executor(self, settings: Settings, view: View) -> Executor:
        return Executor(
            api=self._api,
            view=view,
            actions=ACTIONS,
            journal=self._journal,
            metrics=self._metrics,
            still_sick=self.core.still_sick,
            still_wanted=self.core.still_wanted,
            rechecks=(self._asked_again,),
            held=self._held,
            at_once=settings.engine.actions_at_once,
            timeout=settings.engine.action_timeout,
            reaches_people=self._sinks.reach_people,
        )

    def use(self, rulebook: Rulebook) -> None:
        """Take other rules."""
        self.core.use(rulebook)
        self._asking.use(rulebook)

    async def run(self) -> None:
        """Until cancelled. While the lease is held, it ends in order: no more signals, actions under way finish, all is told."""
        serving = asyncio.create_task(self._serve(), name="term")
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            if self._held():
                await self._wind_down()
            raise
        finally:
            serving.cancel()
            await asyncio.wait((serving,))
            self._sinks.reset()

    def _shifts(self, key: str) -> Mapping[str, str] | None:
        """The notes of the actions that divert traffic, for the open incident of a firing signal (see `EventLoop.accepted`)."""
        notes = [self.core.accepted(key, name) for name, action in ACTIONS.items() if action.spec.diverts]
        known = [each for each in notes if each is not None]
        return {place: note for each in known for place, note in each.items()} if known else None

    async def _asked_again(self, act: Act) -> Outcome | None:
        """What only a source can know is asked once more right before acting (`Recheck`)."""
        await self._asking.again(act.incident.rule)
        unwanted = self.core.still_wanted(act, None)
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
        async with asyncio.TaskGroup() as group:
            group.create_task(self._journal.run(), name="journal")
            group.create_task(self.core.run(self._executor, incidents, aside), name="core")
            await self.core.begun.wait()
            self._began()
            group.create_task(self._asking.run(), name="asking")
            if isinstance(self._journal, KubeJournal):
                group.create_task(self._hear_approvals(self._journal), name="approvals")

    async def _read(self) -> list[Incident]:
        """What the journal holds. While it cannot be read, nothing is decided; it is tried again for as long as we lead."""
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
        """The incidents that healer goes on from. The others are counted, named for people, and left as they are."""
        sifted = await self.core.sift(read)
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

    async def _hear_approvals(self, journal: KubeJournal) -> None:
        """Pass on what people write on incidents, until cancelled.

        Of what stood before this term, an approval of an incident that is closed is done with, and one by somebody whose approval
        the incident has had already was for an earlier step: whoever means this one writes it again.
        """

        def approved(incident_id: str, by: str) -> None:
            incident = self.core.incident(incident_id)
            done = incident is None or any(approval.by == by for approval in incident.approvals)
            if done and not all(reflector.synced.is_set() for reflector in watch.reflectors):
                self._log.debug("an approval from before is not taken for a new one", incident=incident_id, by=by)
                return
            self.core.approved(incident_id, by)

        watch = Incidents(self._api, approved, uid_of=journal.made_as, undone=self.core.undone, namespaces=self._journaled)
        await watch.run()

    async def _wind_down(self) -> None:
        self.core.stopping = True
        steady = self._api.clock.steady
        end = steady() + self._settings.shutdown
        finished = await self._executor.finish(self._settings.shutdown)
        told = await self._sinks.flush(max(0.0, end - steady()))
        kept = await self._journal.flush(max(1.0, end - steady()))
        self._log.info("healer acts no more", actions_finished=finished, all_told=told, all_kept=kept)


def _tuning(settings: Settings, home: str) -> Tuning:
    return Tuning(settings.engine, settings.limits, settings.alerts.expiry, settings.alerts.freshness, home)
