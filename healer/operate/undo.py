"""Putting back the weights that a route had before healer shifted its traffic for an incident."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.journal import codec
from healer.journal.base import Undecodable
from healer.journal.stored import IncidentObject
from healer.model.annotations import UNDONE_BY
from healer.model.incident import Incident
from healer.operate.objects import ObjectPlace, OperateError, SeenObject, annotate, at, decoded, get, valid
from healer.routes.base import RouteError, RoutePlace, Weights, read, write
from healer.routes.note import KEPT_BY, notes
from healer.workloads.registry import WORKLOADS


class NotUndone(Exception):
    """Nothing is put back; the message says why, and what to do."""


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


class _CanaryDeployment(msgspec.Struct):
    spec: _CanarySpec = msgspec.field(default_factory=_CanarySpec)


@dataclass(frozen=True, slots=True)
class Move:
    """One route: the weights now, those that healer set last, and those from before, which are to be put back."""

    route: RoutePlace
    now: Weights
    set: Weights
    before: Weights

    @property
    def back(self) -> bool:
        """Whether it has the weights from before."""
        return self.now == self.before

    def __str__(self) -> str:
        sides = f"{self.route.stable}:{self.route.canary}"
        name = f"{self.route} in namespace {self.route.apart}" if self.route.apart else f"{self.route}"
        if self.back:
            return f"{name}: has the weights from before, {self.before} ({sides})"
        return f"{name}: canary {self.now.percent} -> {self.before.percent}, weights {self.now} -> {self.before} ({sides})"


@dataclass(frozen=True, slots=True)
class Undoing:
    """What an incident's shifts were, and how the routes stand."""

    incident: Incident
    place: ObjectPlace
    moves: tuple[Move, ...]
    by: str = ""
    """Who put them back last; empty when nobody has."""
    heard: bool = True
    """Whether healer heeds what people write on the incident: it made the object itself."""

    @property
    def needed(self) -> bool:
        """Whether there is a weight to put back."""
        return not all(move.back for move in self.moves)

    def __str__(self) -> str:
        incident = self.incident
        lines = [f"incident {incident.id} ({incident.rule}, {incident.state}) on {incident.workload} in {self.place.namespace}"]
        lines += [f"  {move}" for move in self.moves]
        if self.needed and not incident.state.settled:
            lines.append(
                f"  the incident is {incident.state}: healer may shift again; healer pause {incident.workload} keeps it from that"
            )
        if not self.heard:
            lines.append(
                "  healer did not make this object itself and heeds nothing that is written on it: healer pause"
                f" {incident.workload} keeps it from shifting again"
            )
        return "\n".join(lines)


def plain(undoing: Undoing, *, undone: bool) -> dict[str, Any]:
    """For programs. `undone`: whether weights were put back by this very call."""
    return {
        "incident": undoing.incident.id,
        "namespace": undoing.place.namespace,
        "undone": undone,
        "by": undoing.by,
        "routes": [
            {
                "kind": move.route.kind,
                "name": move.route.name,
                "stable": move.route.stable,
                "canary": move.route.canary,
                "found": str(move.now),
                "setByHealer": str(move.set),
                "before": str(move.before),
            }
            for move in undoing.moves
        ],
    }


async def undo(api: Api, namespace: str, name: str, by: str, show: Callable[[Undoing], None], *, force: bool = False) -> Undoing:
    """Show what will be done, put the weights back, and write who did it on the incident. Idempotent.

    `show` may raise NotUndone to stop it. Weights that are neither those that healer set nor those from before are somebody
    else's, and stay unless `force`. A note for another workload than the incident's is not believed. Raises NotUndone,
    OperateError when there is no such incident, ClusterError: then some routes may have been put back, and doing it again does
    the rest.
    """
    if not by.strip():
        raise OperateError("who undoes it? name somebody by --by")
    undoing = await _read(api, namespace, name)
    show(undoing)
    for move in undoing.moves:
        _allowed(move, move.now, force)
    for move in undoing.moves:
        await _put_back(api, move, force)
    if undoing.needed or not undoing.by:
        undoing = await _sign(api, undoing, by.strip())
    return undoing


