"""RuleSets: what an API server refuses by the definition in deploy/healer, and what it leaves to healer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from healer import shipped
from tests.contract.client import Client, Object
from tests.contract.routers import DEFINITIONS
from tests.contract.test_daemon import cluster, deploy, healer, serves
from tests.support.healer import alert

__all__ = ["cluster"]  # the fixture
NOT_CHECKED = {
    "reason": "FieldValueInvalid",
    "message": "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
    "field": "<nil>",
}
RULE: Object = {"name": "crash", "when": {"pod": ["CrashLoopBackOff"], "for": "2m"}, "heal": [{"evict": {}}]}
COUNT = {"atLeast": 2, "within": "10m"}
TRIGGERS = "exactly one of pod, workload, event, node, alert, query, model, canary is needed"


async def _defined(api: Client) -> str:
    """The definition is there; returns the path of the collection in the test's namespace."""
    definition = yaml.safe_load(shipped.RULESETS.read_text("utf-8"))
    assert (await api.post(DEFINITIONS, definition)).code in (201, 409)
    path = f"/apis/healer.dev/v1alpha1/namespaces/{api.namespace}/rulesets"
    await serves(api, path)
    return path


def _ruleset(*rules: Object, name: str = "mine", **spec: Any) -> Object:
    body = {"apiVersion": "healer.dev/v1alpha1", "kind": "RuleSet", "metadata": {"name": name}}
    return body | {"spec": {"rules": list(rules), **spec}}


def _when(**when: Any) -> Object:
    return _ruleset(RULE | {"when": when})


INVALID = "FieldValueInvalid"


@pytest.mark.parametrize(
    ("body", "reason", "field", "message"),
    [
        (_when(pod=["OOMKilled"], alert=["X"]), INVALID, "spec.rules[0].when", f"Invalid value: {TRIGGERS}"),
        (_when(**{"if": "true"}), INVALID, "spec.rules[0].when", f"Invalid value: {TRIGGERS}"),
        (
            _when(pod=["OOMKilled"], count=COUNT, **{"for": "2m"}),
            INVALID,
            "spec.rules[0].when",
            "Invalid value: for and count exclude each other",
        ),
        (
            _when(pod=["OOMKilled"], labels={"a": "b"}),
            INVALID,
            "spec.rules[0].when",
            "Invalid value: labels are those of an alert, and this is no alert trigger",
        ),
        (
            _ruleset(RULE | {"heal": [{"evict": {}}, {"evict": {}, "restart": {}}]}),
            INVALID,
            "spec.rules[0].heal[1]",
            "Invalid value: a step names exactly one action",
        ),
        (
            _ruleset(RULE | {"onStorm": {"verify": {}}}),
            INVALID,
            "spec.rules[0].onStorm",
            "Invalid value: a step names exactly one action",
        ),
        (_ruleset(RULE, RULE), "FieldValueDuplicate", "spec.rules[1]", 'Duplicate value: {"name":"crash"}'),
        (
            _ruleset(RULE, name="a.b"),
            INVALID,
            "<nil>",
            "Invalid value: the name must have lower-case letters, digits and '-' alone, at most 63: its rules are named by it",
        ),
        (
            _ruleset(RULE, scope={"namespaces": ["*"]}),
            INVALID,
            "spec.scope.namespaces[0]",
            "Invalid value: \"*\": spec.scope.namespaces[0] in body should match '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$'",
        ),
        (
            _when(query={"expr": "up", "above": 1, "outliers": {"difference": 0}}),
            INVALID,
            "spec.rules[0].when.query.outliers.difference",
            "Invalid value: 0: spec.rules[0].when.query.outliers.difference in body should be greater than 0",
        ),
        (
            _ruleset(),
            INVALID,
            "spec.rules",
            "Invalid value: 0: spec.rules in body should have at least 1 items",
        ),
    ],
)
async def test_what_cannot_be_meant_is_refused_when_it_is_applied(
    api: Client, body: Object, reason: str, field: str, message: str
) -> None:
    answer = await api.post(await _defined(api), body)
    assert (answer.code, answer.body["reason"]) == (422, "Invalid"), answer.body
    assert answer.causes == [{"reason": reason, "message": message, "field": field}]


@pytest.mark.parametrize(
    ("body", "reason", "field", "message"),
    [
        (
            _ruleset(RULE | {"mode": "enforced"}),
            "FieldValueNotSupported",
            "spec.rules[0].mode",
            'Unsupported value: "enforced": supported values: "observe", "approve", "enforce"',
        ),
        (
            _ruleset(RULE, scope={"namespaces": ["a", "b"]}),
            "FieldValueTooMany",
            "spec.scope.namespaces",
            "Too many: 2: must have at most 1 item",
        ),
        (
            _ruleset(RULE | {"limits": {"maxUnhealthy": True}}),
            "FieldValueTypeInvalid",
            "spec.rules[0].limits.maxUnhealthy",
            'Invalid value: "boolean": spec.rules[0].limits.maxUnhealthy in body must be of type integer,string: "boolean"',
        ),
        (_ruleset({"name": "crash", "heal": [{"evict": {}}]}), "FieldValueRequired", "spec.rules[0].when", "Required value"),
    ],
)
async def test_what_is_of_another_type_is_refused_before_rules_are_checked(
    api: Client, body: Object, reason: str, field: str, message: str
) -> None:
    answer = await api.post(await _defined(api), body)
    assert (answer.code, answer.body["reason"]) == (422, "Invalid"), answer.body
    assert answer.causes == [{"reason": reason, "message": message, "field": field}, NOT_CHECKED]


