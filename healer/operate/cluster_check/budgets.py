"""Which PodDisruptionBudgets would refuse the evictions of a rule: no eviction is tried, their status says it."""

from collections.abc import Iterator

import msgspec

from healer.actions.registry import ACTIONS
from healer.actions.shared.counted_budget import CountedBudget
from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.cluster.resources import RESOURCES
from healer.engine.matching.coverage import counted
from healer.model.kube import Pod, PodDisruptionBudget
from healer.model.view import View
from healer.operate.cluster_check.finding import ClusterFinding
from healer.operate.cluster_check.scopes import covered_pods
from healer.operate.workload import listed
from healer.rules.rulebook import BoundRule

_TOPIC = "budget"


async def refusing_budgets(api: Api, view: View, rules: list[BoundRule], namespaces: list[str]) -> list[ClusterFinding]:
    """The budgets that refuse now, for the rules that evict. Raises ClusterError."""
    evicting = [bound for bound in rules if any(ACTIONS[step.action].spec.evicts for step in bound.rule.steps)]
    if not evicting:
        return []
    known: dict[str, CountedBudget] = {}
    for namespace in namespaces:
        try:
            for raw in await listed(api, RESOURCES[PodDisruptionBudget].path(namespace)):
                budget = msgspec.json.decode(raw, type=CountedBudget)
                known[budget.metadata.uid] = budget
        except (ApiError, msgspec.MsgspecError) as error:
            return [ClusterFinding(_TOPIC, f"what PodDisruptionBudgets allow is not known: {error}", unknown=True)]
    return [
        ClusterFinding(_TOPIC, text, (bound.name,))
        for bound in evicting
        for text in dict.fromkeys(text for pod in covered_pods(view, bound) for text in _refusals(view, pod, known))
    ]


def _refusals(view: View, pod: Pod, known: dict[str, CountedBudget]) -> Iterator[str]:
    namespace, budgets = pod.metadata.namespace, view.budgets_matching(pod)
    if len(budgets) > 1:
        names = ", ".join(sorted(budget.metadata.name for budget in budgets))
        yield f"pods in {namespace} are matched by {names}: Kubernetes refuses to evict a pod of several budgets; delete one"
        return
    for budget in budgets:
        text = _why(known.get(budget.metadata.uid))
        if text:
            yield f"poddisruptionbudget/{budget.metadata.name} in {namespace} {text}"


def _why(budget: CountedBudget | None) -> str:
    """What a budget refuses, in words; "" when it lets the pods of a rule go."""
    if budget is None or not budget.status.expected_pods:
        return ""
    counts = budget.status
    only_sick = "only pods that are not ready may go" if budget.lets_unready_go else "no pod may go, a sick one neither"
    if counts.desired_healthy >= counts.expected_pods:
        hint = "" if budget.lets_unready_go else "; unhealthyPodEvictionPolicy: AlwaysAllow lets the sick go"
        whole = "its one pod" if counts.expected_pods == 1 else f"all of its {counts.expected_pods} pods"
        return f"wants {whole} healthy: {only_sick}{hint}"
    if counts.current_healthy < counts.desired_healthy:
        healthy = counted(counts.current_healthy, "healthy pod")
        return f"has {healthy} and wants {counts.desired_healthy}: for now {only_sick}"
    return ""
