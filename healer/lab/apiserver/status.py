"""The errors of the Kubernetes API as `Status` objects of kube-apiserver 1.36.

Their texts, reasons, details and causes are recorded in tests/contract/kubernetes-1.36.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

RETRY_LATER = "please apply your changes to the latest version and try again"


class NamedKind(Protocol):
    """The part of `healer.lab.kinds.Kind` that errors use."""

    @property
    def group(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def plural(self) -> str: ...
    @property
    def qualified_kind(self) -> str: ...
    @property
    def resource(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Cause:
    """One invalid field of an object: its path, the message, and the API's reason."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"


class ApiRefusal(Exception):
    """The API refuses a request. `body` is the Status object, `headers` are those of the answer."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": dict(metadata or {}),
            "status": "Failure",
            "message": message,
        }
        if reason:
            self.body["reason"] = reason
        if details is not None:
            self.body["details"] = dict(details)
        self.body["code"] = code
        seconds = (details or {}).get("retryAfterSeconds")
        self.headers: dict[str, str] = {"Retry-After": str(seconds)} if seconds else {}


def _details(kind: NamedKind, name: str, kind_name: str) -> dict[str, Any]:
    named = {"name": name} if name else {}
    return named | ({"group": kind.group} if kind.group else {}) | {"kind": kind_name}


def success(details: Mapping[str, Any] | None = None, code: int | None = None) -> dict[str, Any]:
    """The Status of success of a deletion (with details) or an eviction (with a code)."""
    body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is not None:
        body["details"] = dict(details)
    if code is not None:
        body["code"] = code
    return body


def not_found(kind: NamedKind, name: str) -> ApiRefusal:
    """No object of the name exists."""
    message = f'{kind.resource} "{name}" not found'
    return ApiRefusal(404, "NotFound", message, details=_details(kind, name, kind.plural))


def no_such_endpoint() -> ApiRefusal:
    """The path is in a served group and version, but its resource does not exist."""
    return ApiRefusal(404, "NotFound", "the server could not find the requested resource", details={})


def already_exists(kind: NamedKind, name: str) -> ApiRefusal:
    """An object of the name exists already."""
    message = f'{kind.resource} "{name}" already exists'
    return ApiRefusal(409, "AlreadyExists", message, details=_details(kind, name, kind.plural))


def conflict(kind: NamedKind, name: str, why: str = f"the object has been modified; {RETRY_LATER}") -> ApiRefusal:
    """The write is based on an old resourceVersion."""
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return ApiRefusal(409, "Conflict", message, details=_details(kind, name, kind.plural))


def failed_precondition(kind: NamedKind, name: str, why: str) -> ApiRefusal:
    """The preconditions of a deletion do not hold. As recorded, the message has the kind instead of the resource."""
    message = f'Operation cannot be fulfilled on {kind.qualified_kind} "{name}": {why}'
    return ApiRefusal(409, "Conflict", message, details=_details(kind, name, kind.kind))


def _unprocessable(subject: str, details: Mapping[str, Any], causes: Sequence[Cause]) -> ApiRefusal:
    """The 422 of all kinds. The message has each distinct line once, the details have every cause."""
    lines = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    text = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    listed = [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]
    return ApiRefusal(422, "Invalid", f"{subject} is invalid: {text}", details={**details, "causes": listed})


def invalid(kind: NamedKind, name: str, causes: Sequence[Cause]) -> ApiRefusal:
    """The object fails validation, with one cause for each invalid field."""
    return _unprocessable(f'{kind.qualified_kind} "{name}"', _details(kind, name, kind.kind), causes)


def invalid_update(kind: NamedKind, name: str, cause: Cause) -> ApiRefusal:
    """The update lacks a resourceVersion. Unlike in other 422 answers, the message has the resource instead of the kind."""
    return _unprocessable(f'{kind.resource} "{name}"', _details(kind, name, kind.plural), [cause])


def invalid_scale(name: str, cause: Cause) -> ApiRefusal:
    """The Scale fails validation."""
    return _unprocessable(f'Scale.autoscaling "{name}"', {"name": name, "group": "autoscaling", "kind": "Scale"}, [cause])


def invalid_patch(why: str) -> ApiRefusal:
    """The result of the patch is not an object of the kind. (The API server's message also contains the object.)"""
    return _unprocessable(' ""', {}, [Cause("patch", f"Invalid value: {why}")])


def invalid_options(causes: Sequence[Cause]) -> ApiRefusal:
    """The list or watch options contradict each other."""
    return _unprocessable('ListOptions.meta.k8s.io ""', {"group": "meta.k8s.io", "kind": "ListOptions"}, causes)


def patch_failed() -> ApiRefusal:
    """The JSON patch cannot be applied: a test fails or a path is missing."""
    message = "the server rejected our request due to an error in our request"
    return ApiRefusal(422, "Invalid", message, details={})


def bad_request(message: str) -> ApiRefusal:
    """The request is malformed."""
    return ApiRefusal(400, "BadRequest", message)


def unauthorized() -> ApiRefusal:
    """The token is missing or wrong."""
    return ApiRefusal(401, "Unauthorized", "Unauthorized")


@dataclass(frozen=True, slots=True)
class Unserved:
    """A resource that the lab does not serve, by what its path says."""

    group: str
    plural: str

    @property
    def kind(self) -> str:
        """Errors name it by its resource."""
        return self.plural

    @property
    def resource(self) -> str:
        """With its group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """The same."""
        return self.resource


def forbidden(kind: NamedKind, name: str, namespace: str, verb: str, resource: str, user: str) -> ApiRefusal:
    """RBAC refuses the request. `resource` may have a subresource, as in `pods/eviction`."""
    subject = f'{kind.resource} "{name}"' if name else kind.resource
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    message = f'{subject} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{kind.group}" {where}'
    return ApiRefusal(403, "Forbidden", message, details=_details(kind, name, kind.plural))


def forbidden_because(kind: NamedKind, name: str, why: str, causes: Sequence[Cause] = ()) -> ApiRefusal:
    """The server's own rules, not RBAC, refuse the request."""
    message = f'{kind.resource} "{name}" is forbidden: {why}'
    details = _details(kind, name, kind.plural)
    if causes:
        details["causes"] = [{"reason": it.reason, "message": it.message, "field": it.field} for it in causes]
    return ApiRefusal(403, "Forbidden", message, details=details)


def denied_by_policy(kind: NamedKind, name: str, why: str, code: int, reason: str) -> ApiRefusal:
    """A ValidatingAdmissionPolicy denies the request. The message says "forbidden" for every code and reason."""
    details = _details(kind, name, kind.plural) | {"causes": [{"message": why}]}
    return ApiRefusal(code, reason, f'{kind.resource} "{name}" is forbidden: {why}', details=details)


def method_not_allowed() -> ApiRefusal:
    """The resource does not have the method."""
    message = "the server does not allow this method on the requested resource"
    return ApiRefusal(405, "MethodNotAllowed", message, details={})


def unsupported_media_type(message: str = "415: Unsupported Media Type", *, plain: bool = False) -> ApiRefusal:
    """The endpoint does not read the content type. A `plain` answer has no details."""
    return ApiRefusal(415, "UnsupportedMediaType", message, details=None if plain else {})


def expired(requested: int, oldest: int) -> ApiRefusal:
    """The resourceVersion of the watch or list is compacted."""
    return ApiRefusal(410, "Expired", f"too old resource version: {requested} ({oldest})")


def expired_continue(token: str) -> ApiRefusal:
    """The snapshot of the continue token is compacted. `token` continues with the present objects."""
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
        "the results. Continuing with the provided token results in an inconsistent list - objects that were "
        "created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    return ApiRefusal(410, "Expired", message, metadata={"continue": token})


def too_large_resource_version(requested: int, current: int) -> ApiRefusal:
    """The resourceVersion of the read is newer than the store."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {requested}, current: {current}"
    return ApiRefusal(504, "Timeout", message, details=details)


def budget_refuses(cause: str, retry_after: int = 0) -> ApiRefusal:
    """A PodDisruptionBudget refuses the eviction. `retry_after` in seconds; 0 sends no Retry-After."""
    details: dict[str, Any] = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    if retry_after:
        details["retryAfterSeconds"] = retry_after
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    return ApiRefusal(429, "TooManyRequests", message, details=details)


def two_budgets() -> ApiRefusal:
    """Two PodDisruptionBudgets cover the pod to evict. As recorded, the Status has no reason."""
    message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    return ApiRefusal(500, "", message)
