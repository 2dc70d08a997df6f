"""Reads all facts about an object from the cluster, the journal and the daemon."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec
from pydantic import ValidationError

from healer.cluster.api import Api
from healer.cluster.decode import LooseObject
from healer.cluster.errors import ApiError
from healer.engine.matching.coverage import differs
from healer.http.rules import RuleRow
from healer.journal.base import Undecodable
from healer.journal.codec import decode
from healer.journal.stored import INCIDENTS, MISSING
from healer.model.effects import Decision
from healer.model.incident import Incident, State
from healer.model.kube import Pod, ReplicaSet
from healer.model.target import Target
from healer.model.view import View, target_of
from healer.operate.asking import NO_CREDENTIALS, DaemonClient, DaemonCredentials, recent_decisions, rules
from healer.operate.explain.near import near
from healer.operate.leases import Leases, leases
from healer.operate.objects import LEASE, ObjectRef, decoded, get, object_ref
from healer.operate.pause import Pause, active_pauses, pause_refs
from healer.operate.workload import listed, put_pods
from healer.rules.scope import Scope
from healer.workloads.registry import WORKLOADS


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """The holder of the Lease, and when it last renewed the Lease by its own clock (RFC 3339). Both "" if nobody holds it."""

    holder: str
    renewed: str

    def age(self, now: float) -> float | None:
        """Return the seconds since the renewal; None if the time cannot be parsed."""
        try:
            return now - datetime.fromisoformat(self.renewed).timestamp()
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Guarding:
    """A loaded rule, and why the subject is out of its scope; "" if it is in scope."""

    rule: RuleRow
    differs: str


@dataclass(frozen=True, slots=True)
class SubjectFacts:
    """The facts about `subject`. `at` in seconds since the epoch.

    `found`: whether the cluster has the subject. `condition`: its health as text. `incidents`: oldest first; for a pod they
    include the open ones of its workload. `journal`: whether the journal could be read. `decisions`: oldest first; None if the
    daemon did not answer. `notes`: what could not be read, and why.
    """

    subject: Target
    found: bool
    condition: str
    workload: Target | None
    incidents: tuple[Incident, ...]
    journal: bool
    decisions: tuple[Decision, ...] | None
    pauses: tuple[Pause, ...]
    leader: LeaseHolder | None
    notes: tuple[str, ...]
    at: float
    guards: tuple[Guarding, ...] | None = None
    """For each loaded rule whether its scope has the pod or the workload; None if the daemon did not answer."""
    near: str = ""
    """Names the objects that were probably meant, if the cluster does not have the subject."""

    @property
    def known(self) -> bool:
        """Whether any fact about the subject was found."""
        return bool(self.incidents or self.decisions) or (self.found and (self.journal or self.decisions is not None))


@dataclass(frozen=True, slots=True)
class _Subject:
    """The object, its workload, and the uids of the objects whose decisions concern it (itself, its workload, its pods).

    `labels` is None for an incident and for an object that does not exist: no rule can select them.
    """

    target: Target
    found: bool
    condition: str
    workload: Target | None
    uids: frozenset[str]
    labels: Mapping[str, str] | None = None


class _LeaseSpec(msgspec.Struct, rename="camel"):
    holder_identity: str | None = None
    renew_time: str | None = None


class _LeaseObject(msgspec.Struct):
    spec: _LeaseSpec = msgspec.field(default_factory=_LeaseSpec)


async def facts(
    api: Api,
    ref: ObjectRef,
    healer_namespace: str,
    url: str | None,
    now: float,
    lease: str = LEASE,
    credentials: DaemonCredentials = NO_CREDENTIALS,
) -> SubjectFacts:
    """Read the facts about a pod, a workload or an incident. `now` in seconds since the epoch; `lease` is the Lease's name.

    An object that healer may not read and a daemon that does not answer become notes. Raises OperateError, ClusterError.
    """
    notes: list[str] = []
    incidents = await _journal(api, ref.namespace, notes)
    subject = await _subject(api, ref, incidents or [], notes)
    about = tuple(incident for incident in incidents or () if _concerns(incident, subject))
    lease_refs = await leases(api, healer_namespace, lease)
    leader = await lease_holder(api, lease_refs, notes)
    home = lease_refs.namespace(healer_namespace)
    daemon = DaemonClient(api, home, leader.holder if leader else "", url, credentials, named=home == healer_namespace)
    decisions = await recent_decisions(daemon, ref.namespace)
    guards = None
    if isinstance(decisions, str):
        notes.append(decisions)
    elif subject.labels is not None:
        guards = await _guards(daemon, subject, subject.labels, notes)
    refs = pause_refs(ref, lease_refs)
    if subject.workload is not None and subject.workload.kind in WORKLOADS and ref.kind != subject.workload.kind:
        refs.insert(0, object_ref(subject.workload.kind, ref.namespace, subject.workload.name))
    gone = not subject.found and not (ref.kind == "Incident" and incidents is None)
    pauses, unread = await active_pauses(api, [each for each in refs if each.kind != "Incident"])
    return SubjectFacts(
        subject=subject.target,
        found=subject.found,
        condition=subject.condition,
        workload=subject.workload,
        incidents=about,
        journal=incidents is not None,
        decisions=None if isinstance(decisions, str) else _related(decisions, subject, about),
        pauses=tuple(pauses),
        leader=leader,
        notes=tuple(notes + unread),
        at=now,
        guards=guards,
        near=await near(api, ref) if gone else "",
    )


async def _guards(
    daemon: DaemonClient, subject: _Subject, labels: Mapping[str, str], notes: list[str]
) -> tuple[Guarding, ...] | None:
    """Return for each loaded rule whether its scope has an object with these labels; None if the rules cannot be read."""
    rows = await rules(daemon)
    if isinstance(rows, str):
        notes.append(f"which rules are about it is not known: {rows}")
        return None
    namespace, kind = subject.target.namespace, subject.workload.kind if subject.workload is not None else ""
    try:
        scopes = [Scope.model_validate(row.scope) for row in rows]
    except ValidationError as error:
        notes.append(f"which rules are about it is not known: the daemon's rules cannot be read: {error.errors()[0]['msg']}")
        return None
    return tuple(
        Guarding(row, differs(scope, namespace, labels, kind, WORKLOADS)) for row, scope in zip(rows, scopes, strict=True)
    )


# the journal


async def _journal(api: Api, namespace: str, notes: list[str]) -> list[Incident] | None:
    """Return the incidents of a namespace, oldest first; None if they cannot be read."""
    found: list[Incident] = []
    try:
        objects = await listed(api, INCIDENTS.path(namespace))
    except ApiError as error:
        notes.append(f"the journal is not shown: {MISSING if error.is_not_found else error}")
        return None
    for raw in objects:
        try:
            found.append(decode(bytes(raw)))
        except Undecodable as error:
            name = msgspec.json.decode(raw, type=LooseObject).metadata.name
            notes.append(f"incident {name} cannot be read: {error}")
    return sorted(found, key=lambda incident: (incident.opened_at, incident.id))


def _concerns(incident: Incident, subject: _Subject) -> bool:
    """Whether an incident is about the subject. An open one on a pod's workload is, because it blocks other incidents there."""
    target, workload = subject.target, subject.workload
    if target.kind == "Incident":
        return incident.id == target.name
    if not subject.found:
        return any((t.kind, t.name) == (target.kind, target.name) for t in _targets(incident))
    if target.kind in WORKLOADS:
        return incident.workload.uid == target.uid
    on_workload = workload is not None and incident.workload.uid == workload.uid and incident.state is not State.CLOSED
    return on_workload or target.uid in incident.treated or any(t.uid == target.uid for t in _targets(incident))


