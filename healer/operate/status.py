"""Reads the state of healer: who leads, the rules in force, the pauses, the open incidents, and what only the daemon knows."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.http.rules import RuleRow
from healer.http.state import StateBody
from healer.journal.base import Undecodable
from healer.journal.codec import decode
from healer.journal.stored import INCIDENTS, MISSING
from healer.model.incident import Incident, State
from healer.operate.asking import NO_CREDENTIALS, DaemonClient, DaemonCredentials, acts_without_election, state
from healer.operate.explain.facts import LeaseHolder, lease_holder
from healer.operate.explain.words import step
from healer.operate.leases import Leases, leases
from healer.operate.objects import LEASE, ObjectRef, SeenObject, get, object_ref
from healer.operate.pause import Pause, active_pauses, pause_of, plain_pause
from healer.operate.workload import listed
from healer.workloads.registry import WORKLOADS

STALE = 60.0
"""Seconds after its renewal until a Lease counts as held by nobody."""


@dataclass(frozen=True, slots=True)
class HealerStatus:
    """The state of healer at `at` (seconds since the epoch).

    `rules` and `incidents` are None if they cannot be read, `daemon` if it cannot be asked; `notes` say why. `unread`: the kinds
    of objects of which it is not known whether healer is paused on them.
    """

    leader: LeaseHolder | None
    rules: tuple[RuleRow, ...] | None
    pauses: tuple[Pause, ...]
    incidents: tuple[Incident, ...] | None
    notes: tuple[str, ...]
    at: float
    daemon: StateBody | None = None
    """What the daemon says of workloads, canaries and limits."""
    alone: bool = False
    """A daemon runs without leader election, so it needs no leader."""
    unread: tuple[str, ...] = ()
    missing: str = ""
    """Says that no healer was found, and how to name another; "" if there is a Lease or an answer, or that is not known."""

    @property
    def led(self) -> bool:
        """Whether a replica leads (it holds the Lease and renewed it lately), or a daemon acts without leader election."""
        if self.alone:
            return True
        if self.leader is None or not self.leader.holder:
            return False
        age = self.leader.age(self.at)
        return age is not None and age < STALE


async def status(
    api: Api,
    namespace: str,
    healer_namespace: str,
    url: str | None,
    now: float,
    lease: str = LEASE,
    credentials: DaemonCredentials = NO_CREDENTIALS,
) -> HealerStatus:
    """Read the state of healer for one namespace, or for all if it is "". What may not be read becomes a note.

    `lease`: the Lease's name. Raises ClusterError.
    """
    notes: list[str] = []
    lease_refs = await leases(api, healer_namespace, lease)
    leader = await lease_holder(api, lease_refs, notes)
    missing = "" if leader is not None or notes else _missing(healer_namespace, lease, everywhere=not lease_refs.refs)
    home = lease_refs.namespace(healer_namespace)
    daemon = DaemonClient(api, home, leader.holder if leader else "", url, credentials, named=home == healer_namespace)
    said = await state(daemon)
    if isinstance(said, str):
        notes.append(f"the rules, workloads, canaries and limits are not known: {said}")
    pauses, unread = await all_pauses(api, namespace, lease_refs, notes)
    return HealerStatus(
        leader=leader,
        rules=None if isinstance(said, str) else tuple(said.rules),
        pauses=tuple(pauses),
        unread=tuple(unread),
        incidents=await _incidents(api, namespace, notes),
        notes=tuple(notes),
        at=now,
        daemon=None if isinstance(said, str) else _within(said, namespace),
        missing=missing if isinstance(said, str) else "",
        alone=not (leader and leader.holder) and not isinstance(said, str) and await acts_without_election(daemon),
    )


def _missing(namespace: str, lease: str, *, everywhere: bool) -> str:
    """`everywhere`: the other namespaces were looked at as well."""
    if everywhere:
        return f"no healer was found in namespace {namespace} or in another; --healer-namespace NS names where to look"
    named = "" if lease == LEASE else f" with the Lease {lease}"
    return f"no healer was found in namespace {namespace}{named}; --healer-namespace NS and --lease NAME name another"


def _within(body: StateBody, namespace: str) -> StateBody:
    """What the daemon says of one namespace; of all if it is ""."""
    if not namespace:
        return body
    return replace(
        body,
        workloads=[row for row in body.workloads if row.target.namespace == namespace],
        canaries=[row for row in body.canaries if row.workload.namespace == namespace],
        limits=[row for row in body.limits if row.namespace in ("", namespace)],
    )


async def _incidents(api: Api, namespace: str, notes: list[str]) -> tuple[Incident, ...] | None:
    """Return the incidents that are not closed, oldest first."""
    try:
        objects = await listed(api, INCIDENTS.path(namespace))
    except ApiError as error:
        notes.append(f"incidents are not shown: {MISSING if error.is_not_found else error}")
        return None
    found: list[Incident] = []
    unreadable = 0
    for raw in objects:
        try:
            found.append(decode(bytes(raw)))
        except Undecodable:
            unreadable += 1
    if unreadable:
        notes.append(f"{unreadable} incidents cannot be read: kubectl get incidents -A -o yaml shows them")
    open_ = [incident for incident in found if incident.state is not State.CLOSED]
    return tuple(sorted(open_, key=lambda incident: (incident.opened_at, incident.id)))


async def all_pauses(api: Api, namespace: str, lease_refs: Leases, notes: list[str]) -> tuple[list[Pause], list[str]]:
    """Return the pauses on the Leases, on namespaces and on workloads, and the kinds that may not be read; notes say why."""
    found, unread_leases = await active_pauses(api, lease_refs.refs)
    notes += unread_leases
    unread = ["Lease"] if unread_leases else []
    for kind in ("Namespace", *WORKLOADS):
        try:
            if kind == "Namespace" and namespace:
                ref = object_ref("Namespace", "", namespace)
                found += _paused(ref, await get(api, ref), api.clock.wall())
                continue
            path = object_ref(kind, namespace, "").path.rstrip("/")
            for raw in await listed(api, path):
                seen = msgspec.json.decode(raw, type=_ListItem)
                found += _paused(object_ref(kind, seen.metadata.namespace, seen.metadata.name), bytes(raw), api.clock.wall())
        except (ApiError, msgspec.MsgspecError) as error:
            if isinstance(error, ApiError) and error.is_not_found and kind in WORKLOADS and WORKLOADS[kind].optional:
                continue  # the cluster has no such kind
            notes.append(f"which {kind.lower()}s are paused is not known: {error}")
            unread.append(kind)
    return found, unread


class _ListItemMeta(msgspec.Struct):
    name: str
    namespace: str = ""


class _ListItem(msgspec.Struct):
    metadata: _ListItemMeta


def _paused(ref: ObjectRef, body: bytes | None, now: float) -> Iterable[Pause]:
    if body is None:
        return []
    pause = pause_of(ref, msgspec.json.decode(body, type=SeenObject), now)
    return [] if pause is None else [pause]


# for programs


def plain_status(found: HealerStatus) -> dict[str, Any]:
    """Return the JSON form; times are RFC 3339."""
    incidents = None
    if found.incidents is not None:
        incidents = [
            {
                "namespace": incident.workload.namespace,
                "name": incident.id,
                "rule": incident.rule,
                "workload": str(incident.workload),
                "state": incident.state,
                "step": step(incident),
                "openedAt": _moment(incident.opened_at),
                "reason": {"code": incident.reason.code, "text": incident.reason.text},
            }
            for incident in found.incidents
        ]
    return {
        "led": found.led,
        "leader": found.leader,
        "rules": found.rules,
        "pauses": [plain_pause(pause) for pause in found.pauses],
        "pausesUnread": found.unread,
        "incidents": incidents,
        "workloads": None if found.daemon is None else found.daemon.workloads,
        "canaries": None if found.daemon is None else found.daemon.canaries,
        "limits": None if found.daemon is None else found.daemon.limits,
        "activity": None if found.daemon is None else found.daemon.activity,
        "notes": found.notes,
        "at": _moment(found.at),
    }


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