async def test_unknown_keys_are_kept_for_healer_to_refuse(api: Client) -> None:
    """Were they dropped, a rule with a misspelt condition would hold for more than is meant."""
    rule = RULE | {"iff": "pod.restarts > 5", "limits": {"minRedy": 3}, "heal": [{"evict": {"elswhere": True}}]}
    made = await api.make(await _defined(api), _ruleset(rule, scope={"selecter": {}}))
    assert made["spec"] == {"rules": [rule], "scope": {"selecter": {}}}


def _shipped() -> list[Object]:
    """The rule sets that healer ships."""
    texts = [path.read_text("utf-8") for path in sorted(shipped.RULES.rglob("*.yaml")) if "kustomization" not in path.name]
    documents = [document for text in texts for document in yaml.safe_load_all(text)]
    return [document for document in documents if document and document["kind"] == "RuleSet"]


async def test_every_shipped_rule_is_taken_in_the_scope_of_one_namespace(api: Client) -> None:
    path = await _defined(api)
    for document in _shipped():
        spec = document["spec"] | {"scope": {"namespaces": [api.namespace]}}
        rules = [{key: value for key, value in rule.items() if key != "scope"} for rule in spec["rules"]]
        answer = await api.post(path, document | {"spec": spec | {"rules": rules}})
        assert answer.code == 201, answer.body
        assert answer.warnings == []


async def test_the_status_is_written_apart_and_a_stale_write_conflicts(api: Client) -> None:
    path = await _defined(api)
    made = await api.make(path, _ruleset(RULE) | {"status": {"rules": 7}})
    assert "status" not in made
    condition = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "observedGeneration": 1}
    since = {"lastTransitionTime": "2026-11-29T12:00:00Z"}
    version = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
    status = {"status": {"rules": 1, "mode": "observe", "lastFired": None, "conditions": [condition | since]}}
    written = await api.patch(f"{path}/mine/status", version | status)
    assert (written.code, written.body["metadata"]["generation"]) == (200, 1)
    stale = await api.patch(f"{path}/mine/status", version | status | {"status": {"rules": 2}})
    assert (stale.code, stale.body["reason"]) == (409, "Conflict")
    table = (await api.get(path, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})).body
    columns = [column["name"] for column in table["columnDefinitions"]]
    assert columns == ["Name", "Accepted", "Rules", "Mode", "Last Fired", "Age", "Why"]
    assert [row["cells"][:4] for row in table["rows"]] == [["mine", "True", 1, "observe"]]


async def test_the_daemon_judges_them_and_acts_by_them(cluster: Client, tmp_path: Path) -> None:
    """A rule of a tenant rolls out anew what it is granted to, and one that is not granted is refused with its place."""
    path = await _defined(cluster)
    await deploy(cluster, "serving")
    step = {"rolloutRestart": {}, "verify": {"within": "30s", "stable": "100ms"}}
    mine = RULE | {"when": {"alert": ["Mine"]}, "heal": [step], "mode": "enforce"}
    await cluster.make(path, _ruleset(mine))
    await cluster.make(path, _ruleset(mine | {"heal": [{"evict": {}}]}, name="other"))
    grants = json.dumps({cluster.namespace: {"mode": "enforce", "actions": ["rolloutRestart"]}})
    more = {"HEALER_RULESETS__ENABLED": "true", "HEALER_RULESETS__GRANTS": grants}
    async with healer(cluster, {"page": {}}, tmp_path, **more) as daemon:
        await daemon.post(alert("Mine", namespace=cluster.namespace, deployment="serving"))
        await daemon.says("incident verifying", rule=f"{cluster.namespace}/mine/crash")

        def judged(found: list[Object]) -> bool:
            return len(found) == 2 and all(each.get("status", {}).get("conditions") for each in found)

        found = {each["metadata"]["name"]: each["status"] for each in await cluster.until(path, judged)}
    assert (found["mine"]["rules"], found["mine"]["mode"]) == (1, "enforce")
    accepted, refused = found["mine"]["conditions"][0], found["other"]["conditions"][0]
    assert (accepted["status"], accepted["observedGeneration"]) == ("True", 1)
    assert (refused["status"], refused["reason"]) == ("False", "Refused")
    message = f"spec.rules[0].heal[0].evict: the action evict is not granted in {cluster.namespace}"
    assert message in refused["message"]
