"""A canary rule: the looks at each canary that it covers become signals that a canary is bad, or cannot be judged."""

import asyncio
from collections.abc import Callable
from functools import partial

import structlog

from healer.cluster.api import Api, ClusterError
from healer.engine.rulebook import BoundRule
from healer.model.form import ANYWHERE
from healer.model.kube import Deployment, ReplicaSet
from healer.model.probe import Canary
from healer.model.rule import BAD_CANARY, UNKNOWN_VERDICT
from healer.model.signal import Report, Signal, Unanswered
from healer.model.target import Target
from healer.model.verdict import Verdict, VerdictKind
from healer.model.view import View, target_of
from healer.routes.base import Place, RouteError, read
from healer.sources.canary_look import CanaryLook, Look, Side, Sides
from healer.sources.prometheus import Asked

Told = Callable[[str, Target, Verdict, bool], None]
"""Told a rule's full name, the canary's Deployment, the verdict of each look, and whether it is another one than before."""

_DOUBTS = 2
"""So many looks in a row without anything to judge by are a signal: one alone is a hiccup."""


class CanaryProbe:
    """The looks of one rule, in every namespace of its scope that has the canary's Deployment."""

    def __init__(
        self,
        rule: BoundRule,
        prometheus: Asked,
        api: Api,
        view: View,
        told: Told,
        *,
        history: int = 720,
    ) -> None:
        canary = rule.rule.when.canary
        if canary is None:
            raise ValueError(f"rule {rule.name} is about no canary")
        self._rule = rule
        self._canary: Canary = canary
        self._prometheus = prometheus
        self._api = api
        self._view = view
        self._told = told
        self._history = history
        self._trials: dict[str, _Trial] = {}  # by the uid of the canary's Deployment

    async def look(self, now: float) -> list[Report]:
        """Look at each once. `now` in seconds since the epoch."""
        found = {deployment.metadata.uid: deployment for deployment in self._deployments()}
        gone = self._trials.keys() - found.keys()
        reports: list[Report] = [signal for uid in gone for signal in self._trials.pop(uid).gone(now)]
        for uid, deployment in found.items():
            if uid not in self._trials:
                self._trials[uid] = self._trial(deployment)
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(self._trials[uid].look(now)) for uid in found]
        return reports + [report for look in looks for report in look.result()]

    def _deployments(self) -> list[Deployment]:
        name, scope = self._canary.canary.deployment, self._rule.scope
        if ANYWHERE in scope.namespaces:
            every = map(self._view.deployment, sorted(self._view.uids(Deployment)))
            held = [each for each in every if each is not None and each.metadata.name == name]
        else:
            held = [each for each in (self._view.deployment_named(namespace, name) for namespace in scope.namespaces) if each]
        return [each for each in held if self._rule.scope_covers(each.metadata.namespace, each.metadata.labels)]

    def _trial(self, deployment: Deployment) -> "_Trial":
        namespace = deployment.metadata.namespace
        look = CanaryLook(
            self._canary,
            namespace,
            self._prometheus,
            share=partial(share_of, self._api, place_of(self._canary, namespace)),
            sides=partial(sides_of, self._view, self._canary, namespace),
            history=self._history,
        )
        return _Trial(look, Standing(self._rule.name, target_of(deployment)), self._told)


class _Trial:
    """One canary: looked at, told about, signalled."""

    def __init__(self, look: CanaryLook, standing: "Standing", told: Told) -> None:
        self._look = look
        self._standing = standing
        self._told = told
        self._kind: VerdictKind | None = None
        self._why = ""
        self._log = structlog.get_logger("healer.canary").bind(rule=standing.rule, namespace=standing.target.namespace)

    async def look(self, now: float) -> list[Report]:
        look = await self._look.look(now)
        if not look.fresh:
            return []
        if look.verdict is None:
            self._kind = None
            if look.why != self._why:
                self._log.info("nothing to judge", canary=self._standing.target.name, reason=look.why)
        else:
            news, self._kind = look.verdict.kind is not self._kind, look.verdict.kind
            self._told(self._standing.rule, self._standing.target, look.verdict, news)
        self._why = look.why
        return self._standing.after(look, now)

    def gone(self, now: float) -> list[Signal]:
        return self._standing.over(now, f"{self._standing.target} is gone")


