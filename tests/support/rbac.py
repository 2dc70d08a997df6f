"""What manifests grant, in the words in which the lab says what requests use (`Requests.permissions`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from healer.model.permission import Permission

Manifest = Mapping[str, Any]


def granted(manifests: Iterable[Manifest]) -> set[Permission]:
    """Everything that the roles among the manifests allow.

    A namespaced Role counts like a ClusterRole: this says what is allowed, not where.

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
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                yield Permission(group, resource, verb)
