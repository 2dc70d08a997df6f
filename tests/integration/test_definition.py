"""A definition of incidents that is broken or of an older healer is found at the start, and waited for."""

import copy
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import yaml

from healer.journal.definition import sample
from healer.lab import Lab
from healer.lab.apiserver import schema
from tests.integration.conftest import ROOT, Run
from tests.integration.world import CRASH_LOOP, LAB_TOKEN, patch, ruleset, serve

CRD: dict[str, Any] = yaml.safe_load((ROOT / "deploy/healer/crd.yaml").read_text("utf-8"))
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
Spoil = Callable[[dict[str, Any]], object]


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """A cluster without the definition."""
    async with Lab(time_scale=0.02, token=LAB_TOKEN) as lab:
        yield lab


def spoilt(how: Spoil) -> dict[str, Any]:
    crd = copy.deepcopy(CRD)
    how(crd["spec"]["versions"][0])
    return crd


def _properties(version: dict[str, Any], part: str) -> dict[str, Any]:
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"][part]["properties"]
    return found


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda v: _properties(v, "status").pop("approvals"), "older than this healer"),
        (lambda v: _properties(v, "status")["targets"]["additionalProperties"]["properties"].pop("what"), "older"),
        (lambda v: _properties(v, "spec").pop("severity"), "older than this healer"),
        (lambda v: _properties(v, "spec")["steps"].update(type="string"), "broken"),
        (lambda v: _properties(v, "spec")["severity"].update(enum=["page"]), "broken"),
        (lambda v: v.update(subresources={}), "no subresource `status`"),
    ],
    ids=["status", "deep", "spec", "type", "enum", "subresource"],
)
async def test_a_wrong_definition_holds_readiness_until_it_is_right(lab: Lab, run: Run, how: Spoil, said: str) -> None:
    crd = spoilt(how)
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["required"] = []
    await lab.apply(crd)
    healer = await run(ruleset(CRASH_LOOP), ready=False)
    problem = (await healer.says("incidents cannot be written: nothing is healed"))["problem"]
    assert said in problem
    assert "kubectl apply -f deploy/healer/crd.yaml" in problem
    status, ready = await healer.get("/readyz")
    assert (status, ready["checks"]["incidents"]["ok"]) == (503, False)
    assert said in ready["checks"]["incidents"]["reason"]
    assert (await healer.get("/healthz"))[0] == 200

    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/incidents.healer.dev"
    await patch(lab, path, {"spec": {"versions": CRD["spec"]["versions"]}})
    await healer.says("healer is ready")
    assert len(healer.find("incidents cannot be written: nothing is healed")) == 1
    assert lab.objects("incidents.healer.dev") == [], "a dry run leaves nothing behind"


async def test_a_status_that_is_understood_otherwise_is_found_where_an_incident_is_kept(lab: Lab, run: Run) -> None:
    await lab.apply(spoilt(lambda v: _properties(v, "status")["step"].update(type="string")))
    await serve(lab)
    spec = sample()["spec"]
    await lab.apply({"apiVersion": "healer.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "kept"}, "spec": spec})
    healer = await run(ruleset(CRASH_LOOP), ready=False)
    assert "status.step" in (await healer.says("incidents cannot be written: nothing is healed"))["problem"]
    assert (await healer.get("/readyz"))[0] == 503


def test_the_dry_run_sets_every_field_of_the_definition_and_is_valid() -> None:
    """A field that is added to incidents is in it by itself."""
    whole = sample()
    assert whole["spec"].keys() == SCHEMA["properties"]["spec"]["properties"].keys()
    assert whole["status"].keys() == SCHEMA["properties"]["status"]["properties"].keys()
    assert list(schema.validate(whole, SCHEMA)) == []
