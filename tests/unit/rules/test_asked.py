"""What can be wrong with the triggers that healer asks for itself: query, model, canary; and with the actions that fit them."""

import pytest

from healer.daemon.rulefiles import vocabulary
from healer.model_servers.registry import SERVERS
from healer.rules.loading import load
from healer.rules.positions import Problem
from healer.rules.probe import RouteRef
from healer.rules.served_model import ServedModel

CANARY = """\
apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: asked}
spec:
  scope: {namespaces: [production]}
  rules:
    - name: bad-canary
      when:
        canary:
          route: {kind: Ingress, name: split}
          stable: {deployment: v1}
          canary: {deployment: v2}
          measures:
            - name: errors
              total: 'a{pod=~"{{ pods }}"}'
              bad: 'b{pod=~"{{ pods }}"}'
              slo: 1%
            - name: latency
              histogram: 'c{pod=~"{{ pods }}"}'
              slowerThan: 200ms
              unit: us
      heal:
        - shiftTraffic: {to: 0}
"""
SUBSETS = (
    CANARY.replace("Ingress", "VirtualService")
    .replace("{deployment: v1}", "{deployment: v1, service: m, subset: a}")
    .replace("{deployment: v2}", "{deployment: v2, service: m, subset: b}")
)
KINDS = CANARY.replace("deployment: v2", "statefulset: v2").replace("deployment: v1", "daemonset: v1")
POOLS = CANARY.replace("Ingress", "HTTPRoute").replace("v1}", "v1, pool: a}").replace("v2}", "v2, pool: b}")
QUERY = CANARY[: CANARY.index("        canary:")] + "        query: {expr: up, above: 0.5}\n      heal:\n        - evict: {}\n"
MODEL = QUERY.replace("query: {expr: up, above: 0.5}", "model: {name: ranker}")


def problems(text: str) -> list[Problem]:
    """Everything that is wrong."""
    return load(text, "f.yaml", vocabulary())[1]


@pytest.mark.parametrize(
    "text", [CANARY, KINDS, SUBSETS, POOLS, QUERY, MODEL], ids=["canary", "other kinds", "subsets", "pools", "query", "model"]
)
def test_what_the_errors_are_made_from_is_right(text: str) -> None:
    assert problems(text) == []


