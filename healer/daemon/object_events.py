"""Says on the objects in the cluster what healer did to them: an Event on the target and one on its workload.

What people approve or undo, and what healer takes back, gets one on the workload. What became of the rules is said on healer's
Lease, and on each RuleSet.
`kubectl describe pod` and `kubectl get events` show them. They are for people: nothing waits for them, and one that cannot be
posted is counted and no more. They say what was done, refused or failed, and nothing of dry runs or of what is tried again.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from healer.cluster.api import Api, ClusterError
from healer.cluster.object_event import object_event
from healer.cluster.resources import EVENTS, RULESETS
from healer.daemon.metrics import Metrics
from healer.http.rate import Rates
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Act
from healer.model.incident import Incident
from healer.model.kube import KubeObject
from healer.model.target import Target
from healer.workloads.registry import WORKLOADS

_SAID = frozenset({OutcomeKind.DONE, OutcomeKind.REFUSED, OutcomeKind.FAILED})
LEASE = "Lease"
"""The kind of healer's own object."""
_GROUPS = {LEASE: "coordination.k8s.io/v1", RULESETS.name: "healer.dev/v1alpha1"}
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
        text = f"{text} (rule {incident.rule}, incident {incident.id})"
        related = {
            "apiVersion": "healer.dev/v1alpha1",
            "kind": "Incident",
            "namespace": incident.workload.namespace,
            "name": incident.id,
        }
        for target in {each.uid: each for each in about or (incident.workload,)}.values():
            self.say(target, text, reason=reason, action=action, warns=warns, related=related)

    def say(
        self,
        target: Target,
        text: str,
        *,
        reason: str,
        action: str,
        warns: bool = False,
        related: Mapping[str, str] | None = None,
    ) -> None:
        """Queue an Event about an object; `related` refers to another one."""
        if self._rates.wait((target.uid or str(target), reason)) or self._queue.full():
            self._metrics.object_event("dropped")
            return
        version, now, kind = _api_version(target.kind), self._api.clock.wall(), "Warning" if warns else "Normal"
        event = object_event(
            target, version, f"healer: {text}", reason=reason, action=action, now=now, instance=self._instance, kind=kind
        )
        self._queue.put_nowait(event | ({} if related is None else {"related": dict(related)}))

    async def run(self) -> None:
        """Post what is queued, until cancelled."""
        while True:
            event = await self._queue.get()
            try:
                await self._find(event["regarding"])
                await self._api.request("POST", EVENTS.path(event["metadata"]["namespace"]), body=event)
            except ClusterError as error:
                self._metrics.object_event("failed")
                if str(error) != self._said:
                    self._log.warning("an Event cannot be posted: healer goes on without", error=str(error))
                self._said = str(error)
            else:
                self._metrics.object_event("posted")

    async def _find(self, regarding: dict[str, str]) -> None:
        """Give the reference to healer's Lease its uid, by which `kubectl describe` finds the Event."""
        if regarding["kind"] == LEASE:
            path = f"/apis/{_GROUPS[LEASE]}/namespaces/{regarding['namespace']}/leases/{regarding['name']}"
            regarding["uid"] = (await self._api.get(path, KubeObject)).metadata.uid


def _api_version(kind: str) -> str:
    """The group and version of a kind; pods and nodes are of the core group."""
    if kind in _GROUPS:
        return _GROUPS[kind]
    group = WORKLOADS[kind].resource.group if kind in WORKLOADS else "/api/v1"
    return group.removeprefix("/apis/").removeprefix("/api/")
