"""Pauses healer for a workload, a namespace or everything, by an annotation on the object."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.model.annotations import PAUSED, PAUSED_BY, PAUSED_HEALER, PAUSED_REASON, PAUSED_UNTIL
from healer.model.kube import ends
from healer.model.text import one_line
from healer.operate.leases import Leases, create_lease, leases, why_unread
from healer.operate.objects import (
    EVERYTHING,
    LEASE,
    ObjectRef,
    OperateError,
    SeenObject,
    annotate,
    decoded,
    get,
    lease_ref,
    object_ref,
    parse_ref,
)
from healer.operate.said import say
from healer.workloads.registry import WORKLOADS

NO_PAUSE: Mapping[str, None] = dict.fromkeys((PAUSED, PAUSED_BY, PAUSED_REASON, PAUSED_UNTIL, PAUSED_HEALER))
"""The annotations by which a pause ends."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause of healer on an object, optionally until a time (RFC 3339).

    `by`, `reason` and `until` may be "": only the annotation PAUSED is required.
    """

    ref: ObjectRef
    by: str
    reason: str
    until: str = ""
    healer: str = ""
    """The healer for which it was set: NAMESPACE/NAME of its Lease. It may be "": people annotate by hand, too."""

    def __str__(self) -> str:
        by, until = (f" by {self.by}" if self.by else ""), (f" until {self.until}" if self.until else "")
        return f"{self.ref}{by}{until}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True, slots=True)
class PauseResult:
    """The result of a pause or a resume: the pause now, the pause before, and other pauses that still apply to the object."""

    ref: ObjectRef
    now: Pause | None
    before: Pause | None
    others: tuple[Pause, ...]
    doubt: str = ""
    """Why possibly no replica reads the pause; "" if a leader does."""
    unsaid: str = ""
    """Why no Event on the object says so; "" if one does."""


def parse_pause_ref(text: str, namespace: str, healer_namespace: str) -> ObjectRef:
    """Parse `deployment/NAME`, `namespace/NAME` or `everything`. Raises OperateError."""
    if text == EVERYTHING:
        return lease_ref(healer_namespace)
    try:
        return parse_ref(text, namespace, (*WORKLOADS, "Namespace"))
    except OperateError as error:
        raise OperateError(f"{error}" + ("" if "/" in text else f" or {EVERYTHING}")) from error


async def pause(
    api: Api,
    ref: ObjectRef,
    by: str,
    reason: str,
    healer_namespace: str,
    *,
    until: float | None = None,
    make: bool = False,
    lease: str = LEASE,
) -> PauseResult:
    """Pause healer on an object, until somebody resumes it or until a time (seconds since the epoch).

    An existing pause is replaced. `make`: create the Lease if it does not exist. `lease`: the name of healer's Lease.
    Raises OperateError if there is no such object, and ClusterError.
    """
    end = None if until is None else datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return await _write(
        api,
        ref,
        {PAUSED: "true", PAUSED_BY: by, PAUSED_REASON: reason or None, PAUSED_UNTIL: end},
        healer_namespace,
        lease,
        by=by,
        make=make,
    )


async def resume(api: Api, ref: ObjectRef, healer_namespace: str, *, by: str = "", lease: str = LEASE) -> PauseResult:
    """Remove the pause with its annotations. Raises OperateError if there is no such object, and ClusterError."""
    return await _write(api, ref, NO_PAUSE, healer_namespace, lease, by=by)


async def _write(
    api: Api,
    ref: ObjectRef,
    annotations: Mapping[str, str | None],
    healer_namespace: str,
    lease: str,
    *,
    by: str,
    make: bool = False,
) -> PauseResult:
    body = await get(api, ref)
    lease_refs = await leases(api, healer_namespace, lease)
    if annotations[PAUSED] is not None and ref.kind != "Lease":
        annotations = {**annotations, PAUSED_HEALER: lease_refs.healer or None}
    if body is None and ref.kind == "Lease" and make:
        body = await create_lease(api, ref, annotations)
        now = api.clock.wall()
        return PauseResult(ref, pause_of(ref, decoded(body, SeenObject, ref), now), None, (), why_unread(body, now))
    after = None if body is None else await annotate(api, ref, annotations)
    if body is None or after is None:
        raise OperateError(_missing(ref))
    now = api.clock.wall()
    doubt = why_unread(body, now) if ref.kind == "Lease" else ""
    around, _ = await active_pauses(api, [other for other in pause_refs(ref, lease_refs) if other != ref])
    return PauseResult(
        ref,
        pause_of(ref, after, now),
        pause_of(ref, decoded(body, SeenObject, ref), now),
        tuple(around),
        doubt,
        await _say(api, ref, after, annotations, by),
    )


async def _say(api: Api, ref: ObjectRef, seen: SeenObject, annotations: Mapping[str, str | None], by: str) -> str:
    """Say by an Event on the object who has paused or resumed healer there, and why."""
    who, why = f" by {by}" if by else "", annotations[PAUSED_REASON]
    if annotations[PAUSED] is None:
        return await say(api, ref, seen.metadata.uid, f"goes on{who}", reason="Resumed", action="resume")
    note = f"paused{who}" + (f": {why}" if why else "")
    return await say(api, ref, seen.metadata.uid, note, reason="Paused", action="pause")


def _missing(ref: ObjectRef) -> str:
    if ref.kind != "Lease":
        return f"there is no {ref}"
    way = "name the namespace that healer runs in by --healer-namespace"
    return f"there is no {_describe(ref)}, and healer reads a pause from its Lease: {way}"


def _describe(ref: ObjectRef) -> str:
    return f"Lease {ref.name!r} in namespace {ref.namespace!r}" if ref.kind == "Lease" else str(ref)


def pause_refs(ref: ObjectRef, lease_refs: Leases) -> list[ObjectRef]:
    """Return the objects whose pause applies to an object: itself, its namespace, and each Lease that may be healer's."""
    own = [] if ref.kind in ("Namespace", "Lease") else [ref]
    namespace = {"Namespace": ref.name, "Lease": ""}.get(ref.kind, ref.namespace)
    return [*own, *([object_ref("Namespace", "", namespace)] if namespace else []), *lease_refs.refs]


