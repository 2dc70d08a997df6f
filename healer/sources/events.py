"""Turns the Events of Kubernetes into signals. Events are not kept: one that no rule looks for is dropped as soon as it is read.

An event is about the object that it names by uid: a pod, a workload, or a ReplicaSet of a workload. An event that is repeated is
the same one going on, so that it fires no second time; how often it has happened since is told (`Signal.times`).
"""

from collections import OrderedDict

from healer.cluster.resources import EVENTS
from healer.model.event import REPORTER, Event
from healer.model.kube import KubeObject, Pod
from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.view import View, epoch, target_of
from healer.rules.happening import signal_name
from healer.rules.triggers import EVENT
from healer.sources.base import WatchContext, Watched

MOST, _MOST_EARLY = 2000, 200
"""Events whose count is remembered, and pods not known yet whose last event is kept; beyond, the oldest are forgotten."""
_NEW = 60.0
"""Seconds. Of an event that is older and was not seen before it is not known how often it happened lately: once."""


class EventSource:
    """Times in seconds since the epoch."""

    def __init__(self, context: WatchContext) -> None:
        self._view: View = context.view
        self._rulebook = context.rulebook
        self._counts: OrderedDict[str, int] = OrderedDict()  # by the uid of the event
        self._early: OrderedDict[str, Event] = OrderedDict()  # by the uid of a pod that is not known yet: its last event

    def put(self, obj: KubeObject, before: KubeObject | None, now: float) -> list[Signal]:
        """The signal of an event that a rule looks for; or of one that was there before its pod was known."""
        if isinstance(obj, Event):
            return self._happened(obj, now)
        early = self._early.pop(obj.metadata.uid, None) if self._early else None
        return [] if early is None else self._happened(early, now)

    def resume(self, obj: KubeObject, had: set[str], now: float) -> list[Signal]:
        """Nothing: what happened before is not told again."""
        return []

    def drop(self, obj: KubeObject, now: float) -> list[Signal]:
        """Nothing: what has happened stays so. Its signal fades."""
        return []

    def due(self, now: float) -> list[Signal]:
        """Nothing."""
        return []

    def next_due(self) -> float | None:
        """Never."""
        return None

    def still(self, obj: object, name: str, now: float) -> bool:
        """Whether it has happened cannot be read off an object."""
        return True

    def says(self, obj: object, name: str, now: float) -> str:
        """Nor what was said of it."""
        return ""

    def _happened(self, event: Event, now: float) -> list[Signal]:
        if event.reporting_controller == REPORTER:
            return []  # what healer says of its own actions must cause none
        name, rulebook = signal_name(event.reason, event.type), self._rulebook()
        if (EVENT.name, name) not in rulebook.names or not event.regarding.uid:
            return []  # nearly every event
        if not rulebook.concerned(EVENT.name, name, event.regarding.namespace):
            return []
        target = _target(event.regarding.uid, self._view)
        if target is None:
            self._keep_early(event)
            return []
        if target.namespace != event.metadata.namespace:
            return []  # forged: no API server looks whether an event names an object of its own namespace by its uid
        uid, count = event.metadata.uid, event.count
        times = self._times(event, now)
        if times == 0:
            return []
        return [
            Signal(
                source=EVENT.name,
                name=name,
                target=target,
                firing=True,
                at=now,
                key=f"event/{target.uid}/{name}",
                occurrence=f"{uid}/{count}",
                message=event.note,
                labels={"reason": event.reason, "type": event.type, "count": str(count)},
                times=times,
            )
        ]

    def _times(self, event: Event, now: float) -> int:
        """How often an event has happened since it was last seen; 0 for a change that is no repetition."""
        uid, count = event.metadata.uid, event.count
        known = self._counts.pop(uid, None)
        self._counts[uid] = count
        while len(self._counts) > MOST:
            self._counts.popitem(last=False)
        if known is not None:
            return max(0, count - known)
        created = epoch(event.created)
        return count if created is not None and now - created < _NEW else 1

    def _keep_early(self, event: Event) -> None:
        """Keep the last event of a pod that the watch of pods has not brought yet."""
        if event.regarding.kind == Pod.__name__:
            self._early[event.regarding.uid] = event
            if len(self._early) > _MOST_EARLY:
                self._early.popitem(last=False)


def _target(uid: str, view: View) -> Target | None:
    """The pod or the workload of that uid; of a ReplicaSet its workload. None for any other object."""
    found = view.pod(uid) or view.workload(uid) or view.workload_of_replica_set(uid)
    return None if found is None else target_of(found)


SOURCE = Watched((Event, Pod), lambda happening: (EVENTS,), EventSource)
