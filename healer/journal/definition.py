"""Whether the cluster's definition of incidents is the one that this healer needs: found out at the start, by a dry run.

An object with every field of an incident is sent as if it were to be created. What the definition does not know is refused as a
strict decoding error, or missing in the answer; what it understands otherwise is invalid. Nothing is stored.
"""

import enum
from datetime import UTC, datetime
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import msgspec

from healer.cluster.api import Api
from healer.cluster.decode import ListPage
from healer.cluster.errors import ApiError
from healer.journal import codec
from healer.journal.stored import HEALER, INCIDENTS, MISSING, SIGNATURE

Object = dict[str, Any]

WANTED = "kubectl apply -f deploy/healer/crd.yaml of this version of healer"
_CONDITION = {"type": "X", "status": "True", "reason": "X", "message": "x", "lastTransitionTime": "2026-01-01T00:00:00Z"}
_DRY_RUN = {"dryRun": "All", "fieldValidation": "Strict"}
_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def sample() -> Object:
    """An incident, as an object, in which every field is set."""
    spec = _sample(codec.SPEC) | {"severity": "warning", "mode": "observe"}
    status = _sample(codec.STATUS) | codec.extras({"x": {"x": "x"}}, "x") | {"doing": "x", SIGNATURE: "x", HEALER: "x/x"}
    status["conditions"] = [
        dict.fromkeys(("type", "reason", "message"), "x") | {"status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ]
    return {"spec": spec, "status": status}


async def flaw(api: Api, namespace: str, kept_in: str = "") -> str:
    """In words what is wrong with the definition, and what to do; "" when it is right, or cannot be judged by the answer.

    A status is validated only where it is written to an object that is there: to an incident kept in the namespace `kept_in`
    (empty: anywhere), when there is one. Raises ClusterError when the server does not answer.
    """
    head = {"apiVersion": INCIDENTS.group.removeprefix("/apis/"), "kind": INCIDENTS.name}
    sent = sample()
    body = head | {"metadata": {"generateName": "healer-dry-run-", "namespace": namespace}} | sent
    path = INCIDENTS.path(namespace)
    try:
        answer = await api.request("POST", path, query=_DRY_RUN, body=body)
    except ApiError as error:
        return _refused(error)
    try:
        found = msgspec.json.decode(answer, type=Object)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"the answer to a dry run is no incident ({error})"
    if "status" in found:
        return f"the definition of incidents is broken: it has no subresource `status`: {WANTED}"
    if lost := [field for field in sent["spec"] if field not in found.get("spec", {})]:
        return f"the definition of incidents is older than this healer: it drops {', '.join(lost)}: {WANTED}"
    return await _flaw_of_status(api, kept_in, head, sent["status"])


class _SampleMeta(msgspec.Struct, rename="camel"):
    name: str
    namespace: str
    resource_version: str


class _SampleObject(msgspec.Struct):
    metadata: _SampleMeta


async def _flaw_of_status(api: Api, kept_in: str, head: Object, status: Object) -> str:
    page = await api.get(INCIDENTS.path(kept_in), ListPage, {"limit": "1"})
    for raw in page.items or ():
        kept = msgspec.json.decode(raw, type=_SampleObject).metadata
        body = head | {"metadata": msgspec.to_builtins(kept), "status": status}
        try:
            await api.request("PUT", f"{INCIDENTS.path(kept.namespace, kept.name)}/status", query=_DRY_RUN, body=body)
        except ApiError as error:
            return "" if error.is_not_found and error.reason == "NotFound" else _refused(error)
    return ""


def _refused(error: ApiError) -> str:
    if error.is_not_found:
        return MISSING if error.reason != "NotFound" else f"incidents cannot be written: {error.message}"
    if "strict decoding error" in error.message:
        return f"the definition of incidents is older than this healer ({error.message}): {WANTED}"
    if error.status == 422:
        return f"the definition of incidents is broken, or something refuses them ({error.message}): {WANTED}"
    if error.is_forbidden or error.is_conflict:
        return ""  # a permission is named by the contact; a quota, or a name that is taken, is not of the definition
    raise error


def _sample(kind: Any) -> Any:
    """A value of a type of codec's structs, as it is in JSON, with nothing left out."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {field.encode_name: _sample(field.type) for field in msgspec.structs.fields(kind)}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind)).value
    if kind is datetime:
        return _MOMENT.isoformat().replace("+00:00", "Z")
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return arguments[0]
    if isinstance(kind, UnionType):
        return _sample(arguments[0])
    if origin in (tuple, frozenset):
        return [_sample(arguments[0])]
    if arguments:
        return {"x": _sample(arguments[1])}
    return {str: "x", int: 1, bool: True}[kind]
