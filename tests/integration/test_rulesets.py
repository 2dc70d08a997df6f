"""RuleSets in the cluster: a tenant's rules act in its namespace as far as granted, and a wrong one harms nobody else."""

import json
from typing import Any

import pytest

from healer import shipped
from healer.lab import Lab
from healer.lab.objects import Object
from tests.integration.conftest import Run
from tests.integration.world import NAMESPACE, evictions, patch, rule, ruleset, serve
from tests.support.healer import alert
from tests.support.processes import PATIENCE

PATH = f"/apis/healer.dev/v1alpha1/namespaces/{NAMESPACE}/rulesets"
GRANTS = {NAMESPACE: {"mode": "enforce", "actions": ["evict"], "notify": ["#ml-oncall"]}}
ON: dict[str, Any] = {"HEALER_RULESETS__ENABLED": "true", "HEALER_RULESETS__GRANTS": json.dumps(GRANTS)}
FILES = ruleset(rule("any", when={"alert": ["Unrelated"]}), name="files")


@pytest.fixture
async def lab(lab: Lab) -> Lab:
    """A cluster that knows RuleSets."""
    await lab.apply_yaml(shipped.RULESETS.read_text("utf-8"))
    await lab.apply_yaml(f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}")
    return lab


def tenants(*rules: Any, name: str = "mine", namespace: str = NAMESPACE) -> Object:
    """A RuleSet of a namespace."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "healer.dev/v1alpha1", "kind": "RuleSet", "metadata": metadata, "spec": {"rules": list(rules)}}


def on(name: str, **more: Any) -> Any:
    """A rule of a tenant, on one alert."""
    return rule("any", when={"alert": [name]}, **more)


async def accepted(lab: Lab, verdict: str, name: str = "mine", generation: int = 1) -> Object:
    """The RuleSet, once healer has said so of its generation."""

    def found(lab: Lab) -> list[Object]:
        objects = [each for each in lab.objects("rulesets.healer.dev", NAMESPACE) if each["metadata"]["name"] == name]
        return [
            each
            for each in objects
            for condition in each.get("status", {}).get("conditions", ())
            if (condition["type"], condition["status"], condition["observedGeneration"]) == ("Accepted", verdict, generation)
        ]

    await lab.wait_for(lambda lab: bool(found(lab)), PATIENCE)
    return found(lab)[0]


def said(found: Object) -> str:
    """What the condition says."""
    return str(found["status"]["conditions"][0]["message"])


async def test_a_tenants_rule_heals_in_its_namespace(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab)
    await lab.apply(tenants(on("Mine")))
    healer = await run(FILES, **ON)
    found = await accepted(lab, "True")
    assert (found["status"]["rules"], found["status"]["mode"]) == (1, "enforce")
    await healer.post(alert("Mine", pod=sick))
    await healer.says("incident verifying", rule=f"{NAMESPACE}/mine/any")
    assert evictions(lab) == [sick]


async def test_a_change_counts_within_seconds_and_a_wrong_one_keeps_the_last_good_rules(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab)
    healer = await run(FILES, **ON)
    await lab.apply(tenants(on("Before")))
    await accepted(lab, "True")

    await patch(
        lab, f"{PATH}/mine", {"spec": {"rules": [on("After", iff="x"), on("Other", heal=[{"restart": {}}]) | {"name": "b"}]}}
    )

    found = await accepted(lab, "False", generation=2)
    assert "the rules of generation 1 stay in force" in said(found)
    assert "spec.rules[0].iff: unknown key 'iff'" in said(found)
    assert f"spec.rules[1].heal[0].restart: the action restart is not granted in {NAMESPACE}" in said(found)
    assert found["status"]["rules"] == 1
    await healer.post(alert("Before", pod=sick))
    await healer.says("incident verifying", rule=f"{NAMESPACE}/mine/any")
    assert evictions(lab) == [sick]
