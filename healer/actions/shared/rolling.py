"""What every change of a pod template has in common: the fresh look before it, whether the Deployment may roll, the one PATCH."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from healer.actions.base import Call
from healer.actions.shared.paused import paused
from healer.actions.shared.refusal import refusal, unread
from healer.cluster.api import ApiError, ClusterError
from healer.cluster.managed import ManagerMarks, WrittenMeta
from healer.cluster.resources import RESOURCES
from healer.model.action import Outcome, OutcomeKind
from healer.model.annotations import ROLLED_BACK_BY, ROLLED_BACK_FROM
from healer.model.kube import Deployment, DeploymentSpec, DeploymentStatus, LabelSelector

Template = dict[str, Any]
"""A PodTemplateSpec, whole and undecoded: what goes back into the cluster must be exactly what came out of it."""


class RolloutMarks(ManagerMarks, frozen=True):
    """Annotations of a Deployment or its ReplicaSet that matter to a change of its template."""

    history: str = msgspec.field(default="", name="deployment.kubernetes.io/revision-history")
    change_cause: str = msgspec.field(default="", name="kubernetes.io/change-cause")
    rolled_back_from: str = msgspec.field(default="", name=ROLLED_BACK_FROM)
    rolled_back_by: str = msgspec.field(default="", name=ROLLED_BACK_BY)


class WholeMeta(WrittenMeta, frozen=True):
    """Metadata with who wrote what."""

    annotations: RolloutMarks = RolloutMarks()


Amount = int | Annotated[str, msgspec.Meta(pattern=r"^[0-9]+%$")]


class RollingUpdate(msgspec.Struct, rename="camel", frozen=True):
    """apps/v1 RollingUpdateDeployment."""

    max_surge: Amount = "25%"
    max_unavailable: Amount = "25%"


class Strategy(msgspec.Struct, rename="camel", frozen=True):
    """apps/v1 DeploymentStrategy."""

    type: str = "RollingUpdate"
    rolling_update: RollingUpdate = RollingUpdate()


class WholeSpec(DeploymentSpec, frozen=True, kw_only=True):
    """A Deployment's spec with its template."""

    selector: LabelSelector
    strategy: Strategy = Strategy()
    template: Template


class Rollable(Deployment, frozen=True, kw_only=True):
    """A Deployment as it was read, whole enough to change its template."""

    metadata: WholeMeta
    spec: WholeSpec
    status: DeploymentStatus = DeploymentStatus()


@dataclass(frozen=True, slots=True)
class TemplatePatch:
    """The body of a PATCH, and its form. It must hold the resourceVersion of the look: the server then refuses (409) to patch
    anything that has changed since, the object's replacement included, and a pause that somebody has just asked for."""

    body: object
    content_type: str


async def look(call: Call) -> Rollable | Outcome:
    """The Deployment as it is now, or why there is nothing to do to it."""
    target = call.act.target
    try:
        deployment = await call.api.get(RESOURCES[Deployment].path(target.namespace, target.name), Rollable)
    except ClusterError as error:
        if isinstance(error, ApiError) and error.is_not_found:
            return Outcome(OutcomeKind.GONE, "AlreadyGone", f"{target} is gone: nothing was left to do")
        return unread(error, f"read {target}")
    if deployment.metadata.uid != target.uid:
        return Outcome(OutcomeKind.REFUSED, "WorkloadReplaced", f"{target} is another object by now: left alone")
    if deployment.metadata.deletion_timestamp is not None:
        return Outcome(OutcomeKind.GONE, "AlreadyTerminating", f"{target} is being deleted: nothing was left to do")
    return deployment


