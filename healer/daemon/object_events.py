"""Says on the objects in the cluster what healer did to them: an Event on the target and one on its workload.

What people approve or undo, and what healer takes back, gets one on the workload.
`kubectl describe pod` and `kubectl get events` show them. They are for people: nothing waits for them, and one that cannot be
posted is counted and no more. They say what was done, refused or failed, and nothing of dry runs or of what is tried again.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import structlog

from healer.cluster.api import Api, ClusterError
from healer.cluster.object_event import object_event
from healer.cluster.resources import EVENTS
from healer.daemon.metrics import Metrics
from healer.http.rate import Rates
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Act
from healer.model.incident import Incident
from healer.model.target import Target
from healer.workloads.registry import WORKLOADS

_SAID = frozenset({OutcomeKind.DONE, OutcomeKind.REFUSED, OutcomeKind.FAILED})
_PER_MINUTE, _BURST = 6, 6
"""Events about one object: as client-go's spam filter, a little more at once and then a few a minute."""
_WAITING = 200
"""Events that wait to be posted; beyond, the newest are dropped."""


class ObjectEvents:
    """A bounded queue of Events, and the task that posts them. `instance` is this replica's name."""

    def __init__(self, api: Api, metrics: Metrics, instance: str) -> None:
        self._api = api
        self._metrics = metrics
        self._instance = instance
        self._rates = Rates(_PER_MINUTE, _BURST, api.clock.steady)
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_WAITING)
        self._log = structlog.get_logger("healer.events")
        self._said = ""

    def acted(self, act: Act, outcome: Outcome, why: str) -> None:
        """Queue the Events about an attempt that has ended."""
        if act.dry_run or outcome.kind not in _SAID:
            return
        warns = outcome.kind is not OutcomeKind.DONE
        about, text = (act.target, act.incident.workload), f"{outcome.text}, because {why}"
        self.tell(act.incident, text, reason=outcome.reason, action=act.action, about=about, warns=warns)

    def tell(
        self, incident: Incident, text: str, *, reason: str, action: str, about: Iterable[Target] = (), warns: bool = False
    ) -> None:
        """Queue an Event for each of the objects `about`, by default for the workload of the incident alone."""
        for target in {each.uid: each for each in about or (incident.workload,)}.values():
            if self._rates.wait((target.uid, reason)) or self._queue.full():
                self._metrics.object_event("dropped")
            else:
                self._queue.put_nowait(self._event(target, incident, text, reason, action, "Warning" if warns else "Normal"))

    async def run(self) -> None:
        """Post what is queued, until cancelled."""
        while True:
            event = await self._queue.get()
            try:
                await self._api.request("POST", EVENTS.path(event["metadata"]["namespace"]), body=event)
            except ClusterError as error:
                self._metrics.object_event("failed")
                if str(error) != self._said:
                    self._log.warning("an Event cannot be posted: healer goes on without", error=str(error))
                self._said = str(error)
            else:
                self._metrics.object_event("posted")

    def _event(self, target: Target, incident: Incident, text: str, reason: str, action: str, kind: str) -> dict[str, Any]:
        """The Event, with the incident."""
        note = f"healer: {text} (rule {incident.rule}, incident {incident.id})"
        version, now = _api_version(target.kind), self._api.clock.wall()
        event = object_event(target, version, note, reason=reason, action=action, now=now, instance=self._instance, kind=kind)
        event["related"] = {
            "apiVersion": "healer.dev/v1alpha1",
            "kind": "Incident",
            "namespace": incident.workload.namespace,
            "name": incident.id,
        }
        return event


def _api_version(kind: str) -> str:
    """Of a workload's kind its group and version; pods and nodes are of the core group."""
    group = WORKLOADS[kind].resource.group if kind in WORKLOADS else "/api/v1"
    return group.removeprefix("/apis/").removeprefix("/api/")
