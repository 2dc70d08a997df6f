"""Least privilege: what deploy/healer grants, in the words in which requests are compared with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.kustomize import read
from tests.support.rbac import Manifest, Permission, granted, used

ROOT = Path(__file__).parents[2]


def _role(*rules: Manifest) -> list[Manifest]:
    return [
        {"kind": "ClusterRole", "metadata": {"name": "some"}, "rules": list(rules)},
        {"kind": "ClusterRoleBinding", "metadata": {"name": "any"}, "roleRef": {"kind": "ClusterRole", "name": "some"}},
    ]


def test_a_rule_grants_the_product_of_its_lists() -> None:
    rule = {"apiGroups": [""], "resources": ["pods", "pods/eviction"], "verbs": ["get", "create"]}
    assert granted(_role(rule)) == {
        Permission("get", "", "pods", ""),
        Permission("create", "", "pods", ""),
        Permission("get", "", "pods", "eviction"),
        Permission("create", "", "pods", "eviction"),
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


@pytest.mark.parametrize(
    ("method", "url", "permission"),
    [
        ("GET", "/api/v1/pods?limit=500", ("list", "", "pods", "")),
        ("GET", "/api/v1/pods?watch=false", ("list", "", "pods", "")),
        ("GET", "/api/v1/pods?watch=1&resourceVersion=7", ("watch", "", "pods", "")),
        ("GET", "/api/v1/namespaces/production/pods?watch=true", ("watch", "", "pods", "")),
        ("GET", "/api/v1/namespaces/production/pods/a", ("get", "", "pods", "")),
        ("GET", "/api/v1/namespaces/production", ("get", "", "namespaces", "")),
        ("GET", "/api/v1/namespaces", ("list", "", "namespaces", "")),
        ("PUT", "/api/v1/namespaces/production/finalize", ("update", "", "namespaces", "finalize")),
        ("DELETE", "/api/v1/namespaces/production/pods/a", ("delete", "", "pods", "")),
        ("DELETE", "/api/v1/namespaces/production/pods", ("deletecollection", "", "pods", "")),
        ("POST", "/api/v1/namespaces/production/pods/a/eviction", ("create", "", "pods", "eviction")),
        ("PATCH", "/apis/apps/v1/namespaces/production/deployments/a", ("patch", "apps", "deployments", "")),
        ("PUT", "/apis/apps/v1/namespaces/production/deployments/a/scale", ("update", "apps", "deployments", "scale")),
        ("POST", "/apis/coordination.k8s.io/v1/namespaces/healer/leases", ("create", "coordination.k8s.io", "leases", "")),
    ],
)
def test_a_request_needs_one_permission(method: str, url: str, permission: tuple[str, str, str, str]) -> None:
    assert used([(method, url)]) == {Permission(*permission)}


def test_discovery_and_health_need_none() -> None:
    assert used([("GET", "/version"), ("GET", "/livez?verbose"), ("GET", "/api/v1"), ("GET", "/apis/apps/v1")]) == set()


def test_a_method_that_the_api_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="no such method"):
        used([("TRACE", "/api/v1/pods")])


def test_healer_may_change_nothing_but_the_pods_it_heals() -> None:
    changes = {each for each in granted(read(ROOT / "deploy/healer")) if each.verb not in ("get", "list", "watch")}
    assert changes == {Permission("create", "", "pods", "eviction"), Permission("delete", "", "pods", "")}