def _targets(incident: Incident) -> list[Target]:
    """Return every object that an incident refers to."""
    targets = [incident.workload, *(sick.target for sick in incident.targets.values())]
    if incident.acting_on is not None:
        targets.append(incident.acting_on)
    if incident.disruption is not None:
        targets.append(incident.disruption.target)
    return targets


def _related(decisions: list[Decision], subject: _Subject, incidents: tuple[Incident, ...]) -> tuple[Decision, ...]:
    """Return the decisions on the subject, on its workload or its pods, and on its incidents."""
    ids = {incident.id for incident in incidents} | ({subject.target.name} if subject.target.kind == "Incident" else set())
    name = (subject.target.kind, subject.target.name)

    def fits(decision: Decision) -> bool:
        target = decision.target
        nameless = not (target.uid and subject.target.uid)  # one of the two no longer exists: only the name is left to compare
        return decision.incident in ids or target.uid in subject.uids or (nameless and (target.kind, target.name) == name)

    return tuple(decision for decision in decisions if fits(decision))


# the cluster


async def _subject(api: Api, ref: ObjectRef, incidents: list[Incident], notes: list[str]) -> _Subject:
    if ref.kind == "Incident":
        incident = next((each for each in incidents if each.id == ref.name), None)
        target = Target("Incident", ref.namespace, ref.name, "")
        return _Subject(target, incident is not None, "", incident.workload if incident else None, frozenset())
    body = await get(api, ref)
    if body is None:
        return _Subject(Target(ref.kind, ref.namespace, ref.name, ""), False, "", None, frozenset())
    if ref.kind in WORKLOADS:
        return await _workload(api, ref, body, notes)
    pod = decoded(body, Pod, ref)
    target, workload = target_of(pod), await _owner(api, pod, notes)
    uids = frozenset(each.uid for each in (target, workload) if each is not None)
    return _Subject(target, True, _health(pod), workload, uids, pod.metadata.labels)


