"""RuleSets in the cluster: a tenant's rules act in its namespace as far as granted, and a wrong one harms nobody else."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from healer import shipped
from healer.lab import Lab
from healer.lab.objects import Object
from tests.integration.conftest import Run
from tests.integration.test_rollback import NAME
from tests.integration.world import LAB_TOKEN, NAMESPACE, evictions, patch, rule, ruleset, serve, serves
from tests.support.healer import alert, verb
from tests.support.processes import PATIENCE

PATH = f"/apis/healer.dev/v1alpha1/namespaces/{NAMESPACE}/rulesets"
GRANTS = {NAMESPACE: {"mode": "enforce", "actions": ["evict"], "notify": ["#ml-oncall"]}}
ON: dict[str, Any] = {"HEALER_RULESETS__ENABLED": "true", "HEALER_RULESETS__GRANTS": json.dumps(GRANTS)}
FILES = ruleset(rule("any", when={"alert": ["Unrelated"]}), name="files")


@pytest.fixture
async def bare(lab: Lab) -> Lab:
    """A cluster that does not know RuleSets."""
    await lab.apply_yaml(f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}")
    return lab


@pytest.fixture
async def defined(bare: Lab) -> Lab:
    """A cluster that knows RuleSets."""
    await bare.apply_yaml(shipped.RULESETS.read_text("utf-8"))
    return bare


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


async def delete(lab: Lab, path: str) -> None:
    """Delete an object, as kubectl does."""
    headers = {"Authorization": f"Bearer {LAB_TOKEN}"}
    async with aiohttp.ClientSession() as session, session.delete(f"{lab.url}{path}", headers=headers) as answer:
        assert answer.ok, await answer.text()


def said(found: Object) -> str:
    """What the condition says."""
    return str(found["status"]["conditions"][0]["message"])


async def test_a_tenants_rule_heals_in_its_namespace(defined: Lab, run: Run) -> None:
    lab = defined
    sick, *_ = await serve(lab)
    await lab.apply(tenants(on("Mine")))
    healer = await run(FILES, **ON)
    found = await accepted(lab, "True")
    assert (found["status"]["rules"], found["status"]["mode"]) == (1, "enforce")
    await healer.post(alert("Mine", pod=sick))
    await healer.says("incident verifying", rule=f"{NAMESPACE}/mine/any")
    assert evictions(lab) == [sick]


async def test_a_change_counts_within_seconds_and_a_wrong_one_keeps_the_last_good_rules(defined: Lab, run: Run) -> None:
    lab = defined
    sick, *_ = await serve(lab)
    healer = await run(FILES, **ON)
    await lab.apply(tenants(on("Before")))
    await accepted(lab, "True")

    await patch(
        lab, f"{PATH}/mine", {"spec": {"rules": [on("After", iff="x"), on("Other", heal=[{"restart": {}}]) | {"name": "b"}]}}
    )

    found = await accepted(lab, "False", generation=2)
    assert "healer goes on with the rules of generation 1" in said(found)
    assert "spec.rules[0].iff: unknown key 'iff'" in said(found)
    assert f"spec.rules[1].heal[0].restart: the action restart is not granted in {NAMESPACE}" in said(found)
    assert found["status"]["rules"] == 1
    await healer.post(alert("Before", pod=sick))
    await healer.says("incident verifying", rule=f"{NAMESPACE}/mine/any")
    assert evictions(lab) == [sick]


async def test_the_rules_of_a_refused_one_harm_nobody_else_and_files_win(defined: Lab, run: Run) -> None:
    lab = defined
    sick, other, *_ = await serve(lab)
    await lab.apply(tenants(on("Unrelated"), name="files"))
    await lab.apply(tenants(on("Broken", heal=[{"rollback": {}}]), name="broken"))
    await lab.apply(tenants(on("Mine"), name="mine"))
    healer = await run(FILES, **ON)
    taken, broken = await accepted(lab, "False", "files"), await accepted(lab, "False", "broken")
    assert (taken["status"]["conditions"][0]["reason"], taken["status"]["rules"]) == ("NameTaken", 0)
    assert "metadata.name: the rule set 'files' is in healer's rule files" in said(taken)
    assert (broken["status"]["conditions"][0]["reason"], broken["status"]["rules"]) == ("Refused", 0)
    await accepted(lab, "True")
    figures = await healer.metrics()
    assert (figures["healer_rulesets{accepted=true}"], figures["healer_rulesets{accepted=false}"]) == (1, 2)
    await healer.post(alert("Broken", pod=sick))
    await healer.says("ignore", reason="NoRule")
    await healer.post(alert("Mine", pod=sick))
    await healer.says("incident verifying", rule=f"{NAMESPACE}/mine/any")
    await healer.post(alert("Unrelated", pod=other))
    await healer.says("incident open", rule="files/any")


async def test_one_that_is_deleted_ends_its_incidents_and_says_when_it_fired(defined: Lab, run: Run, tmp_path: Path) -> None:
    lab = defined
    sick, *_ = await serve(lab)
    await lab.apply(tenants(on("Mine", mode="approve")))
    healer = await run(FILES, **ON, HEALER_RECORD__FOLDER=tmp_path / "record")
    await accepted(lab, "True")
    await healer.post(alert("Mine", pod=sick))
    waiting = await healer.says("incident waiting", rule=f"{NAMESPACE}/mine/any")
    await lab.wait_for(lambda lab: "lastFired" in lab.objects("rulesets.healer.dev", NAMESPACE)[0]["status"], PATIENCE)

    await delete(lab, f"{PATH}/mine")

    closed = await healer.says("incident closed", incident=waiting["incident"])
    assert closed["reason"] == "RuleChanged"
    assert evictions(lab) == []
    await healer.post(alert("Mine", pod=sick))
    await healer.says("ignore", reason="NoRule")


async def test_grants_that_mean_nothing_are_said(bare: Lab, run: Run) -> None:
    healer = await run(FILES, HEALER_RULESETS__GRANTS=ON["HEALER_RULESETS__GRANTS"])
    await healer.says(
        "HEALER_RULESETS__GRANTS means nothing while HEALER_RULESETS__ENABLED is false: "
        "healer takes no rules from RuleSets; set it to true, or delete the grants"
    )


def once(**more: Any) -> Object:
    """A rule of a tenant with two steps, of which its budget allows one act."""
    verify = {"within": "30s", "stable": "300ms"}
    limits = {"cooldown": "1ms", "budget": {"actions": 1, "per": "1h"}}
    return tenants(on("Mine", heal=[{"evict": {}, "verify": verify}, {"evict": {}, "verify": verify | more}], limits=limits))


@pytest.mark.parametrize("change", ["edited", "deleted"])
async def test_one_that_changes_while_its_action_is_sent(defined: Lab, run: Run, change: str) -> None:
    """The action is verified to its end, nothing is sent twice, no further step follows, and the budget counts what was done."""
    lab = defined
    sick, other, *_ = await serve(lab)
    await lab.apply(once())
    healer = await run(FILES, **ON)
    await accepted(lab, "True")
    held = lab.faults.hold(verb="create", resource="pods/eviction")
    await healer.post(alert("Mine", pod=sick))
    await held.used()

    if change == "edited":
        await patch(lab, f"{PATH}/mine", {"spec": once(stable="400ms")["spec"]})
        await accepted(lab, "True", generation=2)
    else:
        await delete(lab, f"{PATH}/mine")
        await healer.says("the digest of the rules in force", rules=1)
    assert not healer.find("incident verifying"), "the request is still under way"
    held.release()

    acting = await healer.says("incident verifying", rule=f"{NAMESPACE}/mine/any")
    await healer.says("incident healed", incident=acting["incident"])
    await healer.says("incident closed", incident=acting["incident"])
    assert evictions(lab) == [sick]
    if change == "deleted":
        await lab.apply(once())
        await accepted(lab, "True")
    await healer.post(alert("Mine", pod=other))
    waiting = await healer.says("incident waiting", rule=f"{NAMESPACE}/mine/any", reason="BudgetSpent")
    assert waiting["incident"] != acting["incident"]
    assert evictions(lab) == [sick]


async def test_what_one_has_changed_for_a_time_is_taken_back_when_it_was_deleted_meanwhile(defined: Lab, run: Run) -> None:
    lab = defined
    await serve(lab)
    grants = {NAMESPACE: {"mode": "enforce", "actions": ["scale"], "notify": ["#ml-oncall"]}}
    step = {"scale": {"by": 2, "max": 5, "keepFor": "0s"}, "verify": {"within": "30s", "stable": "300ms"}}
    await lab.apply(tenants(on("Mine", heal=[step])))
    healer = await run(FILES, **ON | {"HEALER_RULESETS__GRANTS": json.dumps(grants)})
    await accepted(lab, "True")
    held = lab.faults.hold(verb="patch", resource="deployments/scale")
    firing = alert("Mine", deployment=NAME)
    await healer.post(firing)
    await held.used()
    await delete(lab, f"{PATH}/mine")
    await healer.says("the digest of the rules in force", rules=1)
    held.release()
    await lab.wait_for(serves(5), PATIENCE)
    await healer.post({**firing, "status": "resolved", "endsAt": firing["startsAt"]})
    await lab.wait_for(serves(3), PATIENCE)
    assert [seen.verb for seen in lab.requests if seen.permission == "deployments/scale" and seen.verb != "get"] == [
        "patch",
        "patch",
    ]


async def test_without_the_definition_healer_says_so_and_goes_on_with_its_files(bare: Lab, run: Run) -> None:
    sick, *_ = await serve(bare)
    healer = await run(FILES, **ON)
    await healer.says("a kind is absent: healer watches it when it appears", kind="RuleSet")
    await healer.post(alert("Unrelated", pod=sick))
    await healer.says("incident verifying", rule="files/any")


async def test_those_of_a_namespace_are_told_on_them_and_the_leader_alone_writes(defined: Lab, run: Run) -> None:
    lab = defined
    await lab.apply(tenants(on("Mine")))
    first, second = await run(FILES, **ON), await run(FILES, **ON)
    found = await accepted(lab, "True")
    await patch(lab, f"{PATH}/mine", {"spec": {"rules": [on("Mine", heal=[{"rollback": {}}])]}})
    await accepted(lab, "False", generation=2)

    def told(lab: Lab) -> list[Object]:
        return [each for each in lab.objects("events", NAMESPACE) if each["involvedObject"]["kind"] == "RuleSet"]

    await lab.wait_for(lambda lab: len(told(lab)) == 2, PATIENCE)
    events = told(lab)
    assert {(each["reason"], each["type"]) for each in events} == {("Accepted", "Normal"), ("Refused", "Warning")}
    assert {each["involvedObject"]["uid"] for each in events} == {found["metadata"]["uid"]}
    writes = [seen for seen in lab.requests if seen.permission == "rulesets/status"]
    assert len(writes) == 2, "one for each generation"
    (digest,) = (name for name in await first.metrics() if name.startswith("healer_rules_info{"))
    assert digest in await second.metrics()


async def test_while_the_watch_fails_the_known_rules_stay(defined: Lab, run: Run) -> None:
    lab = defined
    sick, *_ = await serve(lab)
    await lab.apply(tenants(on("Mine")))
    healer = await run(FILES, **ON)
    await accepted(lab, "True")
    for code in (500, 403):
        lab.faults.answer(code, resource="rulesets", times=None)
    lab.faults.cut_watch(resource="rulesets")
    await healer.says("watch failed", kind="RuleSet")
    await healer.post(alert("Mine", pod=sick))
    await healer.says("incident verifying", rule=f"{NAMESPACE}/mine/any")
    assert not healer.find("rules in force", rules=1), "the tenant's rule was there from the start"


async def test_a_grant_that_names_what_there_is_not_is_an_error_at_the_start(
    settings: dict[str, str | Path], rules_folder: Path, tmp_path: Path
) -> None:
    (rules_folder / "0.yaml").write_text(FILES, "utf-8")
    grants = json.dumps({"*": {"actions": ["evikt"], "notify": ["ml-oncall"]}})
    more = settings | {"HEALER_RULESETS__ENABLED": "true", "HEALER_RULESETS__GRANTS": grants}
    code, said = await verb("run", "--rules", rules_folder, home=tmp_path, **more)
    assert code == 2
    assert "HEALER_RULESETS__GRANTS: '*' is granted the action evikt, which there is not; did you mean evict?" in said
    assert "'*' is granted the address ml-oncall, which is none" in said


@pytest.fixture
def deep_lab() -> Iterator[None]:
    """The lab is of Python, and takes as many levels as the API server then."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(limit)


@pytest.mark.usefixtures("deep_lab")
async def test_one_that_is_nested_too_deep_for_the_decoder_hides_no_other_and_ends_no_daemon(defined: Lab, run: Run) -> None:
    """Neither in the list of a daemon that begins, nor in the watch of one that runs."""
    lab = defined

    def deep(name: str) -> Object:
        nested: Any = 1
        for _ in range(600):
            nested = {"a": [nested]}
        return tenants(on("Deep") | {"junk": nested}, name=name)

    await lab.apply(deep("before"))
    await lab.apply(tenants(on("Mine")))
    healer = await run(FILES, **ON)
    await healer.says("object cannot be read", kind="RuleSet")
    await accepted(lab, "True")
    await lab.apply(deep("during"))
    await lab.apply(tenants(on("Later"), name="later"))
    await accepted(lab, "True", name="later")
