"""The canary that a person or a pipeline asks about: which rule judges it, and how its two Deployments stand."""

from collections.abc import Mapping, Sequence

from healer.cluster.api import Api
from healer.model.verdict import Counts, MeasureFinding, VerdictKind
from healer.model.view import View
from healer.model.workload import Workload
from healer.operate.objects import ObjectRef, OperateError, decoded, get, object_ref
from healer.operate.workload import put_pods
from healer.rules.probe import DEPLOYMENT, Canary
from healer.rules.rulebook import BoundRule
from healer.rules.triggers import CANARY
from healer.workloads.registry import WORKLOADS

STYLES: Mapping[VerdictKind, str] = {
    VerdictKind.GOOD: "bold green",
    VerdictKind.BAD: "bold red",
    VerdictKind.INSUFFICIENT: "bold yellow",
    VerdictKind.UNKNOWN: "bold magenta",
}
"""How a verdict is shown on a terminal."""


def choose_rule(rules: Sequence[BoundRule], ref: ObjectRef, name: str | None) -> BoundRule:
    """The rule by which the canary at that place is judged: the one of that name, where one is given (in full, or without its
    rule set); else the only one. Raises OperateError.

    The scopes of the rules decide between several, and exclude none: who asks has named the namespace.
    """
    judging = [rule for rule in rules if rule.rule.when.trigger is CANARY]
    if not judging:
        raise OperateError("no rule of the file is on a canary: write when: {canary: ...}")
    if name is not None:
        judging = [rule for rule in judging if name in (rule.name, rule.rule.name)]
        if not judging:
            raise OperateError(f"no rule on a canary is called {name!r}: {_listed(rules)}")
    fitting = [rule for rule in judging if canary_of(rule).canary.deployment == ref.name]
    if not fitting:
        raise OperateError(f"deployment/{ref.name} is not the canary of {_asked(name)}: {_listed(judging)}")
    nearest = [rule for rule in fitting if rule.scope.covers(ref.namespace)] or fitting
    if len(nearest) > 1:
        raise OperateError(f"several rules judge deployment/{ref.name}: choose one by --rule: {_listed(nearest)}")
    return nearest[0]


def canary_of(rule: BoundRule) -> Canary:
    """What a rule on a canary says of it. Raises ValueError for another rule."""
    canary = rule.rule.when.get(CANARY)
    if canary is None:
        raise ValueError(f"rule {rule.name} is about no canary")
    return canary


def _asked(name: str | None) -> str:
    return "any rule of the file" if name is None else f"rule {name}"


def _listed(rules: Sequence[BoundRule]) -> str:
    return "; ".join(
        f"{rule.name} judges deployment/{canary.canary.deployment} beside deployment/{canary.stable.deployment}"
        for rule in rules
        if (canary := rule.rule.when.get(CANARY)) is not None
    )


async def read_deployments(api: Api, canary: Canary, namespace: str) -> View:
    """The two Deployments with their ReplicaSets and pods, read afresh. One that does not exist is not in the view.

    Raises ClusterError.
    """
    view = View(WORKLOADS)
    for name in (canary.canary.deployment, canary.stable.deployment):
        ref = object_ref(DEPLOYMENT, namespace, name)
        body = await get(api, ref)
        if body is not None:
            view.put(decoded(body, WORKLOADS[DEPLOYMENT].struct, ref))
            await put_pods(api, ref, body, view)
    return view


def require_workload(view: View, ref: ObjectRef, rule: BoundRule) -> Workload:
    """The canary's workload. Raises OperateError when there is none."""
    workload = view.workload_named(ref.kind, ref.namespace, ref.name)
    if workload is None:
        covered = rule.scope.covers(ref.namespace)
        hint = "" if covered else f": name its namespace by -n (the rule is for {', '.join(rule.scope.namespaces)})"
        raise OperateError(f"there is no {ref}{hint}")
    return workload


def plain_finding(finding: MeasureFinding) -> dict[str, object]:
    """A finding for programs. Evidence is an e-value."""
    return {
        "measure": finding.measure,
        "verdict": finding.kind,
        "text": finding.text,
        "canary": plain_counts(finding.canary),
        "stable": None if finding.stable is None else plain_counts(finding.stable),
        "evidence": finding.evidence,
        "needed": finding.needed,
        "phi": finding.phi,
        "evidenceFor": finding.favour,
        "neededFor": finding.praise,
        "limit": finding.limit,
        "requestsLacking": finding.lacking,
    }


def plain_counts(counts: Counts) -> dict[str, float]:
    """Counts for programs."""
    return {"requests": counts.requests, "bad": counts.bad}
