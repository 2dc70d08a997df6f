"""The status of a Deployment: its counts, and the conditions Available, Progressing and ReplicaFailure."""

from __future__ import annotations

from dataclasses import dataclass

from healer.lab.objects import Object, condition, seconds_since, timestamp


@dataclass(frozen=True, slots=True)
class RolloutView:
    """The inputs of a Deployment's status."""

    deployment: Object
    current: Object | None
    owned: list[Object]
    terminating: int
    created: bool
    """Whether this reconciliation created the current ReplicaSet."""
    time_scale: float

    def total(self, field: str) -> int:
        """The sum of a count over all ReplicaSets."""
        return sum(item["status"].get(field, 0) for item in self.owned)

    @property
    def updated(self) -> int:
        """The number of pods of the current template."""
        return 0 if self.current is None else self.current["status"].get("replicas", 0)

    @property
    def complete(self) -> bool:
        """Whether all pods have the current template and are available, and no old pod is left."""
        wanted = self.deployment["spec"]["replicas"]
        counts = (self.updated, self.total("replicas"), self.total("availableReplicas"))
        observed = self.current is not None and all(
            item["status"].get("observedGeneration", 0) >= item["metadata"]["generation"] for item in self.owned
        )
        return observed and counts == (wanted, wanted, wanted)


def deployment_status(view: RolloutView) -> Object:
    """The whole status as the API shows it. Counts of zero are left out, except terminatingReplicas."""
    wanted = view.deployment["spec"]["replicas"]
    counts = {
        "replicas": view.total("replicas"),
        "updatedReplicas": view.updated,
        "readyReplicas": view.total("readyReplicas"),
        "availableReplicas": view.total("availableReplicas"),
        "unavailableReplicas": max(max(wanted, view.total("replicas")) - view.total("availableReplicas"), 0),
    }
    return {
        "observedGeneration": view.deployment["metadata"]["generation"],
        **{name: count for name, count in counts.items() if count},
        "terminatingReplicas": view.terminating,
        "conditions": [_available(view), *_progressing(view, counts), *_replica_failure(view)],
    }


def _replica_failure(view: RolloutView) -> list[Object]:
    """The condition ReplicaFailure of a ReplicaSet, that of the current one first (getReplicaFailures)."""
    current = [] if view.current is None else [view.current]
    for replicaset in [*current, *view.owned]:
        failed = condition(replicaset, "ReplicaFailure")
        if failed is not None and failed["status"] == "True":
            return [failed | {"lastUpdateTime": failed["lastTransitionTime"]}]
    return []


def overdue_in(deployment: Object, time_scale: float) -> float | None:
    """Seconds until the progress deadline of a rollout. None if no rollout is in progress."""
    progressing = condition(deployment, "Progressing")
    if progressing is None or progressing["reason"] in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
        return None
    if deployment["spec"].get("paused"):
        return None
    deadline: float = deployment["spec"]["progressDeadlineSeconds"] * time_scale
    return max(deadline - seconds_since(progressing["lastUpdateTime"]), 0) + 0.05


def not_created(deployment: Object, message: str) -> Object:
    """The condition of a Deployment when the API refuses its new ReplicaSet (getNewReplicaSet)."""
    before, now = condition(deployment, "Progressing"), timestamp()
    if before is not None and (before["reason"], before["message"]) == ("ReplicaSetCreateError", message):
        return before
    since = before["lastTransitionTime"] if before is not None and before["status"] == "False" else now
    return {
        "type": "Progressing",
        "status": "False",
        "lastUpdateTime": now,
        "lastTransitionTime": since,
        "reason": "ReplicaSetCreateError",
        "message": message,
    }


def _available(view: RolloutView) -> Object:
    spec = view.deployment["spec"]
    rolling = spec["strategy"].get("rollingUpdate")
    allowed = 0
    if rolling is not None:
        value = rolling["maxUnavailable"]
        allowed = int(spec["replicas"] * int(value.rstrip("%")) / 100) if isinstance(value, str) else value
        surge = rolling["maxSurge"]
        allowed = allowed or (0 if surge not in (0, "0%") else 1)
    if view.total("availableReplicas") >= spec["replicas"] - allowed:
        return _condition(view, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    message = "Deployment does not have minimum availability."
    return _condition(view, "Available", "False", "MinimumReplicasUnavailable", message)


def _progressing(view: RolloutView, counts: dict[str, int]) -> list[Object]:
    before = condition(view.deployment, "Progressing")
    name = view.current["metadata"]["name"] if view.current is not None else view.deployment["metadata"]["name"]
    if view.deployment["spec"].get("paused"):
        return [_condition(view, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")]
    if before is not None and before["reason"] == "DeploymentPaused":
        return [_condition(view, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed")]
    if view.complete:
        message = f'ReplicaSet "{name}" has successfully progressed.'
        return [_condition(view, "Progressing", "True", "NewReplicaSetAvailable", message)]
    if view.created:
        message = f'Created new replica set "{name}"'
        return [_condition(view, "Progressing", "True", "NewReplicaSetCreated", message)]
    if before is None:
        message = f'Found new replica set "{name}"'
        return [_condition(view, "Progressing", "True", "FoundNewReplicaSet", message)]
    if _moved(view, counts):
        message = f'ReplicaSet "{name}" is progressing.'
        return [_condition(view, "Progressing", "True", "ReplicaSetUpdated", message, moved=True)]
    if _overdue(view, before):
        message = f'ReplicaSet "{name}" has timed out progressing.'
        return [_condition(view, "Progressing", "False", "ProgressDeadlineExceeded", message)]
    return [before]


def _moved(view: RolloutView, counts: dict[str, int]) -> bool:
    """Whether the rollout has made progress since the last status (DeploymentProgressing)."""
    old = view.deployment.get("status") or {}
    fewer_old = counts["replicas"] - counts["updatedReplicas"] < old.get("replicas", 0) - old.get("updatedReplicas", 0)
    more = [counts[field] > old.get(field, 0) for field in ("updatedReplicas", "readyReplicas", "availableReplicas")]
    return fewer_old or any(more)


def _overdue(view: RolloutView, before: Object) -> bool:
    if before["reason"] in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
        return bool(before["reason"] == "ProgressDeadlineExceeded")
    deadline: float = view.deployment["spec"]["progressDeadlineSeconds"] * view.time_scale
    return seconds_since(before["lastUpdateTime"]) > deadline


def _condition(view: RolloutView, kind: str, value: str, reason: str, message: str, *, moved: bool = False) -> Object:
    before = condition(view.deployment, kind)
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
