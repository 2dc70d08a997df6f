"""Undoes the changes that healer made for an incident, as far as its actions can be undone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from healer.actions.base import NotUndone, Reversal, Undoable
from healer.actions.registry import ACTIONS
from healer.cluster.api import Api
from healer.journal import codec
from healer.journal.base import Undecodable
from healer.journal.stored import IncidentObject
from healer.model.annotations import UNDONE_BY
from healer.model.incident import Incident
from healer.operate.objects import ObjectRef, OperateError, SeenObject, annotate, decoded, get, object_ref, valid
from healer.operate.who import explained


@dataclass(frozen=True, slots=True)
class Undoing:
    """The changes that healer made for an incident, and their present state."""

    incident: Incident
    ref: ObjectRef
    reversals: Sequence[Reversal]
    by: str = ""
    """Who undid them last; "" if nobody has."""
    trusted: bool = True
    """Whether healer created the incident's object. If not, healer ignores the annotations on it."""

    @property
    def needed(self) -> bool:
        """Whether a change is left to undo."""
        return not all(reversal.done for reversal in self.reversals)

    def __str__(self) -> str:
        incident = self.incident
        lines = [f"incident {incident.id} ({incident.rule}, {incident.state}) on {incident.workload} in {self.ref.namespace}"]
        lines += [f"  {reversal}" for reversal in self.reversals]
        if self.needed and not incident.state.settled:
            lines.append(
                f"  the incident is {incident.state}: healer may act again; healer pause {incident.workload} keeps it from that"
            )
        if not self.trusted:
            lines.append(
                "  healer did not make this object itself and heeds nothing that is written on it: healer pause"
                f" {incident.workload} keeps it from acting again"
            )
        return "\n".join(lines)


def plain(undoing: Undoing, *, undone: bool) -> dict[str, Any]:
    """Return the JSON form. `undone` says whether this call undid a change."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for reversal in undoing.reversals:
        groups.setdefault(reversal.group, []).append(reversal.plain())
    head = {"incident": undoing.incident.id, "namespace": undoing.ref.namespace, "undone": undone, "by": undoing.by}
    return {**head, **groups}


async def undo(api: Api, namespace: str, name: str, by: str, show: Callable[[Undoing], None], *, force: bool = False) -> Undoing:
    """Show what will be done, undo the changes, and record on the incident who undid them. Idempotent.

    `show` may raise NotUndone to stop the undo. Without `force`, a value that neither healer nor the state before it set is left
    alone. Raises NotUndone, OperateError if there is no such incident or the API server refuses the record, and ClusterError.
    After ClusterError some changes may be undone; a second call undoes the rest.
    """
    if not by.strip():
        raise OperateError("who undoes it? name somebody by --by")
    with explained("undo", name, namespace):
        undoing = await changes(api, namespace, name)
    show(undoing)
    for reversal in undoing.reversals:
        reversal.check(force=force)
    if undoing.needed:  # whoever may not say so on the incident changes nothing: healer would do it again
        with explained("undo", name, namespace):
            await _sign(api, undoing, by.strip(), dry_run=True)
    for reversal in undoing.reversals:
        await reversal.put_back(api, force=force)
    if undoing.needed or not undoing.by:
        with explained("undo", name, namespace):
            undoing = await _sign(api, undoing, by.strip())
    return undoing


async def changes(api: Api, namespace: str, name: str) -> Undoing:
    """Read what can be undone of an incident. Raises NotUndone, OperateError and ClusterError."""
    ref = object_ref("Incident", valid(namespace, "a namespace"), valid(name, "the name of an incident"))
    body = await get(api, ref)
    if body is None:
        raise OperateError(f"there is no {ref}: kubectl get incidents -n {namespace}")
    reversals: list[Reversal] = []
    try:
        incident = codec.decode(body)
        found = decoded(body, IncidentObject, ref)
        for action, notice in codec.notices(found.status).items():
            if isinstance(handler := ACTIONS.get(action), Undoable):
                reversals += await handler.reversals(api, incident, ref.namespace, notice)
    except (Undecodable, ValueError) as error:
        raise OperateError(f"{ref} cannot be read: {error}") from error
    if not reversals:
        can = ", ".join(name for name, action in ACTIONS.items() if isinstance(action, Undoable))
        raise NotUndone(f"nothing to undo: healer has taken no action for {ref} that can be undone (it can undo {can})")
    by = decoded(body, SeenObject, ref).annotations.get(UNDONE_BY, "")
    return Undoing(incident, ref, reversals, by, found.signed)


async def _sign(api: Api, undoing: Undoing, by: str, *, dry_run: bool = False) -> Undoing:
    if await annotate(api, undoing.ref, {UNDONE_BY: by}, dry_run=dry_run) is None:
        done = "nothing was undone" if dry_run else "it was undone, but who did it cannot be noted there"
        raise OperateError(f"{undoing.ref} is gone: {done}")
    return replace(undoing, by=by)
