"""Reads and prints the state of healer: the leader, the loaded rules and what they guard, the pauses, the open incidents."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.engine.matching.coverage import counted
from healer.http.rules import RuleRow
from healer.journal.base import Undecodable
from healer.journal.codec import decode
from healer.journal.stored import INCIDENTS, MISSING
from healer.model.duration import about
from healer.model.incident import Incident, State
from healer.operate.asking import NO_CREDENTIALS, DaemonClient, DaemonCredentials, acts_without_election, rules
from healer.operate.explain.facts import LeaseHolder, lease_holder
from healer.operate.explain.show import cells, clean, table, title
from healer.operate.explain.words import step, when
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

    `rules` and `incidents` are None if they cannot be read; `notes` say why.
    """

    leader: LeaseHolder | None
    rules: tuple[RuleRow, ...] | None
    pauses: tuple[Pause, ...]
    incidents: tuple[Incident, ...] | None
    notes: tuple[str, ...]
    at: float
    alone: bool = False
    """A daemon runs without leader election, so it needs no leader."""

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
    home = lease_refs.namespace(healer_namespace)
    daemon = DaemonClient(api, home, leader.holder if leader else "", url, credentials, named=home == healer_namespace)
    rows = await rules(daemon)
    if isinstance(rows, str):
        notes.append(f"the rules are not known: {rows}")
    return HealerStatus(
        leader=leader,
        rules=None if isinstance(rows, str) else tuple(rows),
        pauses=tuple(await all_pauses(api, namespace, lease_refs, notes)),
        incidents=await _incidents(api, namespace, notes),
        notes=tuple(notes),
        at=now,
        alone=not (leader and leader.holder) and not isinstance(rows, str) and await acts_without_election(daemon),
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


async def all_pauses(api: Api, namespace: str, lease_refs: Leases, notes: list[str]) -> list[Pause]:
    """Return the pauses on the Leases, on namespaces and on workloads. What may not be read becomes a note."""
    found, unread = await active_pauses(api, lease_refs.refs)
    notes += unread
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
    return found


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


# for people


def show_status(found: HealerStatus, screen: Console) -> None:
    """Print the state of healer."""
    screen.print(clean(_led(found)), style="bold green" if found.led else "bold red")
    for note in found.notes:
        screen.print(clean(f"note: {note}"), style="yellow")
    for pause in found.pauses:
        screen.print(clean(f"paused: {pause}"), style="magenta")
    if found.rules is not None:
        title(screen, f"{counted(len(found.rules), 'rule')} in force")
        rows = table("rule", "mode", "trigger", "pods", "workloads", "only watched", "guards less than it says")
        for rule in found.rules:
            counts = ("?" if number is None else str(number) for number in (rule.pods, rule.workloads, rule.watched))
            mode = f"{rule.mode} (its file says {rule.written}; healer's setting `mode` caps it)" if rule.written else rule.mode
            rows.add_row(*cells(rule.name, mode, rule.trigger, *counts, "; ".join(rule.doubts)))
        screen.print(rows)
    if found.incidents is not None:
        title(screen, f"{counted(len(found.incidents), 'incident')} not closed" if found.incidents else "no incident is open")
        rows = table("namespace", "incident", "workload", "state", "step", "opened", "reason")
        for incident in found.incidents:
            opened = when(incident.opened_at, found.at)
            target = incident.workload
            rows.add_row(
                *cells(target.namespace, incident.id, str(target), incident.state, step(incident), opened, incident.reason.text)
            )
        if found.incidents:
            screen.print(rows)


def _led(found: HealerStatus) -> str:
    leader = found.leader
    if found.alone:
        return "healer acts alone, without an election"
    if leader is None or not leader.holder:
        return "nobody leads: healer acts nowhere, unless it runs without an election"
    age = leader.age(found.at)
    renewed = "at a time that cannot be read" if age is None else f"{about(age)} ago"
    if found.led:
        return f"{leader.holder} leads; its Lease was renewed {renewed}"
    return f"nobody leads: {leader.holder} held the Lease and renewed it {renewed}"


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
        "incidents": incidents,
        "notes": found.notes,
        "at": _moment(found.at),
    }


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
