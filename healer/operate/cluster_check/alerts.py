"""Which alerts of the rules nobody sends: no PrometheusRule of the cluster, and no loaded rule of Prometheus, defines them."""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.operate.cluster_check.finding import ClusterFinding
from healer.operate.workload import listed
from healer.rules.rulebook import BoundRule
from healer.rules.triggers import ALERT
from healer.sources.prometheus.client import AlertingRule, Prometheus, QueryFailed

_TOPIC = "alert"
_PATH = "/apis/monitoring.coreos.com/v1/prometheusrules"
_MOST_NEAR = 1000
"""Names among which a misspelt one is looked for."""


class _DefinedRule(msgspec.Struct):
    alert: str = ""
    labels: dict[str, str] | None = None


class _DefinedGroup(msgspec.Struct):
    rules: list[_DefinedRule] | None = None


class _DefinedGroups(msgspec.Struct):
    groups: list[_DefinedGroup] | None = None


class _DefinedIn(msgspec.Struct):
    name: str
    namespace: str = ""


class _PrometheusRule(msgspec.Struct):
    metadata: _DefinedIn
    spec: _DefinedGroups = msgspec.field(default_factory=_DefinedGroups)

    @property
    def alerts(self) -> Iterator[AlertingRule]:
        for group in self.spec.groups or ():
            for rule in group.rules or ():
                if rule.alert:
                    yield AlertingRule(rule.alert, rule.labels or {})


async def undefined_alerts(api: Api, prometheus: Prometheus | None, rules: list[BoundRule]) -> list[ClusterFinding]:
    """The alerts that the rules wait for and that nothing defines.

    Where Prometheus is named, what it has loaded counts: a PrometheusRule may be one that its selector leaves out. Without it,
    the PrometheusRules count. Raises ClusterError.
    """
    waiting = [bound for bound in rules if bound.rule.when.get(ALERT) is not None]
    if not waiting:
        return []
    notes: list[ClusterFinding] = []
    kept, loaded = await _of_cluster(api, waiting, notes), await _loaded(prometheus, waiting, notes)
    if loaded is None and kept is None:
        return notes
    truth = _labels(loaded if loaded is not None else [rule for rules_of in (kept or {}).values() for rule in rules_of])
    files = {rule.name: place for place, found in (kept or {}).items() for rule in found}
    source = "Prometheus has loaded no rule for the alert" if loaded is not None else "no PrometheusRule defines the alert"
    for bound in waiting:
        for name in bound.rule.when.names:
            if text := _wrong(name, bound.rule.when.labels, truth, files, source):
                notes.append(ClusterFinding(_TOPIC, text, (bound.name,)))
    return notes


def _unknown(why: str, waiting: list[BoundRule]) -> list[ClusterFinding]:
    """That it is not known whether what the rules wait for is defined, and why."""
    return [
        ClusterFinding(
            _TOPIC,
            f"whether anybody defines {', '.join(map(repr, bound.rule.when.names))} is not known: {why}",
            (bound.name,),
            unknown=True,
        )
        for bound in waiting
    ]


async def _of_cluster(api: Api, waiting: list[BoundRule], notes: list[ClusterFinding]) -> dict[str, list[AlertingRule]] | None:
    """The alerts of each PrometheusRule; None where they cannot be read."""
    try:
        found = [msgspec.json.decode(raw, type=_PrometheusRule) for raw in await listed(api, _PATH)]
    except (ApiError, msgspec.MsgspecError) as error:
        absent = isinstance(error, ApiError) and error.is_not_found
        why = "the cluster has no kind PrometheusRule" if absent else f"the PrometheusRules cannot be read: {error}"
        notes += _unknown(f"{why}; name the Prometheus by --prometheus, and its loaded rules are read", waiting)
        return None
    return {f"prometheusrule/{each.metadata.name} in {each.metadata.namespace}": [*each.alerts] for each in found}


async def _loaded(
    prometheus: Prometheus | None, waiting: list[BoundRule], notes: list[ClusterFinding]
) -> list[AlertingRule] | None:
    if prometheus is None:
        return None
    try:
        loaded = await prometheus.alerting_rules()
    except QueryFailed as error:
        notes += _unknown(f"Prometheus does not say which rules it has loaded: {error}", waiting)
        return None
    notes.clear()  # what the cluster holds is then only a hint
    return loaded


def _labels(rules: Iterable[AlertingRule]) -> dict[str, list[Mapping[str, str]]]:
    """The labels that the rules of each alert add."""
    found: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for rule in rules:
        found[rule.name].append(rule.labels)
    return found


def _wrong(
    name: str, wanted: Mapping[str, str], truth: Mapping[str, list[Mapping[str, str]]], files: Mapping[str, str], source: str
) -> str:
    """Why no alert of that name and with these labels comes; "" when one may."""
    if name not in truth:
        if name in files:
            return f"{source} {name!r}, though {files[name]} has it: does the ruleSelector of Prometheus select it?"
        near = difflib.get_close_matches(name, sorted(truth)[:_MOST_NEAR], n=1, cutoff=0.6)
        return f"{source} {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    for key, value in wanted.items():
        given = {labels.get(key, value) for labels in truth[name]}  # a label that the rule does not set comes from the series
        if value not in given:
            return f"the alert {name!r} has {key}={', '.join(sorted(given))}, and the rule waits for {key}={value}"
    return ""
