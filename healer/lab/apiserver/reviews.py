"""TokenReview, SelfSubjectReview and SubjectAccessReview: whose a token is, and what its user may request.

Source: pkg/registry/authentication/tokenreview/storage.go, pkg/apis/authorization/validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from healer.lab.apiserver import status
from healer.lab.faults import SeenRequest
from healer.lab.kinds import Kind
from healer.lab.objects import Object

API_SERVER = "https://kubernetes.default.svc"
"""The audience of tokens for the API server itself; a review that names no audience means this one."""
TOKEN_REVIEW = Kind(group="authentication.k8s.io", plural="tokenreviews", kind="TokenReview", namespaced=False)
SELF_REVIEW = Kind(group="authentication.k8s.io", plural="selfsubjectreviews", kind="SelfSubjectReview", namespaced=False)
ACCESS_REVIEW = Kind(group="authorization.k8s.io", plural="subjectaccessreviews", kind="SubjectAccessReview", namespaced=False)
_KINDS = {(kind.group, kind.plural): kind for kind in (TOKEN_REVIEW, SELF_REVIEW, ACCESS_REVIEW)}


@dataclass(frozen=True, slots=True)
class _Known:
    user: str
    audiences: tuple[str, ...]


class Reviews:
    """The tokens that the lab knows, and what their users may request."""

    def __init__(self, may: Callable[[str, SeenRequest], bool] = lambda user, seen: False) -> None:
        """`may` says whether a user may make a request for a resource."""
        self._may = may
        self._tokens: dict[str, _Known] = {}
        self._grants: set[tuple[str, str, str]] = set()

    def add_token(self, token: str, user: str, *audiences: str) -> None:
        """Know a token of a user, for these audiences, by default for the API server."""
        self._tokens[token] = _Known(user, audiences or (API_SERVER,))

    def grant(self, user: str, verb: str, path: str) -> None:
        """Let a user request a path, as a ClusterRole with nonResourceURLs does."""
        self._grants.add((user, verb, path))

    def revoke(self, user: str, verb: str, path: str) -> None:
        """Remove a `grant`."""
        self._grants.discard((user, verb, path))

    def kind(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind of review at this place of the API."""
        return _KINDS.get((group, plural)) if version == "v1" else None

    def review(self, kind: Kind, body: Mapping[str, Any], authorization: str) -> Object:
        """The answer to a POST with that Authorization header. Raises ApiRefusal."""
        if kind is SELF_REVIEW:
            return kind.head | {"metadata": {}, "status": {"userInfo": self._self(authorization.removeprefix("Bearer "))}}
        spec = body.get("spec") or {}
        found = self._token(spec) if kind is TOKEN_REVIEW else self._access(spec)
        if of_resource := spec.get("resourceAttributes"):  # the server writes no empty field
            spec = spec | {"resourceAttributes": {key: value for key, value in of_resource.items() if value}}
        return kind.head | {"metadata": {}, "spec": spec, "status": found}

    def _token(self, spec: Mapping[str, Any]) -> Object:
        if not spec.get("token"):
            raise status.bad_request("token is required for TokenReview in authentication")
        known = self._tokens.get(spec["token"])
        asked = spec.get("audiences") or [API_SERVER]
        audiences = [each for each in asked if known is not None and each in known.audiences]
        if known is None or not audiences:
            return {"user": {}, "error": "invalid bearer token"}
        return {"authenticated": True, "user": _user_info(known), "audiences": audiences}

    def _self(self, token: str) -> Object:
        known = self._tokens.get(token)
        if known is None:  # anonymous: RBAC lets those ask whom the server knows (ClusterRole system:basic-user)
            raise status.forbidden(SELF_REVIEW, "", "", "create", SELF_REVIEW.plural, "system:anonymous")
        return _user_info(known)

    def _access(self, spec: Mapping[str, Any]) -> Object:
        asked, of_resource = spec.get("nonResourceAttributes") or {}, spec.get("resourceAttributes")
        if not asked and not of_resource:
            raise _invalid("spec.resourceAttributes", "null", "exactly one of nonResourceAttributes or resourceAttributes")
        if not spec.get("user") and not spec.get("groups"):
            raise _invalid("spec.user", '""', "at least one of user or group")
        if of_resource:
            return {"allowed": self._may(spec.get("user", ""), _seen(of_resource))}
        return {"allowed": (spec.get("user", ""), asked.get("verb", ""), asked.get("path", "")) in self._grants}


def _seen(asked: Mapping[str, Any]) -> SeenRequest:
    """The request that a review asks about."""
    keys = ("verb", "group", "resource", "subresource", "namespace", "name")
    return SeenRequest(method="", path="", **{key: asked.get(key, "") for key in keys})


def _user_info(known: _Known) -> Object:
    return {"username": known.user, "uid": known.user, "groups": ["system:authenticated"]}


def _invalid(field: str, value: str, needed: str) -> status.ApiRefusal:
    message = f"Invalid value: {value}: {needed} must be specified"
    cause = {"reason": "FieldValueInvalid", "message": message, "field": field}
    details = {"group": ACCESS_REVIEW.group, "causes": [cause]}
    return status.ApiRefusal(422, "Invalid", f'.authorization.k8s.io "" is invalid: {field}: {message}', details=details)
