"""What healer has done lately, by rule and workload: what budgets, cooldowns and the one-disruption guard count."""

from collections import defaultdict, deque

from healer.model.incident import Disruption, Incident, State
from healer.model.view import View

Key = tuple[str, str]  # rule, uid of the workload

_KEPT = 1000  # actions remembered a rule and workload: far above any budget worth the name


class Ledger:
    """Times in seconds since the epoch."""

    def __init__(self) -> None:
        self._actions: dict[Key, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._ended: dict[Key, float] = {}
        self._disruptions: dict[str, list[Disruption]] = {}

    def acted(self, key: Key, at: float) -> None:
        """An action was accepted by the cluster."""
        self._actions[key].append(at)

    def ended(self, key: Key, at: float) -> None:
        """An incident in which healer acted came to its end: the cooldown runs from here."""
        self._ended[key] = at

    def learn(self, incident: Incident, view: View) -> None:
        """Take in what an incident of the journal says was done."""
        key = (incident.rule, incident.workload.uid)
        for at in incident.acted_at:
            self.acted(key, at)
        if incident.acted_at and incident.ended_at is not None:
            self.ended(key, max(incident.ended_at, self._ended.get(key, 0.0)))
        in_doubt = incident.state is State.ACTING or incident.failures > 0  # the engine looks whether that one happened
        if incident.acted_at and incident.disruption is not None and not in_doubt and not _over(incident.disruption, view):
            self.disrupted(incident.disruption)

    def last_end(self, key: Key) -> float | None:
        """When the last incident in which healer acted ended."""
        return self._ended.get(key)

    def actions_since(self, key: Key, since: float) -> list[float]:
        """The times of the actions after `since`, oldest first."""
        return [at for at in self._actions.get(key, ()) if at > since]

    def disrupted(self, disruption: Disruption) -> None:
        """A pod was taken down."""
        self._disruptions.setdefault(disruption.workload.uid, []).append(disruption)

    def in_flight(self, workload: str, view: View) -> list[Disruption]:
        """The disruptions of a workload whose pod is not gone, or not replaced yet."""
        remaining = [d for d in self._disruptions.get(workload, ()) if not _over(d, view)]
        if remaining:
            self._disruptions[workload] = remaining
        else:
            self._disruptions.pop(workload, None)
        return remaining

    def remembers(self) -> bool:
        """Whether there is anything that may be forgotten some time."""
        return bool(self._actions or self._ended or self._disruptions)

    def forget(self, before: float, view: View) -> None:
        """Drop what is older than any limit looks back, and the disruptions that are over."""
        for workload in list(self._disruptions):
            self.in_flight(workload, view)
        for key in [key for key, times in self._actions.items() if not times or times[-1] < before]:
            del self._actions[key]
        for key in [key for key, at in self._ended.items() if at < before]:
            del self._ended[key]


def _over(disruption: Disruption, view: View) -> bool:
    """Whether the pod is gone and a pod that was not there then is ready, or the workload has all it wants without one."""
    if view.pod(disruption.target.uid) is not None:
        return False
    deployment = view.deployment(disruption.workload.uid)
    if deployment is None:
        return True
    ready = [pod for pod in view.pods_of(disruption.workload) if pod.ready]
    replaced = any(pod.metadata.uid not in disruption.known for pod in ready)
    return replaced or len(ready) >= deployment.spec.replicas
