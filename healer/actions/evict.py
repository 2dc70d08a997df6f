"""Evict a pod through the Eviction API, which honours PodDisruptionBudgets. It never falls back to a DELETE.

Source: policy/v1 Eviction and the recorded answers of a 1.36 API server.
"""

from pydantic import BaseModel, ConfigDict

from healer.actions.base import Call
from healer.actions.shared.recheck import look_again, recheck, rechecked
from healer.actions.shared.refusal import refusal
from healer.cluster.api import ApiError, ClusterError
from healer.cluster.resources import RESOURCES
from healer.model.action import ActionSpec, Outcome, OutcomeKind, permissions
from healer.model.kube import Pod
from healer.model.target import ActsOn

_TWO_BUDGETS = "more than one PodDisruptionBudget"


class EvictParams(BaseModel):
    """No parameters: the pod's own grace period applies."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Evict:
    """The action `evict`."""

    spec = ActionSpec(
        name="evict",
        params=EvictParams,
        targets=frozenset({ActsOn.POD}),
        disrupts=True,
        verb="evict",
        evicts=True,
        needs=lambda _: rechecked() | permissions("", "pods/eviction", "create"),
        meaning="asks the Eviction API, which honours PodDisruptionBudgets",
    )

    async def run(self, call: Call) -> Outcome:
        """Recheck, then request the eviction once."""
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
    if error.is_not_found or error.is_conflict:
        now = await look_again(call, f"a {error.status}")
        if isinstance(now, Outcome):
            return now
    if error.is_conflict:  # nothing was done: another write came first
        return Outcome(OutcomeKind.DEFERRED, "Conflict", f"evict {target}: {error.message}", error.retry_after)
    if error.is_throttled and "DisruptionBudget" in error.causes:
        return Outcome(OutcomeKind.DEFERRED, "BudgetRefused", f"a PodDisruptionBudget refuses: {error.detail}", error.retry_after)
    if error.status == 500 and _TWO_BUDGETS in error.message:
        budgets = ", ".join(
            sorted(b.metadata.name for pod in [call.view.pod(target.uid)] if pod for b in call.view.budgets_matching(pod))
        )
        text = f"{error.message.removesuffix('.')}: delete all but one of them ({budgets}), or make their selectors disjoint"
        return Outcome(OutcomeKind.REFUSED, "TwoBudgets", text)
    return refusal(error, f"evict {target}")
