"""What a namespace may write into its own RuleSets: what goes beyond its grant, or out of it, is an error at its place."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from healer.daemon.rulefiles import vocabulary
from healer.rules.grants import Grant, granted
from healer.rules.loading import load_all
from healer.rules.positions import Problem
from healer.rules.rulebook import BoundRule
from healer.rules.schema import Mode

KNOWN = vocabulary()
HOME = "payments"
EVICTS = Grant(mode=Mode.ENFORCE, actions=("evict", "page"), notify=("#payments",))


def read(*rules: Any, grant: Grant | None = None, spec: Any = None, **metadata: Any) -> tuple[list[BoundRule], list[Problem]]:
    """A RuleSet of the namespace, with what it is granted."""
    document = {
        "apiVersion": "healer.dev/v1alpha1",
        "kind": "RuleSet",
        "metadata": {"name": "serving", **metadata},
        "spec": {"rules": list(rules), **(spec or {})},
    }
    grants = {} if grant is None else {HOME: grant}
    return load_all({"file": yaml.safe_dump(document)}, KNOWN, lambda _: granted(grants, HOME))


def a_rule(**more: Any) -> dict[str, Any]:
    return {"name": "crash", "when": {"pod": ["CrashLoopBackOff"]}, "heal": [{"evict": {}}], **more}


def refused(*rules: Any, **how: Any) -> list[tuple[str, str]]:
    """The path and the message of each problem. There are no rules then."""
    bound, problems = read(*rules, **how)
    assert bound == []
    return [(problem.path, problem.message) for problem in problems]


def test_without_a_grant_rules_observe_in_their_own_namespace() -> None:
    (bound,), problems = read(a_rule())
    assert problems == []
    assert (bound.name, bound.scope.namespaces, bound.rule.mode) == ("payments/serving/crash", (HOME,), Mode.OBSERVE)


@pytest.mark.parametrize("scope", [{}, {"namespaces": [HOME]}, {"selector": {"matchLabels": {"app": "a"}}}])
def test_a_scope_is_the_own_namespace_wherever_it_is_written(scope: Mapping[str, Any]) -> None:
    for bound, problems in (read(a_rule(scope=scope)), read(a_rule(), spec={"scope": scope})):
        assert problems == []
        assert bound[0].scope.namespaces == (HOME,)
        assert (bound[0].scope.selector is None) is ("selector" not in scope)


@pytest.mark.parametrize("namespaces", [["other"], ["*"], [HOME, "other"], [], "payments", None])
def test_a_scope_names_nothing_else(namespaces: Any) -> None:
    of_rule = refused(a_rule(scope={"namespaces": namespaces}), grant=EVICTS)
    assert ("spec.rules[0].scope.namespaces", f"a RuleSet in the namespace {HOME} is for that namespace alone") in of_rule
    of_all = refused(a_rule(), spec={"scope": {"namespaces": namespaces}}, grant=EVICTS)
    assert ("spec.scope.namespaces", f"a RuleSet in the namespace {HOME} is for that namespace alone") in of_all


@pytest.mark.parametrize("mode", ["approve", "enforce"])
def test_a_mode_is_granted(mode: str) -> None:
    assert ("spec.rules[0].mode", f"the mode {mode} is not granted in {HOME}") in refused(a_rule(mode=mode))
    assert read(a_rule(mode=mode), grant=EVICTS)[1] == []


def test_an_approving_grant_does_not_enforce() -> None:
    grant = Grant(mode=Mode.APPROVE, actions=("evict",))
    assert read(a_rule(mode="approve"), grant=grant)[1] == []
    assert refused(a_rule(mode="enforce"), grant=grant) == [("spec.rules[0].mode", f"the mode enforce is not granted in {HOME}")]


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"heal": [{"evict": {}}, {"restart": {}}]}, "spec.rules[0].heal[1].restart"),
        ({"onStorm": {"rollback": {}}}, "spec.rules[0].onStorm.rollback"),
    ],
)
def test_an_action_is_granted_where_it_would_be_taken(more: Any, path: str) -> None:
    name = path.rpartition(".")[2]
    said = refused(a_rule(mode="enforce", **more), grant=EVICTS)
    assert said == [(path, f"the action {name} is not granted in {HOME}")]
    assert read(a_rule(**more), grant=EVICTS)[1] == [], "a rule that observes takes none"


def test_addresses_are_granted_in_notify_and_in_pages() -> None:
    rule = a_rule(heal=[{"page": {"channels": ["#payments", "#all"]}}], notify=["#payments", "pagerduty:all"])
    said = refused(rule, grant=EVICTS)
    assert ("spec.rules[0].heal[0].page.channels[1]", f"the address #all is not granted in {HOME}") in said
    assert ("spec.rules[0].notify[1]", f"the address pagerduty:all is not granted in {HOME}") in said
    assert not any("#payments" in message for _, message in said)


@pytest.mark.parametrize(
    ("name", "value"), [("query", {"expr": "up", "above": 1}), ("node", ["Ready"]), ("model", {"name": "m"})]
)
def test_what_asks_others_or_looks_at_nodes_is_no_trigger_by_default(name: str, value: Any) -> None:
    said = refused(a_rule(when={name: value}), grant=EVICTS)
    assert (f"spec.rules[0].when.{name}", f"the trigger {name} is not granted in {HOME}") in said


def test_nodes_are_of_no_namespace_whatever_is_granted() -> None:
    with pytest.raises(ValidationError, match="no trigger node that can be granted"):
        Grant(triggers=("pod", "node"))
    grant = Grant(mode=Mode.ENFORCE, actions=("cordon",))
    said = refused(a_rule(mode="enforce", heal=[{"cordon": {}}]), grant=grant)
    assert said == [("spec.rules[0].heal[0].cordon", f"cordon changes what is not of the namespace {HOME}: nodes")]


ROUTE = {
    "route": {"kind": "Ingress", "name": "split"},
    "stable": {"deployment": "v1"},
    "canary": {"deployment": "v2"},
    "measures": [{"name": "errors", "total": "total[{{ window }}]", "bad": "bad[{{ window }}]"}],
}
SHIFTS = Grant(mode=Mode.ENFORCE, actions=("shiftTraffic",), triggers=("canary", "alert"))


def test_a_route_of_another_namespace_is_refused_in_the_trigger_and_in_the_step() -> None:
    route = {"kind": "HTTPRoute", "name": "split", "namespace": "other"}
    trigger = refused(a_rule(when={"canary": ROUTE | {"route": route}}, heal=[{"shiftTraffic": {"to": 0}}]), grant=SHIFTS)
    message = f"a RuleSet in the namespace {HOME} names nothing of another one"
    assert ("spec.rules[0].when.canary.route.namespace", message) in trigger
    params = {"to": 0, "route": route, "stable": {"deployment": "v1"}, "canary": {"deployment": "v2"}}
    step = refused(a_rule(when={"alert": ["Bad"]}, heal=[{"shiftTraffic": params}]), grant=SHIFTS)
    assert ("spec.rules[0].heal[0].shiftTraffic.route.namespace", message) in step


def test_the_name_of_its_own_namespace_may_stand_in_the_metadata_and_no_other() -> None:
    assert read(a_rule(), namespace=HOME, labels={"team": "a"}, annotations={"b": "c"}, uid="u")[1] == []
    assert refused(a_rule(), namespace="other") == [
        ("metadata.namespace", f"the RuleSet is of the namespace other, not of {HOME}")
    ]


def test_rule_files_of_healer_have_no_namespace() -> None:
    _, problems = load_all({"file": yaml.safe_dump({"metadata": {"name": "a", "namespace": HOME}})}, KNOWN)
    assert any(problem.path == "metadata.namespace" for problem in problems)


def test_the_same_name_in_two_namespaces_is_two_rule_sets() -> None:
    text = "apiVersion: healer.dev/v1alpha1\nkind: RuleSet\nmetadata: {name: serving, namespace: %s}\nspec: {rules: [%s]}\n"
    rule = "{name: crash, when: {pod: [CrashLoopBackOff]}, heal: [{evict: {}}]}"
    both = "---\n".join(text % (namespace, rule) for namespace in ("a", "b"))
    bound, problems = load_all({"file": both}, KNOWN, lambda document: granted({}, document.data["metadata"]["namespace"]))
    assert (problems, [each.name for each in bound]) == ([], ["a/serving/crash", "b/serving/crash"])


def test_what_is_granted_to_every_namespace_is_not_added_to_what_one_is_granted() -> None:
    grants = {"*": EVICTS, "careful": Grant()}
    assert granted(grants, "careful").grant == Grant()
    assert granted(grants, "any").grant == EVICTS
