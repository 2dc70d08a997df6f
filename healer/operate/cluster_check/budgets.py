"""Which PodDisruptionBudgets would refuse the evictions of a rule: none is asked, their status says it.

Source: policy/v1, and pkg/registry/core/pod/storage/eviction.go of Kubernetes 1.31: an unready pod may go while
`currentHealthy >= desiredHealthy`, or always with `unhealthyPodEvictionPolicy: AlwaysAllow`; a ready pod needs
`disruptionsAllowed > 0`.
"""

from collections.abc import Iterator

import msgspec

from healer.actions.registry import ACTIONS
from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.cluster.resources import RESOURCES
from healer.engine.matching.coverage import differs
from healer.model.kube import Pod, PodDisruptionBudget
from healer.model.view import View
from healer.operate.cluster_check.finding import ClusterFinding
from healer.operate.workload import listed
from healer.rules.rulebook import BoundRule
from healer.workloads.registry import WORKLOADS

_TOPIC = "budget"


class _BudgetRules(msgspec.Struct, rename="camel"):
    unhealthy_pod_eviction_policy: str = "IfHealthyBudget"


class _BudgetCounts(msgspec.Struct, rename="camel"):
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    expected_pods: int = 0


class _BudgetMeta(msgspec.Struct):
    uid: str


class _RefusingBudget(msgspec.Struct):
    metadata: _BudgetMeta
    spec: _BudgetRules = msgspec.field(default_factory=_BudgetRules)
    status: _BudgetCounts = msgspec.field(default_factory=_BudgetCounts)


async def refusing_budgets(api: Api, view: View, rules: list[BoundRule], namespaces: list[str]) -> list[ClusterFinding]:
    """The budgets that refuse now, for the rules that evict. Raises ClusterError."""
    evicting = [bound for bound in rules if any(ACTIONS[step.action].spec.evicts for step in bound.rule.steps)]
    if not evicting:
        return []
    known: dict[str, _RefusingBudget] = {}
    for namespace in namespaces:
        try:
            for raw in await listed(api, RESOURCES[PodDisruptionBudget].path(namespace)):
                budget = msgspec.json.decode(raw, type=_RefusingBudget)
                known[budget.metadata.uid] = budget
        except (ApiError, msgspec.MsgspecError) as error:
            return [ClusterFinding(_TOPIC, f"what PodDisruptionBudgets allow is not known: {error}", unknown=True)]
    return [
        ClusterFinding(_TOPIC, text, (bound.name,))
        for bound in evicting
        for text in dict.fromkeys(text for pod in _pods(view, bound) for text in _refusals(view, pod, known))
    ]


def _pods(view: View, bound: BoundRule) -> Iterator[Pod]:
    """The living pods of workloads that the rule covers."""
    for pod in view.pods():
        top, meta = view.workload_of(pod), pod.metadata
        if top is not None and not pod.finished and not differs(bound.scope, meta.namespace, meta.labels, top.kind, WORKLOADS):
            yield pod


def _refusals(view: View, pod: Pod, known: dict[str, _RefusingBudget]) -> Iterator[str]:
    namespace, budgets = pod.metadata.namespace, view.budgets_matching(pod)
    if len(budgets) > 1:
        names = ", ".join(sorted(budget.metadata.name for budget in budgets))
        yield f"pods in {namespace} are matched by {names}: Kubernetes refuses to evict a pod of several budgets; delete one"
        return
    for budget in budgets:
        text = _why(known.get(budget.metadata.uid))
        if text:
            yield f"poddisruptionbudget/{budget.metadata.name} in {namespace} {text}"


def _why(budget: _RefusingBudget | None) -> str:
    """What a budget refuses, in words; "" when it lets the pods of a rule go."""
    if budget is None or not budget.status.expected_pods:
        return ""
    status, lets_sick = budget.status, budget.spec.unhealthy_pod_eviction_policy == "AlwaysAllow"
    only_sick = "only pods that are not ready may go" if lets_sick else "no pod may go, a sick one neither"
    if status.desired_healthy >= status.expected_pods:
        hint = "" if lets_sick else "; unhealthyPodEvictionPolicy: AlwaysAllow lets the sick go"
        return f"wants all of its {status.expected_pods} pods healthy: {only_sick}{hint}"
    if status.current_healthy < status.desired_healthy:
        return f"has {status.current_healthy} healthy pods and wants {status.desired_healthy}: for now {only_sick}"
    return ""
