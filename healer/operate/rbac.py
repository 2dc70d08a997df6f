"""The manifests that grant healer exactly the permissions that the loaded rules need.

The journal, the lease and most watches use the same permissions for all rules. A rule adds those of its trigger and of its steps.
If healer is confined to namespaces, Roles in them grant everything, and a ClusterRole grants only cluster-scoped resources.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from healer.actions.base import Action
from healer.model.action import Permission, Permissions, permissions, union
from healer.routes.registry import ROUTERS
from healer.rules.probe import RouteRef
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.triggers import CANARY
from healer.sources.base import source_of, watched_resources
from healer.workloads.registry import WORKLOADS

Manifest = dict[str, Any]


def observed(rules: Iterable[BoundRule] = ()) -> Permissions:
    """Return the permissions to watch pods, their owners, their budgets, what can be paused, and what these rules need."""
    return union(permissions(each.api_group, each.plural, "list watch") for each in watched_resources(rules))


JOURNAL = permissions("healer.dev", "incidents", "list watch get create delete") | permissions(
    "healer.dev", "incidents/status", "update"
)
"""To open incidents, read them after a conflict, watch them for approvals, and delete old ones."""
LEASE = permissions("coordination.k8s.io", "leases", "get create update") | permissions(
    "discovery.k8s.io", "endpointslices", "list"
)
"""To elect a leader and to find the addresses of the other replicas, in healer's own namespace."""
OWN_NAMESPACE = permissions("", "namespaces", "get")
"""To read the pause of a namespace without the permission to list Namespaces. A Role in that namespace grants it."""

_CLUSTER_WIDE = frozenset({("", "namespaces"), ("", "nodes"), ("apiextensions.k8s.io", "customresourcedefinitions")})
"""Cluster-scoped resources. A Role grants nothing on them, except `get` on its own Namespace."""


def needed(rulebook: Rulebook, actions: Mapping[str, Action]) -> Permissions:
    """All permissions that a healer with these rules needs, except those for the lease."""
    return union([observed(rulebook.rules), JOURNAL, *(_of_rule(rule, actions) for rule in rulebook.rules)])


def _of_rule(bound: BoundRule, actions: Mapping[str, Action]) -> Permissions:
    trigger = source_of(bound.rule.when.trigger).permissions(bound.rule.when.value)
    steps = union(actions[step.action].spec.needs(step.params) for step in bound.rule.steps)
    return trigger | _within_scope(bound, steps)


def _within_scope(bound: BoundRule, needs: Permissions) -> Permissions:
    """Return the permissions without those on kinds of workloads that the rule's scope does not cover."""
    covered = {name for name in WORKLOADS if bound.scope.covers_kind(name, WORKLOADS)}
    mine, others = (
        union(kind.reads for name, kind in WORKLOADS.items() if (name in covered) is wanted) for wanted in (True, False)
    )
    alien = {(kind.resource.api_group, kind.plural) for name, kind in WORKLOADS.items() if name not in covered}
    return frozenset(
        each for each in needs if (each.group, each.resource.partition("/")[0]) not in alien and each not in others - mine
    )


def apart(rulebook: Rulebook, actions: Mapping[str, Action]) -> dict[str, Permissions]:
    """Return the permissions that rules need in the namespaces of their routes, by namespace."""
    needs: dict[str, Permissions] = defaultdict(frozenset)
    for bound in rulebook.rules:
        route = _route(bound)
        if route is not None and route.namespace is not None:
            needs[route.namespace] |= ROUTERS[route.kind].reads
        for step in bound.rule.steps:
            for namespace, permitted in actions[step.action].spec.apart(step.params).items():
                needs[namespace] |= permitted
    return dict(needs)


def _route(bound: BoundRule) -> RouteRef | None:
    """Return the route that the rule's trigger reads; None if it reads none."""
    canary = bound.rule.when.get(CANARY)
    return None if canary is None else canary.route


