"""Whether a workload is as it should be: what "healed" means."""

from healer.model.incident import Incident, Reason
from healer.model.kube import Deployment
from healer.model.target import Target
from healer.model.view import View

STUCK = "RolloutStuck"
"""The code of a rollout of which the Deployment itself says that it does not get on: not the same as one that takes its time."""


def rollout_in_progress(deployment: Deployment) -> Reason | None:
    """Why the Deployment is not settled on its current revision, if it is not; in its own words where it says that it is stuck.

    Source: kubectl's rollout status (polymorphichelpers/rollout_status.go) and the Deployment's documented status.
    """
    status, wanted = deployment.status, deployment.spec.replicas
    if deployment.spec.paused:
        return Reason("RolloutPaused", "its rollout is paused (spec.paused)")
    if deployment.metadata.generation > status.observed_generation:
        return Reason("RolloutInProgress", "the Deployment controller has not seen its newest spec yet")
    if status.updated_replicas < wanted:
        found = f"{status.updated_replicas} of {wanted} replicas are of the current revision"
    elif status.replicas > status.updated_replicas:
        found = f"{status.replicas - status.updated_replicas} replicas of an older revision remain"
    else:
        return None
    if (failure := failure_of(deployment)) is not None:
        return Reason("RolloutStuck", f"{found}, and {deployment.metadata.name} does not get on: {failure}")
    return Reason("RolloutInProgress", found)


def failure_of(deployment: Deployment) -> str | None:
    """What keeps a Deployment from having its replicas, as it says itself: a quota, admission, its progress deadline.

    The controller copies a ReplicaSet's ReplicaFailure into the Deployment's conditions (getReplicaFailures).
    """
    for kind, status in (("ReplicaFailure", "True"), ("Progressing", "False")):
        for condition in deployment.status.conditions:
            if (condition.type, condition.status) == (kind, status):
                return f"{kind}={status} ({condition.reason}): {condition.message}"
    return None


def unhealthy(view: View, workload: Target) -> Reason | None:
    """Why the workload is not at its desired ready count on its current revision; None when it is.

    Both the pods as watched and the Deployment's status must say so: either may lag behind the other.
    """
    deployment = view.deployment(workload.uid)
    if deployment is None:
        return Reason("WorkloadGone", f"{workload} is gone")
    if (rollout := rollout_in_progress(deployment)) is not None:
        return rollout
    wanted = deployment.spec.replicas
    ready = min(sum(pod.ready for pod in view.pods_of(workload)), deployment.status.ready_replicas)
    if ready < wanted:
        failure = failure_of(deployment)
        return Reason("NotEnoughReady", f"{ready} of {wanted} replicas are ready" + (f"; {failure}" if failure else ""))
    return None


def unhealed(view: View, incident: Incident, serving: Target | None) -> Reason | None:
    """Why the incident is not healed: a signal still fires, or the workload that serves is not well; None when all is well.

    `serving` is None where the incident is about no workload's health: a record of a finished pod is healed when it is gone.
    """
    if sick := incident.sick:
        named = ", ".join(f"{s.target} ({s.what})" for s in sick[:3])
        more = f" and {len(sick) - 3} more" if len(sick) > 3 else ""
        deployment = None if serving is None else view.deployment(serving.uid)
        failure = None if deployment is None else failure_of(deployment)
        return Reason("StillSick", f"still sick: {named}{more}" + (f"; {failure}" if failure else ""))
    return None if serving is None else unhealthy(view, serving)
