"""healer itself in a simulation: its engine, rules, guards, watches and actions are the product's own.

What is left out of the daemon: leadership, the HTTP server, sinks. The journal is in memory.
"""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from healer.actions.base import Clients, specs
from healer.actions.registry import ACTIONS
from healer.actions.silence import SilenceAlerts
from healer.actions.undo_silence import marked
from healer.cluster.api import Api
from healer.cluster.watch import Reflector, WatchSettings
from healer.daemon.audit import Standing
from healer.daemon.event_loop import EventLoop
from healer.daemon.executor import Executor
from healer.daemon.metrics import Metrics
from healer.daemon.recorder import Recorder
from healer.daemon.taking_back import TakingBack
from healer.engine.engine import Engine
from healer.engine.incidents.facts import step_of
from healer.engine.matching.firing import UNKNOWN
from healer.engine.tuning import Tuning
from healer.http.webhook import Receiver
from healer.journal.memory import MemoryJournal
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Act, Decision, Verb
from healer.model.incident import Incident, State
from healer.model.silence import AUTHOR
from healer.model.temporary import any_standing
from healer.model.view import View
from healer.rehearsal.simulate.alertmanager import ModelledAlertmanager
from healer.rehearsal.simulate.policies import Scene
from healer.rehearsal.simulate.probing import ModelledProbes
from healer.rehearsal.simulate.prometheus import Posted
from healer.rehearsal.simulate.wire import Wire
from healer.rehearsal.timeline import ACT
from healer.rules.rulebook import BoundRule
from healer.rules.triggers import CANARY
from healer.settings import Settings
from healer.sinks.base import HistoryProgress
from healer.sources.alertmanager.api import MadeSilence
from healer.sources.alertmanager.silences import AlertmanagerSilences
from healer.sources.alertmanager.standing import StandingAlerts
from healer.sources.alertmanager.webhook import SOURCE
from healer.sources.base import Judgement, Probe, WatchContext, WebhookContext, watched_resources
from healer.sources.canary.canary import CanaryProbe
from healer.sources.canary.route import RouteLook
from healer.sources.prometheus.query import QueryProbe
from healer.sources.targets import TargetLabels
from healer.sources.watched import WatchedSources
from healer.workloads.registry import WORKLOADS

_FOR_EVER = 10**9
_WATCH = WatchSettings(timeout=(_FOR_EVER, _FOR_EVER), read_timeout=_FOR_EVER, absent=_FOR_EVER)
"""A watch that never ends: in virtual time nothing is lost on the way."""
_KEEP = 100_000
_ASKS = "NeedsApproval"
"""The reason of a step that waits for a human."""
_ASKS_PER_REPORT = 3
"""As the daemon asks."""
_SHOWN = frozenset({Verb.DEFER, Verb.REFUSE})
"""The decisions that the timeline has; the others are in the history of incidents, or change nothing."""


@dataclass(frozen=True, slots=True)
class NotDone:
    """An action on a workload that was refused, or failed, and why."""

    action: str
    workload: str
    reason: str
    text: str