async def active_pauses(api: Api, refs: Iterable[ObjectRef]) -> tuple[list[Pause], list[str]]:
    """Return the pauses on these objects, and a note on each object that may not be read. Raises ClusterError."""
    found: list[Pause] = []
    unread: list[str] = []
    for ref in refs:
        try:
            body = await get(api, ref)
        except ApiError as error:
            unread.append(f"whether healer is paused on {ref} is not known: {error}")
            continue
        if body is not None and (pause := pause_of(ref, decoded(body, SeenObject, ref), api.clock.wall())) is not None:
            found.append(pause)
    return found, unread


def pause_of(ref: ObjectRef, seen: SeenObject, now: float) -> Pause | None:
    """Return the pause on an object; None without the value "true" or after its end. `now` in seconds since the epoch."""
    annotations = seen.annotations
    if annotations.get(PAUSED) != "true" or ends(annotations.get(PAUSED_UNTIL, "")) <= now:
        return None
    return Pause(
        ref,
        one_line(annotations.get(PAUSED_BY, "")),
        one_line(annotations.get(PAUSED_REASON, "")),
        annotations.get(PAUSED_UNTIL, ""),
        one_line(annotations.get(PAUSED_HEALER, "")),
    )


def pause_lines(done: PauseResult) -> list[str]:
    """Return the lines to print: what was done, when it takes effect, and which other pauses apply."""
    ref, was = done.ref, done.before
    where = "everywhere" if ref.kind == "Lease" else f"for {ref}"
    if done.now is not None:
        until = f" until {done.now.until}" if done.now.until else ""
        lines = [f"healer is paused {where}{until}" + (f"; it was before: {was}" if was else "")]
    else:
        lines = [f"healer goes on {where}" if was else f"healer was not paused {where}: nothing to take back"]
    if done.now is not None or was is not None:
        lines.append(effect(done))
    if done.doubt:
        lines.append(f"{_describe(done.ref)}: {done.doubt}")
    if done.unsaid:
        lines.append(f"note: {done.unsaid}")
    return lines + [f"still paused: {other}" for other in done.others]


def effect(done: PauseResult) -> str:
    """Return when the pause or the resume takes effect, as text."""
    when = "at once" if done.ref.kind != "Lease" else "when the leader next renews its Lease (every 2 s by default)"
    if done.now is not None:
        return f"takes effect {when}: no further action is sent; one that was sent already is still verified"
    if done.ref.kind in WORKLOADS:
        return "takes effect at once: what waits is asked again"
    return f"takes effect {when}: what waits is asked again at its next look, every 15 s by default"


def plain_pause(pause: Pause | None) -> dict[str, object] | None:
    """Return the JSON form of a pause."""
    return (
        None
        if pause is None
        else {
            "on": _plain_ref(pause.ref),
            "by": pause.by,
            "reason": pause.reason,
            "until": pause.until,
            "healer": pause.healer,
        }
    )


def plain_result(done: PauseResult) -> dict[str, object]:
    """Return the JSON form of the result."""
    return {
        "target": _plain_ref(done.ref),
        "paused": done.now is not None,
        "by": done.now.by if done.now else "",
        "reason": done.now.reason if done.now else "",
        "until": done.now.until if done.now else "",
        "before": plain_pause(done.before),
        "effect": effect(done),
        "others": [plain_pause(other) for other in done.others],
        "doubt": done.doubt,
    }


def _plain_ref(ref: ObjectRef) -> dict[str, str]:
    return {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name}
