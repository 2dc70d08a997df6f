"""The manifests that grant healer exactly the permissions that the loaded rules need.

The journal, the lease and most watches use the same permissions for all rules. A rule adds those of its trigger and of its steps.
If healer is confined to namespaces, Roles in them grant everything, and a ClusterRole grants only cluster-scoped resources.

The ClusterRole `healer` is the sum of all ClusterRoles with a label, so that those of deploy/healer and those of one's own rules
have names of their own, and nobody who applies one takes back another.
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
from healer.settings import Settings
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
SAID_ON_OBJECTS = permissions("events.k8s.io", "events", "create")
"""To say on pods and workloads, as Events, what was done to them."""
LEASE = permissions("coordination.k8s.io", "leases", "get create update") | permissions(
    "discovery.k8s.io", "endpointslices", "list"
)
"""To elect a leader and to find the addresses of the other replicas, in healer's own namespace."""
NODES_WATCHED = permissions("", "nodes", "get list watch")
"""To watch nodes whatever the rules (HEALER_CLUSTER__NODES), and to read one again before `evict` with `elsewhere`."""
REVIEWS = permissions("authentication.k8s.io", "tokenreviews", "create") | permissions(
    "authorization.k8s.io", "subjectaccessreviews", "create"
)
"""To have tokens of Kubernetes reviewed (HEALER_HTTP__TOKEN_REVIEW)."""
CONTROL = union(
    [
        permissions("healer.dev", "incidents", "get patch"),
        permissions("", "namespaces", "get patch"),
        SAID_ON_OBJECTS,
        *(permissions(kind.resource.api_group, kind.plural, "get patch") for kind in WORKLOADS.values()),
    ]
)
"""To approve, undo and pause for people, on the page (HEALER_HTTP__CONTROL_TOKEN_FILE) and by buttons in Slack. What is undone
takes the permissions of its action."""
RULESETS_READ = permissions("healer.dev", "rulesets", "list watch") | permissions("healer.dev", "rulesets/status", "patch")
"""To take rules from RuleSets of the cluster, and to say in them what became of them (HEALER_RULESETS__ENABLED)."""
OWN_NAMESPACE = permissions("", "namespaces", "get")
"""To read the pause of a namespace without the permission to list Namespaces. A Role in that namespace grants it."""

_CLUSTER_WIDE = frozenset(
    {
        ("", "namespaces"),
        ("", "nodes"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("authentication.k8s.io", "tokenreviews"),
        ("authorization.k8s.io", "subjectaccessreviews"),
    }
)
"""Cluster-scoped resources. A Role grants nothing on them, except `get` on its own Namespace."""


def needed(rulebook: Rulebook, actions: Mapping[str, Action]) -> Permissions:
    """All permissions that a healer with these rules needs, except those for the lease."""
    watched = observed(rulebook.rules)
    reads_nodes = watched & NODES_WATCHED and any(_places_elsewhere(rule, actions) for rule in rulebook.rules)
    steps = (_of_rule(rule, actions) for rule in rulebook.rules)
    return union([watched, JOURNAL, SAID_ON_OBJECTS, NODES_WATCHED if reads_nodes else frozenset(), *steps])


def asked_for(settings: Settings) -> Permissions:
    """The permissions that these settings need, whatever the rules."""
    wanted = (
        (REVIEWS, bool(settings.http.token_review)),
        (NODES_WATCHED, settings.cluster.nodes),
        (RULESETS_READ, settings.rulesets.enabled),
        (CONTROL, settings.http.control or any(section.buttons for section in settings.sinks.values())),
    )
    return union(needs for needs, holds in wanted if holds)


def _places_elsewhere(bound: BoundRule, actions: Mapping[str, Action]) -> bool:
    """Whether a step waits until the node of the pod takes no replacement. Where nodes are not watched, it reads none."""
    return any(actions[step.action].spec.elsewhere(step.params) for step in bound.rule.steps)


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
"""The name of the service account, of its own roles and their bindings; and the default name of the Lease."""
RULES_NAME = "healer-rules"
"""The default name of the roles that rules need. In deploy/healer those of the packs are named healer-packs: both add up."""
AGGREGATED = {"rbac.healer.dev/aggregate-to-healer": "true"}
"""The label of the ClusterRoles that the ClusterRole `healer` is the sum of."""


def manifests(
    needs: Permissions,
    namespace: str,
    *,
    within: Sequence[str] = (),
    lease: str = DEFAULT_NAME,
    routes: Mapping[str, Permissions] | None = None,
    name: str = RULES_NAME,
) -> list[Manifest]:
    """Return the service account with its roles. `namespace` is healer's own, `lease` is the name of its Lease.

    `within`, `routes` and `name` are those of `rule_roles`.
    """
    roles = rule_roles(needs, namespace, within=within, routes=routes, name=name)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta(DEFAULT_NAME, namespace)}
    return [
        account,
        *_sum_of_roles(roles, namespace),
        *_role(DEFAULT_NAME, _lease_rules(lease, paused=needs >= CONTROL), namespace, namespace),
        *roles,
    ]


