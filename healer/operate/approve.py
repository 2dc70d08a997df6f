"""Approves the action for which an incident waits, after it is shown. The approval is valid for that action only."""

from collections.abc import Callable
from dataclasses import dataclass

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.journal.base import Undecodable
from healer.journal.codec import decode
from healer.journal.stored import IncidentObject
from healer.model.annotations import APPROVED_BY
from healer.model.incident import Incident
from healer.operate.explain.words import current_target, step, step_done, takes_approval
from healer.operate.objects import ObjectRef, OperateError, SeenObject, annotate, decoded, get, object_ref, valid
from healer.operate.who import explained

_TRIES = 5


class NotWaiting(Exception):
    """The incident does not wait for approval, or no longer. The message says its state."""


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """An incident that waits for approval, as it was read."""

    incident: Incident
    ref: ObjectRef
    seen: SeenObject

    @property
    def approver(self) -> str:
        """Who approved it last; "" if nobody has."""
        return self.seen.annotations.get(APPROVED_BY, "")

    def __str__(self) -> str:
        incident = self.incident
        where = f"{incident.workload} in {incident.workload.namespace}"
        lines = [
            f"incident {incident.id} ({incident.rule}, {incident.severity}) on {where}",
            f"  {step(incident)}: {step_done(incident)}",
        ]
        lines += [f"  sick: {sick.target}: {sick.what}" for sick in incident.sick]
        return "\n".join([*lines, f"  {incident.reason.text}"])


def plain_request(asked: ApprovalRequest) -> dict[str, object]:
    """Return the JSON form."""
    incident = asked.incident
    target = current_target(incident)
    return {
        "incident": incident.id,
        "namespace": incident.workload.namespace,
        "rule": incident.rule,
        "step": step(incident),
        "action": step_done(incident),
        "target": {"kind": target.kind, "namespace": target.namespace, "name": target.name},
        "by": asked.approver,
    }


async def approve(api: Api, namespace: str, name: str, by: str, show: Callable[[ApprovalRequest], None]) -> ApprovalRequest:
    """Show the action and approve it.

    Raises NotWaiting, OperateError if there is no such incident or the API server refuses the approval, and ClusterError.

    Only the action that was shown is approved: the write is conditional on the resource version. If the incident changed in the
    meantime, it is approved only if it still waits for the same step on the same target.
    """
    if not by.strip():
        raise OperateError("who approves? name somebody by --by")
    with explained("approve", name, namespace):
        return await _approve(api, namespace, name, by.strip(), show)


async def _approve(api: Api, namespace: str, name: str, by: str, show: Callable[[ApprovalRequest], None]) -> ApprovalRequest:
    asked = await waiting(api, namespace, name)
    show(asked)
    for _ in range(_TRIES):
        try:
            return await _sign(api, asked, by)
        except ApiError as error:
            if not error.is_conflict:
                raise
        again = await waiting(api, namespace, name)
        if _what(again) != _what(asked):
            raise NotWaiting(f"incident {name} changed meanwhile, nothing was approved: look again. It is now:\n{again}")
        asked = again
    raise OperateError(f"incident {name} is changed by others again and again: nothing was approved, try again")


async def waiting(api: Api, namespace: str, name: str) -> ApprovalRequest:
    """Read what an incident waits with. Raises NotWaiting, OperateError and ClusterError."""
    ref = object_ref("Incident", valid(namespace, "a namespace"), valid(name, "the name of an incident"))
    body = await get(api, ref)
    if body is None:
        raise OperateError(f"there is no {ref}: kubectl get incidents -n {namespace}")
    try:
        incident = decode(body)
    except Undecodable as error:
        raise OperateError(f"{ref} cannot be read: {error}") from error
    if not takes_approval(incident):
        raise NotWaiting(f"incident {name} does not wait for approval: it is {incident.state}: {incident.reason.text}")
    if not decoded(body, IncidentObject, ref).signed:
        text = "healer did not make this object itself: it is a copy, or by people, or by an earlier version of healer"
        raise NotWaiting(f"no approval counts on incident {name}: {text}. Approve the one that healer opens after it")
    return ApprovalRequest(incident, ref, decoded(body, SeenObject, ref))


async def _sign(api: Api, asked: ApprovalRequest, by: str) -> ApprovalRequest:
    """Write the annotation. An existing one is removed first, because healer sees an approval only if the annotation changes."""
    seen: SeenObject | None = asked.seen
    for value in (None, by) if asked.approver else (by,):
        if seen is not None:
            version = seen.metadata.resource_version
            seen = await annotate(api, asked.ref, {APPROVED_BY: value}, resource_version=version)
    if seen is None:
        raise NotWaiting(f"incident {asked.incident.id} is gone: nothing was approved")
    return ApprovalRequest(asked.incident, asked.ref, seen)


def _what(asked: ApprovalRequest) -> tuple[object, ...]:
    """Return the identity of what is approved: the incident, its step and its target."""
    incident = asked.incident
    return asked.seen.metadata.uid, incident.step, incident.storming, incident.attempt, current_target(incident)