def held(call: Call, deployment: Rollable) -> Outcome | None:
    """Why nothing may be done to it for now."""
    target = call.act.target
    if (stopped := paused(call, deployment)) is not None:
        return stopped
    if deployment.spec.paused:
        return Outcome(OutcomeKind.DEFERRED, "RolloutPaused", f"the rollout of {target} is paused (spec.paused)")
    if deployment.metadata.generation > deployment.status.observed_generation:
        text = f"the Deployment controller has not seen the newest spec of {target} yet, so its revision is not known"
        return Outcome(OutcomeKind.DEFERRED, "RolloutInProgress", text)
    return None


def unsafe(call: Call, deployment: Rollable) -> Outcome | None:
    """Why a rollout could take the last ready replica. Without any ready one nothing can be lost."""
    target, spec = call.act.target, deployment.spec
    seen = sum(pod.ready for pod in call.view.pods_of(target))
    ready = max(seen, deployment.status.ready_replicas)  # either may lag; the larger of them is what may be lost
    if not ready:
        return None
    if spec.strategy.type != "RollingUpdate":
        text = f"the strategy of {target} is {spec.strategy.type}: all {ready} ready replicas would go before new ones start"
        return Outcome(OutcomeKind.REFUSED, "BelowFloor", text)
    taken, wanted = unavailable(spec), max(call.act.min_ready, 1)
    if not taken or spec.replicas - taken >= wanted:
        return None
    text = (
        f"a rollout of {target} may leave {spec.replicas - taken} of {spec.replicas} replicas ready "
        f"(maxUnavailable {spec.strategy.rolling_update.max_unavailable}); minReady asks for {wanted}"
    )
    return Outcome(OutcomeKind.REFUSED, "BelowFloor", text)


def unavailable(spec: WholeSpec) -> int:
    """How many of its replicas a rolling update may take at once.

    Source: deploymentutil.MaxUnavailable and ResolveFenceposts: a surge is rounded up, what is unavailable down, and when both
    come to nothing one may be unavailable, for else nothing would ever move.
    """
    if not spec.replicas:
        return 0
    rolling = spec.strategy.rolling_update
    taken = _share(rolling.max_unavailable, spec.replicas, up=False)
    if not taken and not _share(rolling.max_surge, spec.replicas, up=True):
        taken = 1
    return min(taken, spec.replicas)


def _share(amount: Amount, whole: int, *, up: bool) -> int:
    if isinstance(amount, int):
        return amount
    share = whole * int(amount.removesuffix("%"))
    return math.ceil(share / 100) if up else share // 100


async def patch(call: Call, deployment: Deployment, change: TemplatePatch, keep: Mapping[str, str], doing: str) -> Outcome | None:
    """Journal what is about to change, then send the one PATCH. None when it was accepted, else how it ended.

    `deployment` is the look that the change was made from. `doing` says in words what it is: "roll deployment/x back". A dry run
    journals nothing: there is nothing to undo.
    """
    target, dry_run = call.act.target, call.act.dry_run
    if not dry_run and (unkept := await call.keep(keep)) is not None:
        return unkept
    if (unwanted := call.still_wanted(call.act, deployment)) is not None:
        return Outcome(OutcomeKind.RECOVERED, unwanted.code, unwanted.text)
    if (forbidden := call.sending()) is not None:
        return forbidden
    path = RESOURCES[Deployment].path(target.namespace, target.name)
    query = {"dryRun": "All"} if dry_run else None
    try:
        await call.api.request("PATCH", path, query=query, body=change.body, content_type=change.content_type)
    except ApiError as error:
        if error.is_not_found:  # a webhook may deny with that code too: only a look tells
            now = await look(call)
            return now if isinstance(now, Outcome) else refusal(error, doing)
        if error.is_conflict:
            text = f"{target} changed between the look and the request to {doing}: looking again ({error.message})"
            return Outcome(OutcomeKind.DEFERRED, "Changed", text, error.retry_after)
        return refusal(error, doing)
    except ClusterError as error:
        return refusal(error, doing)
    return None


def rung(call: Call) -> str:
    """Which step of its incident the attempt belongs to: one incident may climb two steps with the same action."""
    return "storm" if call.act.incident.storming else str(call.act.step)
