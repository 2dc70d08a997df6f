"""The admission policy: only healer writes incidents, people write their approvals. A real CEL evaluates its expressions."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from cel_expr_python import cel

from healer.model.annotations import APPROVED_BY, UNDONE_BY
from tests.support.kustomize import Manifest, built

FOLDER = Path(__file__).parents[2] / "deploy/healer"
HEALER = "system:serviceaccount:healer:healer"
INCIDENT: dict[str, Any] = {
    "metadata": {"name": "a", "namespace": "production", "labels": {"team": "ml"}, "annotations": {"note": "ours"}},
    "spec": {"rule": "serving/crash-loop"},
    "status": {"state": "waiting", "step": 0},
}


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return built(FOLDER)


def _policy(manifests: list[Manifest]) -> Manifest:
    (policy,) = [each for each in manifests if each["kind"] == "ValidatingAdmissionPolicy"]
    return policy


def _evaluate(expression: str, facts: dict[str, Any]) -> bool:
    env = cel.NewEnv(variables=dict.fromkeys(("object", "oldObject", "request"), cel.Type.DYN))
    answer = env.compile(expression).eval(data=facts)
    assert answer.type() == cel.Type.BOOL, f"{expression}: {answer.value()}"
    return bool(answer.value())


class Review:
    """One request, as the API server has the policy judge it."""

    def __init__(self, manifests: list[Manifest]) -> None:
        spec = _policy(manifests)["spec"]
        self._conditions = [each["expression"] for each in spec["matchConditions"]]
        self._validations = [(each["expression"], each["message"]) for each in spec["validations"]]
        self._variables = {f"variables.{each['name']}": f"({each['expression']})" for each in spec["variables"]}

    def denied(
        self,
        operation: str,
        user: str = "mallory",
        *,
        new: dict[str, Any] | None = None,
        groups: tuple[str, ...] = (),
        subresource: str = "",
    ) -> list[str]:
        """The messages of what refuses it; empty when it is let through."""
        info = {"username": user, "groups": [*groups, "system:authenticated"]}
        request = {"operation": operation, "userInfo": info} | ({"subResource": subresource} if subresource else {})
        old = None if operation == "CREATE" else INCIDENT
        facts = {"request": request, "object": new, "oldObject": old}
        if not all(_evaluate(expression, facts) for expression in self._conditions):
            return []
        return [message for expression, message in self._validations if not _evaluate(self._whole(expression), facts)]

    def _whole(self, expression: str) -> str:
        """With the variables written out."""
        for name, written in self._variables.items():
            expression = expression.replace(name, written)
        return expression


@pytest.fixture
def review(manifests: list[Manifest]) -> Review:
    return Review(manifests)


def changed(path: str, value: object) -> dict[str, Any]:
    """The incident with one field changed, or taken away by None; dots separate the path, keys of annotations may have them."""
    obj = copy.deepcopy(INCIDENT)
    *parents, last = path.split(" ")
    at = obj
    for parent in parents:
        at = at.setdefault(parent, {})
    if value is None:
        del at[last]
    else:
        at[last] = value
    return obj


def test_healer_itself_does_what_it_likes(review: Review) -> None:
    assert review.denied("CREATE", HEALER, new=INCIDENT) == []
    assert review.denied("UPDATE", HEALER, new=changed("status state", "healed"), subresource="status") == []
    assert review.denied("DELETE", HEALER) == []


@pytest.mark.parametrize("groups", [(), ("system:masters",)], ids=["anybody", "administrators"])
def test_nobody_else_opens_an_incident_or_writes_its_status(review: Review, groups: tuple[str, ...]) -> None:
    assert review.denied("CREATE", new=INCIDENT, groups=groups)
    assert review.denied("UPDATE", new=changed("status state", "approved"), subresource="status", groups=groups)
    assert review.denied("UPDATE", new=INCIDENT, subresource="status", groups=groups)


@pytest.mark.parametrize("user", ["system:serviceaccount:production:healer", "system:serviceaccount:healer:other", "healer", ""])
def test_a_namesake_is_not_healer(review: Review, user: str) -> None:
    assert review.denied("CREATE", user, new=INCIDENT)


@pytest.mark.parametrize("key", [APPROVED_BY, UNDONE_BY])
def test_people_approve_and_undo(review: Review, key: str) -> None:
    assert review.denied("UPDATE", new=changed(f"metadata annotations {key}", "ann")) == []


@pytest.mark.parametrize(
    "new",
    [
        changed("spec rule", "serving/other"),
        changed("spec", None),
        changed("metadata annotations other", "x"),
        changed("metadata annotations note", "theirs"),
        changed("metadata annotations note", None),
        changed("metadata labels team", "other"),
        changed("metadata labels", None),
        changed("metadata ownerReferences", [{"kind": "Pod", "name": "a", "uid": "u", "apiVersion": "v1"}]),
        changed("metadata finalizers", ["kept.example/forever"]),
    ],
    ids=["spec", "no spec", "annotation", "changed", "removed", "label", "no labels", "owner", "finalizer"],
)
def test_people_change_nothing_else(review: Review, new: dict[str, Any]) -> None:
    approved = copy.deepcopy(new)
    approved["metadata"].setdefault("annotations", {})[APPROVED_BY] = "ann"
    assert review.denied("UPDATE", new=new)
    assert review.denied("UPDATE", new=approved), "an approval excuses nothing else"


def test_incidents_without_annotations_can_be_approved_too(review: Review, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(INCIDENT["metadata"], "annotations")
    assert review.denied("UPDATE", new=changed(f"metadata annotations {APPROVED_BY}", "ann")) == []


def test_namespaces_can_end_and_administrators_tidy_up(review: Review) -> None:
    assert review.denied("DELETE")
    assert review.denied("DELETE", "system:serviceaccount:kube-system:namespace-controller") == []
    assert review.denied("DELETE", "root", groups=("system:masters",)) == []


def test_it_is_bound_denies_and_fails_closed(manifests: list[Manifest]) -> None:
    policy = _policy(manifests)
    (binding,) = [each for each in manifests if each["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert "Deny" in binding["spec"]["validationActions"]
    assert policy["spec"]["failurePolicy"] == "Fail"
    (rules,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert set(rules["operations"]) == {"CREATE", "UPDATE", "DELETE"}
    assert set(rules["resources"]) == {"incidents", "incidents/status"}


def test_it_knows_the_account_that_the_pod_has(manifests: list[Manifest]) -> None:
    (account,) = [each["metadata"] for each in manifests if each["kind"] == "ServiceAccount"]
    (condition,) = _policy(manifests)["spec"]["matchConditions"]
    assert f"'system:serviceaccount:{account['namespace']}:{account['name']}'" in condition["expression"]
