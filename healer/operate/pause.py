"""Pausing healer for a workload, a namespace or everything: an annotation on the object, so that the cluster remembers it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.model.annotations import PAUSED, PAUSED_BY, PAUSED_REASON, PAUSED_UNTIL
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
    at,
    decoded,
    get,
    lease,
    named,
)
from healer.workloads.registry import WORKLOADS


@dataclass(frozen=True, slots=True)
class Pause:
    """Somebody has paused healer, here, until a time (RFC 3339) where there is one.

    `by`, `reason` and `until` may be empty: the annotation alone is enough.
    """

    place: ObjectRef
    by: str
    reason: str
    until: str = ""

    def __str__(self) -> str:
        by, until = (f" by {self.by}" if self.by else ""), (f" until {self.until}" if self.until else "")
        return f"{self.place}{by}{until}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True, slots=True)
class PauseResult:
    """What a pause or a resume came to: how it stands now, how it stood before, and what else still pauses healer there."""

    place: ObjectRef
    now: Pause | None
    before: Pause | None
    others: tuple[Pause, ...]
    doubt: str = ""
    """Why nobody may hear of it, in words."""


def place_of(text: str, namespace: str, healer_namespace: str) -> ObjectRef:
    """What `deployment/NAME`, `namespace/NAME` or `everything` means. Raises OperateError."""
    if text == EVERYTHING:
        return lease(healer_namespace)
    try:
        return named(text, namespace, (*WORKLOADS, "Namespace"))
    except OperateError as error:
        raise OperateError(f"{error}" + ("" if "/" in text else f" or {EVERYTHING}")) from error


async def pause(
    api: Api,
    place: ObjectRef,
    by: str,
    reason: str,
    healer_namespace: str,
    *,
    until: float | None = None,
    make: bool = False,
    lease: str = LEASE,
) -> PauseResult:
    """Pause healer there, until somebody resumes it or that time (seconds since the epoch) has come.

    A pause that stands is replaced. `make`: a Lease that is missing is made, for a healer that will read it. `lease`: its name.
    Raises OperateError when there is no such object, ClusterError.
    """
    end = None if until is None else datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return await _put(
        api,
        place,
        {PAUSED: "true", PAUSED_BY: by, PAUSED_REASON: reason or None, PAUSED_UNTIL: end},
        healer_namespace,
        lease,
        make=make,
    )


async def resume(api: Api, place: ObjectRef, healer_namespace: str, *, lease: str = LEASE) -> PauseResult:
    """Take the pause back, with who and why. Raises OperateError when there is no such object, ClusterError."""
    return await _put(
        api, place, {PAUSED: None, PAUSED_BY: None, PAUSED_REASON: None, PAUSED_UNTIL: None}, healer_namespace, lease
    )


async def _put(
    api: Api, place: ObjectRef, annotations: Mapping[str, str | None], healer_namespace: str, lease: str, *, make: bool = False
) -> PauseResult:
    body = await get(api, place)
    if body is None and place.kind == "Lease" and make:
        body = await create_lease(api, place, annotations)
        now = api.clock.wall()
        return PauseResult(place, pause_of(place, decoded(body, SeenObject, place), now), None, (), why_unread(body, now))
    after = None if body is None else await annotate(api, place, annotations)
    if body is None or after is None:
        raise OperateError(_missing(place))
    now = api.clock.wall()
    doubt = why_unread(body, now) if place.kind == "Lease" else ""
    home = await leases(api, healer_namespace, lease)
    around, _ = await active_pauses(api, [other for other in above(place, home) if other != place])
    return PauseResult(
        place,
        pause_of(place, after, now),
        pause_of(place, decoded(body, SeenObject, place), now),
        tuple(around),
        doubt,
    )


def _missing(place: ObjectRef) -> str:
    if place.kind != "Lease":
        return f"there is no {place}"
    return (
        f"there is no {_named(place)}, and so no healer that could be told: "
        "name the namespace that it runs in by --healer-namespace"
    )


def _named(place: ObjectRef) -> str:
    return f"Lease {place.name!r} in namespace {place.namespace!r}" if place.kind == "Lease" else str(place)


def above(place: ObjectRef, home: Leases) -> list[ObjectRef]:
    """Where a pause of that place may stand: on itself, on its namespace, on the Lease; on each that may be healer's."""
    own = [] if place.kind in ("Namespace", "Lease") else [place]
    namespace = {"Namespace": place.name, "Lease": ""}.get(place.kind, place.namespace)
    return [*own, *([at("Namespace", "", namespace)] if namespace else []), *home.places]


