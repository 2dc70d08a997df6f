"""What manifests grant, and what requests use: the same four words, so that the two can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

Manifest = Mapping[str, Any]

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OF_COLLECTION = {"get": "list", "delete": "deletecollection"}


class Permission(NamedTuple):
    """One thing that RBAC can allow; the core group and "no subresource" are empty strings."""

    verb: str
    group: str
    resource: str
    subresource: str


def granted(manifests: Iterable[Manifest]) -> set[Permission]:
    """Everything that the (Cluster)RoleBindings among the manifests allow, to whomever.

    A namespaced Role counts like a ClusterRole: this compares what is allowed, not where.

    Raises ValueError for a wildcard, for a rule with resourceNames or nonResourceURLs (neither compares with a request), for
    a binding of a role that is not among the manifests, and for a role that nothing binds.
    """
    manifests = list(manifests)
    roles = {_role_key(each["kind"], each): each for each in manifests if each["kind"] in ("Role", "ClusterRole")}
    bound = {_bound_role(each) for each in manifests if each["kind"] in ("RoleBinding", "ClusterRoleBinding")}
    if bound != roles.keys():
        raise ValueError(
            f"bound but not given: {sorted(bound - roles.keys())}; given but not bound: {sorted(roles.keys() - bound)}"
        )
    return {permission for role in roles.values() for rule in role["rules"] for permission in _allowed(rule)}


def used(requests: Iterable[tuple[str, str]]) -> set[Permission]:
    """What the requests, each an HTTP method and a path with its query, need to be allowed.

    Paths that name no resource (/version, /livez) need nothing that a role here could grant. Follows RequestInfoFactory of
    k8s.io/apiserver/pkg/endpoints/request/requestinfo.go.

    Raises ValueError for a method that the API does not have.
    """
    return {permission for method, url in requests if (permission := _needed(method, url))}


def _role_key(kind: str, manifest: Manifest) -> tuple[str, str, str]:
    return kind, manifest["metadata"].get("namespace", "") if kind == "Role" else "", manifest["metadata"]["name"]


def _bound_role(binding: Manifest) -> tuple[str, str, str]:
    ref = binding["roleRef"]
    return ref["kind"], binding["metadata"].get("namespace", "") if ref["kind"] == "Role" else "", ref["name"]


def _allowed(rule: Manifest) -> Iterator[Permission]:
    if rule.keys() != {"apiGroups", "resources", "verbs"}:
        raise ValueError(f"a rule must have apiGroups, resources and verbs, and nothing else: {rule}")
    if "*" in "".join(rule["apiGroups"] + rule["resources"] + rule["verbs"]):
        raise ValueError(f"a wildcard grants what nobody asked for: {rule}")
    for group in rule["apiGroups"]:
        for path in rule["resources"]:
            resource, _, subresource = path.partition("/")
            for verb in rule["verbs"]:
                yield Permission(verb, group, resource, subresource)


def _needed(method: str, url: str) -> Permission | None:
    if method not in _VERBS:
        raise ValueError(f"{method} {url}: no such method in the Kubernetes API")
    address = urlsplit(url)
    match address.path.strip("/").split("/"):
        case ["api", _, *rest]:
            group = ""
        case ["apis", group, _, *rest]:
            pass
        case _:
            return None
    match rest:
        case []:
            return None
        case ["namespaces", _, resource, *below] if resource not in ("status", "finalize"):
            pass
        case [resource, *below]:
            pass
    verb = _VERBS[method]
    if not below:
        verb = _OF_COLLECTION.get(verb, verb)
    if verb == "list" and parse_qs(address.query).get("watch", ["false"])[-1] in ("1", "true", "True"):
        verb = "watch"
    return Permission(verb, group, resource, below[1] if len(below) > 1 else "")
