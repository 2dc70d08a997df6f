"""The probe of a canary rule: signals that a canary is bad, or that it cannot be judged."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from healer.cluster.api import Api, ClusterError
from healer.model.kube import Pod
from healer.model.signal import Report, Signal, Unanswered
from healer.model.target import Target
from healer.model.verdict import VerdictKind
from healer.model.view import View
from healer.model.workload import Workload
from healer.routes.base import CanaryRoute, RouteError, read
from healer.routes.registry import ROUTERS
from healer.rules.form import ANYWHERE
from healer.rules.named_workload import NamedWorkload
from healer.rules.probe import BAD_CANARY, UNKNOWN_VERDICT, Canary
from healer.rules.rulebook import BoundRule
from healer.rules.triggers import CANARY
from healer.sources.base import Asked, Judged, Judgement, Occurrence, Probe, Shifts, SourceContext
from healer.sources.canary.look import CanaryLook, LookResult
from healer.sources.canary.route import ObservedRoute, RouteLook
from healer.sources.canary.sides import ObservedSide, Sides
from healer.sources.prometheus.client import QueryApi
from healer.workloads.registry import WORKLOADS

_DOUBTS = 2
"""Looks in a row that could not judge before UnknownVerdict fires: one alone is no reason."""


class CanaryProbe:
    """Looks at the canary of one rule in every namespace of its scope that has the canary's workload."""

    def __init__(
        self,
        rule: BoundRule,
        prometheus: QueryApi,
        routes: Callable[[CanaryRoute], ObservedRoute],
        view: View,
        judged: Judged,
        *,
        history: int = 720,
        shifts: Shifts = lambda key: None,
        occurrence: Occurrence = lambda key: "",
    ) -> None:
        canary = rule.rule.when.get(CANARY)
        if canary is None:
            raise ValueError(f"rule {rule.name} is about no canary")
        self._rule = rule
        self._canary: Canary = canary
        self._prometheus = prometheus
        self._routes = routes
        self._view = view
        self._judged = judged
        self._history = history
        self._shifts = shifts
        self._occurrence = occurrence
        self._trials: dict[str, _Trial] = {}  # by the uid of the canary's workload

    async def ask(self, now: float) -> list[Report]:
        """Look at each canary once. `now` in seconds since the epoch."""
        found = {workload.metadata.uid: workload for workload in self._workloads()}
        gone = self._trials.keys() - found.keys()
        reports: list[Report] = [signal for uid in gone for signal in self._trials.pop(uid).gone(now)]
        for uid, workload in found.items():
            if uid not in self._trials:
                self._trials[uid] = self._trial(workload)
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(self._trials[uid].look(now)) for uid in found]
        return reports + [report for look in looks for report in look.result()]

    def _workloads(self) -> list[Workload]:
        named, scope = self._canary.canary.workload, self._rule.scope
        if ANYWHERE in scope.namespaces:
            named_so = [each for each in self._view.workloads() if (each.metadata.name, each.kind) == (named.name, named.kind)]
            held = sorted(named_so, key=lambda each: each.metadata.uid)
        else:
            found = (self._view.workload_named(named.kind, namespace, named.name) for namespace in scope.namespaces)
            held = [each for each in found if each is not None]
        return [each for each in held if self._rule.scope_covers(each.metadata.namespace, each.metadata.labels)]

    def _trial(self, workload: Workload) -> "_Trial":
        namespace = workload.metadata.namespace
        route = self._routes(place_of(self._canary, namespace))
        look = CanaryLook(
            self._canary,
            namespace,
            self._prometheus,
            share=route.share,
            sides=lambda: sides_of(self._view, self._canary, namespace),
            besides=route.besides,
            history=self._history,
        )
        signals = CanarySignals(self._rule.name, workload.target)
        return _Trial(look, route, signals, self._judged, self._shifts, self._occurrence)


class _Trial:
    """One canary: its looks, and the signals that follow from them."""

    def __init__(
        self,
        look: CanaryLook,
        route: ObservedRoute,
        signals: "CanarySignals",
        judged: Judged,
        shifts: Shifts,
        occurrence: Occurrence,
    ) -> None:
        self._look = look
        self._route = route
        self._signals = signals
        self._judged = judged
        self._shifts = shifts
        self._occurrence = occurrence
        self._kind: VerdictKind | None = None
        self._why = ""
        self._log = structlog.get_logger("healer.canary").bind(rule=signals.rule, namespace=signals.target.namespace)

    async def look(self, now: float) -> list[Report]:
        kept = self._shifts(self._signals.key)
        if kept is not None:
            self._signals.resume(self._occurrence(self._signals.key))
        look = await self._look.look(now, wary=self._signals.bad)
        if not look.fresh:
            return []
        if look.verdict is None:
            self._kind = None
            if look.why != self._why:
                self._log.info("nothing to judge", canary=self._signals.target.name, reason=look.why)
        else:
            news, self._kind = look.verdict.kind is not self._kind, look.verdict.kind
            place = str(self._route)
            self._judged(Judgement(self._signals.rule, self._signals.target, place, look.share, look.verdict, news))
        self._why = look.why
        return self._signals.after(look, now, self._route.put_back(kept or {}))

    def gone(self, now: float) -> list[Signal]:
        return self._signals.over(now, f"{self._signals.target} is gone")