class Healer:
    """The policy that is healer."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._view = View(WORKLOADS)
        self._journal = MemoryJournal(_KEEP)
        self._metrics = Metrics()
        self._metrics.use(scene.rulebook.by_name)
        self._progress: dict[str, HistoryProgress] = {}
        self._said: dict[str, str] = {}
        self.not_done: Counter[NotDone] = Counter()
        self.would: Counter[str] = Counter()
        """The actions of rules that only observe, or of a dry run."""
        """The actions that were refused or failed, and how often."""
        engine = Engine(scene.rulebook, specs(ACTIONS), tuning(scene.settings))
        context = WatchContext(scene.settings, self._view, lambda: scene.rulebook)
        recorder = Recorder(self._journal, self._metrics, self._tell, deque(maxlen=1), (self._decided,))
        self.event_loop = EventLoop(
            engine=engine,
            view=self._view,
            sources=WatchedSources.of(context),
            recorder=recorder,
            journal=self._journal,
            metrics=self._metrics,
            clock=scene.clock.wall,
            queue=scene.settings.alerts.queue,
        )
        webhook = WebhookContext(scene.settings, self._view, scene.clock.wall, self.event_loop.intake, self._metrics.registry)
        self._webhook: Receiver = SOURCE.receiver(webhook)
        self._probes: ModelledProbes | None = None

    @property
    def incidents(self) -> list[Incident]:
        """All of them, the oldest first."""
        return self._journal.incidents()

    async def run(self) -> None:
        """Until cancelled."""
        scene = self._scene
        api = Api(Wire(scene.cluster.lab.protocol), clock=scene.clock)
        silences = AlertmanagerSilences(self._alertmanager(), TargetLabels.of(scene.settings.alerts), scene.clock)
        executor = Executor(
            api=api,
            view=self._view,
            actions=ACTIONS,
            journal=self._journal,
            metrics=self._metrics,
            still_sick=self.event_loop.still_sick,
            still_wanted=self.event_loop.still_wanted,
            rechecks=(self._ask_again,),
            is_leader=lambda: True,
            at_once=scene.settings.engine.actions_at_once,
            timeout=scene.settings.engine.action_timeout,
            limits=scene.settings.limits,
            ended=self._ended,
            silences=silences,
        )
        taking_back = TakingBack(
            clients=Clients(api, silences),
            view=self._view,
            actions=ACTIONS,
            journal=self._journal,
            event_loop=self.event_loop,
            metrics=self._metrics,
            is_leader=lambda: True,
            every=scene.settings.engine.retry,
            timeout=scene.settings.engine.action_timeout,
        )
        resources = watched_resources(scene.rulebook.rules, nodes=scene.settings.cluster.nodes)
        watches = [Reflector(api, each, self._view, self.event_loop.changed, settings=_WATCH) for each in resources]
        try:
            async with asyncio.TaskGroup() as group:
                for watch in watches:
                    group.create_task(watch.run())
                for watch in watches:
                    await watch.synced.wait()
                group.create_task(self.event_loop.run(executor, []))
                group.create_task(taking_back.run())
                group.create_task(self._standing_alerts().run())
                await self.event_loop.accepting.wait()
                self._probes = self._new_probes(api)
                group.create_task(self._probes.run())
        finally:
            await api.aclose()

    def _new_probes(self, api: Api) -> ModelledProbes:
        scene = self._scene
        return ModelledProbes(
            scene.rulebook,
            {name: self._probe(rule, api) for name, rule in scene.asking.real.items()},
            scene.cluster,
            scene.strikes,
            self._view,
            scene.gaps,
            scene.now,
            scene.clock.wall,
            self.event_loop.observed,
        )

    def _probe(self, rule: BoundRule, api: Api) -> Probe:
        """The product's own probe, which asks the modelled Prometheus."""
        scene, settings = self._scene, self._scene.settings
        if rule.rule.when.get(CANARY) is None:
            labels = TargetLabels.of(settings.alerts)
            return QueryProbe(rule, scene.queries(), self._view, labels, lambda rule, why: None).ask
        return CanaryProbe(
            rule,
            scene.queries(),
            partial(RouteLook, api),
            self._view,
            self._judged,
            history=settings.prometheus.history,
            shifts=self._shifts,
            occurrence=self.event_loop.occurrence,
        ).ask

    def _shifts(self, key: str) -> Mapping[str, str] | None:
        """As the daemon's: the notes of the actions that divert traffic, for the open incident of a firing signal."""
        notes = [self.event_loop.accepted(key, name) for name, action in ACTIONS.items() if action.spec.diverts]
        known = [each for each in notes if each is not None]
        return {name: note for each in known for name, note in each.items()} if known else None

    def _judged(self, judgement: Judgement) -> None:
        if judgement.news:
            verdict = judgement.verdict
            said = self._scene.happenings.add
            said(Verb.JUDGE, verdict.text, judgement.target.name, code=verdict.kind.code, rule=judgement.rule)

    async def alerted(self, alert: Posted) -> None:
        """Take a post of Alertmanager, as the webhook does."""
        body = {"version": "4", "receiver": "healer", "status": alert["status"], "alerts": [alert]}
        await self._webhook(json.dumps(body).encode())

    def _standing_alerts(self) -> StandingAlerts:
        """What asks Alertmanager whether alerts still fire: a cluster that healer runs in names its Alertmanager."""
        alerts = self._scene.settings.alerts
        return StandingAlerts(
            self._alertmanager(),
            view=self._view,
            labels=TargetLabels.of(alerts),
            replicas=alerts.replica_labels,
            known=self.event_loop.alerts,
            report=self.event_loop.observed,
            answered=self._metrics.alertmanager,
            clock=self._scene.clock.wall,
            every=alerts.freshness / _ASKS_PER_REPORT,
            absent=alerts.absent,
            own=self._own_silence,
        )

    def _alertmanager(self) -> ModelledAlertmanager:
        prometheus = self._scene.prometheus()
        return ModelledAlertmanager(prometheus.firing, self._scene.silences, prometheus.stamp, prometheus.seconds)

    def _own_silence(self, silence: MadeSilence) -> bool:
        """As the daemon's: whether it is of an incident for which the journal has it standing."""
        kept = self._journal.recall(marked(silence.comment)).get(SilenceAlerts.spec.name, {})
        return silence.created_by == AUTHOR and any_standing({SilenceAlerts.spec.name: kept})

    async def _ask_again(self, act: Act) -> Outcome | None:
        if self._probes is not None:
            await self._probes.again(act.incident.rule)
        unwanted = self.event_loop.still_wanted(act, None)
        if unwanted is None:
            return None
        kind = OutcomeKind.DEFERRED if unwanted.code == UNKNOWN else OutcomeKind.RECOVERED
        return Outcome(kind, unwanted.code, unwanted.text)

    # what people see

    def _ended(self, act: Act, outcome: Outcome, before: Standing, after: Standing) -> None:
        if outcome.kind in (OutcomeKind.REFUSED, OutcomeKind.FAILED):
            self.not_done[NotDone(act.action, act.incident.workload.name, outcome.reason, outcome.text)] += 1
        if act.dry_run and outcome.kind not in (OutcomeKind.REFUSED, OutcomeKind.FAILED):
            self.would[act.action] += 1
        elif outcome.kind is OutcomeKind.DONE:
            workload = act.incident.workload.name
            self._scene.happenings.add(ACT, outcome.text, workload, code=act.action, rule=act.incident.rule)

    def _tell(self, incident: Incident) -> None:
        progress = self._progress.setdefault(incident.id, HistoryProgress())
        for entry in progress.unseen(incident.history):
            progress.advance(entry)
            self._scene.happenings.add(
                entry.state,
                entry.reason.text,
                incident.workload.name,
                code=entry.reason.code,
                rule=incident.rule,
            )
            if entry.state is State.ESCALATED:
                self._scene.asked(incident.workload.name, "healer asked for help")

    def _decided(self, decision: Decision) -> None:
        said = f"{decision.verb}: {decision.reason.text}"
        if decision.verb in _SHOWN and self._said.get(decision.incident) != said:
            self._said[decision.incident] = said
            incident = self._journal.incident(decision.incident)
            workload = decision.target.name if incident is None else incident.workload.name
            self._scene.happenings.add(
                decision.verb,
                decision.reason.text,
                workload,
                code=decision.reason.code,
                rule=decision.rule,
                asks=self._asked_for(decision, incident),
            )

    def _asked_for(self, decision: Decision, incident: Incident | None) -> str:
        """The action that a human is asked to approve; "" without one."""
        bound = self._scene.rulebook.by_name.get(decision.rule)
        if decision.reason.code != _ASKS or incident is None or bound is None:
            return ""
        return step_of(bound.rule, incident).action


def tuning(settings: Settings) -> Tuning:
    """The engine's settings."""
    alerts = settings.alerts
    return Tuning(settings.engine, settings.limits, alerts.expiry, alerts.freshness, "default", settings.events.fade)
