"""Puts together the state of healer at one moment, for the page and for `healer top`: what it knows, decided and did."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from healer.actions.base import Undoable
from healer.actions.registry import ACTIONS
from healer.engine.engine import Engine
from healer.engine.incidents.approval import waits
from healer.engine.incidents.needed import needs_human
from healer.engine.safety.guards.stops import pause
from healer.engine.safety.wide import ENDED_ALERTS
from healer.http.health import Check, Health
from healer.http.rules import RuleRow
from healer.http.state import (
    ActivityRow,
    CanaryRow,
    CheckRow,
    IncidentRow,
    LimitRow,
    LoadedRules,
    StateBody,
    UnitRow,
    WorkloadRow,
)
from healer.journal.codec import encode
from healer.model.incident import Incident, Reason, State
from healer.model.kube import matches
from healer.model.redact import redact
from healer.model.unit import Unit
from healer.model.view import View
from healer.model.workload import Workload
from healer.operate.explain.story import next_of
from healer.rules.form import ANYWHERE
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.schema import Mode
from healer.rules.scope import Scope
from healer.settings import Settings
from healer.sinks.base import HasThreads
from healer.sinks.site import site_links
from healer.sinks.words import next_command, tone, words
from healer.turns import in_turns

WEEK = 7 * 86400.0
"""Seconds in which the actions of a rule are counted."""
DRY = "Would"
"""How the codes of outcomes begin that were only tried: "WouldEvict"."""
_MOST_INCIDENTS = 1000
"""Incidents in an answer: those that are not closed first, then the newest."""
_MOST_WORKLOADS = 1000
_MOST_UNITS = 100
"""Units of a workload that are shown one by one."""
_AT_ONCE = 25
"""Incidents or workloads that are put together before the loop is yielded: a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a leader has, for people: the engine, and the canaries that its looks have judged. A follower has neither."""

    engine: Engine
    canaries: Callable[[Iterable[str]], Iterator[CanaryRow]]


class StateReport:
    """`incidents` gives those that are kept, oldest first; `leader` who leads; `sight` is None while another replica does.
    `threads` knows where people are told of each.

    `further` are checks that people are shown beside those of the probes.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        view: View,
        rulebook: Callable[[], Rulebook],
        incidents: Callable[[], Sequence[Incident]],
        rows: Callable[[], Sequence[RuleRow]],
        health: Callable[[], Health],
        further: Callable[[], Sequence[Check]],
        leader: Callable[[], str],
        sight: Callable[[], Sight | None],
        threads: HasThreads,
        clock: Callable[[], float],
        loaded: Callable[[], LoadedRules] = LoadedRules,
    ) -> None:
        self._settings = settings
        self._view = view
        self._rulebook = rulebook
        self._incidents = incidents
        self._rows = rows
        self._health = health
        self._further = further
        self._leader = leader
        self._sight = sight
        self._threads = threads
        self._clock = clock
        self._loaded = loaded

    async def whole(self) -> StateBody:
        """The state of now."""
        now, sight, rulebook = self._clock(), self._sight(), self._rulebook()
        known = [incident for incident in self._incidents() if incident.rule != ENDED_ALERTS]
        rows = [self._incident_row(incident) async for incident in in_turns(_foremost(known), _AT_ONCE)]
        limits = [] if sight is None else sight.engine.gauges(self._view, now)
        await asyncio.sleep(0)
        return StateBody(
            at=now,
            version=version("healer"),
            cluster=self._settings.site.cluster,
            mode=self._settings.mode,
            leads=sight is not None,
            leader=self._leader(),
            paused=self._view.paused_everywhere,
            control=self._settings.http.control,
            checks=self._checks(),
            incidents=rows,
            workloads=await self._workloads(rulebook, now),
            canaries=[] if sight is None else list(sight.canaries(rulebook.by_name)),
            limits=[
                LimitRow(each.kind, each.used, each.most, each.open, each.rule, each.namespace, each.workload, each.until)
                for each in limits
            ],
            rules=list(self._rows()),
            activity=list(_activity(known, rulebook.by_name, now)),
            loaded=self._loaded(),
        )

    def incident(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """One incident in plain values, as its object has it; None where there is none."""
        found = next((each for each in self._incidents() if (each.workload.namespace, each.id) == (namespace, name)), None)
        if found is None:
            return None
        spec, status = encode(found)
        more = {
            "words": asdict(words(found, self._settings.site)),
            "links": self._links(found, recall=True),
            "command": next_command(found),
            "next": next_of(found, self._clock()),
            "undoable": any(isinstance(ACTIONS.get(step), Undoable) for step in found.steps[: found.step + 1]),
        }
        return {"name": found.id, **spec, **status, **more}

    def _links(self, incident: Incident, *, recall: bool = False) -> dict[str, str]:
        """Where to read on, its thread among them."""
        thread = self._threads.thread_link(incident, recall=recall)
        return site_links(self._settings.site, incident) | ({"thread": thread} if thread else {})

    def _checks(self) -> list[CheckRow]:
        health = self._health()
        checks = {check.name: check for check in (*health.live, *health.ready, *self._further())}
        return [CheckRow(check.name, check.ok, redact(check.reason)) for check in checks.values()]

    def _incident_row(self, incident: Incident) -> IncidentRow:
        said = words(incident, self._settings.site)
        return IncidentRow(
            name=incident.id,
            namespace=incident.workload.namespace,
            workload=incident.workload,
            rule=incident.rule,
            severity=incident.severity,
            mode=incident.mode,
            state=incident.state,
            reason=Reason(incident.reason.code, said.reason),
            steps=list(incident.steps),
            step=incident.step,
            storm=incident.storm,
            sick=len(incident.sick),
            opened_at=incident.opened_at,
            changed_at=incident.changed_at,
            ended_at=incident.ended_at,
            wake_at=incident.wake_at,
            waits_for="" if not needs_human(incident) else "approval" if waits(incident) else "human",
            cause=said.cause,
            verdict=said.verdict,
            tone=tone(incident),
            command=said.command,
            links=self._links(incident),
        )

    async def _workloads(self, rulebook: Rulebook, now: float) -> list[WorkloadRow]:
        here: dict[str, list[Scope]] = {}
        for scope in {id(bound.scope): bound.scope for bound in rulebook.rules}.values():
            for namespace in scope.namespaces:
                here.setdefault(namespace, []).append(scope)
        anywhere = here.get(ANYWHERE, [])
        rows: list[WorkloadRow] = []
        async for workload in in_turns(list(self._view.workloads()), _AT_ONCE):
            if len(rows) < _MOST_WORKLOADS and self._covered(workload, [*here.get(workload.metadata.namespace, ()), *anywhere]):
                rows.append(self._workload_row(workload, now))
        return sorted(rows, key=lambda row: (row.target.namespace, row.target.kind, row.target.name))

    def _covered(self, workload: Workload, scopes: Iterable[Scope]) -> bool:
        """Whether a rule is about a workload: by its own labels, or by those of a pod."""
        if self._view.workload_of(workload) != workload.target:
            return False  # a part of another one
        meta = workload.metadata
        labels = [meta.labels, *(pod.metadata.labels for pod in self._view.pods_of(workload.target)[:1])]
        return any(
            scope.covers(meta.namespace)
            and scope.covers_kind(workload.kind, self._view.supported_kinds)
            and (scope.selector is None or any(matches(scope.selector.struct, each) for each in labels))
            for scope in scopes
        )

    def _workload_row(self, workload: Workload, now: float) -> WorkloadRow:
        units = self._view.units_of(workload.target)
        veto = pause(self._view, workload.metadata.namespace, [workload], now)
        return WorkloadRow(
            target=workload.target,
            desired=workload.desired,
            ready=workload.ready,
            rollout="" if workload.rollout is None else redact(workload.rollout.text),
            paused="" if veto is None else redact(veto.reason.text),
            units=[_unit_row(unit) for unit in units[:_MOST_UNITS]],
            more=max(0, len(units) - _MOST_UNITS),
        )


def _unit_row(unit: Unit) -> UnitRow:
    if unit.ready or not unit.pods:
        return UnitRow(unit.pods[0].metadata.name if unit.pods else unit.uid, unit.ready)
    pod = next((pod for pod in unit.pods if not pod.ready), unit.pods[0])
    waiting = [each.state.waiting.reason for each in pod.status.container_statuses if each.state.waiting is not None]
    why = "terminating" if pod.terminating else next(filter(None, waiting), "") or pod.status.reason or pod.status.phase
    return UnitRow(unit.pods[0].metadata.name, False, redact(why))


def _foremost(known: Sequence[Incident]) -> list[Incident]:
    """The incidents that are shown: those that are not closed, then the newest closed ones."""
    ranked = sorted(known, key=lambda incident: (incident.state is State.CLOSED, -incident.changed_at))
    return ranked[:_MOST_INCIDENTS]


def _activity(known: Sequence[Incident], rules: Mapping[str, BoundRule], now: float) -> Iterator[ActivityRow]:
    """What each rule did, in the order of the rules."""
    by_rule: dict[str, list[Incident]] = {}
    for incident in known:
        by_rule.setdefault(incident.rule, []).append(incident)
    for rule in rules:
        if found := by_rule.get(rule):
            last = found[-1]
            actions = sum(at > now - WEEK for incident in found for at in _acted(incident))
            yield ActivityRow(rule, last.opened_at, last.state, len(found), actions, last.mode == Mode.OBSERVE)


def _acted(incident: Incident) -> Iterator[float]:
    """When it acted. In the mode observe, when it would have: no action was sent then, and its history alone says so."""
    yield from incident.acted_at
    for entry in incident.history:
        if incident.mode == Mode.OBSERVE and entry.reason.code.startswith(DRY):
            yield entry.at
