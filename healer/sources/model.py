"""The model servers' own status -> signals: no version is AVAILABLE, one hangs while it loads, the wanted one is missing.

A server that does not answer, or not as TensorFlow Serving does, is UNKNOWN: what fires goes on firing, and nothing new does.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog

from healer.model.duration import about
from healer.model.kube import Pod
from healer.model.signal import Answered, Report, Signal, Unanswered
from healer.model.target import Target
from healer.model.view import View, target_of
from healer.model_servers.tensorflow_serving.status import ModelState, Versions, ask_each
from healer.rules.probe import ServedModel
from healer.rules.rulebook import BoundRule
from healer.rules.triggers import MODEL
from healer.rules.vocabulary import ModelCondition

_ON_ITS_WAY = (ModelState.START, ModelState.LOADING)
_PODS_AT_ONCE = 500
"""Pods whose scope is looked at in one go: about half a millisecond."""
_SHOWN = 5
"""Versions that a message names, the newest."""


@dataclass(slots=True)
class _SeenServer:
    """What is remembered of a pod, for one rule."""

    target: Target
    firing: dict[ModelCondition, str] = field(default_factory=dict)
    """The occurrence of each condition that it has."""
    loading: dict[tuple[int, int], float] = field(default_factory=dict)
    """Since when (epoch, s) a version has been on its way, by the pod's restarts: a new process begins anew."""
    silent: bool = False
    """It was said already that the server cannot be asked."""
    heard: bool = False
    """It has answered before. The first answer also tells what is not so: before a restart of ours it may have been."""


class ModelMemory:
    """The looks of one rule: what the servers say, and what they said before -> signals. No I/O. Times in seconds (epoch)."""

    def __init__(self, rule: str, model: ServedModel) -> None:
        self._rule = rule
        self.model = model
        self._pods: dict[str, _SeenServer] = {}

    def answered(self, pod: Pod, versions: Versions, now: float) -> list[Signal]:
        """A server's answer: what it has, each time, and what it has no longer, once."""
        seen = self._of(pod)
        seen.silent = False
        findings = self._findings(pod, seen, versions, now)
        signals = []
        for condition in self.model.conditions:
            if (message := findings.get(condition)) is not None:
                seen.firing.setdefault(condition, f"{now:.3f}")
                signals.append(self._signal(seen, condition, now, message))
            elif condition in seen.firing or not seen.heard:
                signals.append(self._signal(seen, condition, now, self._well(condition, versions), firing=False))
                seen.firing.pop(condition, None)
        seen.heard = True
        return signals

    def unanswered(self, pod: Pod) -> bool:
        """No usable answer; returns whether that is news."""
        seen = self._of(pod)
        news, seen.silent = not seen.silent, True
        return news

    def gone(self, uids: Iterable[str], now: float) -> list[Signal]:
        """Pods that are there no longer: so is what they had."""
        signals = []
        for uid in uids:
            seen = self._pods.pop(uid)
            signals += [self._signal(seen, c, now, f"{seen.target} is gone", firing=False) for c in seen.firing]
        return signals

    def keys(self, uid: str) -> frozenset[str]:
        """The keys of all signals that there may be of a pod."""
        return frozenset(self._key(uid, condition) for condition in self.model.conditions)

    @property
    def uids(self) -> set[str]:
        """The pods that are remembered."""
        return set(self._pods)

    def _of(self, pod: Pod) -> _SeenServer:
        return self._pods.setdefault(pod.metadata.uid, _SeenServer(target_of(pod)))

    def _findings(self, pod: Pod, seen: _SeenServer, versions: Versions, now: float) -> dict[ModelCondition, str]:
        """The conditions that the pod has, in words."""
        on_way = {(one.version, pod.restarts): one for one in versions if one.state in _ON_ITS_WAY}
        seen.loading = {key: seen.loading.get(key, now) for key in on_way}
        name, told = f"model {self.model.name}", _told(versions)
        found: dict[ModelCondition, str] = {}
        if not on_way and not any(one.state is ModelState.AVAILABLE for one in versions):
            found["ModelNotAvailable"] = f"{name}: no version is AVAILABLE, and none on its way ({told})"
        stuck = {key: now - since for key, since in seen.loading.items() if now - since > self.model.loading}
        if stuck:
            key = max(stuck, key=lambda one: stuck[one])
            found["ModelStuckLoading"] = f"{name}: version {key[0]} has been {on_way[key].state} for {about(stuck[key])} ({told})"
        wanted = self.model.version
        if wanted is not None and not any(one.version == wanted and one.state is ModelState.AVAILABLE for one in versions):
            found["ModelVersionMissing"] = f"{name}: version {wanted} is not AVAILABLE ({told})"
        return found

    def _well(self, condition: ModelCondition, versions: Versions) -> str:
        return f"model {self.model.name}: {condition} no longer ({_told(versions)})"

    def _signal(self, seen: _SeenServer, condition: ModelCondition, now: float, message: str, *, firing: bool = True) -> Signal:
        key = self._key(seen.target.uid, condition)
        occurrence = seen.firing.get(condition, "")
        return Signal(MODEL.name, condition, seen.target, firing, now, key, occurrence, message, rule=self._rule)

    def _key(self, uid: str, condition: ModelCondition) -> str:
        return f"model/{self._rule}/{uid}/{condition}"


