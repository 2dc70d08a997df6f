"""Undoing a shift of traffic: restore the weights that a route had before healer changed them for an incident."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from healer.actions.base import NotUndone
from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.model.incident import Incident
from healer.routes.base import CanaryRoute, RouteError, Weights, read, write
from healer.routes.note import notes
from healer.workloads.registry import WORKLOADS


class _ServiceSpec(msgspec.Struct):
    selector: dict[str, str] = msgspec.field(default_factory=dict)


class _CanaryService(msgspec.Struct):
    spec: _ServiceSpec = msgspec.field(default_factory=_ServiceSpec)


class _Labels(msgspec.Struct):
    labels: dict[str, str] = msgspec.field(default_factory=dict)


class _Template(msgspec.Struct):
    metadata: _Labels = msgspec.field(default_factory=_Labels)


class _CanarySpec(msgspec.Struct):
    template: _Template = msgspec.field(default_factory=_Template)


class _CanaryWorkload(msgspec.Struct):
    spec: _CanarySpec = msgspec.field(default_factory=_CanarySpec)


@dataclass(frozen=True, slots=True)
class ShiftReversal:
    """One route: the weights now, those that healer set last, and those from before. See `Reversal`."""

    route: CanaryRoute
    now: Weights
    set: Weights
    before: Weights

    @property
    def group(self) -> str:
        """See `Reversal`."""
        return "routes"

    @property
    def done(self) -> bool:
        """Whether it has the weights from before."""
        return self.now == self.before

    def __str__(self) -> str:
        sides = f"{self.route.stable}:{self.route.canary}"
        name = f"{self.route} in namespace {self.route.apart}" if self.route.apart else f"{self.route}"
        if self.done:
            return f"{name}: has the weights from before, {self.before} ({sides})"
        return f"{name}: canary {self.now.percent} -> {self.before.percent}, weights {self.now} -> {self.before} ({sides})"

    def plain(self) -> dict[str, Any]:
        """See `Reversal`."""
        return {
            "kind": self.route.kind,
            "name": self.route.name,
            "stable": self.route.stable,
            "canary": self.route.canary,
            "found": str(self.now),
            "setByHealer": str(self.set),
            "before": str(self.before),
        }

    def check(self, *, force: bool) -> None:
        """See `Reversal`."""
        self._allowed(self.now, force)

    async def put_back(self, api: Api, *, force: bool) -> None:
        """Set the weights from before, unless somebody changes them meanwhile. Raises NotUndone, ClusterError."""

        def change(now: Weights) -> Weights:
            self._allowed(now, force)
            return self.before

        async def sending(before: Weights, after: Weights) -> None:
            """Nothing to check: the person has agreed."""

        try:
            await write(api, self.route, change, sending=sending)
        except RouteError as error:
            raise NotUndone(f"not undone: {error}") from error

    def _allowed(self, now: Weights, force: bool) -> None:
        """Raises NotUndone when somebody else has changed the weights or the splits."""
        if len(now.pairs) != len(self.before.pairs):
            splits = f"{len(now.pairs)} splits, not {len(self.before.pairs)} as before"
            raise NotUndone(f"nothing was undone: {self.route} has {splits}: set its weights by hand (they were {self.before})")
        if now not in (self.set, self.before) and not force:
            text = f"{self.route} has weights {now}, and healer set {self.set}: somebody has changed them since"
            raise NotUndone(f"nothing was undone: {text}. --force puts {self.before} back anyway")


async def reversals(api: Api, incident: Incident, namespace: str, kept: Mapping[str, str]) -> list[ShiftReversal]:
    """The routes of an incident's notes in `namespace`, as they stand now.

    A note for another workload than the incident's is refused. Raises NotUndone, ClusterError, ValueError for a note that healer
    did not write.
    """
    found = []
    for route, note in notes(kept).items():
        name = f"incident/{incident.id} in {namespace}"
        doubt = ""
        if route.namespace != namespace:
            doubt = f"{name} has a note for {route} in namespace {route.namespace}, and whoever writes incidents can write notes"
        elif (why := await _stranger(api, route, incident)) is not None:
            doubt = f"{name} is about {incident.workload}, and its note is for {route}: {why}"
        if doubt:
            by_hand = f"Set its weights by hand if they are wrong (the note says {note.before})"
            raise NotUndone(f"nothing was undone: {doubt}. {by_hand}")
        try:
            now = await read(api, route)
        except RouteError as error:
            raise NotUndone(f"nothing was undone: {error}") from error
        found.append(ShiftReversal(route, now, set=Weights.parse(note.after), before=Weights.parse(note.before)))
    return found


async def _stranger(api: Api, route: CanaryRoute, incident: Incident) -> str | None:
    """Why the canary of a note may not be the incident's workload, in words; None when it is. Raises ClusterError.

    Whoever can write incidents can write notes. healer notes a shift away from the sick workload: the canary is that workload, or
    a Service that leads to its pods.
    """
    workload = incident.workload
    _, counted = route.counted_by
    if counted is not None:
        return None if (counted.kind, counted.name) == (workload.kind, workload.name) else f"its canary is {counted}"
    if route.canary == workload.name:
        return None
    unknown = f"whether its canary service/{route.canary} leads to {workload} is not known"
    if workload.kind not in WORKLOADS:
        return f"{unknown}, because healer does not act on a {workload.kind}"
    try:
        service = await api.get(f"/api/v1/namespaces/{route.namespace}/services/{route.canary}", _CanaryService)
        made = await api.get(WORKLOADS[workload.kind].resource.path(workload.namespace, workload.name), _CanaryWorkload)
    except ApiError as error:
        if not error.is_not_found:
            raise
        return f"{unknown}, because one of them is gone"
    selector, labels = service.spec.selector, made.spec.template.metadata.labels
    if selector and selector.items() <= labels.items():
        return None
    return f"its canary service/{route.canary} does not lead to the pods of {workload}"
