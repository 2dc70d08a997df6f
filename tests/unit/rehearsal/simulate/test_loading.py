"""Scenario files: what is wrong in one, with its place."""

import json
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
        (FAULT | {"shows": {"answers": {"fail": "140%"}}}, "spec.faults[0].shows.answers.fail", "at most 100%, not 140%"),
        (FAULT | {"shows": {"answers": {"capacity": "-1%"}}}, "spec.faults[0].shows.answers.capacity", "is no percentage"),
        (FAULT | {"shows": {"answers": {"slower": 0.5}}}, "spec.faults[0].shows.answers.slower", "must be at least 1"),
        (FAULT | {"at": "1h"}, "spec.faults[0].at", "a fault strikes after 1 h, and then the scenario is over"),
        (FAULT | {"lasts": "0s"}, "spec.faults[0].lasts", "must be more than 0"),
        (FAULT | {"target": {"workload": "llm", "pods": 0}}, "spec.faults[0].target.pods", "0 is too few"),
        (FAULT | {"target": {"workload": "llm", "pods": 3}}, "spec.faults[0].target.pods", "there are never 3 pods to strike"),
        (FAULT | {"target": {"workload": "llm", "image": "v9"}}, "spec.faults[0].target.image", "there is no image 'v9'"),
        (FAULT | {"target": {"node": "node-0", "zone": "zone-b"}}, "spec.faults[0].target.zone", "there is no zone 'zone-b'"),
    ],
)
def test_a_problem_says_where_it_is_and_what(fault: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(written(faults=[fault]), "test.yaml")
    (problem,) = caught.value.problems
    assert (problem.path, problem.file) == (path, "test.yaml")
    assert problem.line > 1
    assert words in problem.message


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        (
            {"operations": [{"at": "2h", "restart": {"workload": "llm"}}]},
            "spec.operations[0].at",
            "an operation begins after 2 h",
        ),
        (
            {"operations": [{"at": "2m", "restart": {"workload": "lm"}}]},
            "spec.operations[0].restart.workload",
            "no workload 'lm'",
        ),
        ({"operations": [{"at": "2m", "drain": {"node": "any"}}]}, "spec.operations[0].drain.node", "there is no node 'any'"),
        ({"operations": [{"at": "2m"}]}, "spec.operations[0]", "an operation is exactly one thing"),
        (
            {"operations": [{"at": "2m", "silence": {"matchers": {}, "for": "1h"}}]},
            "spec.operations[0].silence.matchers",
            "must not be empty",
        ),
        (
            {"operations": [{"at": "2m", "split": {"workload": "llm", "weight": "5%"}}]},
            "spec.operations[0].split.workload",
            "no canary",
        ),
        (
            {"workload": {"kind": "DaemonSet"}, "operations": [{"at": "2m", "scale": {"workload": "llm", "replicas": 1}}]},
            "spec.operations[0].scale.workload",
            "as many pods as there are nodes",
        ),
        ({"workload": {"capacity": 0}}, "spec.cluster.workloads[0].capacity", "must be more than 0"),
        ({"workload": {"replicas": -1}}, "spec.cluster.workloads[0].replicas", "must be at least 0"),
        ({"workload": {"fails": "101%"}}, "spec.cluster.workloads[0].fails", "must be at most"),
        ({"workload": {"server": "vlm"}}, "spec.cluster.workloads[0].server", "'vlm' is not known"),
        (
            {"workload": {"autoscale": {"min": 5, "max": 2, "target": "50%"}}},
            "spec.cluster.workloads[0].autoscale.max",
            "min is 5",
        ),
        (
            {"workload": {"autoscale": {"max": 2, "target": "0%"}}},
            "spec.cluster.workloads[0].autoscale.target",
            "no number of pods",
        ),
        (
            {"workload": {"canary": {"of": "llm", "weight": "5%"}}},
            "spec.cluster.workloads[0].canary.of",
            "no workload 'llm' of the same",
        ),
        (
            {"expect": {"should": [{"action": "evict", "after": "5m", "before": "4m"}]}},
            "spec.expect.should[0].before",
            "not later",
        ),
        (
            {"expect": {"should": [{"action": "evict", "atLeast": 3, "atMost": 2}]}},
            "spec.expect.should[0].atMost",
            "3 times and at most 2",
        ),
        ({"expect": {"mustNot": [{"action": "evict", "after": "1h"}]}}, "spec.expect.mustNot[0].after", "the scenario is over"),
        ({"expect": {"availability": "198%"}}, "spec.expect.availability", "must be at most 100%, not 198%"),
        ({"lasts": "0s"}, "spec.lasts", "must be more than 0"),
        ({"starts": "24h"}, "spec.starts", "must be less than"),
    ],
)
def test_a_scenario_that_cannot_be_says_where_and_what(spec: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(written(faults=[], **spec), "test.yaml")
    (problem,) = caught.value.problems
    assert problem.path == path
    assert words in problem.message


@pytest.mark.parametrize(
    ("canary", "path", "words"),
    [
        ({"of": "old", "weight": "5%"}, "canary.of", "no workload 'old' of the same namespace is stable"),
        ({"of": "llm", "weight": "5.5%"}, "canary.weight", "a route has whole percents"),
        ({"of": "llm", "weight": "105%"}, "canary.weight", "must be at most"),
        ({"of": "llm", "weight": "5%", "router": "Traefik"}, "canary.router", "'Traefik' is not known"),
    ],
)
def test_a_canary_that_cannot_be_says_where_and_what(canary: dict[str, Any], path: str, words: str) -> None:
    cluster = {"workloads": [{"name": "llm"}, {"name": "new", "canary": canary}]}
    with pytest.raises(ScenarioError) as caught:
        parse(written(faults=[], cluster=cluster), "test.yaml")
    (problem,) = caught.value.problems
    assert problem.path == f"spec.cluster.workloads[1].{path}"
    assert words in problem.message


def test_a_step_of_a_rollout_has_whole_percents() -> None:
    cluster = {"workloads": [{"name": "llm"}, {"name": "new", "canary": {"of": "llm", "weight": "0%"}}]}
    operations = [{"at": "2m", "split": {"workload": "new", "weight": "10.5%"}}]
    with pytest.raises(ScenarioError) as caught:
        parse(written(faults=[], cluster=cluster, operations=operations), "test.yaml")
    (problem,) = caught.value.problems
    assert (problem.path, problem.message) == ("spec.operations[0].split.weight", "a route has whole percents")


def test_the_old_key_of_an_alert_says_its_new_name() -> None:
    alert = {"name": "Busy", "on": "saturation", "above": "95%"}
    with pytest.raises(ScenarioError) as caught:
        parse(written(faults=[], workload={"alerts": [alert]}), "test.yaml")
    (problem,) = caught.value.problems
    assert problem.path == "spec.cluster.workloads[0].alerts[0].on"
    assert (problem.message, problem.hint) == ("the key `on` is now `measures`", "write measures: saturation")
    measuring = {"name": "Busy", "measures": "saturation", "above": "95%"}
    read = parse(written(faults=[], workload={"alerts": [measuring]}), "test.yaml")
    assert [each.measures for each in read.spec.cluster.workloads[0].alerts] == ["saturation"]


def test_two_canaries_of_one_workload_and_one_with_traffic_are_errors() -> None:
    split = {"of": "llm", "weight": "5%"}
    two = {"workloads": [{"name": "llm"}, {"name": "a", "canary": split}, {"name": "b", "canary": split}]}
    assert "llm has two canaries" in said(written(faults=[], cluster=two))
    own = {"workloads": [{"name": "llm"}, {"name": "a", "canary": split, "traffic": {"rate": 5}}]}
    assert "a canary has no traffic of its own" in said(written(faults=[], cluster=own))


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ({"app": "vllm"}, {"app": "vllm"}, True),
        ({"app": "vllm"}, {"app": "vllm", "version": "v2"}, True),
        ({"app": "vllm", "version": "v2"}, {"app": "vllm"}, True),
        ({"app": "vllm", "version": "v1"}, {"app": "vllm", "version": "v2"}, False),
        ({"version": "v1"}, {"version": "v1"}, False),
    ],
)
def test_no_two_workloads_select_the_same_pods(first: dict[str, str], second: dict[str, str], overlap: bool) -> None:
    workloads = [{"name": "llm", "labels": first}, {"name": "chat", "labels": second}]
    text = written(faults=[], cluster={"workloads": workloads})
    if overlap:
        assert "'chat' and 'llm' select the same pods" in said(text)
        parse(written(faults=[], cluster={"workloads": [workloads[0], workloads[1] | {"namespace": "other"}]}), "test.yaml")
    else:
        parse(text, "test.yaml")


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


def test_the_schema_for_editors_has_the_defaults_as_a_file_writes_them() -> None:
    """A file that writes every default is the same scenario. The schema for an API server, which would write them, has none."""
    schema = json_schema(vocabulary(), Scenario, defaults=True)["$defs"]["PlayedWorkload"]["properties"]
    defaults = {key: given["default"] for key, given in schema.items() if "default" in given}
    assert defaults.keys() >= {"replicas", "capacity", "starts", "loads", "takes", "fails"}
    bare, full = ({"workloads": [{"name": "llm"} | more]} for more in ({}, defaults))
    assert parse(written(faults=[], cluster=bare), "a.yaml") == parse(written(faults=[], cluster=full), "a.yaml")
    assert '"default":' not in json.dumps(json_schema(vocabulary()))
