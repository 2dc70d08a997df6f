"""The JSON Schema of rule files: what is right is valid, and what is plainly wrong is not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from healer import shipped
from healer.cli import app
from healer.daemon.rulefiles import vocabulary
from healer.rules.json_schema import json_schema
from healer.rules.loading import load
from healer.rules.schema import models_by_path
from healer.rules.triggers import TRIGGERS
from healer.settings import knobs
from tests.support.json_schema import faults

ROOT = Path(__file__).parents[3]
SCHEMA = json_schema(vocabulary())
EVICT = "- evict: {}\n          "
SHIPPED = sorted(path for folder in ("rules", "deploy") for path in (ROOT / folder).rglob("*.y*ml"))
WHOLE = """\
apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: whole}
spec:
  scope: {namespaces: [production], selector: {matchExpressions: [{key: app, operator: In, values: [a]}]}}
  rules:
    - name: hang
      when:
        model: {name: llm, server: vllm, conditions: [EngineStalled], stalled: 1h30m, port: 8000, generate: {misses: 4}}
        for: 30s
      scope: {namespaces: ["*"]}
      heal:
        - evict: {}
          verify: {within: 5m}
        - page: {channels: ["#ml"]}
      onStorm: {page: {}}
      limits: {budget: {actions: 2, per: 1h}, maxUnhealthy: 40%, breaker: {failures: 2, reset: 1h}}
      mode: enforce
    - name: outlier
      when:
        query: {expr: up, above: 0.5, outliers: {difference: 0.1}}
      heal: [{evict: {}}]
    - name: canary
      when:
        canary:
          route: {kind: Ingress, name: split}
          stable: {deployment: v1}
          canary: {deployment: v2}
          measures:
            - {name: errors, total: 'a{pod=~"{{ pods }}"}', bad: 'b{pod=~"{{ pods }}"}', slo: 1%}
      heal: [{shiftTraffic: {to: 0}}]
    - name: crash
      when:
        pod: [CrashLoopBackOff]
        count: {atLeast: 3, within: 10m}
      heal: [{evict: {}}]