class CanarySignals:
    """The signals of one canary, from one look to the next. No I/O.

    BadCanary fires at a verdict BAD. It ends when the canary gets no traffic, by its weight and by its own counters, when there
    is no route to it, when it has another revision, or when new evidence says GOOD. Too little evidence, or none, ends nothing.
    UnknownVerdict fires at the second look in a row that could not judge, and ends when a look could. What fired before a restart
    is known only from `resume`: the first look that can end a signal reports its end, whether or not it fires.
    """

    def __init__(self, rule: str, target: Target) -> None:
        self.rule = rule
        self.target = target
        self._fires: dict[str, bool | None] = {BAD_CANARY: None, UNKNOWN_VERDICT: None}  # None: not known
        self._revision = ""
        self._proven = False
        """Whether a look since the start of healer has found the canary bad, since BadCanary fires."""
        self._doubts = 0
        self._says = ""
        """What the message of BadCanary is about, when it is not the evidence: that the canary is served, or was put back."""

    @property
    def key(self) -> str:
        """The key of BadCanary."""
        return self._key(BAD_CANARY)

    @property
    def bad(self) -> bool:
        """Whether BadCanary fires, as far as is known."""
        return self._fires[BAD_CANARY] is True

    def resume(self, occurrence: str = "") -> None:
        """Note that BadCanary fires, as an open incident says. The signal's `occurrence` has the revision.

        An incident is input: it causes no new signal by itself, so that healer does nothing because of it alone.
        """
        if self._fires[BAD_CANARY] is None:
            self._revision = occurrence.rpartition("/")[0]
        self._fires[BAD_CANARY] = True

    def after(self, look: LookResult, now: float, put_back: str = "") -> list[Report]:
        """The reports that follow from a look with new evidence. `now` is in seconds since the epoch. `put_back` says who has
        raised the weight again that healer had lowered; "" when nobody has."""
        verdict = look.verdict
        if verdict is None:
            self._doubts = 0
            return [*self.over(now, look.why)]
        signals: list[Report] = []
        if not look.routed:
            signals += self._end(BAD_CANARY, now, verdict.text)
        elif self.bad and self._revision and look.revision != self._revision:
            signals += self._end(BAD_CANARY, now, f"{self.target} has another revision now: {look.revision}")
        self._revision = look.revision
        self._proven = self._proven or verdict.kind is VerdictKind.BAD
        occurrence = f"{look.revision}/{100 * look.share:.4g}"
        if verdict.kind is VerdictKind.GOOD:
            signals += self._end(BAD_CANARY, now, verdict.text)
        elif put_back and self.bad and not self._proven and verdict.kind is VerdictKind.INSUFFICIENT:
            signals.append(
                Unanswered(self.rule, f"{put_back}; no look has found it bad since healer began anew", frozenset({self.key}))
            )
        elif put_back and self.bad and verdict.kind is not VerdictKind.UNKNOWN:
            signals.append(self._begin(BAD_CANARY, now, put_back, occurrence, says="put back"))
        elif verdict.kind is VerdictKind.BAD:
            signals.append(self._begin(BAD_CANARY, now, verdict.text, occurrence, says="" if look.share else "served"))
        if verdict.kind is VerdictKind.UNKNOWN:
            self._doubts += 1
            if self._fires[BAD_CANARY] is not False:
                signals.append(Unanswered(self.rule, verdict.text, frozenset({self.key})))
            if self._doubts >= _DOUBTS:
                signals.append(self._begin(UNKNOWN_VERDICT, now, verdict.text, occurrence))
        elif look.judged:
            self._doubts = 0
            signals += self._end(UNKNOWN_VERDICT, now, verdict.text)
        return signals

    def over(self, now: float, why: str) -> list[Signal]:
        """The ends of all signals that may fire."""
        return [signal for name in self._fires for signal in self._end(name, now, why)]

    def _begin(self, name: str, now: float, message: str, occurrence: str, says: str = "") -> Signal:
        """`says`: what the message is about when it is not the evidence. The incident is told when that changes."""
        news = name == BAD_CANARY and says not in ("", self._says)
        if name == BAD_CANARY:
            self._says = says
        self._fires[name] = True
        return self._signal(name, now, message, occurrence, firing=True, changed=news)

    def _end(self, name: str, now: float, message: str) -> list[Signal]:
        if self._fires[name] is False:
            return []
        self._fires[name] = False
        if name == BAD_CANARY:
            self._says, self._proven = "", False
        return [self._signal(name, now, message, "", firing=False)]

    def _signal(self, name: str, now: float, message: str, occurrence: str, *, firing: bool, changed: bool = False) -> Signal:
        return Signal(
            source=CANARY.name,
            name=name,
            target=self.target,
            firing=firing,
            at=now,
            key=self._key(name),
            occurrence=occurrence,
            message=message,
            rule=self.rule,
            changed=changed,
        )

    def _key(self, name: str) -> str:
        return f"canary/{self.rule}/{self.target.uid}/{'bad' if name == BAD_CANARY else 'unknown'}"


