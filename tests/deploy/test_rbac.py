"""Least privilege: what deploy/healer grants."""

from __future__ import annotations

from pathlib import Path

import pytest

from healer.actions.base import specs
from healer.actions.registry import ACTIONS
from healer.actions.shift_traffic import ShiftTrafficParams
from healer.daemon.rulefiles import load
from healer.daemon.rulefiles import read as read_rules
from healer.engine.rulebook import Rulebook
from healer.engine.rulefile import load_all
from healer.model.permission import Permission
from healer.operate.rbac import LEASE, manifests, needed
from tests.support.kustomize import read
from tests.support.rbac import Manifest, granted

ROOT = Path(__file__).parents[2]
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
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["one"]},
        {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
    ],
)
def test_what_cannot_be_compared_is_refused(rule: Manifest) -> None:
    with pytest.raises(ValueError, match=r"a wildcard grants|a rule must have"):
        granted(_role(rule))


def test_a_role_that_nothing_binds_and_a_binding_of_nothing_are_refused() -> None:
    role, binding = _role()
    with pytest.raises(ValueError, match="given but not bound"):
        granted([role])
    with pytest.raises(ValueError, match="bound but not given"):
        granted([binding])


def test_deploy_grants_what_the_shipped_rules_need_and_nothing_else() -> None:
    needs = needed(load([ROOT / "rules"], specs(ACTIONS)), ACTIONS)
    assert granted(read(ROOT / "deploy/healer")) == needs | LEASE


def test_what_is_printed_grants_what_is_needed() -> None:
    needs = needed(load([ROOT / "rules", ROOT / "rules/canary"], specs(ACTIONS)), ACTIONS)
    printed = manifests(needs, "elsewhere")
    assert granted(printed) == needs | LEASE
    assert {"get", "list", "watch"} < {verb for _, _, verb in needs}
    assert {each["metadata"].get("namespace") for each in printed} == {"elsewhere", None}
    assert Permission("networking.k8s.io", "ingresses", "patch") in needs
    assert Permission("apps", "deployments", "patch") not in needs


def test_a_canary_that_people_are_only_paged_about_is_read_and_not_written() -> None:
    files = read_rules([ROOT / "rules/canary"])
    paged = {
        name: text.replace("        - shiftTraffic: {to: 0}\n          verify: {within: 2m, stable: 30s}\n", "")
        for name, text in files.items()
    }
    rules, problems = load_all(paged, specs(ACTIONS))
    assert problems == []
    beyond = needed(Rulebook(rules), ACTIONS) - needed(Rulebook([]), ACTIONS)
    assert beyond == {Permission("networking.k8s.io", "ingresses", "list")}


def test_each_action_says_what_it_needs() -> None:
    unsaid = [name for name, action in ACTIONS.items() if action.spec.changes and not action.spec.needs(PARAMS.get(name))]
    assert unsaid == []


def test_healer_may_change_nothing_but_the_pods_it_heals_and_its_own_incidents() -> None:
    changes = {each for each in granted(read(ROOT / "deploy/healer")) if each.verb not in ("get", "list", "watch")}
    assert changes == {
        Permission("", "pods/eviction", "create"),
        Permission("healer.dev", "incidents", "create"),
        Permission("healer.dev", "incidents", "delete"),
        Permission("healer.dev", "incidents/status", "update"),
        Permission("coordination.k8s.io", "leases", "create"),
        Permission("coordination.k8s.io", "leases", "update"),
    }
