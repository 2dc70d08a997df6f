"""What healer has done lately, by rule and workload: what budgets, cooldowns and the one-disruption guard count."""

from bisect import bisect_right, insort
from collections import defaultdict
from typing import TypeVar

from healer.model.incident import Disruption, Incident, State
from healer.model.view import View
from healer.rules.schema import Mode

K = TypeVar("K")
Key = tuple[str, str, str]  # rule, uid of the workload, its revision


class Ledger:
    """Times in seconds since the epoch."""

    def __init__(self) -> None:
        self._actions: dict[Key, list[float]] = defaultdict(list)
        self._by_workload: dict[str, list[float]] = defaultdict(list)
        self._by_namespace: dict[str, list[float]] = defaultdict(list)
        self._in_doubt: dict[str, str] = {}  # incident -> namespace: it acts, or does not know if it has acted
        self._ended: dict[Key, float] = {}
        self._disruptions: dict[str, list[Disruption]] = {}
        self._taken: dict[str, None] = {}  # uids of pods
        self._denied: dict[str, str] = {}  # pod's uid -> the answer to the eviction that was asked for

    def acted(self, incident: Incident, at: float) -> None:
        """An action was accepted by the cluster."""
        for times in (
            self._actions[key_of(incident)],
            self._by_workload[incident.workload.uid],
            self._by_namespace[incident.workload.namespace],
        ):
            insort(times, at)  # a journal is not read in the order of the actions

    def ended(self, incident: Incident, at: float) -> None:
        """An incident in which healer acted came to its end: the cooldown runs from here."""
        key = key_of(incident)
        self._ended[key] = max(at, self._ended.get(key, 0.0))

    def saw(self, incident: Incident) -> None:
        """Note whether an action of an incident may be on its way: budgets of many workloads count that too."""
        maybe = incident.state is State.ACTING or (incident.failures > 0 and not incident.state.settled)
        if maybe and incident.mode != Mode.OBSERVE:
            self._in_doubt[incident.id] = incident.workload.namespace
        else:
            self._in_doubt.pop(incident.id, None)

    def learn(self, incident: Incident, view: View) -> None:
        """Take in what an incident of the journal says was done, or was not granted."""
        if incident.mode != Mode.OBSERVE:
            self._denied |= {pod: answer for pod, answer in incident.denied.items() if view.pod(pod) is not None}
        for at in incident.acted_at:
            self.acted(incident, at)
        if incident.acted_at and incident.ended_at is not None:
            self.ended(incident, incident.ended_at)
        for disruption in incident.down:
            if not made_good(disruption, view):
                self.disrupted(disruption)
        if incident.acted_at and incident.mode != Mode.OBSERVE:
            self._taken |= dict.fromkeys(uid for uid in incident.treated if view.pod(uid) is not None)

    def was_denied(self, pod: str, answer: str) -> None:
        """An eviction of a pod (by uid) was asked for, and not granted."""
        self._denied[pod] = answer

    def denial(self, pod: str) -> str | None:
        """The last answer to an eviction of a pod (by uid) that was not granted, by whichever incident."""
        return self._denied.get(pod)

    def last_end(self, key: Key) -> float | None:
        """When the last incident in which healer acted ended."""
        return self._ended.get(key)

    def actions_since(self, key: Key, since: float) -> list[float]:
        """The times of a rule's actions on a revision of a workload after `since`, oldest first."""
        return _after(since, self._actions.get(key, []))

    def on_workload(self, uid: str, since: float) -> list[float]:
        """The times of all actions on a workload after `since`, oldest first."""
        return _after(since, self._by_workload.get(uid, []))

    def in_namespace(self, namespace: str, since: float) -> list[float]:
        """The times of all actions in a namespace after `since`, oldest first."""
        return _after(since, self._by_namespace.get(namespace, []))

    def namespaces(self, since: float, most: int) -> list[tuple[str, list[float]]]:
        """The namespaces with actions after `since`, with these times, oldest first; the `most` that were acted in last."""
        return _latest(since, self._by_namespace, most)

    def workloads(self, since: float, most: int) -> list[tuple[str, list[float]]]:
        """The same of workloads, by uid."""
        return _latest(since, self._by_workload, most)

    def attempted(self, most: int) -> list[Key]:
        """What attempts are counted by, at most `most`: a rule, the uid of a workload, and its revision."""
        return list(dict.fromkeys((*self._actions, *self._ended)))[-most:]

    def anywhere(self, since: float, most: int) -> list[float]:
        """The times of all actions after `since`, oldest first: of each namespace the latest `most`, its own budget.

        Beyond that healer does not act in a namespace, so that more of them can only be a journal's word: it spends the budget of
        no other namespace.
        """
        return sorted(at for times in self._by_namespace.values() for at in _after(since, times)[-most:])

    def in_doubt(self, incident: str, namespace: str = "") -> int:
        """How many actions of other incidents may be on their way (in one namespace, when given)."""
        return sum(1 for other, where in self._in_doubt.items() if other != incident and namespace in ("", where))

    def disrupted(self, disruption: Disruption) -> None:
        """A pod was taken down."""
        self._taken |= dict.fromkeys((disruption.target.uid, *disruption.along))
        self._disruptions.setdefault(disruption.workload.uid, []).append(disruption)

    def took_down(self, pod: str) -> bool:
        """Whether healer has taken down a pod (by uid) that may still be there."""
        return pod in self._taken

    def in_flight(self, workload: str, view: View) -> list[Disruption]:
        """The disruptions of a workload: its ready pods that were taken down and not made good yet."""
        return [disruption for disruption in self.going(workload, view) if disruption.ready]

    def going(self, workload: str, view: View) -> list[Disruption]:
        """The same, and the pods that were not ready, and were taken down and are not seen to go yet."""
        return [disruption for disruption in self._disruptions.get(workload, ()) if not made_good(disruption, view)]

    def drop_made_good(self, workload: str, view: View) -> None:
        """What is made good now is no disruption of a workload any more, whatever happens to its pods later.

        Not with each change: a replacement that is ready for one moment, and crashes then, has made nothing good.
        """
        if remaining := self.going(workload, view):
            self._disruptions[workload] = remaining
        else:
            del self._disruptions[workload]

    def suppose_made_good(self, workload: str) -> None:
        """Forget the disruptions of a workload."""
        self._disruptions.pop(workload, None)

    def remembers(self) -> bool:
        """Whether there is anything that may be forgotten some time."""
        return bool(self._actions or self._ended or self._disruptions or self._taken or self._denied)

    def forget(self, before: float, view: View) -> None:
        """Drop what is older than any limit looks back, and the disruptions that are made good. Those of a workload that is not
        in the view, because it was deleted or is no longer watched, are dropped when they are so old."""
        for workload in list(self._disruptions):
            if view.workload(workload) is None:
                self._disruptions[workload] = [each for each in self._disruptions[workload] if each.at >= before]
            self.drop_made_good(workload, view)
        self._taken = {pod: None for pod in self._taken if view.pod(pod) is not None}
        self._denied = {pod: answer for pod, answer in self._denied.items() if view.pod(pod) is not None}
        self._actions = _kept(before, self._actions)
        self._by_workload = _kept(before, self._by_workload)
        self._by_namespace = _kept(before, self._by_namespace)
        for key in [key for key, at in self._ended.items() if at < before]:
            del self._ended[key]


