"""Asks the API server who somebody is, and what they may do: TokenReview, SelfSubjectReview and SubjectAccessReview."""

from typing import Any, TypeVar

import msgspec

from healer.cluster.api import Api, Unreadable
from healer.model.action import Permission

_TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
_SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

T = TypeVar("T")


class ReviewedUser(msgspec.Struct, frozen=True):
    """Who a token belongs to, as the API server says it. `extra` is passed on as it is."""

    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class _TokenStatus(msgspec.Struct):
    authenticated: bool = False
    user: ReviewedUser | None = None
    audiences: list[str] | None = None


class _TokenReview(msgspec.Struct):
    status: _TokenStatus = msgspec.field(default_factory=_TokenStatus)


class _SelfStatus(msgspec.Struct, rename="camel"):
    user_info: ReviewedUser = ReviewedUser()


class _SelfReview(msgspec.Struct):
    status: _SelfStatus = msgspec.field(default_factory=_SelfStatus)


class _AccessStatus(msgspec.Struct):
    allowed: bool = False
    denied: bool = False


class _AccessReview(msgspec.Struct):
    status: _AccessStatus = msgspec.field(default_factory=_AccessStatus)


async def user_of(api: Api, token: str, audience: str, *, within: float) -> ReviewedUser | None:
    """The user of a token that is valid for the audience; None for another token. `within` is in seconds. Raises ClusterError.

    An authenticator that knows no audiences names none in its answer: such a token is for any audience, and is not taken.
    """
    spec = {"token": token, "audiences": [audience]}
    review = await _asked(api, _TOKENS, "authentication.k8s.io/v1", "TokenReview", {"spec": spec}, _TokenReview, within)
    status = review.status
    if not status.authenticated or status.user is None or not status.user.username:
        return None
    return status.user if audience in (status.audiences or ()) else None


async def own_name(api: Api) -> str:
    """The name by which the API server knows the user of this connection (Kubernetes 1.28 and later). Raises ClusterError."""
    review = await _asked(api, _SELF, "authentication.k8s.io/v1", "SelfSubjectReview", {}, _SelfReview, None)
    return review.status.user_info.username


async def may(api: Api, user: ReviewedUser, verb: str, path: str, *, within: float) -> bool:
    """Whether a user may make a request to a path that is no resource: RBAC grants it by nonResourceURLs. Raises ClusterError."""
    spec: dict[str, Any] = {
        "user": user.username,
        "uid": user.uid,
        "groups": user.groups or [],
        "extra": user.extra or {},
        "nonResourceAttributes": {"path": path, "verb": verb},
    }
    kind = "SubjectAccessReview"
    status = (await _asked(api, _ACCESS, "authorization.k8s.io/v1", kind, {"spec": spec}, _AccessReview, within)).status
    return status.allowed and not status.denied


async def may_access(api: Api, user: str, permission: Permission, namespace: str, *, within: float) -> bool:
    """Whether a user has a permission of RBAC in a namespace; "" for all of the cluster. Raises ClusterError."""
    resource, _, subresource = permission.resource.partition("/")
    asked = {"verb": permission.verb, "group": permission.group, "resource": resource}
    asked |= {"subresource": subresource} if subresource else {}
    asked |= {"namespace": namespace} if namespace else {}
    spec: dict[str, Any] = {"user": user, "groups": _groups(user), "resourceAttributes": asked}
    kind = "SubjectAccessReview"
    status = (await _asked(api, _ACCESS, "authorization.k8s.io/v1", kind, {"spec": spec}, _AccessReview, within)).status
    return status.allowed and not status.denied


def _groups(user: str) -> list[str]:
    """The groups that the API server gives a user by itself: those of a service account are part of its name."""
    account = user.removeprefix("system:serviceaccount:")
    if account == user:
        return ["system:authenticated"]
    return ["system:serviceaccounts", f"system:serviceaccounts:{account.partition(':')[0]}", "system:authenticated"]


async def _asked(api: Api, path: str, version: str, kind: str, asked: dict[str, Any], answer: type[T], within: float | None) -> T:
    body = await api.request("POST", path, body={"apiVersion": version, "kind": kind} | asked, within=within)
    try:
        return msgspec.json.decode(body, type=answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"POST {path}: the answer is no {kind}: {error}") from error
