"""Finds the rule that judges a canary, and reads the canary's two workloads."""

from collections.abc import Mapping, Sequence

from healer.cluster.api import Api
from healer.model.verdict import Counts, MeasureFinding, VerdictKind
from healer.model.view import View
from healer.model.workload import Workload
from healer.operate.objects import ObjectRef, OperateError, decoded, get, object_ref
from healer.operate.workload import put_pods
from healer.rules.named_workload import NamedWorkload
from healer.rules.probe import Canary
from healer.rules.rulebook import BoundRule
from healer.rules.triggers import CANARY
from healer.workloads.registry import WORKLOADS

STYLES: Mapping[VerdictKind, str] = {
    VerdictKind.GOOD: "bold green",
    VerdictKind.BAD: "bold red",
    VerdictKind.INSUFFICIENT: "bold yellow",
    VerdictKind.UNKNOWN: "bold magenta",
}
"""The style of each verdict on a terminal."""


def choose_rule(rules: Sequence[BoundRule], ref: ObjectRef, name: str | None) -> BoundRule:
    """Return the rule that judges a canary: the rule `name` (with or without its rule set), by default the only one.

    If several rules match, those whose scope has the namespace are preferred. A rule with another scope is still accepted,
    because the user chose the namespace. Raises OperateError.
    """
    judging = [rule for rule in rules if rule.rule.when.trigger is CANARY]
    if not judging:
        raise OperateError("no rule of the file is on a canary: write when: {canary: ...}")
    if name is not None:
        judging = [rule for rule in judging if name in (rule.name, rule.rule.name)]
        if not judging:
            raise OperateError(f"no rule on a canary is called {name!r}: {_listed(rules)}")
    fitting = [rule for rule in judging if canary_of(rule).canary.workload == NamedWorkload(ref.name, ref.kind)]
    if not fitting:
        raise OperateError(f"{_word(ref)} is not the canary of {_asked(name)}: {_listed(judging)}")
    nearest = [rule for rule in fitting if rule.scope.covers(ref.namespace)] or fitting
    if len(nearest) > 1:
        raise OperateError(f"several rules judge {_word(ref)}: choose one by --rule: {_listed(nearest)}")
    return nearest[0]


def canary_of(rule: BoundRule) -> Canary:
    """Return the canary trigger of a rule. Raises ValueError for a rule with another trigger."""
    canary = rule.rule.when.get(CANARY)
    if canary is None:
        raise ValueError(f"rule {rule.name} is about no canary")
    return canary


def _word(ref: ObjectRef) -> str:
    return f"{ref.kind.lower()}/{ref.name}"


def _asked(name: str | None) -> str:
    return "any rule of the file" if name is None else f"rule {name}"


def _listed(rules: Sequence[BoundRule]) -> str:
    return "; ".join(
        f"{rule.name} judges {canary.canary.workload} beside {canary.stable.workload}"
        for rule in rules
        if (canary := rule.rule.when.get(CANARY)) is not None
    )


async def read_workloads(api: Api, canary: Canary, namespace: str) -> View:
    """Read the two workloads with their ReplicaSets and pods. A workload that does not exist is not in the view.

    Raises ClusterError.
    """
    view = View(WORKLOADS)
    for named in (canary.canary.workload, canary.stable.workload):
        ref = object_ref(named.kind, namespace, named.name)
        body = await get(api, ref)
        if body is not None:
            view.put(decoded(body, WORKLOADS[named.kind].struct, ref))
            await put_pods(api, ref, body, view)
    return view


def require_workload(view: View, ref: ObjectRef, rule: BoundRule) -> Workload:
    """Return the canary's workload. Raises OperateError if it does not exist."""
    workload = view.workload_named(ref.kind, ref.namespace, ref.name)
    if workload is None:
        covered = rule.scope.covers(ref.namespace)
        hint = "" if covered else f": name its namespace by -n (the rule is for {', '.join(rule.scope.namespaces)})"
        raise OperateError(f"there is no {ref}{hint}")
    return workload


def plain_finding(finding: MeasureFinding) -> dict[str, object]:
    """Return the JSON form of a finding. Evidence is an e-value."""
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
    """Return the JSON form of counts."""
    return {"requests": counts.requests, "bad": counts.bad}