"""


def documents(text: str) -> list[Any]:
    return [document for document in yaml.safe_load_all(text) if isinstance(document, dict) and document.get("kind") == "RuleSet"]


def wrong(document: Any) -> list[str]:
    return [*faults(document, SCHEMA)]


def test_every_rule_that_is_shipped_is_valid() -> None:
    found = {
        path: [wrong(document) for document in documents(path.read_text("utf-8"))]
        for path in SHIPPED
        if "rule" in str(path) and "templates" not in path.parts
    }
    assert sum(map(len, found.values())) >= 2
    assert {str(path): said for path, said in found.items() if any(said)} == {}


def test_every_example_of_the_documentation_is_valid() -> None:
    page = (ROOT / "docs" / "rules.md").read_text("utf-8")
    examples = [part.split("```")[0] for part in page.split("```yaml\n")[1:]]
    whole = [document for example in examples if "kind: RuleSet" in example for document in documents(example)]
    assert len(whole) > 1
    assert [wrong(document) for document in whole if wrong(document)] == []


def test_the_rules_that_are_changed_below_are_right() -> None:
    assert load(WHOLE, "f.yaml", vocabulary())[1] == []
    assert wrong(yaml.safe_load(WHOLE)) == []


def mappings(data: Any) -> list[dict[str, Any]]:
    """Every mapping in the data that has keys of the language."""
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return ([data] if isinstance(data, dict) else []) + [found for each in inner for found in mappings(each)]


def test_an_unknown_key_is_refused_wherever_it_stands() -> None:
    count = len(mappings(yaml.safe_load(WHOLE)))
    assert count > 30
    for number in range(count):
        document = yaml.safe_load(WHOLE)
        mappings(document)[number]["sevrity"] = "x"
        assert any("additionalProperties" in said or "oneOf" in said for said in wrong(document)), mappings(document)[number]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("stalled: 1h30m", "stalled: 90", "$.spec.rules[0].when.model.stalled: type"),
        ("stalled: 1h30m", "stalled: 90 s", "$.spec.rules[0].when.model.stalled: pattern"),
        ("misses: 4", "misses: 1", "$.spec.rules[0].when.model.generate.misses: minimum"),
        ("misses: 4", "within: 20", "$.spec.rules[0].when.model.generate.within: type"),
        ("server: vllm", "server: vlm", "$.spec.rules[0].when.model.server: enum"),
        ("[EngineStalled]", "[EngineTired]", "$.spec.rules[0].when.model.conditions[0]: enum"),
        ("port: 8000", "port: 80000", "$.spec.rules[0].when.model.port: maximum"),
        ("port: 8000", 'port: "8000"', "$.spec.rules[0].when.model.port: type"),
        ("mode: enforce", "mode: force", "$.spec.rules[0].mode: enum"),
        ("maxUnhealthy: 40%", "maxUnhealthy: 0", "$.spec.rules[0].limits.maxUnhealthy: anyOf"),
        ("slo: 1%", "slo: 1", "$.spec.rules[2].when.canary.measures[0].slo: type"),
        ("[CrashLoopBackOff]", "[CrashLoop]", "$.spec.rules[3].when.pod[0]: enum"),
        ("[CrashLoopBackOff]", "[]", "$.spec.rules[3].when.pod: minItems"),
        ("atLeast: 3", "atLeast: 1", "$.spec.rules[3].when.count.atLeast: minimum"),
        ("pod: [CrashLoopBackOff]", "pod: [OOMKilled]\n        alert: [X]", "$.spec.rules[3].when: oneOf"),
        (EVICT, "- ", "$.spec.rules[0].heal[0]: oneOf"),
        (
            "- evict: {}\n          verify",
            "- evict: {}\n          restart: {}\n          verify",
            "$.spec.rules[0].heal[0]: oneOf",
        ),
        ("kind: Ingress", "kind: Gateway", "$.spec.rules[2].when.canary.route.kind: enum"),
        ("stable: {deployment: v1}", "stable: {}", "$.spec.rules[2].when.canary.stable: oneOf"),
        ("difference: 0.1", "peers: 4", "$.spec.rules[1].when.query.outliers: required difference"),
        ("metadata: {name: whole}\n", "", "$: required metadata"),
        ("v1alpha1", "v2", "$.apiVersion: enum"),
    ],
)
def test_what_is_wrong_is_refused_by_both(old: str, new: str, said: str) -> None:
    """By the schema where it stands, and by the loader."""
    assert old in WHOLE
    text = WHOLE.replace(old, new, 1)
    assert said in wrong(yaml.safe_load(text))
    assert load(text, "f.yaml", vocabulary())[1] != []


def test_every_model_of_the_language_and_every_name_of_the_tables_is_in_it() -> None:
    known = vocabulary()
    definitions = SCHEMA["$defs"]
    models = {model.__name__ for _, model in models_by_path()} | {spec.params.__name__ for spec in known.actions.values()}
    assert models == {name for name in definitions if name in models}
    assert {key for key in definitions["When"]["properties"] if key in TRIGGERS} == {*TRIGGERS}
    assert {*definitions["Step"]["properties"]} == {*known.actions, "verify"}
    assert {*definitions["ServedModel"]["properties"]["server"]["enum"]} == {*known.servers}
    assert {*definitions["Scope"]["properties"]["kinds"]["items"]["enum"]} == {*known.workloads}
    loose = [name for name, definition in definitions.items() if definition["additionalProperties"]]
    assert loose == []


def test_the_verb_prints_it() -> None:
    result = CliRunner().invoke(app, ["schema"])
    assert result.exit_code == 0
    assert json.loads(result.output) == json_schema(vocabulary(), defaults=True)


SCHEMAS = {"RuleSet": "rules", "RuleTest": "test", "Scenario": "scenario"}
"""The schema of each kind of file."""
FOR_EDITORS = sorted(
    path
    for folder in (shipped.RULES, ROOT / "docs/examples", ROOT / "deploy/healer/components")
    for path in folder.rglob("*.yaml")
    if re.search(rf"^kind: ({'|'.join(SCHEMAS)})$", path.read_text("utf-8"), re.MULTILINE)
)


@pytest.mark.parametrize("path", FOR_EDITORS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_shipped_file_names_the_schema_of_its_kind_for_editors(path: Path) -> None:
    """By a path in the repository: `make docs` keeps what is there in step."""
    text = path.read_text("utf-8")
    kind = re.search(r"^kind: (\w+)$", text, re.MULTILINE)
    assert kind is not None
    first, *_ = text.splitlines()
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert named is not None, first
    assert (path.parent / named[1]).resolve() == ROOT / f"docs/schemas/{SCHEMAS[kind[1]]}.json"


def test_the_schema_of_settings_knows_each_section_and_takes_durations_as_texts() -> None:
    result = CliRunner().invoke(app, ["schema", "settings"])
    schema = json.loads(result.stdout)
    assert schema == json.loads((ROOT / "docs/schemas/settings.json").read_text("utf-8"))
    keys = {key.partition(".")[0] for _, key, _, _ in knobs()}
    assert set(schema["properties"]) == keys
    assert schema["additionalProperties"] is False
    timeout = schema["$defs"]["Cluster"]["properties"]["request_timeout"]
    assert {each["type"] for each in timeout["anyOf"]} == {"number", "string"}
    grant = schema["$defs"]["Grant"]
    assert (set(grant["properties"]), grant["additionalProperties"]) == (
        {"mode", "actions", "triggers", "notify", "rules"},
        False,
    )