async def _owner(api: Api, pod: Pod, notes: list[str]) -> Target | None:
    """Return the pod's workload. Its ReplicaSet is read by name, and counts only if it has the uid in the owner reference."""
    owner = pod.metadata.controller
    view = View(WORKLOADS)
    if owner is not None and owner.kind == "ReplicaSet":
        ref = object_ref("ReplicaSet", pod.metadata.namespace, owner.name)
        try:
            body = await get(api, ref)
        except ApiError as error:
            notes.append(f"what owns {target_of(pod)} is not known: {error}")
            return None
        if body is not None:  # a new ReplicaSet of the same name has another uid: the view does not find it
            view.put(decoded(body, ReplicaSet, ref))
    return view.workload_of(pod)


async def _workload(api: Api, ref: ObjectRef, body: bytes, notes: list[str]) -> _Subject:
    workload = decoded(body, WORKLOADS[ref.kind].struct, ref).workload()
    target, view = workload.target, View(WORKLOADS)
    try:
        await put_pods(api, ref, body, view)
    except ApiError as error:
        notes.append(f"what was decided on the pods of {target} is not all shown: {error}")
    uids = frozenset({target.uid, *(pod.metadata.uid for pod in view.pods_of(target))})
    condition = f"{workload.ready} of {workload.desired} replicas ready"
    return _Subject(target, True, condition, target, uids, workload.metadata.labels)


def _health(pod: Pod) -> str:
    waiting = {c.state.waiting.reason for c in pod.status.container_statuses if c.state.waiting and c.state.waiting.reason}
    state = "terminating" if pod.terminating else "ready" if pod.ready else "not ready"
    why = sorted(waiting | ({pod.status.reason} if pod.status.reason else set()))
    return f"{pod.status.phase}, {state}" + (f" ({', '.join(why)})" if why else "") + f", {pod.restarts} restarts"


async def lease_holder(api: Api, lease_refs: Leases, notes: list[str]) -> LeaseHolder | None:
    """Return the holder of the Lease; None if there is no Lease. A Lease that is unreadable or ambiguous becomes a note."""
    if not lease_refs.refs:
        return None
    if lease_refs.doubt:
        notes.append(f"who leads is not known: {lease_refs.doubt}")
        return None
    (ref,) = lease_refs.refs
    try:
        body = await get(api, ref)
    except ApiError as error:
        notes.append(f"who leads is not known: {error}")
        return None
    if body is None:
        return None
    spec = decoded(body, _LeaseObject, ref).spec
    return LeaseHolder(spec.holder_identity or "", spec.renew_time or "")