CASES = {
    # in, replaced, by what, line, message, hint
    "a kind of route": (CANARY, "Ingress", "Gateway", 10, "Gateway", "Ingress"),
    "the same Deployment": (CANARY, "{deployment: v2}", "{deployment: v1}", 12, "the same Deployment", "a Deployment of its own"),
    "the same StatefulSet": (
        KINDS,
        "daemonset: v1",
        "statefulset: v2",
        12,
        "the same StatefulSet",
        "a StatefulSet of its own",
    ),
    "no side": (CANARY, "{deployment: v1}", "{service: v1}", 11, "the key 'deployment' is missing", "word of another of the"),
    "a kind that is none": (
        CANARY,
        "deployment: v1",
        "statefulst: v1",
        11,
        "unknown key 'statefulst'",
        "did you mean statefulset?",
    ),
    "two kinds": (
        CANARY,
        "deployment: v1",
        "deployment: v1, statefulset: v3",
        11,
        "deployment and statefulset are",
        "delete the other",
    ),
    "the field of the model": (
        CANARY,
        "deployment: v1",
        "workload: {name: v1}",
        11,
        "unknown key 'workload'",
        "deployment, statefulset",
    ),
    "no name of a StatefulSet": (KINDS, "statefulset: v2", "statefulset: V2", 12, "'V2' is not a valid name", "lower-case"),
    "a number": (KINDS, "statefulset: v2", "statefulset: 2", 12, "2 is not a text", "in quotes"),
    "the Deployment of a StatefulSet": (
        KINDS,
        'a{pod=~"{{ pods }}"}',
        "a{{ deployment }}",
        15,
        "{{ deployment }} is the name of a Deployment, and daemonset/v1 is none",
        "write {{ workload }}",
    ),
    "a query's kind": (QUERY, "above: 0.5", "above: 0.5, statefulse: x", 9, "unknown key", "did you mean statefulset?"),
    "the same Service": (CANARY, "deployment: v2", "deployment: v2, service: v1", 12, "the same Service", "its own"),
    "a subset of an Ingress": (CANARY, "deployment: v1", "deployment: v1, subset: a", 11, "VirtualService has them", "delete"),
    "a pool of an Ingress": (
        CANARY,
        "deployment: v1",
        "deployment: v1, pool: a",
        11,
        "HTTPRoute or LLMInferenceService does",
        "write service",
    ),
    "a pool and a Service": (
        CANARY,
        "deployment: v1",
        "deployment: v1, pool: a, service: b",
        11,
        "a pool, or a Service",
        "delete",
    ),
    "the same pool": (POOLS, "pool: b", "pool: a", 12, "the same InferencePool", "its own"),
    "the same subset": (SUBSETS, "subset: b", "subset: a", 12, "the same subset of the same Service", "its own"),
    "the whole Service": (SUBSETS, ", subset: b", "", 12, "canary has the whole Service", "name its subset"),
    "a subset of an HTTPRoute": (
        SUBSETS,
        "VirtualService",
        "HTTPRoute",
        11,
        "a route of kind HTTPRoute has no subsets",
        "a Service of its own",
    ),
    "both sides together": (CANARY, 'a{pod=~"{{ pods }}"}', "a", 15, "both sides would be counted together", "{{ pods }}"),
    "a place that is none": (CANARY, 'a{pod=~"{{ pods }}"}', "a{{ pod }}", 15, "{{ pod }} is no placeholder", "{{ pods }}"),
    "a window of one only": (
        CANARY,
        'a{pod=~"{{ pods }}"}',
        "increase(a{{ pods }}[{{ window }}])",
        16,
        "the other has not",
        "counters both",
    ),
    "half a measure": (CANARY, "              slowerThan: 200ms\n", "", 18, "either total and bad, or histogram", "both keys"),
    "two measures of a name": (CANARY, "name: latency", "name: errors", 13, "two measures have the same name", "rename one"),
    "a share that is none": (CANARY, "slo: 1%", "slo: 0.01", 17, "not a percentage", "0.5%"),
    "a share of everything": (CANARY, "slo: 1%", "slo: 100%", 17, "'100%' is no share of the requests", "below 100%"),
    "a tolerance that asks for more": (CANARY, "slo: 1%", "tolerance: 0.5", 17, "at least 1", ""),
    "an alpha beyond reason": (CANARY, "          measures:", "          alpha: 0.5\n          measures:", 13, "at most 0.2", ""),
    "for": (CANARY, "      heal:", "        for: 1m\n      heal:", 22, "for is not for a canary", "delete it"),
    "an action on pods": (CANARY, "shiftTraffic: {to: 0}", "evict: {}", 23, "a rule on 'canary' names none", "shiftTraffic"),
    "neither to nor by": (CANARY, "{to: 0}", "{}", 23, "exactly one of to, by", "to: 0"),
    "a shift without a route": (QUERY, "evict: {}", "shiftTraffic: {to: 0}", 11, "route", ""),
    "no threshold": (QUERY, ", above: 0.5", "", 9, "exactly one of above, below", "the value"),
    "two thresholds": (QUERY, "above: 0.5", "above: 0.5, below: 0.1", 9, "exactly one of above, below", "the value"),
    "too often": (QUERY, "above: 0.5", "above: 0.5, every: 500ms", 9, "at least 1s", ""),
    "a version that nothing asks for": (
        MODEL,
        "name: ranker",
        "name: ranker, version: 3",
        9,
        "belong together",
        "both, or neither",
    ),
    "a variable of an alert": (QUERY, "above: 0.5}", "above: 0.5}\n        if: alert.name == 'x'", 10, "alert.name", "`alert`"),
    "a parameter by its Python name": (QUERY, "evict: {}", "rollback: {to_revision: 3}", 11, "to_revision", ""),
    "an Ingress elsewhere": (CANARY, "name: split", "name: split, namespace: infra", 10, "its own namespace", "delete the line"),
    "a model server that is none": (
        MODEL,
        "name: ranker",
        "name: ranker, server: tensorflwo",
        9,
        "server 'tensorflwo' is not known",
        "did you mean tensorflow?",
    ),
    "a condition of no server": (
        MODEL,
        "name: ranker",
        "name: ranker, conditions: [ModelNotAvailable, ServerUnhealthy]",
        9,
        "conditions 'ServerUnhealthy' is not known",
        "one of ModelNotAvailable, ModelStuckLoading, ModelStuckStarting, ModelVersionMissing",
    ),
    "outliers of a Deployment": (
        QUERY,
        "above: 0.5",
        "above: 0.5, deployment: v1, outliers: {difference: 1}",
        9,
        "outliers compares pods, and deployment names no pod",
        "delete the line",
    ),
    "outliers without a floor": (QUERY, "above: 0.5", "above: 0.5, outliers: {peers: 4}", 9, "difference", ""),
    "too few peers": (QUERY, "above: 0.5", "above: 0.5, outliers: {difference: 1, peers: 2}", 9, "peers must be at least 3", ""),
    "a pod that serves is taken": (
        MODEL,
        "name: ranker",
        "name: ranker, conditions: [ModelVersionFailed]",
        11,
        "evict takes down pods that serve",
        "a rule of its own",
    ),
    "its workload is restarted": (
        MODEL.replace("name: ranker", "name: ranker, server: triton, conditions: [ModelNotAvailable, ModelVersionFailed]"),
        "evict: {}",
        "rolloutRestart: {}",
        11,
        "rolloutRestart takes down pods that serve",
        "pin the version",
    ),
    "tokens of a server that is not asked for them": (
        MODEL,
        "name: ranker",
        "name: ranker, server: sglang, generate: {}",
        9,
        "server sglang is not asked for tokens",
        "delete the key",
    ),
    "tokens for another condition": (
        MODEL,
        "name: ranker",
        "name: ranker, server: vllm, conditions: [EngineDead], generate: {}",
        9,
        "generate is for EngineStalled, which is not among the conditions",
        "add EngineStalled, or delete the key",
    ),
    "a token that takes longer than a look": (
        MODEL,
        "name: ranker",
        "name: ranker, server: vllm, every: 20s, generate: {}",
        9,
        "a look may take as long as generate.within (20s), and every is 20s",
        "below 20s",
    ),
    "one miss": (MODEL, "name: ranker", "name: ranker, server: vllm, generate: {misses: 1}", 9, "misses must be at least 2", ""),
    "tokens all the time": (
        MODEL,
        "name: ranker",
        "name: ranker, server: vllm, generate: {every: 1s}",
        9,
        "every must be at least 10s",
        "",
    ),
    "a number of seconds": (MODEL, "name: ranker", "name: ranker, server: vllm, generate: {within: 20}", 9, "20 has no unit", ""),
    "an action would wait too long": (
        MODEL,
        "name: ranker",
        "name: ranker, server: vllm, every: 5m, generate: {within: 31s}",
        9,
        "within must be at most 30s",
        "",
    ),
    "a switch": (MODEL, "name: ranker", "name: ranker, server: vllm, generate: true", 9, "generate", ""),
    "a key of it that is none": (
        MODEL,
        "name: ranker",
        "name: ranker, server: vllm, generate: {tokens: 2}",
        9,
        "tokens",
        "",
    ),
    "a key with nothing behind it": (MODEL, "name: ranker", "name: ranker, server: vllm, generate: null", 9, "generate", ""),
    "no heartbeat": (MODEL, "name: ranker", "name: ranker, stalled: 5m", 9, "cannot be seen to stand still", "delete the line"),
    "no version": (
        MODEL,
        "name: ranker",
        "name: ranker, server: vllm, version: 3",
        9,
        "server vllm reports no versions",
        "delete the line",
    ),
    "which version to pin": (MODEL, "evict: {}", "pinModelVersion: {configMap: m, model: r}", 11, "version, label", "stable"),
}


@pytest.mark.parametrize(("text", "old", "new", "line", "message", "hint"), CASES.values(), ids=CASES)
def test_error(text: str, old: str, new: str, line: int, message: str, hint: str) -> None:
    assert old in text
    found = problems(text.replace(old, new, 1))
    assert len(found) == 1, [str(problem) for problem in found]
    assert found[0].line == line, str(found[0])
    assert message in found[0].message
    assert hint in found[0].hint


def test_where_a_route_is() -> None:
    assert RouteRef(kind="HTTPRoute", name="split", namespace="infra").apart("production") == "infra"
    assert RouteRef(kind="HTTPRoute", name="split", namespace="production").apart("production") == ""


def test_the_defaults_of_the_language_are_those_of_its_default_server() -> None:
    model = ServedModel(name="ranker")
    server = SERVERS[model.server].spec
    assert (model.port, model.conditions) == (server.port, server.usual)