def key_of(incident: Incident) -> Key:
    """What attempts are counted by: a new pod is counted with those before it, a new revision is not."""
    return incident.rule, incident.workload.uid, incident.revision


def _after(since: float, times: list[float]) -> list[float]:
    return times[bisect_right(times, since) :]


def _latest(since: float, times: dict[K, list[float]], most: int) -> list[tuple[K, list[float]]]:
    """Of each key the times after `since`; only the `most` keys with the latest ones."""
    found = [(key, left) for key, each in times.items() if (left := _after(since, each))]
    return sorted(found, key=lambda item: item[1][-1])[-most:]


def _kept(since: float, times: dict[K, list[float]]) -> dict[K, list[float]]:
    """What is left of the times of each key, without the keys that have none left."""
    left = {key: _after(since, each) for key, each in times.items() if each[-1] > since}
    return defaultdict(list, left)


def made_good(disruption: Disruption, view: View) -> bool:
    """Whether nothing is missing any more for which a pod was taken down.

    The pod is gone or going, and a unit with a pod that was not there then is ready, or the workload has all it wants without
    one. How long the pod takes to go does not matter: on a node that is lost, for ever. Of a workload that is not in the view
    nothing is known, so that nothing is made good; `Ledger.forget` ends that.
    """
    pod = view.pod(disruption.target.uid)
    if pod is not None and not pod.terminating:
        return False
    if not disruption.ready:
        return True
    if (workload := view.workload(disruption.workload.uid)) is None:
        return False
    ready = [unit for unit in view.units_of(disruption.workload) if unit.ready]
    replaced = any(pod.metadata.uid not in disruption.known for unit in ready for pod in unit.pods)
    return replaced or len(ready) >= workload.desired