def _told(versions: Versions) -> str:
    """The versions, newest first: "3 LOADING, 2 AVAILABLE"."""
    if not versions:
        return "the server knows no version of it"
    more = f", and {len(versions) - _SHOWN} more" if len(versions) > _SHOWN else ""
    return ", ".join(str(one) for one in reversed(versions[-_SHOWN:])) + more


class ModelLook:
    """The looks of one rule with `when.model`: asks the servers in its pods, `places` at once, `patience` (s) for each answer.

    Raises ValueError for a rule about no model.
    """

    def __init__(self, rule: BoundRule, view: View, places: asyncio.Semaphore, patience: float = 3.0) -> None:
        model = rule.rule.when.get(MODEL)
        if model is None:
            raise ValueError(f"rule {rule.name} is about no model")
        self._rule = rule
        self._model = model
        self._view = view
        self._places = places
        self._patience = patience
        self._memory = ModelMemory(rule.name, self._model)
        self._log = structlog.get_logger("healer.model").bind(rule=rule.name, model=self._model.name)

    async def look(self, now: float) -> list[Report]:
        """Ask once. `now` in seconds since the epoch."""
        covered = await self._covered()
        asked = [pod for pod in covered.values() if pod.status.phase == "Running" and pod.status.pod_ip and not pod.terminating]
        hosts = {pod.metadata.uid: pod.status.pod_ip for pod in asked}
        answers = await ask_each(hosts, self._model.port, self._model.name, places=self._places, patience=self._patience)
        reports: list[Report] = [*self._memory.gone(self._memory.uids - covered.keys(), now)]
        for uid, pod in covered.items():
            if uid not in hosts and not pod.terminating:
                why = f"pod/{pod.metadata.name} does not run yet, so that its server cannot be asked"
                reports.append(Unanswered(self._rule.name, why, self._memory.keys(uid)))
        for pod in asked:
            said = answers[pod.metadata.uid]
            if not isinstance(said, str):
                reports += self._memory.answered(pod, said, now)
                continue
            reports.append(Unanswered(self._rule.name, said, self._memory.keys(pod.metadata.uid)))
            if self._memory.unanswered(pod):
                self._log.warning("the status is not known", namespace=pod.metadata.namespace, pod=pod.metadata.name, why=said)
        reports.append(Answered(self._rule.name, frozenset().union(*map(self._memory.keys, covered))))
        return reports

    async def _covered(self) -> dict[str, Pod]:
        """The pods in the rule's scope, by uid. Others get their turn on the loop meanwhile: a cluster has many pods."""
        covered: dict[str, Pod] = {}
        for number, pod in enumerate(list(self._view.pods()), 1):
            if self._rule.scope_covers(pod.metadata.namespace, pod.metadata.labels):
                covered[pod.metadata.uid] = pod
            if not number % _PODS_AT_ONCE:
                await asyncio.sleep(0)
        return covered
