"""Least privilege: what deploy/healer grants."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from healer.actions.registry import ACTIONS
from healer.actions.shift_traffic import ShiftTrafficParams
from healer.daemon.rulefiles import load_rules, vocabulary
from healer.daemon.rulefiles import read as read_rules
from healer.lab.faults import SeenRequest
from healer.model.action import Permission
from healer.operate.rbac import CONTROL, LEASE, apart, asked_for, manifests, needed
from healer.rules.loading import load_all
from healer.rules.rulebook import Rulebook
from healer.settings import Isolated
from healer.settings.http import HttpSettings
from tests.support.kustomize import built
from tests.support.rbac import Authorizer, Manifest, granted

ROOT = Path(__file__).parents[2]
ELSEWHERE = """\
apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: asked}
spec:
  scope: {namespaces: [production]}
  rules:
    - name: bad-canary
      when:
        canary:
          route: {kind: HTTPRoute, name: split, namespace: infra}
          stable: {deployment: v1}
          canary: {deployment: v2}
          measures:
            - {name: errors, total: 'a{pod=~"{{ pods }}"}', bad: 'b{pod=~"{{ pods }}"}'}
      heal:
        - STEP
"""
ON_NODE = """\
apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: asked}
spec:
  scope: {namespaces: [production]}
  rules:
    - name: broken-node
      when: {node: [KernelDeadlock]}
      heal:
        - STEP
          verify: {within: 10m, stable: 1m}