class Standing:
    """What is signalled of one canary: pure, look after look.

    BadCanary fires at BAD. It is over when the canary gets no traffic, when there is no route to it, when its revision is another
    one, or when fresh evidence says GOOD; too little evidence, or none, ends nothing. UnknownVerdict fires at the second look in
    a row that could not judge, and is over when one could. What a healer before this one has signalled is not known: the first
    look that can end a signal ends it, whether or not it fires.
    """

    def __init__(self, rule: str, target: Target) -> None:
        self.rule = rule
        self.target = target
        self._fires: dict[str, bool | None] = {BAD_CANARY: None, UNKNOWN_VERDICT: None}  # None: not known
        self._revision = ""
        self._doubts = 0

    def after(self, look: Look, now: float) -> list[Report]:
        """What follows from a fresh look; `now` in seconds since the epoch."""
        verdict = look.verdict
        if verdict is None:
            self._doubts = 0
            return [*self.over(now, look.why)]
        signals: list[Report] = []
        if not look.routed:
            signals += self._end(BAD_CANARY, now, verdict.text)
        elif self._fires[BAD_CANARY] and look.revision != self._revision:
            signals += self._end(BAD_CANARY, now, f"{self.target} has another revision now: {look.revision}")
        occurrence = f"{look.revision}/{100 * look.share:.4g}"
        if verdict.kind is VerdictKind.BAD:
            self._revision = look.revision
            signals.append(self._begin(BAD_CANARY, now, verdict.text, occurrence))
        elif verdict.kind is VerdictKind.GOOD:
            signals += self._end(BAD_CANARY, now, verdict.text)
        if verdict.kind is VerdictKind.UNKNOWN:
            self._doubts += 1
            if self._fires[BAD_CANARY] is not False:
                signals.append(Unanswered(self.rule, verdict.text, frozenset({self._key(BAD_CANARY)})))
            if self._doubts >= _DOUBTS:
                signals.append(self._begin(UNKNOWN_VERDICT, now, verdict.text, occurrence))
        elif look.judged:
            self._doubts = 0
            signals += self._end(UNKNOWN_VERDICT, now, verdict.text)
        return signals

    def over(self, now: float, why: str) -> list[Signal]:
        """The end of all that may fire."""
        return [signal for name in self._fires for signal in self._end(name, now, why)]

    def _begin(self, name: str, now: float, message: str, occurrence: str) -> Signal:
        self._fires[name] = True
        return self._signal(name, now, message, occurrence, firing=True)

    def _end(self, name: str, now: float, message: str) -> list[Signal]:
        if self._fires[name] is False:
            return []
        self._fires[name] = False
        return [self._signal(name, now, message, "", firing=False)]

    def _signal(self, name: str, now: float, message: str, occurrence: str, *, firing: bool) -> Signal:
        return Signal(
            source="canary",
            name=name,
            target=self.target,
            firing=firing,
            at=now,
            key=self._key(name),
            occurrence=occurrence,
            message=message,
            rule=self.rule,
        )

    def _key(self, name: str) -> str:
        return f"canary/{self.rule}/{self.target.uid}/{'bad' if name == BAD_CANARY else 'unknown'}"


def place_of(canary: Canary, namespace: str) -> Place:
    """Where the weights between the two sides are."""
    return Place.between(namespace, canary.route, canary.stable, canary.canary)


async def missing_route(api: Api, bound: BoundRule) -> str:
    """What is wrong with the route that a rule names; "" when it is there, the rule names none, or the server does not say."""
    canary = bound.rule.when.canary
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


async def share_of(api: Api, place: Place) -> float:
    """The canary's share of the traffic, 0 to 1. Raises RouteError, ClusterError."""
    return (await read(api, place)).share


def sides_of(view: View, canary: Canary, namespace: str) -> Sides:
    """What a view knows of the two Deployments."""
    return Sides(_side(view, namespace, canary.canary.deployment), _side(view, namespace, canary.stable.deployment))


def revisions_of(view: View, deployment: Deployment) -> list[ReplicaSet]:
    """The ReplicaSets of a Deployment's present revision: one, or none while the view does not have it yet."""
    revision = deployment.metadata.annotations.revision
    return [each for each in view.replica_sets_of(target_of(deployment)) if each.metadata.annotations.revision == revision]


def _side(view: View, namespace: str, name: str) -> Side | None:
    """Pods of earlier revisions may serve for many minutes after a rollout, while they terminate: they are not on trial."""
    deployment = view.deployment_named(namespace, name)
    if deployment is None:
        return None
    status = deployment.status
    current = {each.metadata.uid for each in revisions_of(view, deployment)}
    rolling = status.updated_replicas < status.replicas or not current
    pods = view.pods_of(target_of(deployment))
    if not rolling:
        pods = [pod for pod in pods if (owner := pod.metadata.controller) is not None and owner.uid in current]
    return Side(
        pods=tuple(pod.metadata.name for pod in pods),
        ready=sum(pod.ready for pod in pods),
        revision=deployment.metadata.annotations.revision,
        rolling=rolling,
        wanted=deployment.spec.replicas,
    )
