"""Finds healer's Lease for every verb, whatever its name and namespace, and tells whether a replica reads it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.operate.objects import LEASE, ObjectRef, OperateError, get, lease_ref
from healer.operate.workload import listed

_LEASES = "/apis/coordination.k8s.io/v1/leases"
_LABEL = "app.kubernetes.io/name=healer"
"""On each Lease that a healer has made."""
_IDENTITY = re.compile(r"\S+-[0-9]+@\S+:[0-9]+")
"""Of a healer that leads: known also where somebody else has made the Lease."""
_RENEWED = 60.0
"""Seconds: a Lease that was not renewed for longer has no leader."""
NAMESPACE = "healer"


class _ListedMeta(msgspec.Struct):
    name: str
    namespace: str


class _ListedSpec(msgspec.Struct, rename="camel"):
    holder_identity: str | None = None
    renew_time: datetime | None = None


class _ListedLease(msgspec.Struct):
    metadata: _ListedMeta
    spec: _ListedSpec = msgspec.field(default_factory=_ListedSpec)


@dataclass(frozen=True, slots=True)
class Leases:
    """Where healer's Lease may be: in one place, in several, or in none. `doubt`: why it is not surely in one, in words."""

    refs: tuple[ObjectRef, ...]
    doubt: str = ""

    def namespace(self, otherwise: str) -> str:
        """The namespace that healer runs in, where that is known."""
        return self.refs[0].namespace if len(self.refs) == 1 else otherwise


async def find_lease(api: Api, namespace: str = NAMESPACE, name: str = LEASE, *, make: bool = False) -> ObjectRef:
    """The one Lease that `leases` finds; with `make`, where no healer has one yet, the place of that name, for the first to read.

    Raises OperateError when there are several, or none that can be found, ClusterError.
    """
    found = await leases(api, namespace, name)
    if make and not found.refs:
        return lease_ref(namespace, name)
    if found.doubt:
        raise OperateError(found.doubt)
    return found.refs[0]


async def leases(api: Api, namespace: str = NAMESPACE, name: str = LEASE) -> Leases:
    """The Lease of that name and namespace; with the usual names, when it is not there, those that healers have elsewhere.

    A name that somebody gave is believed, whether it is there or not. Raises ClusterError other than a refusal.
    """
    ref = lease_ref(namespace, name)
    if (namespace, name) != (NAMESPACE, LEASE):
        return Leases((ref,))
    try:
        if await get(api, ref) is not None:
            return Leases((ref,))
    except ApiError:  # whoever reads it for what it says hears of the same refusal
        return Leases((ref,))
    missing = f"there is no Lease {name!r} in namespace {namespace!r}"
    hint = "name healer's own by --healer-namespace and --lease (its HEALER_LEADER__NAMESPACE and HEALER_LEADER__NAME)"
    try:
        found = await _leases(api, labelSelector=_LABEL)
        found = found or [each for each in await _leases(api) if _IDENTITY.fullmatch(each.spec.holder_identity or "")]
    except ApiError as error:
        return Leases((ref,), f"{missing}, and others cannot be looked for ({error}): {hint}")
    refs = tuple(lease_ref(each.metadata.namespace, each.metadata.name) for each in found)
    if not refs:
        return Leases((), f"{missing}, and none elsewhere, and so no healer that could be told: {hint}")
    several = ", or ".join(f"--healer-namespace {each.namespace} --lease {each.name}" for each in refs)
    return Leases(refs, f"{missing}, and several healers elsewhere: say which one: {several}" if len(refs) > 1 else "")


async def _leases(api: Api, **query: str) -> list[_ListedLease]:
    return [msgspec.json.decode(raw, type=_ListedLease) for raw in await listed(api, _LEASES, **query)]


async def create_lease(api: Api, ref: ObjectRef, annotations: Mapping[str, str | None]) -> bytes:
    """Make the Lease, with these annotations, for a healer that will read it. Raises ClusterError."""
    standing = {key: value for key, value in annotations.items() if value is not None}
    metadata = {"name": ref.name, "labels": {"app.kubernetes.io/name": "healer"}, "annotations": standing}
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
    return await api.request("POST", ref.path.rpartition("/")[0], body=body)


def why_unread(body: bytes, now: float) -> str:
    """In words, that nobody may be reading this Lease; "" when a leader does. `now` in seconds since the epoch."""
    spec = msgspec.json.decode(body, type=_ListedLease).spec
    if not spec.holder_identity or spec.renew_time is None:
        return "no replica holds it: only a healer that runs without an election, or that begins with this Lease, reads it"
    since = now - spec.renew_time.timestamp()
    late = f"{spec.holder_identity} holds it, and has not renewed it for {since:.0f} s: is it the right one?"
    return "" if since < _RENEWED else late
