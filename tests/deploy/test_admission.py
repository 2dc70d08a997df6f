"""The admission policy: only healer writes incidents, people write their approvals. A real CEL evaluates its expressions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from cel_expr_python import cel

from healer.model.annotations import APPROVED_BY, UNDONE_BY
from tests.support.kustomize import Manifest, built
from tests.support.schemas import faults

FOLDER = Path(__file__).parents[2] / "deploy/healer"
HEALER = "system:serviceaccount:healer:healer"
INCIDENT: dict[str, Any] = {
    "metadata": {"name": "a", "namespace": "production", "labels": {"team": "ml"}, "annotations": {"note": "ours"}},
    "spec": {"rule": "serving/crash-loop"},
    "status": {"state": "waiting", "step": 0},
}


@pytest.fixture(scope="module", params=[(".",), ("overlays/namespaced", "approvals")], ids=["base", "namespaced"])
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """What a cluster has: whole, and confined to a namespace with what a cluster admin applies beside it."""
    return [each for name in request.param for each in built(FOLDER / name)]


def _policy(manifests: list[Manifest]) -> Manifest:
    (policy,) = [each for each in manifests if each["kind"] == "ValidatingAdmissionPolicy"]
    return policy


def _authorizer(may: Collection[str]) -> list[cel.FunctionDecl]:
    """The functions of the API server's authorizer, for a user who may what is named: GROUP/RESOURCE/NAMESPACE/NAME/VERB."""
    text = cel.Type.STRING

    def member(name: str, returns: cel.Type, arguments: int, impl: Callable[..., object]) -> cel.FunctionDecl:
        return cel.FunctionDecl(name, [cel.Overload(name, returns, [text] * (1 + arguments), True, impl)])

    builders = ("group", "resource", "namespace", "name", "check")
    chain = [member(name, text, 1, lambda asked, word: f"{asked}/{word}".removeprefix("/")) for name in builders]
    return [*chain, member("allowed", cel.Type.BOOL, 0, lambda asked: asked in may)]


def _evaluate(expression: str, facts: dict[str, Any], may: Collection[str] = ()) -> Any:
    types = dict.fromkeys(("object", "oldObject", "request"), cel.Type.DYN) | {"authorizer": cel.Type.STRING}
    answer = cel.NewEnv(variables=types, functions=_authorizer(may)).compile(expression).eval(data=facts | {"authorizer": ""})
    assert answer.type() in (cel.Type.BOOL, cel.Type.STRING), f"{expression}: {answer.value()}"
    return answer.value()


class Review:
    """One request, as the API server has the policy judge it."""

    def __init__(self, manifests: list[Manifest]) -> None:
        spec = _policy(manifests)["spec"]
        self._conditions = [each["expression"] for each in spec["matchConditions"]]
        self._validations = spec["validations"]
        self._variables = {f"variables.{each['name']}": f"({each['expression']})" for each in spec["variables"]}

    def denied(
        self,
        operation: str,
        user: str = "mallory",
        *,
        new: dict[str, Any] | None = None,
        groups: tuple[str, ...] = (),
        subresource: str = "",
        old: dict[str, Any] = INCIDENT,
        may: Collection[str] = (),
        admin: bool = False,
    ) -> list[str]:
        """The messages of what refuses it; empty when it is let through.

        `may`: the verbs that the user has on the incident; `admin`: whether the user is bound to the ClusterRole cluster-admin.
        """
        info = {"username": user, "groups": [*groups, "system:authenticated"]}
        place = {"namespace": INCIDENT["metadata"]["namespace"], "name": INCIDENT["metadata"]["name"]}
        request = {"operation": operation, "userInfo": info} | place | ({"subResource": subresource} if subresource else {})
        granted = {f"healer.dev/incidents/{place['namespace']}/{place['name']}/{verb}" for verb in may} | (
            {"*/*/*"} if admin else set()
        )
        facts = {"request": request, "object": new, "oldObject": None if operation == "CREATE" else old}
        if not all(_evaluate(expression, facts) for expression in self._conditions):
            return []
        failed = [each for each in self._validations if not _evaluate(self._whole(each["expression"]), facts, granted)]
        said = [each.get("messageExpression") or repr(each["message"]) for each in failed]
        return [_evaluate(self._whole(expression), facts) for expression in said]

    def _whole(self, expression: str) -> str:
        """With the variables written out; a variable has only those before it in it."""
        for name, written in reversed(self._variables.items()):
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


VERBS = pytest.mark.parametrize(("key", "verb"), [(APPROVED_BY, "approve"), (UNDONE_BY, "undo")])


@VERBS
def test_those_with_the_verb_approve_and_undo_in_their_own_name(review: Review, key: str, verb: str) -> None:
    """They take the place of whoever did before them, too."""
    before = changed(f"metadata annotations {key}", "bob")
    for old in (INCIDENT, before):
        new = changed(f"metadata annotations {key}", "ann")
        assert review.denied("UPDATE", "ann", new=new, old=old, may=(verb,)) == []
    assert review.denied("UPDATE", "ann", new=INCIDENT, old=before, may=(verb,)) == []