async def active_pauses(api: Api, places: Iterable[ObjectRef]) -> tuple[list[Pause], list[str]]:
    """The pauses that stand on these, and in words what of them may not be read. Raises ClusterError."""
    found: list[Pause] = []
    unread: list[str] = []
    for place in places:
        try:
            body = await get(api, place)
        except ApiError as error:
            unread.append(f"whether healer is paused on {place} is not known: {error}")
            continue
        if body is not None and (pause := pause_of(place, decoded(body, SeenObject, place), api.clock.wall())) is not None:
            found.append(pause)
    return found, unread


def pause_of(place: ObjectRef, seen: SeenObject, now: float) -> Pause | None:
    """The pause that stands on an object; only "true" is one, and only until it ends. `now` in seconds since the epoch."""
    said = seen.annotations
    if said.get(PAUSED) != "true" or ends(said.get(PAUSED_UNTIL, "")) <= now:
        return None
    return Pause(place, one_line(said.get(PAUSED_BY, "")), one_line(said.get(PAUSED_REASON, "")), said.get(PAUSED_UNTIL, ""))


def pause_lines(done: PauseResult) -> list[str]:
    """In words: what was done, when it takes effect, what still stands."""
    place, was = done.place, done.before
    where = "everywhere" if place.kind == "Lease" else f"for {place}"
    if done.now is not None:
        until = f" until {done.now.until}" if done.now.until else ""
        lines = [f"healer is paused {where}{until}" + (f"; it was before: {was}" if was else "")]
    else:
        lines = [f"healer goes on {where}" if was else f"healer was not paused {where}: nothing to take back"]
    if done.now is not None or was is not None:
        lines.append(effect(done))
    if done.doubt:
        lines.append(f"{_named(done.place)}: {done.doubt}")
    return lines + [f"still paused: {other}" for other in done.others]


def effect(done: PauseResult) -> str:
    """When it takes effect."""
    when = "at once" if done.place.kind != "Lease" else "when the leader next renews its Lease (every 2 s by default)"
    if done.now is not None:
        return f"takes effect {when}: no further action is sent; one that was sent already is still verified"
    if done.place.kind in WORKLOADS:
        return "takes effect at once: what waits is asked again"
    return f"takes effect {when}: what waits is asked again at its next look, every 15 s by default"


def plain_pause(pause: Pause | None) -> dict[str, object] | None:
    """A pause for programs."""
    return (
        None
        if pause is None
        else {
            "on": _plain_place(pause.place),
            "by": pause.by,
            "reason": pause.reason,
            "until": pause.until,
        }
    )


def plain_result(done: PauseResult) -> dict[str, object]:
    """The same as `pause_lines`, for programs."""
    return {
        "target": _plain_place(done.place),
        "paused": done.now is not None,
        "by": done.now.by if done.now else "",
        "reason": done.now.reason if done.now else "",
        "until": done.now.until if done.now else "",
        "before": plain_pause(done.before),
        "effect": effect(done),
        "others": [plain_pause(other) for other in done.others],
        "doubt": done.doubt,
    }


def _plain_place(place: ObjectRef) -> dict[str, str]:
    return {"kind": place.kind, "namespace": place.namespace, "name": place.name}
