"""What the watches report between two inputs of the engine: signals, and the workloads that have changed."""

import asyncio
from collections.abc import Callable, Sequence

from healer.cluster.watch import ObjectChange
from healer.model.incident import Incident, Symptom
from healer.model.kube import KubeObject, Pod
from healer.model.signal import Signal
from healer.model.view import View
from healer.model.workload import Workload, WorkloadObject
from healer.sources.watched import WatchedSources


class ClusterChanges:
    """Collects changes of the view until they are taken. `clock` gives seconds since the epoch."""

    def __init__(self, view: View, sources: WatchedSources, clock: Callable[[], float]) -> None:
        self._view = view
        self._sources = sources
        self._clock = clock
        self._signals: list[Signal] = []
        self._changed: dict[tuple[str, str], None] = {}
        self.pending = asyncio.Event()
        """Set while there is something to take."""

    def __len__(self) -> int:
        return len(self._signals) + len(self._changed)

    def add(self, change: ObjectChange) -> None:
        """Note what a change of the view means: which signals begin or end, which workload it concerns."""
        obj, before = change.obj, change.before
        self._signals += self._sources.changed(change, self._clock())
        if isinstance(obj, Pod):
            for workload in self._workloads_of(obj, before):
                self._changed[workload, obj.metadata.uid] = None
        elif isinstance(obj, WorkloadObject):
            self._changed[obj.metadata.uid, ""] = None
        if self._signals or self._changed:  # nobody looks for most Events
            self.pending.set()

    def take(self) -> tuple[list[Signal], list[tuple[str, str]]]:
        """The signals, and what changed: the uids of the workload and of the pod, or "" for the workload itself."""
        taken = self._signals, list(self._changed)
        self._signals, self._changed = [], {}
        self.pending.clear()
        return taken

    def current(self, incidents: Sequence[Incident]) -> list[Signal]:
        """What fires for the objects of the view now; `incidents` are those of the journal."""
        return self._sources.current(self._view, incidents, self._clock())

    def due(self) -> list[Signal]:
        """The signals that began or ended because time passed."""
        return self._sources.due(self._clock())

    def next_due(self) -> float | None:
        """When `due` has to be asked next, in seconds since the epoch; None: not before the next change."""
        return self._sources.next_due()

    def still(self, obj: KubeObject | Workload, symptom: Symptom) -> bool:
        """Whether a freshly read object still has the symptom. What another source reports cannot be read off the object."""
        return self._sources.still(obj, symptom, self._clock())

    def says(self, obj: KubeObject | Workload, signal: Signal) -> str:
        """What a signal says of a freshly read object; "" when that cannot be read off it."""
        return self._sources.says(obj, signal, self._clock())

    def _workloads_of(self, pod: Pod, before: KubeObject | None) -> list[str]:
        """The uids of the workload that a pod belongs to, and of the one that has just released it."""
        workload = self._view.workload_uid(pod) if pod.metadata.controller is not None else pod.metadata.uid  # nobody's: its own
        lost = ""
        if isinstance(before, Pod) and before.metadata.owner_references != pod.metadata.owner_references:
            lost = self._view.workload_uid(before)
        return [uid for uid in dict.fromkeys((lost, workload)) if uid]