DEFAULT_NAME = "healer"
"""The name of the service account, the roles and their bindings; and the default name of the Lease."""


def manifests(
    needs: Permissions,
    namespace: str,
    *,
    within: Sequence[str] = (),
    lease: str = DEFAULT_NAME,
    routes: Mapping[str, Permissions] | None = None,
) -> list[Manifest]:
    """Return the service account with its roles. `namespace` is healer's own, `lease` is the name of its Lease.

    `within`: the namespaces that healer is confined to (HEALER_CLUSTER__NAMESPACES); empty for the whole cluster. `routes`:
    further permissions for routes in other namespaces (`apart`).
    """
    subjects = [{"kind": "ServiceAccount", "name": DEFAULT_NAME, "namespace": namespace}]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta(namespace)}
    own = _lease_rules(lease)
    if not within:
        return [account, *_bound("ClusterRole", _rules(needs), "", subjects), *_bound("Role", own, namespace, subjects)]
    everywhere, inside = _split(needs)
    granted = dict(routes or {}) | dict.fromkeys(within, inside)
    # healer's namespace holds the incidents of nodes and of the cluster
    own_namespace = granted.pop(namespace, frozenset()) | JOURNAL
    roles = [role for each, may in granted.items() for role in _bound("Role", _rules(may), each, subjects)]
    own_rules = _rules(own_namespace)
    cluster = _bound("ClusterRole", _rules(everywhere), "", subjects) if everywhere else []
    return [account, *cluster, *roles, *_bound("Role", [*own_rules, *own], namespace, subjects)]


def _split(needs: Permissions) -> tuple[Permissions, Permissions]:
    """Split off the permissions that only a ClusterRole can grant. A Role grants `get` on its own Namespace."""
    everywhere = frozenset(
        each for each in needs if (each.group, each.resource) in _CLUSTER_WIDE and each.resource != "namespaces"
    )
    namespaces = frozenset(each for each in needs if each.resource == "namespaces")
    return everywhere, (needs - everywhere - namespaces) | OWN_NAMESPACE


def _lease_rules(lease: str) -> list[Manifest]:
    """Return the rules for the Lease. `create` needs a separate rule, because a create request has no name for RBAC."""
    group = "coordination.k8s.io"
    return [
        {"apiGroups": [group], "resources": ["leases"], "resourceNames": [lease], "verbs": ["get", "update"]},
        {"apiGroups": [group], "resources": ["leases"], "verbs": ["create"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]},
    ]


def _bound(kind: str, rules: list[Manifest], namespace: str, subjects: list[dict[str, str]]) -> list[Manifest]:
    group = "rbac.authorization.k8s.io"
    head = {"apiVersion": f"{group}/v1"}
    return [
        {**head, "kind": kind, "metadata": _meta(namespace), "rules": rules},
        {
            **head,
            "kind": f"{kind}Binding",
            "metadata": _meta(namespace),
            "roleRef": {"apiGroup": group, "kind": kind, "name": DEFAULT_NAME},
            "subjects": subjects,
        },
    ]


def _meta(namespace: str) -> Manifest:
    meta: Manifest = {"name": DEFAULT_NAME, "labels": {"app.kubernetes.io/name": DEFAULT_NAME}}
    return meta | ({"namespace": namespace} if namespace else {})


def _rules(needs: Permissions) -> list[Manifest]:
    """Return RBAC rules: one for all resources of a group that need the same verbs."""
    verbs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for group, resource, verb in sorted(needs, key=_order):
        verbs[group, resource].append(verb)
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (group, resource), same in verbs.items():
        alike[group, tuple(same)].append(resource)
    return [{"apiGroups": [group], "resources": names, "verbs": list(same)} for (group, same), names in alike.items()]


_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")


def _order(permission: Permission) -> tuple[str, str, int]:
    return permission.group, permission.resource, _VERBS.index(permission.verb)
