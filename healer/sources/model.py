"""The model servers' status -> signals: the conditions that the server in each pod reports of a model.

A server that does not answer, or not as its kind does, is UNKNOWN: what fires goes on firing, and nothing new fires. But a
server opens its port when its models are loaded: one that refuses the connection, and was never ready, is starting.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from healer.model.kube import Pod
from healer.model.signal import Answered, Report, Signal, Unanswered
from healer.model.target import Target
from healer.model.view import View, target_of
from healer.model_servers.asking import AskingForTokens, Look, TokenSlots, look_each
from healer.model_servers.base import ModelServer
from healer.model_servers.heartbeat import Beat, Beats, Standstill, followed
from healer.model_servers.idle import Reply, counted, due, replied
from healer.model_servers.registry import SERVERS
from healer.model_servers.status import (
    LOADING,
    ConnectionRefused,
    EngineSeen,
    ModelStatus,
    Observation,
    StatusCondition,
    StatusError,
    TokensAsked,
    Unclear,
)
from healer.rules.rulebook import BoundRule
from healer.rules.served_model import ServedModel
from healer.rules.triggers import MODEL
from healer.sources.base import Asked, Probe, SourceContext
from healer.turns import in_turns

_CLOSED = ModelStatus(ready=False, text="its port refuses connections")
_PODS_AT_ONCE = 500
"""Pods whose scope is compared before the loop is yielded: about half a millisecond."""


@dataclass(slots=True)
class _SeenProcess:
    """What the looks at one process of a server have shown. Times are in seconds since the epoch."""

    restarts: int
    """The restarts of the pod: another number is another process, of which nothing is known."""
    loading: dict[int, float] = field(default_factory=dict)
    """Since when a version is on its way, by version."""
    unready: float | None = None
    """Since when it is not ready."""
    served: bool = False
    """Whether it was ready before."""
    opened: bool = False
    """Whether it has answered before."""
    engines: dict[str, Standstill] = field(default_factory=dict)
    """Since when its engines are as they are."""
    tokens: dict[str, TokensAsked] = field(default_factory=dict)
    """What asking its engines for tokens has shown."""

    def observed(self, model: ServedModel, status: ModelStatus, beats: Beats | str, now: float) -> Observation:
        """The facts after one more look; `beats` may be the words why there are none."""
        self.opened = self.opened or status is not _CLOSED
        loading = [one.version for one in status.versions if one.state in LOADING]
        self.loading = {version: self.loading.get(version, now) for version in loading}
        self.unready = None if status.ready else now if self.unready is None else self.unready
        self.served = self.served or status.ready
        if not isinstance(beats, str):
            self.engines = followed(self.engines, beats, now)
        return Observation(
            model,
            status,
            {version: now - since for version, since in self.loading.items()},
            0.0 if self.unready is None else now - self.unready,
            self.served,
            beats if isinstance(beats, str) else {name: self._seen(name, beat, now) for name, beat in beats.items()},
            closed=not self.opened,
        )

    def _seen(self, name: str, beat: Beat, now: float) -> EngineSeen:
        engine = self.engines[name]
        tokens = counted(self.tokens.get(name), engine)
        return EngineSeen(beat.busy, now - engine.since, engine.moved, beat.awake, beat.waiting is not None, tokens)

    def misses(self) -> int:
        """So many requests for a token were not answered in a row: the most of its engines."""
        found = (counted(one, self.engines[name]) for name, one in self.tokens.items() if name in self.engines)
        return max((one.misses for one in found if one is not None), default=0)


@dataclass(slots=True)
class _SeenServer:
    """What the source remembers of a pod, for one rule."""

    target: Target
    firing: dict[str, str] = field(default_factory=dict)
    """The occurrence of each condition that it has."""
    unclear: dict[str, Unclear] = field(default_factory=dict)
    """The conditions of which the last answer does not say whether it has them."""
    process: "_SeenProcess" = field(default_factory=lambda: _SeenProcess(0))
    silent: bool = False
    """Whether it was logged already that the server does not answer."""
    doubted: bool = False
    """Whether it was logged already that its answers leave a condition open."""
    decided: set[str] = field(default_factory=set)
    """The conditions that were decided before. The first decision also reports a condition that the model does not have, because
    it may have fired before healer was restarted."""


class ModelMemory:
    """Turns the answers of the servers into the signals of one rule, with what they answered before. No I/O.

    Times are in seconds (epoch).
    """

    def __init__(self, rule: str, model: ServedModel, server: ModelServer) -> None:
        self._rule = rule
        self._server = server
        self.model = model
        self._pods: dict[str, _SeenServer] = {}
        self._tokens_come = False
        self._suspects: set[str] = set()
        """The pods that have left requests for a token unanswered, and not as often as the rule asks for, by uid."""
        self._suspected = 0
        """So many they were when the look began: what is decided of a pod does not depend on the order of the pods."""

    def look_begins(self) -> None:
        """Note that all pods are looked at once more."""
        self._suspected = len(self._suspects)

    def due(self, pod: Pod, beats: Beats, now: float) -> str | None:
        """The engine of the pod that is to be asked for a token, when its server has just shown these beats; None: none is."""
        seen = self._pods.get(pod.metadata.uid)
        generate = self.model.generate
        if generate is None or seen is None or seen.process.restarts != pod.restarts:
            return None
        return due(generate, beats, seen.process.engines, seen.process.tokens, now)

    def answered(
        self,
        pod: Pod,
        status: ModelStatus,
        now: float,
        beats: Beats | str = "nobody asked for it",
        reply: Reply | None = None,
    ) -> list[Signal]:
        """The signals of a server's answer: each condition that it has, every time; one that it has no longer, once.

        `doubts` has the conditions of which it does not say whether it has them. `beats`: those of its engines, or why not.
        `reply`: of the engine that was asked for a token after that. It is evidence at the next look, which shows whether the
        engine has made a step meanwhile.
        """
        seen = self._of(pod)
        signals = self._told(seen, pod, status, now, beats, self._conditions)
        if reply is not None:
            seen.process.tokens = replied(seen.process.tokens, reply, seen.process.engines, now)
            self._tokens_come = self._tokens_come or reply.token
        self._suspect(pod, seen.process.misses())
        return signals

    def refused(self, pod: Pod, now: float) -> list[Signal]:
        """The signals of a server that does not listen yet. `doubts` has the conditions that need an answer."""
        seen = self._of(pod)
        starting = {name: condition for name, condition in self._conditions.items() if condition.starting}
        signals = self._told(seen, pod, _CLOSED, now, "nobody can ask for it", starting)
        for name in self._conditions.keys() - starting:
            seen.unclear[name] = Unclear(_CLOSED.text, expected=True)
        self._suspect(pod, seen.process.misses())
        return signals

    @property
    def _conditions(self) -> Mapping[str, StatusCondition]:
        return {name: self._server.conditions[name] for name in self.model.conditions}

    def _told(
        self,
        seen: _SeenServer,
        pod: Pod,
        status: ModelStatus,
        now: float,
        beats: Beats | str,
        conditions: Mapping[str, StatusCondition],
    ) -> list[Signal]:
        seen.silent = False
        if seen.process.restarts != pod.restarts:
            seen.process = _SeenProcess(pod.restarts)
        observed = seen.process.observed(self.model, status, beats, now)
        observation = replace(observed, tokens_come=self._tokens_come, suspects=self._suspected)
        found = {name: condition.detect(observation) for name, condition in conditions.items()}
        seen.unclear = {name: said for name, said in found.items() if isinstance(said, Unclear)}
        signals = []
        for condition, reason in found.items():
            if isinstance(reason, Unclear):
                continue
            if reason is not None:
                seen.firing.setdefault(condition, f"{now:.3f}")
                signals.append(self._signal(seen, condition, now, f"model {self.model.name}: {reason}"))
            elif condition in seen.firing or condition not in seen.decided:
                text = f"model {self.model.name}: {condition} no longer ({status})"
                signals.append(self._signal(seen, condition, now, text, firing=False))
                seen.firing.pop(condition, None)
            seen.decided.add(condition)
        return signals

    def _suspect(self, pod: Pod, misses: int) -> None:
        if self.model.generate is not None and 0 < misses < self.model.generate.misses:
            self._suspects.add(pod.metadata.uid)
        else:
            self._suspects.discard(pod.metadata.uid)

    def doubts(self, pod: Pod) -> tuple[list[Unanswered], str]:
        """The conditions that the last answer of a pod leaves open; and why, in words, when that is news for people."""
        seen = self._of(pod)
        uid = pod.metadata.uid
        open_ = [Unanswered(self._rule, said.why, frozenset({self._key(uid, name)})) for name, said in seen.unclear.items()]
        why = next((said.why for said in seen.unclear.values() if not said.expected), "")
        news, seen.doubted = bool(why) and not seen.doubted, bool(why)
        return open_, why if news else ""

    def unanswered(self, pod: Pod) -> bool:
        """Note that there is no usable answer; returns whether the one before was usable."""
        seen = self._of(pod)
        news, seen.silent = not seen.silent, True
        return news

    def gone(self, uids: Iterable[str], now: float) -> list[Signal]:
        """The signals of pods that no longer exist: their conditions are resolved."""
        signals = []
        for uid in uids:
            seen = self._pods.pop(uid)
            self._suspects.discard(uid)
            signals += [self._signal(seen, c, now, f"{seen.target} is gone", firing=False) for c in seen.firing]
        return signals

    def keys(self, uid: str) -> frozenset[str]:
        """The keys of all signals that a pod may have."""
        return frozenset(self._key(uid, condition) for condition in self.model.conditions)

    @property
    def uids(self) -> set[str]:
        """The pods that have answered, or did not, before."""
        return set(self._pods)

    def _of(self, pod: Pod) -> _SeenServer:
        return self._pods.setdefault(pod.metadata.uid, _SeenServer(target_of(pod)))

    def _signal(self, seen: _SeenServer, condition: str, now: float, message: str, *, firing: bool = True) -> Signal:
        key = self._key(seen.target.uid, condition)
        occurrence = seen.firing.get(condition, "")
        return Signal(MODEL.name, condition, seen.target, firing, now, key, occurrence, message, rule=self._rule)

    def _key(self, uid: str, condition: str) -> str:
        return f"model/{self._rule}/{uid}/{condition}"


class ModelProbe:
    """The probe of one rule with `when.model`: asks the servers in its pods, as many at once as `limit` allows.

    Raises ValueError for a rule about no model.
    """

    def __init__(self, rule: BoundRule, view: View, limit: asyncio.Semaphore, slots: TokenSlots) -> None:
        model = rule.rule.when.get(MODEL)
        if model is None:
            raise ValueError(f"rule {rule.name} is about no model")
        self._rule = rule
        self._model = model
        self._server = SERVERS[self._model.server]
        self._view = view
        self._limit = limit
        self._slots = slots
        self._memory = ModelMemory(rule.name, self._model, self._server)
        self._log = structlog.get_logger("healer.model").bind(rule=rule.name, model=self._model.name)

    async def ask(self, now: float) -> list[Report]:
        """Ask every server once. `now` in seconds since the epoch."""
        covered = await self._covered()
        asked = [pod for pod in covered.values() if pod.status.phase == "Running" and pod.status.pod_ip and not pod.terminating]
        hosts = {pod.metadata.uid: pod.status.pod_ip for pod in asked}
        answers = await self._look(hosts, covered, now)
        self._memory.look_begins()
        reports: list[Report] = [*self._memory.gone(self._memory.uids - covered.keys(), now)]
        for uid, pod in covered.items():
            if uid not in hosts and not pod.terminating:
                why = f"pod/{pod.metadata.name} does not run yet, so that its server cannot be asked"
                reports.append(Unanswered(self._rule.name, why, self._memory.keys(uid)))
        misleading = self._misleading(asked, answers)
        for pod in asked:
            answer = answers[pod.metadata.uid]
            if isinstance(answer, ConnectionRefused) and _starts(pod) and self._view.workload_uid(pod) not in misleading:
                reports += self._memory.refused(pod, now)
                reports += self._memory.doubts(pod)[0]
            elif isinstance(answer, StatusError):
                reports.append(Unanswered(self._rule.name, str(answer), self._memory.keys(pod.metadata.uid)))
                if self._memory.unanswered(pod):
                    self._say(pod, str(answer))
            else:
                reports += self._memory.answered(pod, answer.status, now, answer.beats or "", answer.reply)
                doubts, news = self._memory.doubts(pod)
                reports += doubts
                if news:
                    self._say(pod, news)
        reports.append(Answered(self._rule.name, frozenset().union(*map(self._memory.keys, covered))))
        return reports

    def _misleading(self, asked: Iterable[Pod], answers: Mapping[str, Look | StatusError]) -> set[str]:
        """The workloads, by uid, of which a refusal says nothing: ready pods refuse as well, and none answers. The rule names a
        port that they do not have, or the network rejects what healer sends."""

        def owners(kind: type[Look | ConnectionRefused]) -> set[str]:
            return {self._view.workload_uid(pod) for pod in asked if pod.ready and isinstance(answers[pod.metadata.uid], kind)}

        refusing = owners(ConnectionRefused)
        return refusing and refusing - owners(Look)

    async def _look(self, hosts: dict[str, str], pods: Mapping[str, Pod], now: float) -> dict[str, Look | StatusError]:
        """What the servers show, by the uids of their pods."""
        model, server = self._model, self._server
        beats = any(server.conditions[name].by_heartbeat for name in model.conditions)
        tokens = None
        if model.generate is not None and server.token is not None:

            def engine_due(uid: str, beats: Beats) -> str | None:
                return self._memory.due(pods[uid], beats, now)

            tokens = AskingForTokens(server.token, engine_due, model.generate.within, self._slots)
        return await look_each(server, hosts, model.port, model.name, beats=beats, limit=self._limit, tokens=tokens)

    def _say(self, pod: Pod, why: str) -> None:
        self._log.warning("the status is not known", namespace=pod.metadata.namespace, pod=pod.metadata.name, why=why)

    async def _covered(self) -> dict[str, Pod]:
        """The pods in the rule's scope, by uid. It yields to the loop on the way, because a cluster has many pods."""
        covered: dict[str, Pod] = {}
        async for pod in in_turns(list(self._view.pods()), _PODS_AT_ONCE):
            if self._rule.scope_covers(pod.metadata.namespace, pod.metadata.labels):
                covered[pod.metadata.uid] = pod
        return covered


def _starts(pod: Pod) -> bool:
    """Whether its containers run and were never ready since they do. Ready is Unknown where the node no longer reports it."""
    statuses = pod.status.container_statuses
    runs = bool(statuses) and all(each.state.running is not None for each in statuses)
    unready = any(each.type == "Ready" and each.status == "False" for each in pod.status.conditions)
    return runs and unready and not pod.was_ready


def _probe(context: SourceContext, rule: BoundRule) -> Probe:
    return ModelProbe(rule, context.view, context.server_slots, context.token_slots).ask


SOURCE = Asked(_probe)
