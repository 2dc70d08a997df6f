"""The errors of the Kubernetes API, as the `Status` objects that a kube-apiserver 1.36 answers with.

Texts, reasons, details and causes are those recorded in tests/contract/kubernetes-1.36.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

RETRY_LATER = "please apply your changes to the latest version and try again"


class NamedKind(Protocol):
    """What an error says of a kind of objects; `healer.lab.kinds.Kind` is one."""

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
    """One thing wrong with an object: which field, why, and the API's word for the reason."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"


class ApiRefusal(Exception):
    """A request that the API refuses; `body` is its Status object, `headers` go with the answer."""

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


def _details(kind: NamedKind, name: str, word: str) -> dict[str, Any]:
    named = {"name": name} if name else {}
    return named | ({"group": kind.group} if kind.group else {}) | {"kind": word}


def success(details: Mapping[str, Any] | None = None, code: int | None = None) -> dict[str, Any]:
    """The Status of a deletion (which has details) or an eviction (which has a code)."""
    body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is not None:
        body["details"] = dict(details)
    if code is not None:
        body["code"] = code
    return body


def not_found(kind: NamedKind, name: str) -> ApiRefusal:
    """No object of that name."""
    message = f'{kind.resource} "{name}" not found'
    return ApiRefusal(404, "NotFound", message, details=_details(kind, name, kind.plural))


def no_such_endpoint() -> ApiRefusal:
    """A path inside a known group and version that names no resource."""
    return ApiRefusal(404, "NotFound", "the server could not find the requested resource", details={})


def already_exists(kind: NamedKind, name: str) -> ApiRefusal:
    """Create of a name that is taken."""
    message = f'{kind.resource} "{name}" already exists'
    return ApiRefusal(409, "AlreadyExists", message, details=_details(kind, name, kind.plural))


def conflict(kind: NamedKind, name: str, why: str = f"the object has been modified; {RETRY_LATER}") -> ApiRefusal:
    """A write based on an old resourceVersion."""
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return ApiRefusal(409, "Conflict", message, details=_details(kind, name, kind.plural))


def failed_precondition(kind: NamedKind, name: str, why: str) -> ApiRefusal:
    """A deletion whose preconditions do not hold; named by kind, not by resource, as recorded."""
    message = f'Operation cannot be fulfilled on {kind.qualified_kind} "{name}": {why}'
    return ApiRefusal(409, "Conflict", message, details=_details(kind, name, kind.kind))


def _because(subject: str, details: Mapping[str, Any], causes: Sequence[Cause]) -> ApiRefusal:
    """The 422 of all kinds: each distinct line once in the message, every cause in the details."""
    lines = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    text = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    listed = [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]
    return ApiRefusal(422, "Invalid", f"{subject} is invalid: {text}", details={**details, "causes": listed})


def invalid(kind: NamedKind, name: str, causes: Sequence[Cause]) -> ApiRefusal:
    """An object that fails validation, with one cause a field."""
    return _because(f'{kind.qualified_kind} "{name}"', _details(kind, name, kind.kind), causes)


def invalid_update(kind: NamedKind, name: str, cause: Cause) -> ApiRefusal:
    """An update that lacks its resourceVersion; named by resource, unlike other invalid objects."""
    return _because(f'{kind.resource} "{name}"', _details(kind, name, kind.plural), [cause])


def invalid_scale(name: str, cause: Cause) -> ApiRefusal:
    """A Scale that fails validation."""
    return _because(f'Scale.autoscaling "{name}"', {"name": name, "group": "autoscaling", "kind": "Scale"}, [cause])


def invalid_patch(why: str) -> ApiRefusal:
    """A patch whose result is no object of its kind. (The API server shows the whole object as well.)"""
    return _because(' ""', {}, [Cause("patch", f"Invalid value: {why}")])


def invalid_options(causes: Sequence[Cause]) -> ApiRefusal:
    """List or watch options that contradict each other."""
    return _because('ListOptions.meta.k8s.io ""', {"group": "meta.k8s.io", "kind": "ListOptions"}, causes)


def patch_failed() -> ApiRefusal:
    """A JSON patch that cannot be applied: a failed test or a missing path."""
    message = "the server rejected our request due to an error in our request"
    return ApiRefusal(422, "Invalid", message, details={})


def bad_request(message: str) -> ApiRefusal:
    """A request that cannot be understood."""
    return ApiRefusal(400, "BadRequest", message)


def unauthorized() -> ApiRefusal:
    """No token, or a wrong one."""
    return ApiRefusal(401, "Unauthorized", "Unauthorized")


def forbidden(kind: NamedKind, name: str, namespace: str, verb: str, resource: str, user: str) -> ApiRefusal:
    """Refused by RBAC. `resource` may carry a subresource, as in `pods/eviction`."""
    subject = f'{kind.resource} "{name}"' if name else kind.resource
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    message = f'{subject} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{kind.group}" {where}'
    return ApiRefusal(403, "Forbidden", message, details=_details(kind, name, kind.plural))


def forbidden_because(kind: NamedKind, name: str, why: str, causes: Sequence[Cause] = ()) -> ApiRefusal:
    """Refused by the server's own rules, not by RBAC."""
    message = f'{kind.resource} "{name}" is forbidden: {why}'
    details = _details(kind, name, kind.plural)
    if causes:
        details["causes"] = [{"reason": it.reason, "message": it.message, "field": it.field} for it in causes]
    return ApiRefusal(403, "Forbidden", message, details=details)


def denied_by_policy(kind: NamedKind, name: str, why: str, code: int, reason: str) -> ApiRefusal:
    """Denied by a ValidatingAdmissionPolicy: worded as forbidden, whatever its code and reason."""
    details = _details(kind, name, kind.plural) | {"causes": [{"message": why}]}
    return ApiRefusal(code, reason, f'{kind.resource} "{name}" is forbidden: {why}', details=details)


def method_not_allowed() -> ApiRefusal:
    """A method that the resource does not have."""
    message = "the server does not allow this method on the requested resource"
    return ApiRefusal(405, "MethodNotAllowed", message, details={})


def unsupported_media_type(message: str = "415: Unsupported Media Type", *, plain: bool = False) -> ApiRefusal:
    """A body in a content type that the endpoint does not read; `plain` answers carry no details."""
    return ApiRefusal(415, "UnsupportedMediaType", message, details=None if plain else {})


def expired(requested: int, oldest: int) -> ApiRefusal:
    """A watch or list from a resourceVersion that was compacted away."""
    return ApiRefusal(410, "Expired", f"too old resource version: {requested} ({oldest})")


def expired_continue(token: str) -> ApiRefusal:
    """A continue token whose snapshot was compacted away; `token` continues with what is there now."""
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
        "the results. Continuing with the provided token results in an inconsistent list - objects that were "
        "created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    return ApiRefusal(410, "Expired", message, metadata={"continue": token})


def too_large_resource_version(requested: int, current: int) -> ApiRefusal:
    """A read that wants to be newer than the store is."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {requested}, current: {current}"
    return ApiRefusal(504, "Timeout", message, details=details)


def budget_refuses(cause: str, retry_after: int = 0) -> ApiRefusal:
    """An eviction that a PodDisruptionBudget refuses. `retry_after` in seconds; 0 sends no Retry-After."""
    details: dict[str, Any] = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    if retry_after:
        details["retryAfterSeconds"] = retry_after
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    return ApiRefusal(429, "TooManyRequests", message, details=details)


def two_budgets() -> ApiRefusal:
    """An eviction of a pod that two PodDisruptionBudgets cover; recorded without a reason."""
    message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    return ApiRefusal(500, "", message)
