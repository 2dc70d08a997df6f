"""Nodes on which so many pods are sick that it is the node's fault: healer takes none of their pods, and tells a human."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from healer.engine.incidents.opening import symptom_of, what_of
from healer.engine.matching.firing import Firing
from healer.engine.safety.wide import NAMED, NODE_STORM, telling, wide_incident
from healer.model.incident import Incident, Reason, SickTarget, State
from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.view import View
from healer.rules.rulebook import Rulebook
from healer.rules.schema import Mode, Rule


class NodeStorms:
    """The nodes on which so many pods are sick that it is the node's fault, each with its incident."""

    def __init__(self) -> None:
        self._incidents: dict[str, Incident] = {}

    def on(self, node: str) -> Incident | None:
        """The incident of a node, if there is a storm on it."""
        return self._incidents.get(node)

    def storm_of(self, pod: str, view: View) -> Incident | None:
        """The incident of the node that a pod (by uid) is on, if there is a storm on it."""
        if not self._incidents:
            return None
        found = view.living(pod)
        return None if found is None else self._incidents.get(found.spec.node_name)

    def put(self, incident: Incident) -> None:
        """Note a storm, or that it changed."""
        self._incidents[incident.workload.name] = incident

    def drop(self, node: str) -> None:
        """It has passed."""
        del self._incidents[node]

    def absorbs(self, incident: Incident, view: View) -> bool:
        """Whether an incident of a workload has done nothing, and all of its pods are on nodes with storms."""
        quiet = incident.state in (State.OPEN, State.WAITING, State.ESCALATED) and not incident.acted_at and not incident.failures
        return quiet and all(self.storm_of(sick.target.uid, view) is not None for sick in incident.sick)

    def all(self) -> list[Incident]:
        """The incidents, oldest first."""
        return list(self._incidents.values())


def node_storm(
    node: str, firings: Iterable[Firing], rulebook: Rulebook, view: View, home: str, now: float, number: int
) -> Incident:
    """The incident of a node on which these signals fire; it is told where the rules that heed them are.

    Their ladders go no further, so that it is told where the pages of those are as well.
    """
    firings = list(firings)
    target = Target("Node", home, node, f"node/{node}")
    rules = [rulebook.get(name) for firing in firings for name in firing.verdicts if name in firing.live_rules]
    notify = dict.fromkeys(channel for rule in rules if rule is not None for channel in (*rule.rule.notify, *_pages(rule.rule)))
    incident = with_targets(wide_incident(NODE_STORM, target, tuple(notify), now, number), firings, now)
    workloads = Counter(_workload(sick.target, view) for sick in incident.targets.values())
    named = ", ".join(f"{workload} ({count})" for workload, count in workloads.most_common(NAMED))
    more = f" and {len(workloads) - NAMED} more" if len(workloads) > NAMED else ""
    sick, on_it = len(incident.targets), view.count_on(node)
    text = f"{sick} of {on_it} pods on {target} are sick at once: {named}{more}; healer takes none of them, a human is needed"
    return telling(incident, Reason("NodeStorm", text), now)


def _pages(rule: Rule) -> Iterator[str]:
    """The channels in which a rule that does not only observe pages people, at whichever step."""
    if rule.mode is not Mode.OBSERVE:
        yield from rule.paged


def with_targets(incident: Incident, firings: Iterable[Firing], now: float) -> Incident:
    """The incident with the pods for which these signals fire as its targets; the same object when it has them already."""
    pods: dict[str, list[Signal]] = {}
    for firing in firings:
        pods.setdefault(firing.signal.target.uid, []).append(firing.signal)
    if pods.keys() == incident.targets.keys():
        return incident
    targets = {uid: _sick(incident.targets.get(uid), signals, now) for uid, signals in pods.items()}
    return replace(incident, targets=targets)


def _sick(before: SickTarget | None, signals: list[Signal], now: float) -> SickTarget:
    """A pod for which these signals fire; the same object where nothing has changed since `before`."""
    if before is not None and before.signals.keys() == {signal.key for signal in signals}:
        return before
    since = before.since if before is not None and before.signals else now
    return SickTarget(signals[0].target, {signal.key: symptom_of(signal) for signal in signals}, since, what_of(signals[0]))


def _workload(target: Target, view: View) -> str:
    pod = view.pod(target.uid)
    workload = None if pod is None else view.workload_of(pod)
    return f"{target.namespace}/{target.name if workload is None else workload.name}"
