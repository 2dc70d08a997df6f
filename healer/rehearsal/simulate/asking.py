"""Which rules that ask are played for real: by their own probes, over the series of the simulated traffic."""

from collections.abc import Iterator

from healer.rehearsal.simulate.cluster_spec import PlayedWorkload
from healer.rehearsal.simulate.exposed import names
from healer.rehearsal.simulate.promql import metrics, selects, unplayed
from healer.rehearsal.simulate.scenario import Scenario
from healer.rehearsal.simulate.splitting import route_name
from healer.rules.probe import Canary, fill, named
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.triggers import CANARY, QUERY


class PlayedRules:
    """The rules of a scenario that ask. `real` are played; `unplayed` says why others find nothing, unless a fault names them."""

    def __init__(self, scenario: Scenario, rulebook: Rulebook) -> None:
        self._workloads = scenario.spec.cluster.workloads
        servers = frozenset(each.server for each in self._workloads if each.server is not None)
        self._names = names(servers, frozenset(each.kind for each in self._workloads))
        shown = {sign.rule for fault in scenario.spec.faults for sign in fault.shows.probes}
        self.real: dict[str, BoundRule] = {}
        self.unplayed: dict[str, str] = {}
        self.metrics: set[str] = set()
        """The metrics that the real ones ask for."""
        for rule in rulebook.rules:
            if not rule.rule.when.trigger.asked or rule.name in shown:
                continue
            if why := self._unplayed(rule):
                self.unplayed[rule.name] = why
            else:
                self.real[rule.name] = rule
                asked = [metric for expr in _expressions(rule) for metric in metrics(expr)]
                self.metrics |= {name for name in self._names if any(selects(metric, (name,)) for metric in asked)}

    def _unplayed(self, rule: BoundRule) -> str:
        """Why a rule cannot be played; "" when it can."""
        canary = rule.rule.when.get(CANARY)
        if canary is None and rule.rule.when.get(QUERY) is None:
            return "model servers do not answer"
        if canary is not None and not any(_is_of(each, canary, rule) for each in self._workloads):
            return f"no workload is the canary {canary.canary.workload.name} of its {canary.route.kind} {canary.route.name}"
        for expr in _expressions(rule):
            if why := unplayed(expr):
                return why
            for metric in metrics(expr):
                if not selects(metric, self._names):
                    return f"no workload has the metric {metric[1]}"
        return ""


def _expressions(rule: BoundRule) -> Iterator[str]:
    """The expressions of a rule on a query or a canary, with any values for placeholders."""
    query, canary = rule.rule.when.get(QUERY), rule.rule.when.get(CANARY)
    if query is not None:
        yield query.expr
    for measure in () if canary is None else canary.measures:
        for _, template in measure.promql():
            yield fill(template, {place: "1m" if place == "window" else "x" for place in named(template)})


def _is_of(workload: PlayedWorkload, canary: Canary, rule: BoundRule) -> bool:
    """Whether this is the canary that a rule judges, behind the route that it names."""
    spec = workload.canary
    if spec is None or not rule.scope.covers(workload.namespace):
        return False
    asked = (canary.route.kind, canary.route.name, canary.stable.workload.name, canary.canary.workload.name)
    return asked == (spec.router, route_name(spec), spec.of, workload.name)
