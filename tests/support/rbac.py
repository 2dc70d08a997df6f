"""What manifests grant: as a set, in the words of `Requests.permissions`, and request by request, as RBAC decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from healer.lab.faults import SeenRequest
from healer.model.action import Permission

Manifest = Mapping[str, Any]

_COMPONENT = "app.kubernetes.io/component"
_OTHERS = ("people", "senders")
"""Those components whose roles are none of healer's, and are bound by whoever installs it."""


def granted(manifests: Iterable[Manifest]) -> set[Permission]:
    """Everything that the roles among the manifests allow.

    A namespaced Role counts like a ClusterRole, and a rule for named objects like one for all: this says what is allowed, not
    where.

    Raises ValueError for a wildcard, for a rule with nonResourceURLs (which compares with no request), for a binding of a role
    that is not among the manifests, and for a role that nothing binds.
    """
    return {permission for role in _roles(list(manifests)) for rule in role["rules"] for permission, _ in _allowed(rule)}


class Authorizer:
    """Decides requests by roles, as RBAC does. Raises ValueError like `granted`."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self._rules = [
            (role["metadata"].get("namespace", "") if role["kind"] == "Role" else None, permission, names)
            for role in _roles(list(manifests))
            for rule in role["rules"]
            for permission, names in _allowed(rule)
        ]

    def allows(self, seen: SeenRequest) -> bool:
        """Whether a role allows it there. A Namespace that is named is an object of itself, as the API server has it."""
        asked = Permission(seen.group, seen.permission, seen.verb)
        namespace = seen.name if seen.resource == "namespaces" and seen.name else seen.namespace
        return not seen.resource or any(
            permission == asked and where in (None, namespace or "*") and (not names or seen.name in names)
            for where, permission, names in self._rules
        )


def _roles(manifests: list[Manifest]) -> list[Manifest]:
    """The roles that are bound; one that is the sum of others has their rules, as the control plane fills them in.

    Roles for people and for senders of alerts are none of healer's.
    """
    manifests = [each for each in _summed(manifests) if each["metadata"].get("labels", {}).get(_COMPONENT) not in _OTHERS]
    roles = {_role_key(each["kind"], each): each for each in manifests if each["kind"] in ("Role", "ClusterRole")}
    bound = {_bound_role(each) for each in manifests if each["kind"] in ("RoleBinding", "ClusterRoleBinding")}
    if bound != roles.keys():
        raise ValueError(
            f"bound but not given: {sorted(bound - roles.keys())}; given but not bound: {sorted(roles.keys() - bound)}"
        )
    return list(roles.values())


def _summed(manifests: list[Manifest]) -> Iterator[Manifest]:
    sums = [each for each in manifests if "aggregationRule" in each]
    parts = {each["metadata"]["name"]: [part for part in manifests if _is_part(part, each)] for each in sums}
    for each in manifests:
        if each in sums:
            yield {**each, "rules": [rule for part in parts[each["metadata"]["name"]] for rule in part["rules"]]}
        elif not any(each in found for found in parts.values()):
            yield each


def _is_part(part: Manifest, whole: Manifest) -> bool:
    labels = part["metadata"].get("labels", {}).items()
    selectors = [selector["matchLabels"].items() for selector in whole["aggregationRule"]["clusterRoleSelectors"]]
    return part["kind"] == "ClusterRole" and part is not whole and any(selector <= labels for selector in selectors)


def _role_key(kind: str, manifest: Manifest) -> tuple[str, str, str]:
    return kind, manifest["metadata"].get("namespace", "") if kind == "Role" else "", manifest["metadata"]["name"]


def _bound_role(binding: Manifest) -> tuple[str, str, str]:
    ref = binding["roleRef"]
    return ref["kind"], binding["metadata"].get("namespace", "") if ref["kind"] == "Role" else "", ref["name"]


def _allowed(rule: Manifest) -> Iterator[tuple[Permission, tuple[str, ...]]]:
    """Each permission, and the names of the objects that it is limited to, none for all."""
    if rule.keys() - {"resourceNames"} != {"apiGroups", "resources", "verbs"}:
        raise ValueError(f"a rule must have apiGroups, resources and verbs, maybe resourceNames, and nothing else: {rule}")
    if "*" in "".join(rule["apiGroups"] + rule["resources"] + rule["verbs"]):
        raise ValueError(f"a wildcard grants what nobody asked for: {rule}")
    names = tuple(rule.get("resourceNames", ()))
    if names and {"create", "list", "watch"} & set(rule["verbs"]):
        raise ValueError(f"these verbs name no object, or not for RBAC: {rule}")
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                yield Permission(group, resource, verb), names