def place_of(canary: Canary, namespace: str) -> CanaryRoute:
    """The route that has the weights of the two sides."""
    of_owner = ROUTERS[canary.route.kind].spec.of_owner
    return CanaryRoute.between(namespace, canary.route, canary.stable, canary.canary, of_owner=of_owner)


async def missing_route(api: Api, bound: BoundRule) -> str:
    """Why the route that a rule names cannot be used; "" when it can, when the rule names none, or when the server does not
    answer."""
    canary = bound.rule.when.get(CANARY)
    if canary is None or ANYWHERE in bound.scope.namespaces:
        return ""
    try:
        for namespace in bound.scope.namespaces:
            await read(api, place_of(canary, namespace))
    except RouteError as error:
        return str(error)
    except ClusterError:
        return ""
    return ""


async def share_of(api: Api, place: CanaryRoute) -> float:
    """The canary's share of the traffic, 0 to 1. Raises RouteError, ClusterError."""
    return (await read(api, place)).share


def sides_of(view: View, canary: Canary, namespace: str) -> Sides:
    """The two sides as the view has them. Two revisions of one workload are told apart by their pods."""
    if canary.canary.workload == canary.stable.workload:
        return _revisions(view, namespace, canary.canary.workload)
    return Sides(_side(view, namespace, canary.canary.workload), _side(view, namespace, canary.stable.workload))


def _revisions(view: View, namespace: str, named: NamedWorkload) -> Sides:
    """Stable are the pods of the stable revision. The canary are those of the newest one, and after an abort all others.

    While pods of an earlier canary serve beside it, it is rolling: their requests must not be held against the newest one.
    Without others no canary is wanted.
    """
    workload = view.workload_named(named.kind, namespace, named.name)
    if workload is None:
        return Sides(None, None)
    by_revision = defaultdict(list)
    for pod in view.pods_of(workload.target):
        by_revision[WORKLOADS[workload.kind].pod_revision(view, pod)].append(pod)
    stable, newest = by_revision.pop(workload.stable, []), by_revision.get(workload.revision, [])
    others = [pod for pods in by_revision.values() for pod in pods]
    aborted = workload.revision == workload.stable
    rolling = not aborted and any(not pod.terminating for pod in others if pod not in newest)
    tried = others if aborted or rolling else newest
    return Sides(_of_revision(tried, workload.revision, rolling=rolling), _of_revision(stable, workload.stable))


def _of_revision(pods: Sequence[Pod], revision: str, *, rolling: bool = False) -> ObservedSide:
    names, ready = tuple(pod.metadata.name for pod in pods), sum(pod.ready for pod in pods)
    return ObservedSide(names, ready, revision, rolling, wanted=len(pods))


def _side(view: View, namespace: str, named: NamedWorkload) -> ObservedSide | None:
    """Leaves out pods of earlier revisions: they may serve for many minutes after a rollout, while they terminate."""
    workload = view.workload_named(named.kind, namespace, named.name)
    if workload is None:
        return None
    pods, kind = view.pods_of(workload.target), WORKLOADS[workload.kind]
    current = [pod for pod in pods if kind.pod_revision(view, pod) == workload.revision]
    rolling = workload.updated < workload.existing or (bool(pods) and not current)
    counted = pods if rolling else current
    return ObservedSide(
        pods=tuple(pod.metadata.name for pod in counted),
        ready=sum(pod.ready for pod in counted),
        revision=workload.revision,
        rolling=rolling,
        wanted=workload.desired,
    )


def _probe(context: SourceContext, rule: BoundRule) -> Probe:
    return CanaryProbe(
        rule,
        context.needed_prometheus(),
        partial(RouteLook, context.api),
        context.view,
        context.judged,
        history=context.settings.prometheus.history,
        shifts=context.shifts,
        occurrence=context.occurrence,
    ).ask


SOURCE = Asked(_probe, lambda canary: ROUTERS[canary.route.kind].reads)