async def _read(api: Api, namespace: str, name: str) -> Undoing:
    place = at("Incident", valid(namespace, "a namespace"), valid(name, "the name of an incident"))
    body = await get(api, place)
    if body is None:
        raise OperateError(f"there is no {place}: kubectl get incidents -n {namespace}")
    try:
        incident = codec.decode(body)
        found = decoded(body, IncidentObject, place)
        kept = notes(codec.notices(found.status).get(KEPT_BY, {}))
    except (Undecodable, ValueError) as error:
        raise OperateError(f"{place} cannot be read: {error}") from error
    if not kept:
        raise NotUndone(f"nothing to undo: healer has shifted no traffic for {place}")
    moves = []
    for route, note in kept.items():
        if route.namespace != place.namespace:
            text = f"{place} has a note for {route} in namespace {route.namespace}, and whoever writes incidents can write notes"
            raise NotUndone(
                f"nothing was undone: {text}. Set its weights by hand if they are wrong (the note says {note.before})"
            )
        if (doubt := await _stranger(api, route, incident)) is not None:
            text = f"{place} is about {incident.workload}, and its note is for {route}: {doubt}"
            raise NotUndone(
                f"nothing was undone: {text}. Set its weights by hand if they are wrong (the note says {note.before})"
            )
        try:
            now = await read(api, route)
        except RouteError as error:
            raise NotUndone(f"nothing was undone: {error}") from error
        moves.append(Move(route, now, set=Weights.parse(note.after), before=Weights.parse(note.before)))
    by = decoded(body, SeenObject, place).annotations.get(UNDONE_BY, "")
    return Undoing(incident, place, tuple(moves), by, found.signed)


async def _stranger(api: Api, route: RoutePlace, incident: Incident) -> str | None:
    """Why the canary of a note is not known to be the incident's workload, in words; None when it is. Raises ClusterError.

    Whoever writes incidents can write notes. What healer notes is a shift away from the workload that is sick: the canary is
    that Deployment, or a Service that leads to its pods.
    """
    workload = incident.workload
    _, counted = route.counted_by
    if counted or route.canary == workload.name:
        named = counted or route.canary
        return None if named == workload.name else f"its canary is deployment/{named}"
    try:
        service = await api.get(f"/api/v1/namespaces/{route.namespace}/services/{route.canary}", _CanaryService)
        deployment = await api.get(WORKLOADS[workload.kind].resource.path(workload.namespace, workload.name), _CanaryDeployment)
    except ApiError as error:
        if not error.is_not_found:
            raise
        return f"whether its canary service/{route.canary} leads to {workload} is not known, because one of them is gone"
    selector, labels = service.spec.selector, deployment.spec.template.metadata.labels
    if selector and selector.items() <= labels.items():
        return None
    return f"its canary service/{route.canary} does not lead to the pods of {workload}"


def _allowed(move: Move, now: Weights, force: bool) -> None:
    """Raises NotUndone when the weights are not healer's to put back."""
    if len(now.pairs) != len(move.before.pairs):
        splits = f"{len(now.pairs)} splits, not {len(move.before.pairs)} as before"
        raise NotUndone(f"nothing was undone: {move.route} has {splits}: set its weights by hand (they were {move.before})")
    if now not in (move.set, move.before) and not force:
        text = f"{move.route} has weights {now}, and healer set {move.set}: somebody has changed them since"
        raise NotUndone(f"nothing was undone: {text}. --force puts {move.before} back all the same")


async def _put_back(api: Api, move: Move, force: bool) -> None:
    """Set the weights from before, unless others appear meanwhile. Raises NotUndone, ClusterError."""

    def change(now: Weights) -> Weights:
        _allowed(move, now, force)
        return move.before

    async def sending(before: Weights, after: Weights) -> None:
        """Nothing more to ask: a person is waiting."""

    try:
        await write(api, move.route, change, sending=sending)
    except RouteError as error:
        raise NotUndone(f"not undone: {error}") from error


async def _sign(api: Api, undoing: Undoing, by: str) -> Undoing:
    if await annotate(api, undoing.place, {UNDONE_BY: by}) is None:
        raise OperateError(f"the weights were put back, but {undoing.place} is gone: nobody can be named there")
    return replace(undoing, by=by)
