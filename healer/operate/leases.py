"""Finds healer's Lease for every verb, under any name and namespace, and checks whether a replica reads it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from healer.cluster.api import Api
from healer.cluster.errors import ApiError, ClusterError
from healer.operate.objects import LEASE, ObjectRef, OperateError, get, lease_ref
from healer.operate.workload import listed

_LEASES = "/apis/coordination.k8s.io/v1/leases"
LABEL = "app.kubernetes.io/name=healer"
"""The label of each Lease that healer creates."""
_IDENTITY = re.compile(r"\S+-[0-9]+@\S+:[0-9]+")
"""The form of a leader's identity. It identifies healer's Lease also when somebody else created it without the label."""
_RENEWED = 60.0
"""Seconds. A Lease that was not renewed for longer has no leader."""
NAMESPACE = "healer"
_DELETE_FIRST = "Delete it first, and wait a minute if it was killed; or use `healer undo`"


class _ListedMeta(msgspec.Struct):
    name: str
    namespace: str


class _ListedSpec(msgspec.Struct, rename="camel"):
    holder_identity: str | None = None
    renew_time: datetime | None = None
    lease_duration_seconds: float = 0.0

    def why_led(self, now: float) -> str:
        """Return who leads by this Lease, and when it was renewed; "" if nobody leads. `now`: seconds since the epoch."""
        if not self.holder_identity:
            return ""
        if self.renew_time is None:
            return f"{self.holder_identity} holds it, and it does not say since when"
        age = now - self.renew_time.timestamp()
        lasts = max(_RENEWED, self.lease_duration_seconds)
        return f"{self.holder_identity} holds it, and renewed it {max(0.0, age):.0f} s ago" if age < lasts else ""


class _ListedLease(msgspec.Struct):
    metadata: _ListedMeta
    spec: _ListedSpec = msgspec.field(default_factory=_ListedSpec)


@dataclass(frozen=True, slots=True)
class Leases:
    """The Leases that may be healer's: one, several, or none. `doubt` says why it is unclear which one is; "" if it is clear."""

    refs: tuple[ObjectRef, ...]
    doubt: str = ""

    @property
    def healer(self) -> str:
        """Return the healer as incidents and pauses name it, NAMESPACE/NAME of its Lease; "" if it is unclear which one it is."""
        return f"{self.refs[0].namespace}/{self.refs[0].name}" if len(self.refs) == 1 and not self.doubt else ""

    def namespace(self, otherwise: str) -> str:
        """Return the namespace of the only Lease, or `otherwise` if there is not exactly one."""
        return self.refs[0].namespace if len(self.refs) == 1 else otherwise


async def find_lease(api: Api, namespace: str = NAMESPACE, name: str = LEASE, *, make: bool = False) -> ObjectRef:
    """Return the only Lease that `leases` finds. With `make`, return the Lease to create if healer has none yet.

    Raises OperateError if there are several or none, and ClusterError.
    """
    found = await leases(api, namespace, name)
    if make and not found.refs:
        return lease_ref(namespace, name)
    if found.doubt:
        raise OperateError(found.doubt)
    return found.refs[0]


async def leases(api: Api, namespace: str = NAMESPACE, name: str = LEASE) -> Leases:
    """Return the Lease of that name and namespace. If the default one does not exist, return the Leases of other healers.

    A name other than the default is returned without a check. Raises ClusterError, except for a refused request.
    """
    ref = lease_ref(namespace, name)
    if (namespace, name) != (NAMESPACE, LEASE):
        return Leases((ref,))
    try:
        if await get(api, ref) is not None:
            return Leases((ref,))
    except ApiError:  # the caller gets the same error when it reads the Lease
        return Leases((ref,))
    missing = f"there is no Lease {name!r} in namespace {namespace!r}"
    hint = "name healer's own by --healer-namespace and --lease (its HEALER_LEADER__NAMESPACE and HEALER_LEADER__NAME)"
    try:
        found = await _leases(api, labelSelector=LABEL)
        found = found or [each for each in await _leases(api) if _IDENTITY.fullmatch(each.spec.holder_identity or "")]
    except ApiError as error:
        return Leases((ref,), f"{missing}, and the Leases of other namespaces cannot be listed ({error}): {hint}")
    refs = tuple(lease_ref(each.metadata.namespace, each.metadata.name) for each in found)
    if not refs:
        return Leases((), f"{missing}, and no other namespace has a Lease of healer: {hint}")
    several = ", or ".join(f"--healer-namespace {each.namespace} --lease {each.name}" for each in refs)
    return Leases(refs, f"{missing}, and several other healers have one: name one of them: {several}" if len(refs) > 1 else "")


async def _leases(api: Api, **query: str) -> list[_ListedLease]:
    return [msgspec.json.decode(raw, type=_ListedLease) for raw in await listed(api, _LEASES, **query)]


async def refuse_if_led(api: Api, ref: ObjectRef) -> None:
    """Raise OperateError while a healer leads by this Lease, or while that is not known. A Lease that is gone leads nobody."""
    where = f"Lease {ref.name} in namespace {ref.namespace}"
    try:
        body = await get(api, ref)
        spec = _ListedSpec() if body is None else msgspec.json.decode(body, type=_ListedLease).spec
    except (ClusterError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        way = "nothing is taken back while it cannot be read; it takes `get` on leases in that namespace"
        raise OperateError(f"whether a healer leads is not known: {where}: {error}: {way}") from error
    if why := spec.why_led(api.clock.wall()):
        raise OperateError(f"a healer leads, and takes its changes back by itself: {where}: {why}. {_DELETE_FIRST}")


async def refuse_if_any_leads(api: Api) -> None:
    """Raise OperateError while any healer of the cluster leads, or while that is not known."""
    try:
        every = await _leases(api)
        labelled = {(each.metadata.namespace, each.metadata.name) for each in await _leases(api, labelSelector=LABEL)}
    except (ClusterError, msgspec.MsgspecError) as error:
        raise OperateError(
            f"whether any healer leads is not known, for which --unmarked takes `list` on leases: {error}"
        ) from error
    for each in every:
        place = (each.metadata.namespace, each.metadata.name)
        ours = place in labelled or _IDENTITY.fullmatch(each.spec.holder_identity or "")
        if ours and (why := each.spec.why_led(api.clock.wall())):
            raise OperateError(
                f"another healer leads (Lease {place[1]} in namespace {place[0]}: {why}), and what is unmarked may be of it:"
                " --unmarked takes it back only while no healer of the cluster leads"
            )


async def create_lease(api: Api, ref: ObjectRef, annotations: Mapping[str, str | None]) -> bytes:
    """Create the Lease with these annotations, for a healer that starts later. Raises ClusterError."""
    present = {key: value for key, value in annotations.items() if value is not None}
    metadata = {"name": ref.name, "labels": {"app.kubernetes.io/name": "healer"}, "annotations": present}
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
    return await api.request("POST", ref.path.rpartition("/")[0], body=body)


def why_unread(body: bytes, now: float) -> str:
    """Return why possibly no replica reads this Lease; "" if a leader does. `now` in seconds since the epoch."""
    spec = msgspec.json.decode(body, type=_ListedLease).spec
    if not spec.holder_identity or spec.renew_time is None:
        return "no replica holds it: only a healer that runs without an election, or that begins with this Lease, reads it"
    since = now - spec.renew_time.timestamp()
    late = f"{spec.holder_identity} holds it, and has not renewed it for {since:.0f} s: is it the right one?"
    return "" if since < _RENEWED else late
