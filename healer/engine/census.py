"""How many pods are sick at once, by workload and by node: counted as signals come and go, never by looking at all of them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sick pod is: uids of its workload and itself, the name of its node ("" before it is scheduled)."""

    workload: str
    node: str
    pod: str


class Census:
    """The pods for which something fires that some rule heeds: has matched, or is waiting to (`for`, `count`)."""

    def __init__(self) -> None:
        self._workloads = _Groups()
        self._nodes = _Groups()

    def add(self, place: Place, key: str) -> None:
        """A signal is heeded."""
        self._workloads.add(place.workload, place.pod, key)
        if place.node:
            self._nodes.add(place.node, place.pod, key)

    def remove(self, place: Place, key: str) -> None:
        """It is not any more."""
        self._workloads.remove(place.workload, place.pod, key)
        if place.node:
            self._nodes.remove(place.node, place.pod, key)

    def sick_in(self, workload: str) -> int:
        """How many pods of a workload (by uid) are sick."""
        return self._workloads.count(workload)

    def sick_on(self, node: str) -> int:
        """How many pods on a node are sick."""
        return self._nodes.count(node)

    def keys_on(self, node: str) -> list[str]:
        """The keys of what fires for pods on a node."""
        return self._nodes.keys(node)

    def changed_workloads(self) -> list[str]:
        """The workloads whose number of sick pods has changed since the last call."""
        return self._workloads.drain()

    def changed_nodes(self) -> list[str]:
        """The nodes whose number of sick pods has changed since the last call."""
        return self._nodes.drain()


class _Groups:
    """Pods in groups, each with the keys of what fires for it; all in the order in which they came, so that decisions repeat."""

    def __init__(self) -> None:
        self._pods: dict[str, dict[str, dict[str, None]]] = {}
        self._changed: dict[str, None] = {}

    def add(self, group: str, pod: str, key: str) -> None:
        pods = self._pods.setdefault(group, {})
        if pod not in pods:
            pods[pod] = {}
            self._changed[group] = None
        pods[pod][key] = None

    def remove(self, group: str, pod: str, key: str) -> None:
        pods = self._pods[group]
        del pods[pod][key]
        if not pods[pod]:
            del pods[pod]
            self._changed[group] = None
        if not pods:
            del self._pods[group]

    def count(self, group: str) -> int:
        return len(self._pods.get(group, ()))

    def keys(self, group: str) -> list[str]:
        return [key for keys in self._pods.get(group, {}).values() for key in keys]

    def drain(self) -> list[str]:
        if not self._changed:
            return []
        changed, self._changed = list(self._changed), {}
        return changed
