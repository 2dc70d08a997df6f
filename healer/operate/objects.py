"""Parses the objects named on the command line, and reads and annotates them through the API server."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from healer.cluster.api import Api
from healer.cluster.errors import ApiError, Unreadable
from healer.cluster.resources import RESOURCES
from healer.journal.stored import INCIDENTS, MISSING
from healer.model.kube import Namespace, OwnerReference, Pod, ReplicaSet
from healer.workloads.registry import WORKLOADS

T = TypeVar("T")

EVERYTHING = "everything"
LEASE = "healer"
"""The default name of the Lease that healer's replicas share. A pause on this Lease pauses everything."""

_RESOURCES = {kind.__name__: RESOURCES[kind] for kind in (Pod, ReplicaSet, Namespace)} | {"Incident": INCIDENTS}
_WORDS = {
    "Pod": ("pod", "pods", "po"),
    "Namespace": ("namespace", "namespaces", "ns"),
    "Incident": ("incident", "incidents", "inc", "incidents.healer.dev"),
}
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


class OperateError(Exception):
    """The verb cannot be carried out. The message says what, where, and what to do."""


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """An object by kind, namespace and name, and its path in the API. `namespace` is empty for a Namespace."""

    kind: str
    namespace: str
    name: str
    path: str

    def __str__(self) -> str:
        if self.kind == "Lease":
            return EVERYTHING if self.name == LEASE else f"{EVERYTHING} (Lease {self.name} in {self.namespace})"
        return f"{self.kind.lower()}/{self.name}" + (f" in {self.namespace}" if self.namespace else "")


class ObjectMeta(msgspec.Struct, rename="camel"):
    """The metadata that is read of any object."""

    name: str
    uid: str
    resource_version: str
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None


class SeenObject(msgspec.Struct):
    """An object, of any kind."""

    metadata: ObjectMeta

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations; empty if the API omits them."""
        return self.metadata.annotations or {}


def object_ref(kind: str, namespace: str, name: str) -> ObjectRef:
    """Return the reference to a Pod, ReplicaSet, Namespace, Incident, or workload."""
    resource = WORKLOADS[kind].resource if kind in WORKLOADS else _RESOURCES[kind]
    namespace = namespace if resource.namespaced else ""
    return ObjectRef(kind, namespace, name, resource.path(namespace, name))


def lease_ref(namespace: str, name: str = LEASE) -> ObjectRef:
    """Return the reference to the Lease of the healer that runs in that namespace."""
    return ObjectRef("Lease", namespace, name, f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}")


def parse_ref(text: str, namespace: str, kinds: Collection[str]) -> ObjectRef:
    """Parse `kind/name`. `kinds` are the kinds that the verb accepts. Raises OperateError."""
    word, slash, name = text.partition("/")
    kind = next((kind for kind in kinds if word.lower() in _words(kind)), None)
    if not slash or kind is None:
        raise OperateError(f"{text!r} is not understood: write {' or '.join(f'{kind.lower()}/NAME' for kind in kinds)}")
    valid(name, f"the name of {'an' if kind[0] in 'AEIOU' else 'a'} {kind.lower()}")
    return object_ref(kind, valid(namespace, "a namespace"), name)


def _words(kind: str) -> Collection[str]:
    return WORKLOADS[kind].words if kind in WORKLOADS else _WORDS[kind]


def valid(name: str, what: str) -> str:
    """Return the name if it is valid: it becomes part of a path. Raises OperateError."""
    if not is_name(name):
        raise OperateError(f"{name!r} cannot be {what}: it has lower-case letters, digits, '-' and '.'")
    return name


def is_name(text: str) -> bool:
    """Whether the text is a valid name of an object."""
    return _NAME.fullmatch(text) is not None


async def get(api: Api, ref: ObjectRef) -> bytes | None:
    """Read an object; None if it does not exist. Raises OperateError if the kind is not served, and ClusterError."""
    try:
        return await api.request("GET", ref.path)
    except ApiError as error:
        if not error.is_not_found:
            raise
        if ref.kind == "Incident" and error.reason != "NotFound":
            raise OperateError(MISSING) from error
        return None


async def annotate(
    api: Api,
    ref: ObjectRef,
    annotations: Mapping[str, str | None],
    *,
    resource_version: str | None = None,
    dry_run: bool = False,
) -> SeenObject | None:
    """Write annotations and remove those that are None. Returns the object after the write; None if it does not exist.

    With `resource_version`, an object that has changed since is not written: ApiError with status 409. With `dry_run`, the API
    server judges the write and stores nothing. Raises ClusterError.
    """
    condition = {} if resource_version is None else {"resourceVersion": resource_version}
    body = {"metadata": {"annotations": dict(annotations), **condition}}
    try:
        query = {"dryRun": "All"} if dry_run else None
        answer = await api.request("PATCH", ref.path, query=query, body=body, content_type="application/merge-patch+json")
    except ApiError as error:
        if error.is_not_found:
            return None
        raise
    return decoded(answer, SeenObject, ref)


def decoded(body: bytes, type: type[T], ref: ObjectRef) -> T:
    """Decode an answer of the API server to that type. Raises Unreadable."""
    try:
        return msgspec.json.decode(body, type=type)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"{ref.path}: the answer is no {ref.kind}: {error}") from error
