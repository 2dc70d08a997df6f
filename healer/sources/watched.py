"""All watched sources as one: what the watches report goes to the sources that read its kind, and comes back as signals."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Self

from healer.cluster.watch import ObjectChange
from healer.model.incident import Incident, Symptom
from healer.model.kube import KubeObject
from healer.model.signal import Signal
from healer.model.view import View
from healer.model.workload import Workload, WorkloadObject
from healer.sources.base import WatchContext, Watched, WatchedSource, sources


class WatchedSources:
    """The watched sources by the names of their triggers, each with the kinds that it reads. Times are in seconds (epoch)."""

    def __init__(self, watched: Mapping[str, tuple[tuple[type[KubeObject], ...], WatchedSource[Any]]]) -> None:
        self._watched = watched

    @classmethod
    def of(cls, context: WatchContext) -> Self:
        """Those of the table of triggers."""
        found = {name: source for name, source in sources().items() if isinstance(source, Watched)}
        return cls({name: (source.kinds, source.make(context)) for name, source in found.items()})

    def changed(self, change: ObjectChange, now: float) -> list[Signal]:
        """The signals of a change of an object."""
        signals: list[Signal] = []
        for kinds, source in self._watched.values():
            if isinstance(change.obj, kinds):
                put = change.verb == "put"
                signals += source.put(change.obj, change.before, now) if put else source.drop(change.obj, now)
        return signals

    def current(self, view: View, incidents: Sequence[Incident], now: float) -> list[Signal]:
        """What fires for the objects of the view now; `incidents` are those of the journal."""
        signals: list[Signal] = []
        for name, (kinds, source) in self._watched.items():
            known = _known(incidents, name)
            for obj in (each for kind in kinds for each in view.objects(kind)):
                had = known.get(obj.metadata.uid)
                signals += source.resume(obj, had, now) if had else source.put(obj, None, now)
        return signals

    def due(self, now: float) -> list[Signal]:
        """The signals that began or ended because time passed."""
        return [signal for _, source in self._watched.values() for signal in source.due(now)]

    def next_due(self) -> float | None:
        """When to call `due` next; None: not before the next change."""
        return min((at for _, source in self._watched.values() if (at := source.next_due()) is not None), default=None)

    def still(self, obj: KubeObject | Workload, symptom: Symptom, now: float) -> bool:
        """Whether a freshly read object still has a symptom. What is reported
        by another source, or read off objects of another kind, cannot be read off this one."""
        source = self._reader(obj, symptom.source)
        return source is None or source.still(obj, symptom.name, now)

    def says(self, obj: KubeObject | Workload, signal: Signal, now: float) -> str:
        """What a signal says of a freshly read object; "" when that cannot be read off it."""
        source = self._reader(obj, signal.source)
        return "" if source is None else source.says(obj, signal.name, now)

    def _reader(self, obj: KubeObject | Workload, trigger: str) -> WatchedSource[Any] | None:
        """The source of a trigger, if it reads such objects."""
        kinds, source = self._watched.get(trigger, ((), None))
        read = any(issubclass(WorkloadObject, kind) for kind in kinds) if isinstance(obj, Workload) else isinstance(obj, kinds)
        return source if read else None


def _known(incidents: Sequence[Incident], trigger: str) -> dict[str, set[str]]:
    """The names of the symptoms from a trigger that open incidents have, by the uid of the target."""
    known: dict[str, set[str]] = defaultdict(set)
    for incident in incidents:
        for uid, sick in incident.targets.items() if not incident.state.settled else ():
            known[uid] |= {symptom.name for symptom in sick.signals.values() if symptom.source == trigger}
    return known
