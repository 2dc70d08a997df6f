"""The fields of an Event that healer reads (events.k8s.io/v1, Kubernetes 1.30 to 1.36)."""

from datetime import datetime

from healer.model.kube import KubeObject, KubeStruct

REPORTER = "healer.dev/healer"
"""The reportingController of the events that healer itself posts."""


class Regarding(KubeStruct, frozen=True):
    """core/v1 ObjectReference: what an event is about. The uid is empty where its reporter knew none."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class EventSeries(KubeStruct, frozen=True):
    """events.k8s.io/v1 EventSeries: how often the event was seen in all."""

    count: int = 0


class Event(KubeObject, frozen=True):
    """An event as it is watched; new reporters write `series`, old ones `deprecatedCount`."""

    reason: str = ""
    type: str = ""
    note: str = ""
    regarding: Regarding = Regarding()
    series: EventSeries | None = None
    deprecated_count: int | None = None
    reporting_controller: str = ""

    @property
    def count(self) -> int:
        """How often it has happened in all."""
        return max(self.deprecated_count or 0, self.series.count if self.series is not None else 0, 1)

    @property
    def created(self) -> datetime | None:
        """When it was reported first."""
        return self.metadata.creation_timestamp
