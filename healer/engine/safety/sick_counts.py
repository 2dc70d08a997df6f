"""How many units of a workload, and pods of a node, are sick at once: counted as signals come and go, never by a look at all."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SickPlace:
    """Where a sick pod is: uids of its workload, its unit and itself, the name of its node ("" before it is scheduled).

    `acts`: a rule that may act heeds it, and its workload is one that healer can treat. `known`: it is known to be sick now.
    """

    workload: str
    unit: str
    node: str
    pod: str
    acts: bool = True
    known: bool = True


class SickCounts:
    """The pods for which something fires that a rule heeds whose steps change something: it has matched, or waits to.

    What healer would act on is counted apart: nothing else may stop it. Of nodes only that is counted. So is what is known to be
    sick now: what is not known may keep healer from taking pods, but is no cause to act.
    """

    def __init__(self) -> None:
        self._workloads = _Groups()
        self._acting = _Groups()
        self._known = _Groups()
        self._known_acting = _Groups()
        self._nodes = _Groups()

    def add(self, place: SickPlace, key: str) -> None:
        """A signal is heeded."""
        for groups, group, member in self._groups(place):
            groups.add(group, member, key)

    def remove(self, place: SickPlace, key: str) -> None:
        """It is not any more."""
        for groups, group, member in self._groups(place):
            groups.remove(group, member, key)

    def _groups(self, place: SickPlace) -> list[tuple["_Groups", str, str]]:
        counts = [self._workloads]
        if place.acts:
            counts.append(self._acting)
        if place.known:
            counts.append(self._known)
        if place.known and place.acts:
            counts.append(self._known_acting)
        groups = [(each, place.workload, place.unit) for each in counts]
        if place.acts and place.node:
            groups.append((self._nodes, place.node, place.pod))
        return groups

    def sick_in(self, workload: str, *, known: bool = False) -> int:
        """How many units of a workload (by uid) are sick for rules that change something, or would if they did not observe."""
        return (self._known if known else self._workloads).count(workload)

    def to_treat_in(self, workload: str, *, known: bool = False) -> int:
        """How many units of a workload (by uid) are sick for rules that may act on it."""
        return (self._known_acting if known else self._acting).count(workload)

    def sick_on(self, node: str) -> int:
        """How many pods on a node are sick for rules that may act on them."""
        return self._nodes.count(node)

    def keys_on(self, node: str) -> list[str]:
        """The keys of what fires for pods on a node."""
        return self._nodes.keys(node)

    def changed_workloads(self) -> list[str]:
        """The workloads whose number of sick units, by any count, has changed since the last call."""
        counts = (self._workloads, self._acting, self._known, self._known_acting)
        return list(dict.fromkeys(workload for groups in counts for workload in groups.drain()))

    def changed_nodes(self) -> list[str]:
        """The nodes whose number of sick pods has changed since the last call."""
        return self._nodes.drain()


class _Groups:
    """Members in groups (units of a workload, pods of a node), each with the keys of what fires for it.

    All are in the order in which they came, so that decisions repeat.
    """

    def __init__(self) -> None:
        self._members: dict[str, dict[str, dict[str, None]]] = {}
        self._changed: dict[str, None] = {}

    def add(self, group: str, member: str, key: str) -> None:
        members = self._members.setdefault(group, {})
        if member not in members:
            members[member] = {}
            self._changed[group] = None
        members[member][key] = None

    def remove(self, group: str, member: str, key: str) -> None:
        members = self._members[group]
        del members[member][key]
        if not members[member]:
            del members[member]
            self._changed[group] = None
        if not members:
            del self._members[group]

    def count(self, group: str) -> int:
        return len(self._members.get(group, ()))

    def keys(self, group: str) -> list[str]:
        return [key for keys in self._members.get(group, {}).values() for key in keys]

    def drain(self) -> list[str]:
        if not self._changed:
            return []
        changed, self._changed = list(self._changed), {}
        return changed
