"""The status of a Rollout: its counts, its conditions, its phase and the message about it.

It follows CalculateRolloutPhase (utils/rollout/rolloututil.go) and rollout/sync.go of argoproj/argo-rollouts.
"""

from __future__ import annotations

from typing import Any

from healer.lab.apiserver.selectors import format_selector
from healer.lab.controllers.canary_steps import CanaryMoment, seconds_of
from healer.lab.objects import Object, annotations_of, condition, seconds_since, timestamp

_SOON = 0.05


def canary_status(rollout: Object, canary: CanaryMoment, time_scale: float) -> Object:
    """The whole status as the controller writes it."""
    owned = list(canary.replicasets.values())
    status = dict(canary.status)
    if canary.aborted:
        status["currentStepIndex"] = 0
        status.setdefault("abortedAt", timestamp())
        for field in ("pauseConditions", "controllerPause"):
            status.pop(field, None)
    counts = {
        "replicas": _total(owned, "replicas"),
        "readyReplicas": _total(owned, "readyReplicas"),
        "availableReplicas": _total(owned, "availableReplicas"),
        "updatedReplicas": _total([canary.replicasets[canary.current]], "replicas"),
        "HPAReplicas": _total(owned, "replicas"),
    }
    status = {key: value for key, value in status.items() if key not in counts}
    status |= {name: count for name, count in counts.items() if count}
    status |= {
        "observedGeneration": str(rollout["metadata"]["generation"]),
        "selector": format_selector(rollout["spec"]["selector"]),
    }
    status["conditions"] = _conditions(rollout, canary, status, time_scale)
    status["phase"], status["message"] = _phase(rollout, canary, status)
    if not status["message"]:
        del status["message"]
    return status


def step_due_in(canary: CanaryMoment, time_scale: float) -> float | None:
    """Seconds until the end of the current pause, or of the time in which a rollout is to make progress; None without either."""
    held, at = canary.status.get("pauseConditions") or [], canary.status.get("currentStepIndex", 0)
    if held and at < len(canary.steps):
        duration = (canary.steps[at].get("pause") or {}).get("duration")
        if duration is None:
            return None
        return max(seconds_of(duration) * time_scale - seconds_since(held[0]["startTime"]), 0) + _SOON
    return None


def _total(replicasets: list[Object], field: str) -> int:
    return sum((each.get("status") or {}).get(field, 0) for each in replicasets)


def _conditions(rollout: Object, canary: CanaryMoment, status: Object, time_scale: float) -> list[Object]:
    held = bool(canary.paused or status.get("pauseConditions"))
    enough = status.get("availableReplicas", 0) >= canary.replicas - canary.unavailable
    text = "Rollout has minimum availability" if enough else "Rollout does not have minimum availability"
    return [
        _condition(rollout, "Available", str(enough), "AvailableReason", text),
        _condition(rollout, "Paused", str(held), "RolloutPaused", "Rollout is paused"),
        _progressing(rollout, canary, status, held, time_scale),
    ]


def _progressing(rollout: Object, canary: CanaryMoment, status: Object, held: bool, time_scale: float) -> Object:
    number = annotations_of(canary.replicasets[canary.current]).get("rollout.argoproj.io/revision", "")
    name = canary.replicasets[canary.current]["metadata"]["name"]
    if canary.aborted:
        return _condition(rollout, "Progressing", "False", "RolloutAborted", f"Rollout aborted update to revision {number}")
    if held:
        return _condition(rollout, "Progressing", "Unknown", "RolloutPaused", "Rollout is paused")
    if not canary.in_progress and canary.stable and status.get("availableReplicas", 0) >= canary.replicas:
        text = f'ReplicaSet "{name}" has successfully progressed.'
        return _condition(rollout, "Progressing", "True", "NewReplicaSetAvailable", text)
    before, old = condition(rollout, "Progressing"), rollout.get("status") or {}
    fields = ("updatedReplicas", "readyReplicas", "availableReplicas", "currentStepIndex")
    moved = any(status.get(field, 0) > old.get(field, 0) for field in fields)
    deadline = rollout["spec"].get("progressDeadlineSeconds", 600) * time_scale
    late = before is not None and not moved and seconds_since(before["lastUpdateTime"]) > deadline
    if late and before is not None and before["reason"] in ("ReplicaSetUpdated", "ProgressDeadlineExceeded"):
        text = f'ReplicaSet "{name}" has timed out progressing.'
        return _condition(rollout, "Progressing", "False", "ProgressDeadlineExceeded", text)
    text = f'ReplicaSet "{name}" is progressing.'
    return _condition(rollout, "Progressing", "True", "ReplicaSetUpdated", text, moved=moved)


def _phase(rollout: Object, canary: CanaryMoment, status: Object) -> tuple[str, str]:
    for each in status["conditions"]:
        if each["reason"] in ("RolloutAborted", "ProgressDeadlineExceeded"):
            return "Degraded", f"{each['reason']}: {each['message']}"
    if canary.paused:
        return "Paused", "manually paused"
    if held := status.get("pauseConditions"):
        return "Paused", held[0]["reason"]
    at = rollout["spec"].get("restartAt")
    counts: dict[str, Any] = {name: status.get(f"{name}Replicas", 0) for name in ("updated", "available")}
    for holds, message in (
        (at and at != status.get("restartedAt"), "rollout is restarting"),
        (counts["updated"] < canary.replicas, "more replicas need to be updated"),
        (counts["available"] < counts["updated"], "updated replicas are still becoming available"),
        (not canary.routed and status.get("replicas", 0) > counts["updated"], "old replicas are pending termination"),
        (canary.stable != canary.current, "waiting for all steps to complete"),
    ):
        if holds:
            return "Progressing", message
    return "Healthy", ""


def _condition(rollout: Object, kind: str, value: str, reason: str, message: str, *, moved: bool = False) -> Object:
    before = condition(rollout, kind)
    if before is not None and not moved and (before["status"], before["reason"]) == (value, reason):
        return before if before["message"] == message else before | {"message": message}
    now = timestamp()
    since = before["lastTransitionTime"] if before is not None and before["status"] == value else now
    return {
        "type": kind,
        "status": value,
        "lastUpdateTime": now,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }
