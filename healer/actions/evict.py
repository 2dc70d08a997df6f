"""Evict a pod through the Eviction API, which honours PodDisruptionBudgets; never a DELETE instead.

Source: policy/v1 Eviction and the recorded answers of a 1.36 API server.
"""

from pydantic import BaseModel, ConfigDict

from healer.actions.base import Call
from healer.actions.recheck import RECHECKED, recheck
from healer.actions.refusal import refusal
from healer.cluster.api import ApiError, ClusterError
from healer.cluster.resources import RESOURCES
from healer.model.action import ActionSpec, Outcome, OutcomeKind
from healer.model.kube import Pod
from healer.model.permission import permissions

_TWO_BUDGETS = "more than one PodDisruptionBudget"


class EvictParams(BaseModel):
    """Nothing to choose: the pod's own grace period holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Evict:
    """The action `evict`."""

    spec = ActionSpec(
        name="evict",
        params=EvictParams,
        targets=frozenset({"Pod"}),
        disrupts=True,
        verb="evict",
        evicts=True,
        needs=lambda _: RECHECKED | permissions("", "pods/eviction", "create"),
    )

    async def run(self, call: Call) -> Outcome:
        """Recheck, then ask for the eviction once."""
        pod = await recheck(call)
        if isinstance(pod, Outcome):
            return pod
        return await _evict(call, pod)


async def _evict(call: Call, pod: Pod) -> Outcome:
    target = call.act.target
    options: dict[str, object] = {"preconditions": {"uid": pod.metadata.uid}}
    if call.act.dry_run:
        options["dryRun"] = ["All"]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": target.name, "namespace": target.namespace},
        "deleteOptions": options,
    }
    if (forbidden := call.sending()) is not None:
        return forbidden
    try:
        await call.api.request("POST", RESOURCES[Pod].path(target.namespace, target.name) + "/eviction", body=eviction)
    except ApiError as error:
        return await _refused(call, error)
    except ClusterError as error:
        return refusal(error, f"evict {target}")
    if call.act.dry_run:
        return Outcome(OutcomeKind.DONE, "WouldEvict", f"{target} would be evicted (observe: dry run, nothing was done)")
    return Outcome(OutcomeKind.DONE, "Evicted", f"{target} is evicted; waiting for its replacement", ready=pod.ready)


async def _refused(call: Call, error: ApiError) -> Outcome:
    target = call.act.target
    if error.is_not_found:
        return Outcome(OutcomeKind.GONE, "AlreadyGone", f"{target} was gone already: nothing was left to do")
    if error.is_conflict:
        return await _conflict(call, error)
    if error.is_throttled and "DisruptionBudget" in error.causes:
        return Outcome(OutcomeKind.DEFERRED, "BudgetRefused", f"a PodDisruptionBudget refuses: {error.detail}", error.retry_after)
    if error.status == 500 and _TWO_BUDGETS in error.message:
        budgets = ", ".join(
            sorted(b.metadata.name for pod in [call.view.pod(target.uid)] if pod for b in call.view.budgets_over(pod))
        )
        text = f"{error.message} Delete all but one of them ({budgets}), or make their selectors disjoint."
        return Outcome(OutcomeKind.REFUSED, "TwoBudgets", text)
    return refusal(error, f"evict {target}")


async def _conflict(call: Call, error: ApiError) -> Outcome:
    """409: nothing was done. Another pod may have the name by now, or the write met another one."""
    target = call.act.target
    try:
        now = await call.api.get(RESOURCES[Pod].path(target.namespace, target.name), Pod)
    except ClusterError as failed:
        if isinstance(failed, ApiError) and failed.is_not_found:
            return Outcome(OutcomeKind.GONE, "AlreadyGone", f"{target} is gone: nothing was left to do")
        return refusal(failed, f"read {target} again after a conflict")
    if now.metadata.uid != target.uid:
        return Outcome(OutcomeKind.GONE, "Replaced", f"{target} is another pod by now: left alone")
    return Outcome(OutcomeKind.DEFERRED, "Conflict", f"evict {target}: {error.message}", error.retry_after)