def rule_roles(
    needs: Permissions,
    namespace: str,
    *,
    within: Sequence[str] = (),
    routes: Mapping[str, Permissions] | None = None,
    name: str = RULES_NAME,
) -> list[Manifest]:
    """Return the roles that rules need, with this name, for the service account of a healer that deploy/ has installed.

    `within`: the namespaces that healer is confined to (HEALER_CLUSTER__NAMESPACES); empty for the whole cluster. `routes`:
    further permissions for routes in other namespaces (`apart`).
    """
    if not within:
        return [_cluster_role(name, _rules(needs))]
    everywhere, inside = split(needs)
    granted = dict(routes or {}) | dict.fromkeys(within, inside)
    # healer's namespace holds the incidents of nodes and of the cluster, and the Events on healer's Lease
    granted[namespace] = granted.get(namespace, frozenset()) | JOURNAL | SAID_ON_OBJECTS
    cluster = [_cluster_role(name, _rules(everywhere))] if everywhere else []
    return cluster + [role for each, may in granted.items() for role in _role(name, _rules(may), each, namespace)]


def _cluster_role(name: str, rules: list[Manifest]) -> Manifest:
    """Return a ClusterRole that is a part of the ClusterRole `healer`."""
    meta = _meta(name)
    return _RBAC | {"kind": "ClusterRole", "metadata": meta | {"labels": meta["labels"] | AGGREGATED}, "rules": rules}


def _sum_of_roles(roles: Sequence[Manifest], namespace: str) -> list[Manifest]:
    """Return the ClusterRole that is the sum of the others, with its binding; nothing where there are none to add up.

    It has no `rules`: the control plane fills them in.
    """
    if not any(role["kind"] == "ClusterRole" for role in roles):
        return []
    head = _RBAC | {"kind": "ClusterRole", "metadata": _meta(DEFAULT_NAME)}
    return [
        head | {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": AGGREGATED}]}},
        _binding("ClusterRole", DEFAULT_NAME, "", namespace),
    ]


def _role(name: str, rules: list[Manifest], inside: str, namespace: str) -> list[Manifest]:
    """Return a Role inside a namespace, with its binding to the service account in healer's `namespace`."""
    role = _RBAC | {"kind": "Role", "metadata": _meta(name, inside), "rules": rules}
    return [role, _binding("Role", name, inside, namespace)]


def split(needs: Permissions) -> tuple[Permissions, Permissions]:
    """Split off the permissions that only a ClusterRole can grant. A Role grants `get` on its own Namespace."""
    everywhere = frozenset(
        each for each in needs if (each.group, each.resource) in _CLUSTER_WIDE and each.resource != "namespaces"
    )
    namespaces = frozenset(each for each in needs if each.resource == "namespaces")
    return everywhere, (needs - everywhere - namespaces) | OWN_NAMESPACE


def _lease_rules(lease: str, *, paused: bool) -> list[Manifest]:
    """Return the rules for the Lease; `paused`: healer writes the pause of everything there.

    `create` needs a separate rule, because a create request has no name for RBAC.
    """
    group = "coordination.k8s.io"
    verbs = ["get", "update", *(["patch"] if paused else [])]
    return [
        {"apiGroups": [group], "resources": ["leases"], "resourceNames": [lease], "verbs": verbs},
        {"apiGroups": [group], "resources": ["leases"], "verbs": ["create"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]},
    ]


_GROUP = "rbac.authorization.k8s.io"
_RBAC: Manifest = {"apiVersion": f"{_GROUP}/v1"}


def _binding(kind: str, name: str, inside: str, namespace: str) -> Manifest:
    subject = {"kind": "ServiceAccount", "name": DEFAULT_NAME, "namespace": namespace}
    ref = {"apiGroup": _GROUP, "kind": kind, "name": name}
    return _RBAC | {"kind": f"{kind}Binding", "metadata": _meta(name, inside), "roleRef": ref, "subjects": [subject]}


def _meta(name: str, namespace: str = "") -> Manifest:
    meta: Manifest = {"name": name, "labels": {"app.kubernetes.io/name": DEFAULT_NAME}}
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
