"""Scenario files: what is wrong in one, with its place."""

from typing import Any

import jsonschema
import pytest
import yaml

from healer.daemon.rulefiles import vocabulary
from healer.rehearsal.simulate.loading import ScenarioError, parse
from healer.rehearsal.simulate.scenario import Scenario
from healer.rules.json_schema import json_schema
from tests.unit.rehearsal.simulate.played import written

FAULT: dict[str, Any] = {"name": "hang", "at": "10m", "target": {"workload": "llm"}, "shows": {"pod": "hang"}}


def said(text: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        parse(text, "test.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("fault", "path", "words"),
    [
        (FAULT | {"target": {"workload": "lm"}}, "spec.faults[0].target.workload", "there is no workload 'lm' in the cluster"),
        (FAULT | {"target": {"node": "node-9"}}, "spec.faults[0].target.node", "there is no node 'node-9'"),
        (FAULT | {"perDay": 3}, "spec.faults[0]", "a fault has either at or perDay"),
        (FAULT | {"sits": "zone"}, "spec.faults[0].target", "a fault that sits in a zone names it"),
        (FAULT | {"shows": {"pod": "crsh"}}, "spec.faults[0].shows.pod", "'crsh' is not known"),
        (FAULT | {"shows": {"pods": "crash"}}, "spec.faults[0].shows.pods", "unknown key 'pods'"),
        (FAULT | {"at": 600}, "spec.faults[0].at", "600 has no unit"),
        (FAULT | {"shows": {"answers": {"fail": "140%"}}}, "spec.faults[0].shows.answers.fail", "must be at most"),
    ],
)
def test_a_problem_says_where_it_is_and_what(fault: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(written(faults=[fault]), "test.yaml")
    (problem,) = caught.value.problems
    assert (problem.path, problem.file) == (path, "test.yaml")
    assert problem.line > 1
    assert words in problem.message


def test_a_file_without_a_scenario_is_an_error() -> None:
    assert "the file holds 0 documents" in said("")
    assert "'kind'" in said("apiVersion: healer.dev/v1alpha1\nmetadata: {name: a}\n")


def test_the_schema_takes_what_the_models_take_and_refuses_what_they_refuse() -> None:
    schema = json_schema(vocabulary(), Scenario)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert not list(validator.iter_errors(yaml.safe_load(written(faults=[FAULT]))))
    for wrong in ({"at": "soon"}, {"shows": {"pod": "crsh"}}, {"sits": "moon"}, {"shows": {"answers": {"fail": 0.4}}}):
        assert list(validator.iter_errors(yaml.safe_load(written(faults=[FAULT | wrong])))), wrong
