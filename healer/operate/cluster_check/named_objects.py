"""Which objects the steps of rules name and the cluster has not: a route, a ConfigMap, the template of a Job."""

from healer.actions.base import NamesObjects
from healer.actions.registry import ACTIONS
from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.operate.cluster_check.finding import ClusterFinding
from healer.rules.form import ANYWHERE
from healer.rules.rulebook import BoundRule
from healer.sources.canary.canary import missing_route

_TOPIC = "object"


async def absent_objects(api: Api, rules: list[BoundRule]) -> list[ClusterFinding]:
    """The objects that are missing in the namespaces that the rules name. Raises ClusterError.

    A rule for every namespace may name what only some have: nothing is said of it.
    """
    found: list[ClusterFinding] = []
    for bound in rules:
        if route := await missing_route(api, bound):
            found.append(ClusterFinding(_TOPIC, route, (bound.name,)))
        for step in bound.rule.steps:
            action = ACTIONS[step.action]
            if not isinstance(action, NamesObjects) or ANYWHERE in bound.scope.namespaces:
                continue
            for namespace in bound.scope.namespaces:
                try:
                    text = await action.absent(api, namespace, step.params)
                except ApiError as error:
                    why = f"what {step.action} names in {namespace} is not known: {error}"
                    found.append(ClusterFinding(_TOPIC, why, (bound.name,), unknown=True))
                    continue
                if text:
                    found.append(ClusterFinding(_TOPIC, text, (bound.name,)))
    return found
