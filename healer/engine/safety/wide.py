"""Incidents of more than one workload: of a node on which many pods are sick, of the cluster when healer stops everywhere, of the
journal when healer does not believe all of it, and of alerts that ended while no incident had them.

They have no ladder. A human is told once, and healer closes them when they are over. Of the last nobody is told: it is closed
from the beginning, and holds what healer must know after a restart.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from healer.engine.incidents.opening import name, noted, symptom_of, what_of, with_ends
from healer.engine.matching.matcher import Firing
from healer.engine.tuning import Tuning
from healer.model.annotations import APPROVED_BY
from healer.model.duration import about
from healer.model.incident import Entry, Incident, Reason, SickTarget, State
from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.view import View
from healer.rules.rulebook import Rulebook
from healer.rules.schema import Mode, PageParams, Rule, Severity

NODE_STORM = "healer/node-storm"
BREAKER = "healer/breaker"
SET_ASIDE = "healer/set-aside"
ENDED_ALERTS = "healer/ended-alerts"
"""The names that stand for a rule in these incidents."""
_NAMED = 10
"""Workloads, or incidents, that a text names."""


class NodeStorms:
    """The nodes on which so many pods are sick that it is the node's fault, each with its incident."""

    def __init__(self) -> None:
        self._incidents: dict[str, Incident] = {}

    def on(self, node: str) -> Incident | None:
        """The incident of a node, if there is a storm on it."""
        return self._incidents.get(node)

    def over(self, pod: str, view: View) -> Incident | None:
        """The incident of the node that a pod (by uid) is on, if there is a storm on it."""
        if not self._incidents:
            return None
        found = view.living(pod)
        return None if found is None else self._incidents.get(found.spec.node_name)

    def put(self, incident: Incident) -> None:
        """Note a storm, or that it changed."""
        self._incidents[incident.workload.name] = incident

    def drop(self, node: str) -> None:
        """It is over."""
        del self._incidents[node]

    def absorbs(self, incident: Incident, view: View) -> bool:
        """Whether an incident of a workload has done nothing, and all of its pods are on nodes with storms."""
        quiet = incident.state in (State.OPEN, State.WAITING, State.ESCALATED) and not incident.acted_at and not incident.failures
        return quiet and all(self.over(sick.target.uid, view) is not None for sick in incident.sick)

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
    rules = [rulebook.get(name) for firing in firings for name in firing.verdicts if name in firing.heeded]
    notify = dict.fromkeys(channel for rule in rules if rule is not None for channel in (*rule.rule.notify, *_pages(rule.rule)))
    incident = with_targets(_incident(NODE_STORM, target, tuple(notify), now, number), firings, now)
    workloads = Counter(_workload(sick.target, view) for sick in incident.targets.values())
    named = ", ".join(f"{workload} ({count})" for workload, count in workloads.most_common(_NAMED))
    more = f" and {len(workloads) - _NAMED} more" if len(workloads) > _NAMED else ""
    sick, on_it = len(incident.targets), view.count_on(node)
    text = f"{sick} of {on_it} pods on {target} are sick at once: {named}{more}; healer takes none of them, a human is needed"
    return _told(incident, Reason("NodeStorm", text), now)


def _pages(rule: Rule) -> Iterator[str]:
    """The channels in which a rule that does not only observe pages people, at whichever step."""
    for step in (*rule.heal, rule.on_storm) if rule.mode is not Mode.OBSERVE else ():
        if step is not None and isinstance(step.params, PageParams):
            yield from step.params.channels


def breaker_open(tuning: Tuning, now: float, number: int) -> Incident:
    """The incident that says that healer acts nowhere."""
    incident = _incident(BREAKER, Target("Cluster", tuning.home, "cluster", "cluster"), (), now, number)
    text = (
        f"more than {tuning.breaker_incidents} incidents opened within {about(tuning.breaker_window)}: healer acts nowhere until "
        f"{about(tuning.breaker_quiet)} have passed without another one, or until somebody lets it go on: kubectl annotate "
        f"incident {incident.id} -n {tuning.home} {APPROVED_BY}=YOU"
    )
    return _told(incident, Reason("ClusterBreaker", text), now)


def set_aside(before: Incident | None, aside: Sequence[str], home: str, now: float, number: int) -> Incident | None:
    """The one incident that says which others of the journal are not believed; None when there is nothing to say.

    `before` is the one that says so already. `aside` has each as "namespace/name (code)". People hear of it when it opens, and
    by a line when they are others than before.
    """
    if not aside:
        return (
            None if before is None else over(before, Reason("Recovered", "no incident of the journal is set aside any more"), now)
        )
    named = ", ".join(sorted(aside)[:_NAMED])
    more = f" and {len(aside) - _NAMED} more" if len(aside) > _NAMED else ""
    text = (
        f"incidents of the journal that are not believed: {len(aside)}. healer acts on none of them: {named}{more}; look who "
        "wrote them, for they may be forged, and delete them: kubectl get incidents -A"
    )
    reason = Reason("SetAside", text)
    if before is None:
        target = Target("Journal", home, "journal", "journal")
        return _told(replace(_incident(SET_ASIDE, target, (), now, number), severity=Severity.WARNING), reason, now)
    return before if before.reason == reason else noted(replace(before, reason=reason), reason, now)


def ended_alerts(
    before: Incident | None, ends: Mapping[str, float], since: float, home: str, now: float, number: int
) -> Incident | None:
    """The one incident that keeps when alerts ended that are in no other, by their keys; `before` where it says so already.

    Ends before `since` are forgotten: an alert that was last heard of so long ago is not acted on.
    """
    known = {} if before is None else before.ended
    if all(known.get(key, 0.0) >= at for key, at in ends.items()):
        return before
    if before is None:
        before = _incident(ENDED_ALERTS, Target("Journal", home, "journal", "journal"), (), now, number)
    recent = replace(before, ended={key: at for key, at in known.items() if at >= since})
    after = with_ends(recent, {key: max(at, known.get(key, at)) for key, at in ends.items()})
    alerts = "1 alert" if len(after.ended) == 1 else f"{len(after.ended)} alerts"
    text = f"{alerts} ended while no incident had them: a report of them that comes late is no news"
    reason = Reason("EndedAlerts", text)
    return replace(after, severity=Severity.INFO, state=State.CLOSED, reason=reason, changed_at=now, ended_at=now)


def over(incident: Incident, reason: Reason, now: float) -> Incident:
    """The incident, closed."""
    return noted(replace(incident, state=State.CLOSED, reason=reason, ended_at=now), reason, now)


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


def _incident(rule: str, target: Target, notify: tuple[str, ...], now: float, number: int) -> Incident:
    reason = Reason("", "")
    return Incident(
        id=name(rule, target, now, number),
        rule=rule,
        workload=target,
        severity=Severity.CRITICAL,
        mode=Mode.OBSERVE,
        notify=notify,
        opened_at=now,
        changed_at=now,
        state=State.ESCALATED,
        reason=reason,
        targets={},
        steps=(),
    )


def _told(incident: Incident, reason: Reason, now: float) -> Incident:
    return replace(incident, reason=reason, history=(Entry(now, State.ESCALATED, reason),))


def _workload(target: Target, view: View) -> str:
    pod = view.pod(target.uid)
    workload = None if pod is None else view.workload_of(pod)
    return f"{target.namespace}/{target.name if workload is None else workload.name}"