"""
PARAMS = {"shiftTraffic": ShiftTrafficParams(to=0)}


def _role(*rules: Manifest) -> list[Manifest]:
    return [
        {"kind": "ClusterRole", "metadata": {"name": "some"}, "rules": list(rules)},
        {"kind": "ClusterRoleBinding", "metadata": {"name": "any"}, "roleRef": {"kind": "ClusterRole", "name": "some"}},
    ]


def test_a_rule_grants_the_product_of_its_lists() -> None:
    rule = {"apiGroups": [""], "resources": ["pods", "pods/eviction"], "verbs": ["get", "create"]}
    assert granted(_role(rule)) == {
        Permission("", "pods", "get"),
        Permission("", "pods", "create"),
        Permission("", "pods/eviction", "get"),
        Permission("", "pods/eviction", "create"),
    }


@pytest.mark.parametrize(
    "rule",
    [
        {"apiGroups": ["*"], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods/*"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"], "resourceNames": ["one"]},
        {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
    ],
)
def test_what_cannot_be_compared_is_refused(rule: Manifest) -> None:
    with pytest.raises(ValueError, match=r"a wildcard grants|a rule must have|these verbs name no object"):
        granted(_role(rule))


def test_a_role_that_nothing_binds_and_a_binding_of_nothing_are_refused() -> None:
    role, binding = _role()
    with pytest.raises(ValueError, match="given but not bound"):
        granted([role])
    with pytest.raises(ValueError, match="bound but not given"):
        granted([binding])


def test_deploy_grants_what_the_shipped_rules_need_and_nothing_else() -> None:
    needs = needed(load_rules([ROOT / "rules"], vocabulary()), ACTIONS)
    assert granted(built(ROOT / "deploy/healer")) == needs | LEASE


def test_what_is_printed_grants_what_is_needed() -> None:
    needs = needed(load_rules([ROOT / "rules", ROOT / "rules/canary"], vocabulary()), ACTIONS)
    printed = manifests(needs, "elsewhere")
    assert granted(printed) == needs | LEASE
    assert {"get", "list", "watch"} < {verb for _, _, verb in needs}
    assert {each["metadata"].get("namespace") for each in printed} == {"elsewhere", None}
    assert Permission("networking.k8s.io", "ingresses", "patch") in needs
    assert Permission("", "pods", "delete") not in needs


def test_a_canary_that_people_are_only_paged_about_is_read_and_not_written() -> None:
    files = read_rules([ROOT / "rules/canary/tensorflow-serving.yaml"])
    paged = {
        name: text.replace("        - shiftTraffic: {to: 0}\n          verify: {within: 2m, stable: 30s}\n", "")
        for name, text in files.items()
    }
    rules, problems = load_all(paged, vocabulary())
    assert problems == []
    beyond = needed(Rulebook(rules), ACTIONS) - needed(Rulebook([]), ACTIONS)
    assert beyond == {Permission("networking.k8s.io", "ingresses", "list")}


@pytest.mark.parametrize(("step", "reads"), [("evict: {elsewhere: true}", True), ("evict: {}", False)])
def test_a_node_is_read_again_where_a_step_asks_for_another_one(step: str, reads: bool) -> None:
    """Where nodes are watched, by a rule here: where they are not, the step is refused before it reads anything."""
    packs = needed(load_rules([ROOT / "rules/gpu.yaml"], vocabulary()), ACTIONS)
    assert Permission("", "nodes", "get") not in packs
    rules, problems = load_all({"f.yaml": ON_NODE.replace("STEP", step)}, vocabulary())
    assert problems == []
    nodes = {each.verb for each in needed(Rulebook(rules), ACTIONS) if each.resource == "nodes"}
    assert nodes == {"list", "watch"} | ({"get"} if reads else set())


def test_each_action_says_what_it_needs() -> None:
    unsaid = [name for name, action in ACTIONS.items() if action.spec.changes and not action.spec.needs(PARAMS.get(name))]
    assert unsaid == []


_HEALED = (
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("argoproj.io", "rollouts"),
    ("apps.kruise.io", "clonesets"),
    ("leaderworkerset.x-k8s.io", "leaderworkersets"),
)
"""The workloads that a rule covers unless it names others."""


def test_healer_may_change_nothing_but_what_it_heals_and_its_own_incidents() -> None:
    """Pods by eviction, workloads by rollback and replicas, Events to say so; no Secret, no ConfigMap, no pod by DELETE."""
    changes = {each for each in granted(built(ROOT / "deploy/healer")) if each.verb not in ("get", "list", "watch")}
    assert changes == {
        Permission("", "pods/eviction", "create"),
        Permission("events.k8s.io", "events", "create"),
        *(Permission(group, f"{kind}/scale", "patch") for group, kind in _HEALED),
        *(Permission(group, kind, "patch") for group, kind in _HEALED if kind != "leaderworkersets"),  # never rolled back
        Permission("autoscaling", "horizontalpodautoscalers", "patch"),
        Permission("healer.dev", "incidents", "create"),
        Permission("healer.dev", "incidents", "delete"),
        Permission("healer.dev", "incidents/status", "update"),
        Permission("coordination.k8s.io", "leases", "create"),
        Permission("coordination.k8s.io", "leases", "update"),
    }


def _asked(verb: str, resource: str, namespace: str = "", name: str = "", group: str = "") -> SeenRequest:
    plural, _, subresource = resource.partition("/")
    return SeenRequest("", "", verb, group, plural, subresource, namespace, name)


def _confined() -> list[Manifest]:
    needs = needed(load_rules([ROOT / "rules", ROOT / "rules/canary"], vocabulary()), ACTIONS)
    return [*manifests(needs, "healer", within=("production", "staging"), lease="mine")]


@pytest.mark.parametrize(("shifts", "patches"), [("shiftTraffic: {to: 0}", True), ("page: {}", False)])
def test_confined_healer_reaches_the_route_that_a_rule_names_elsewhere(shifts: str, patches: bool) -> None:
    """Of the namespace of the route it gets the route alone, and to patch it only where a step shifts traffic."""
    rules, problems = load_all({"f.yaml": ELSEWHERE.replace("STEP", shifts)}, vocabulary())
    assert problems == []
    book = Rulebook(rules)
    for within in (["production"], ["production", "infra"]):
        printed = manifests(needed(book, ACTIONS), "healer", within=within, routes=apart(book, ACTIONS))
        allows = Authorizer(printed).allows
        assert allows(_asked("get", "httproutes", "infra", "split", "gateway.networking.k8s.io"))
        assert allows(_asked("list", "pods", "production"))
        assert allows(_asked("list", "pods", "infra")) is ("infra" in within)
        assert allows(_asked("patch", "httproutes", "infra", "split", "gateway.networking.k8s.io")) is patches
    at_home = manifests(needed(book, ACTIONS), "infra", within=["production"], routes=apart(book, ACTIONS))
    allows = Authorizer(at_home).allows
    assert allows(_asked("get", "httproutes", "infra", "split", "gateway.networking.k8s.io"))
    assert allows(_asked("create", "incidents", "infra", group="healer.dev"))
    assert not allows(_asked("list", "pods", "infra"))


def test_confined_to_namespaces_nothing_cluster_wide_is_granted() -> None:
    printed = _confined()
    assert {each["kind"] for each in printed} == {"ServiceAccount", "Role", "RoleBinding"}
    assert {each["metadata"]["namespace"] for each in printed} == {"healer", "production", "staging"}
    for binding in printed:
        if binding["kind"] == "RoleBinding":
            assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "healer", "namespace": "healer"}]


@pytest.mark.parametrize("namespace", ["production", "staging"])
def test_confined_healer_has_its_rights_in_each_namespace_and_nowhere_else(namespace: str) -> None:
    allows = Authorizer(_confined()).allows
    for where, expected in ((namespace, True), ("kube-system", False), ("", False)):
        assert allows(_asked("list", "pods", where)) is expected
        assert allows(_asked("create", "pods/eviction", where, "a-pod")) is expected
        assert allows(_asked("patch", "ingresses", where, "route", "networking.k8s.io")) is expected
        assert allows(_asked("update", "incidents/status", where, "an-incident", "healer.dev")) is expected
    assert allows(_asked("get", "namespaces", name=namespace))
    assert not allows(_asked("list", "namespaces"))
    assert not allows(_asked("get", "namespaces", name="kube-system"))


def test_at_home_a_confined_healer_has_its_lease_and_the_incidents_of_nodes() -> None:
    allows = Authorizer(_confined()).allows
    assert allows(_asked("create", "incidents", "healer", group="healer.dev"))
    assert not allows(_asked("list", "pods", "healer"))


@pytest.mark.parametrize(("printed", "lease"), [(built(ROOT / "deploy/healer"), "healer"), (_confined(), "mine")])
def test_of_leases_healer_may_write_its_own(printed: list[Manifest], lease: str) -> None:
    """Whoever may write any Lease may take the leadership of any controller in that namespace."""
    allows = Authorizer(printed).allows
    group = "coordination.k8s.io"
    for name, expected in ((lease, True), ("another", False)):
        assert allows(_asked("get", "leases", "healer", name, group)) is expected
        assert allows(_asked("update", "leases", "healer", name, group)) is expected
    assert allows(_asked("create", "leases", "healer", group=group))
    assert not allows(_asked("get", "leases", "production", lease, group))


def test_where_people_act_on_the_page_healer_may_write_what_they_ask_for_and_no_more_than_the_component_grants() -> None:
    settings = Isolated(http=HttpSettings(control_token_file=Path("token")))
    assert asked_for(settings) == CONTROL
    buttons = {"token_file": "token", "allow": "U0123456789", "app_token_file": "app"}
    assert asked_for(Isolated.model_validate({"slack": buttons})) == CONTROL
    assert asked_for(Isolated()) == frozenset()
    roles = yaml.safe_load_all((ROOT / "deploy/healer/components/control/roles.yaml").read_text("utf-8"))
    (role,) = [each for each in roles if each["kind"] == "ClusterRole"]
    assert {
        Permission(group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    } == CONTROL
    for needs, verbs in ((CONTROL, ["get", "update", "patch"]), (frozenset(), ["get", "update"])):
        (lease, *_) = [
            each["rules"][0]
            for each in manifests(needs, "healer")
            if (each["kind"], each["metadata"]["name"]) == ("Role", "healer")
        ]
        assert lease["verbs"] == verbs
