"""A canary of a Rollout at one moment: its steps, its weight, and how many pods each revision is to have.

It follows utils/replicaset/canary.go and rollout/canary.go of argoproj/argo-rollouts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

from healer.lab.objects import Object, clone, seconds_since, timestamp

_PAUSE = "CanaryPauseStep"


@dataclass(slots=True)
class CanaryMoment:
    """`current` and `stable` are hashes of templates; `replicasets` are by hash; `status` is the next status, being made."""

    replicas: int
    paused: bool
    strategy: Object
    current: str
    replicasets: dict[str, Object]
    status: Object

    @classmethod
    def of(cls, rollout: Object, current: str, replicasets: dict[str, Object]) -> Self:
        """The canary of a Rollout. A new template begins the steps anew, and one that is stable already skips them."""
        spec, status = rollout["spec"], clone(rollout.get("status") or {})
        strategy = spec["strategy"].get("canary") or {}
        canary = cls(spec.get("replicas", 1), bool(spec.get("paused")), strategy, current, replicasets, status)
        if status.get("currentPodHash") != current:
            for field in ("abort", "abortedAt", "pauseConditions", "controllerPause"):
                status.pop(field, None)
            status["currentStepIndex"] = len(canary.steps) if canary.stable in ("", current) else 0
            status["currentPodHash"] = current
        return canary

    @property
    def steps(self) -> list[Object]:
        """The steps of the strategy."""
        return self.strategy.get("steps") or []

    @property
    def stable(self) -> str:
        """The hash of the stable revision; "" before there is one."""
        return str(self.status.get("stableRS", ""))

    @property
    def in_progress(self) -> bool:
        """Whether the current revision is not the stable one, and that is kept."""
        return self.stable not in ("", self.current) and self.stable in self.replicasets

    @property
    def aborted(self) -> bool:
        """Whether the update to the current revision is aborted."""
        return bool(self.status.get("abort")) and self.in_progress

    @property
    def halted(self) -> bool:
        """Whether nothing is scaled (haltProgress)."""
        return self.paused

    @property
    def weight(self) -> int:
        """The percent of the pods that are to be of the current revision (GetCurrentSetWeight)."""
        if not self.in_progress:
            return 100
        if self.aborted:
            return 0
        at = self.status.get("currentStepIndex", 0)
        if at >= len(self.steps):
            return 100
        return next((int(step["setWeight"]) for step in reversed(self.steps[: at + 1]) if "setWeight" in step), 0)

    @property
    def traffic(self) -> int:
        """The percent of the traffic of a route that the canary gets: none before it has pods, none once it is stable."""
        has_pods = self.available(self.current) > 0
        return self.weight if self.in_progress and has_pods else 0

    @property
    def routed(self) -> bool:
        """Whether a route splits the traffic."""
        return bool(self.strategy.get("trafficRouting"))

    @property
    def surge(self) -> int:
        """How many pods there may be above the desired number."""
        return _share(self.strategy.get("maxSurge", "25%"), self.replicas, math.ceil)

    @property
    def unavailable(self) -> int:
        """How many pods may be unavailable (resolveFenceposts)."""
        share = _share(self.strategy.get("maxUnavailable", "25%"), self.replicas, math.floor)
        return share if share or self.surge else 1

    def available(self, digest: str) -> int:
        """How many pods of a revision are available."""
        replicaset = self.replicasets.get(digest) or {}
        return int((replicaset.get("status") or {}).get("availableReplicas", 0))

    def advance(self, time_scale: float) -> None:
        """Complete the current step where it is complete, and promote the revision after the last one."""
        if self.paused or self.aborted:
            return
        goals = desired_counts(self)
        at_goal = all(self.available(digest) == count for digest, count in goals.items()) and goals == self.wanted
        if not self.in_progress:
            if at_goal:
                self.status["stableRS"] = self.current
            return
        at = self.status["currentStepIndex"]
        if at >= len(self.steps):
            if at_goal:
                self.status["stableRS"] = self.current
        elif self._complete(self.steps[at], at_goal, time_scale):
            self.status["currentStepIndex"] = at + 1

    @property
    def wanted(self) -> dict[str, int]:
        """The counts that the weight asks for, whatever may be scaled at once."""
        current, stable = self._counts()
        return dict.fromkeys(self.replicasets, 0) | ({self.stable: stable} if self.in_progress else {}) | {self.current: current}

    def _counts(self) -> tuple[int, int]:
        if not self.in_progress:
            return self.replicas, 0
        if self.routed:
            return math.ceil(self.weight * self.replicas / 100), self.replicas
        return _approximated(self.replicas, self.weight, self.surge)

    def _complete(self, step: Object, at_goal: bool, time_scale: float) -> bool:
        if "pause" not in step:
            return at_goal
        held: list[Object] = self.status.get("pauseConditions") or []
        if not held:
            if self.status.pop("controllerPause", False):  # somebody has promoted it
                return True
            self.status["pauseConditions"] = [{"reason": _PAUSE, "startTime": timestamp()}]
            self.status["controllerPause"] = True
            return False
        duration = (step["pause"] or {}).get("duration")
        if duration is None or seconds_since(held[0]["startTime"]) < seconds_of(duration) * time_scale:
            return False
        del self.status["pauseConditions"], self.status["controllerPause"]
        return True


def desired_counts(canary: CanaryMoment) -> dict[str, int]:
    """The next counts of the ReplicaSets, by hash: up within the surge, then down as far as pods are available."""
    wanted = canary.wanted
    now = {digest: int(each["spec"]["replicas"]) for digest, each in canary.replicasets.items()}
    limit = canary.replicas * 2 if canary.routed else canary.replicas + canary.surge
    for digest in (canary.stable, canary.current):
        if digest in now and wanted[digest] > now[digest]:
            now[digest] = min(wanted[digest], now[digest] + max(limit - sum(now.values()), 0))
    if any(now[digest] < wanted[digest] for digest in now) and sum(now.values()) < limit:
        return now
    surplus = [digest for digest in now if now[digest] > wanted[digest]]
    spare = sum(min(canary.available(each), now[each]) for each in now) - (canary.replicas - canary.unavailable)
    for digest in sorted(surplus, key=canary.available):
        broken = now[digest] - min(canary.available(digest), now[digest])
        taken = min(now[digest] - wanted[digest], broken + max(spare, 0))
        spare -= max(taken - broken, 0)
        now[digest] -= taken
    return now


def _approximated(replicas: int, weight: int, surge: int) -> tuple[int, int]:
    """The pods of the canary and of stable that come closest to a weight (approximateWeightedCanaryStableReplicaCounts)."""
    if not replicas:
        return 0, 0
    exact = replicas * weight / 100
    zero_allowed = weight in (0, 100) or (replicas == 1 and not surge)
    options = []
    for total in (replicas, replicas + 1) if surge else (replicas,):
        if total > replicas or math.ceil(exact) < replicas or zero_allowed:
            options.append((math.ceil(exact), total))
        if total * weight / 100 % 1 != 0.5 and (math.floor(exact) or zero_allowed):
            options.append((math.floor(exact), total))
    canary, total = min(options, key=lambda option: abs(option[0] * 100 / option[1] - weight)) if options else (0, replicas)
    return canary, total - canary


def seconds_of(duration: Any) -> float:
    """The seconds of a pause: a number, or a text such as `30s`, `5m`, `1h`."""
    text = str(duration)
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    return float(text) if unit is None else float(text[:-1]) * unit


def _share(amount: int | str, whole: int, rounding: Any) -> int:
    return amount if isinstance(amount, int) else int(rounding(whole * int(amount.rstrip("%")) / 100))
