"""Evict a pod through the Eviction API, which honours PodDisruptionBudgets. It never falls back to a DELETE.

Source: policy/v1 Eviction and the recorded answers of a 1.36 API server.
"""

from healer.actions.base import Call
from healer.actions.shared.recheck import look_again, recheck, rechecked
from healer.actions.shared.refusal import refusal, unread
from healer.cluster.api import ApiError, ClusterError
from healer.cluster.resources import NODES, RESOURCES
from healer.engine.safety.guards.nodes import same_node, treated
from healer.model.action import ActionSpec, Outcome, OutcomeKind, permissions
from healer.model.kube import Pod
from healer.model.node import Node
from healer.model.target import ActsOn
from healer.model.unit import Unit
from healer.model.view import target_of
from healer.rules.form import Model

_TWO_BUDGETS = "more than one PodDisruptionBudget"


class EvictParams(Model):
    """Under which condition. The pod's own grace period applies."""

    elsewhere: bool = False
    """Only when the node takes no such pod: it is cordoned, or has a taint that the pod does not tolerate. Until then the step
    waits, because its replacement could come back to what is broken there. Needs `HEALER_CLUSTER__NODES` or a rule on `node`."""


class Evict:
    """The action `evict`."""

    spec = ActionSpec(
        name="evict",
        params=EvictParams,
        targets=frozenset({ActsOn.POD}),
        disrupts=True,
        verb="evict",
        evicts=True,
        elsewhere=lambda params: params.elsewhere,
        needs=lambda _: rechecked() | permissions("", "pods/eviction", "create"),
        meaning="asks the Eviction API, which honours PodDisruptionBudgets",
    )

    async def run(self, call: Call) -> Outcome:
        """Recheck, then request the eviction once."""
        params = call.act.params
        assert isinstance(params, EvictParams)
        pod = await recheck(call, *([_comes_back] if params.elsewhere else []))
        if isinstance(pod, Outcome):
            return pod
        return await _evict(call, pod)


async def _comes_back(call: Call, pod: Pod) -> Outcome | None:
    """The outcome of not acting when the node, as it is now, takes a replacement as well, or somebody treats it. One that is gone
    does not. What the view has of nodes may be old, and an eviction too early gives the model the same broken device again."""
    target, name = call.act.target, pod.spec.node_name
    if not name:
        return None
    try:
        node = await call.api.get(NODES.path(name=name), Node)
    except ApiError as error:
        return None if error.is_not_found else unread(error, f"read node/{name}, whether a replacement could come to it")
    reason = treated(target, node) or same_node(target, pod, node)
    return None if reason is None else Outcome(OutcomeKind.DEFERRED, reason.code, reason.text)


async def _evict(call: Call, pod: Pod) -> Outcome:
    target, unit = call.act.target, call.view.unit_of(pod).seen(pod)
    along = unit.going_along(pod.metadata.uid)
    if (refused := await _group_protected(call, pod, unit)) is not None:
        return refused
    if (forbidden := call.sending()) is not None:
        return forbidden
    try:
        await _request(call, pod, dry_run=call.act.dry_run)
    except ApiError as error:
        return await _refused(call, error)
    except ClusterError as error:
        return refusal(error, f"evict {target}")
    also = f"; {along}" if along else ""
    if call.act.dry_run:
        return Outcome(OutcomeKind.DONE, "WouldEvict", f"{target} would be evicted{also} (observe: dry run, nothing was done)")
    return Outcome(OutcomeKind.DONE, "Evicted", f"{target} is evicted; waiting for its replacement{also}", ready=unit.ready)


async def _request(call: Call, pod: Pod, *, dry_run: bool) -> None:
    """Ask for the eviction of a pod. Raises ClusterError."""
    meta = pod.metadata
    options: dict[str, object] = {"preconditions": {"uid": meta.uid}}
    if dry_run:
        options["dryRun"] = ["All"]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": meta.name, "namespace": meta.namespace},
        "deleteOptions": options,
    }
    await call.api.request("POST", RESOURCES[Pod].path(meta.namespace, meta.name) + "/eviction", body=eviction)


async def _group_protected(call: Call, pod: Pod, unit: Unit) -> Outcome | None:
    """The outcome when a PodDisruptionBudget of a pod that goes along refuses; None when none does.

    The API server asks the budgets of the evicted pod only, and the pods of its group are then deleted whatever theirs say. A
    budget over the leaders alone would protect no group. A dry run asks for one pod of each further budget.
    """
    asked = {budget.metadata.uid for budget in call.view.budgets_matching(pod)}
    for other in unit.replaced_with(pod.metadata.uid):
        budgets = {budget.metadata.uid: budget.metadata.name for budget in call.view.budgets_matching(other)}
        if other.terminating or budgets.keys() <= asked:
            continue
        asked |= budgets.keys()
        try:
            await _request(call, other, dry_run=True)
        except ApiError as error:
            if error.is_throttled and "DisruptionBudget" in error.causes:
                text = f"a PodDisruptionBudget of {target_of(other)}, which goes with {call.act.target}, refuses: {error.detail}"
                return Outcome(OutcomeKind.DEFERRED, "BudgetRefused", text, error.retry_after)
            if not error.is_not_found and not error.is_conflict:
                return unread(error, f"ask whether {target_of(other)} may be evicted")
        except ClusterError as error:
            return unread(error, f"ask whether {target_of(other)} may be evicted")
    return None


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