@VERBS
def test_without_the_verb_a_name_is_neither_written_nor_taken_away(review: Review, key: str, verb: str) -> None:
    """Not by those who may the other, either."""
    before, other = changed(f"metadata annotations {key}", "bob"), {"approve": "undo", "undo": "approve"}[verb]
    for new in (changed(f"metadata annotations {key}", "ann"), INCIDENT):
        (said,) = review.denied("UPDATE", "ann", new=new, old=before, may=(other,))
        assert f"takes the verb {verb} on incidents.healer.dev" in said


@VERBS
def test_nobody_writes_the_name_of_another(review: Review, key: str, verb: str) -> None:
    """Not even administrators; what stands there may stay."""
    new = changed(f"metadata annotations {key}", "bob")
    for groups in ((), ("system:masters",)):
        (said,) = review.denied("UPDATE", "ann", new=new, may=("approve", "undo"), groups=groups)
        assert f"people {verb} in their own name: {key} can only become ann" in said
    assert review.denied("UPDATE", "ann", new=new, old=new) == []


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
    assert review.denied("UPDATE", "ann", new=approved, may=("approve",)), "an approval excuses nothing else"


def test_incidents_without_annotations_can_be_approved_too(review: Review, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(INCIDENT["metadata"], "annotations")
    assert review.denied("UPDATE", "ann", new=changed(f"metadata annotations {APPROVED_BY}", "ann"), may=("approve",)) == []


TIDY: list[dict[str, Any]] = [
    {"user": "system:serviceaccount:kube-system:generic-garbage-collector"},
    {"user": "system:serviceaccount:kube-system:namespace-controller"},
    {"user": "system:kube-controller-manager"},
    {"user": "root", "groups": ("system:masters",)},
    {"user": "root", "admin": True},
]


@pytest.mark.parametrize("who", TIDY, ids=["garbage", "namespaces", "controllers", "masters", "cluster-admin"])
def test_namespaces_can_end_and_administrators_tidy_up(review: Review, who: dict[str, Any]) -> None:
    """With a finalizer too, which a deletion with --cascade=foreground or =orphan sets, and the garbage collector takes away."""
    held = changed("metadata finalizers", ["foregroundDeletion"])
    assert review.denied("DELETE", **who) == []
    assert review.denied("UPDATE", old=held, new=INCIDENT, **who) == []
    assert review.denied("UPDATE", old=held, new=changed("metadata finalizers", []), **who) == []
    owned = changed("metadata ownerReferences", [{"kind": "Pod", "name": "a", "uid": "u", "apiVersion": "v1"}])
    assert review.denied("UPDATE", old=owned, new=INCIDENT, **who) == []
    forged = [
        changed("spec rule", "serving/other"),
        changed("metadata labels team", "x"),
        changed("metadata annotations note", "x"),
    ]
    for new in (*forged, changed("spec", None), changed(f"metadata annotations {APPROVED_BY}", "a")):
        assert review.denied("UPDATE", new=new, **who), "who tidies up neither writes what healer decides nor approves"
    assert review.denied("UPDATE", new=changed("status state", "healed"), subresource="status", **who)
    assert review.denied("CREATE", new=INCIDENT, **who)


def test_others_neither_delete_an_incident_nor_let_one_go(review: Review) -> None:
    held = changed("metadata finalizers", ["foregroundDeletion"])
    assert review.denied("DELETE", may=("approve", "undo"))
    assert review.denied("UPDATE", old=held, new=INCIDENT, may=("approve", "undo"))


def test_what_touches_neither_spec_nor_marks_passes(review: Review) -> None:
    """A new resourceVersion, other managed fields, a time of deletion: the API server writes those itself."""
    new = changed("metadata managedFields", [{"manager": "kubectl", "operation": "Update"}])
    new["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert review.denied("UPDATE", new=new) == []


def test_it_is_bound_denies_and_fails_closed(manifests: list[Manifest]) -> None:
    policy = _policy(manifests)
    (binding,) = [each for each in manifests if each["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert "Deny" in binding["spec"]["validationActions"]
    assert policy["spec"]["failurePolicy"] == "Fail"
    (rules,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert set(rules["operations"]) == {"CREATE", "UPDATE", "DELETE"}
    assert set(rules["resources"]) == {"incidents", "incidents/status"}


def test_the_policy_that_writes_names_is_one_of_kubernetes_1_36() -> None:
    """tests/contract has it judge; it leaves out the same account, and heeds the annotations that this policy guards."""
    text = (FOLDER / "components/approver-name/policy.yaml").read_text("utf-8")
    policy, binding = built(FOLDER / "components/approver-name")
    assert faults(policy, "1.36") == faults(binding, "1.36") == []
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    (condition,) = policy["spec"]["matchConditions"]
    assert condition["expression"] == f"request.userInfo.username != '{HEALER}'"
    assert [APPROVED_BY in text, UNDONE_BY in text] == [True, True]


def test_it_knows_the_account_that_the_pod_has(manifests: list[Manifest]) -> None:
    (account,) = [each["metadata"] for each in manifests if each["kind"] == "ServiceAccount"]
    (condition,) = _policy(manifests)["spec"]["matchConditions"]
    assert f"'system:serviceaccount:{account['namespace']}:{account['name']}'" in condition["expression"]
