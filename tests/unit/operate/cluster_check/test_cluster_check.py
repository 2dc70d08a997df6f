"""Rules against a live cluster: each thing that would keep them from working is found, and what is right is not named."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from healer.cluster.api import Api
from healer.daemon.rulefiles import vocabulary
from healer.lab import Lab
from healer.lab.canary import CANARY, STABLE, ingresses, versions
from healer.lab.workload import serving
from healer.operate.cluster_check.cluster_check import Against, ClusterChecked, check_cluster
from healer.operate.cluster_check.finding import ClusterFinding
from healer.rules.loading import load
from healer.rules.rulebook import BoundRule
from healer.sources.prometheus.client import Prometheus
from tests.support.prometheus import prometheus

CRDS = Path(__file__).parents[3] / "contract" / "crds"
SPACE = "production"
APP = "tensorflow-serving"
CRASH = {"name": "crash", "when": {"pod": ["CrashLoopBackOff"]}, "heal": [{"evict": {}}]}
NOW = 1_800_000_000.0


def rules(*written: dict[str, Any], namespaces: str = SPACE) -> list[BoundRule]:
    spec = {"scope": {"namespaces": [namespaces]}, "rules": list(written)}
    document = {"apiVersion": "healer.dev/v1alpha1", "kind": "RuleSet", "metadata": {"name": "mine"}, "spec": spec}
    bound, problems = load(yaml.safe_dump(document), "mine.yaml", vocabulary())
    assert not problems, "\n".join(map(str, problems))
    return bound


def waits_for(*alerts: str, **labels: str) -> dict[str, Any]:
    return {"name": "slow", "when": {"alert": list(alerts), "labels": labels}, "heal": [{"page": {}}]}


def asks(expr: str) -> dict[str, Any]:
    return {"name": "asks", "when": {"query": {"expr": expr, "above": 1}}, "heal": [{"page": {}}]}


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(start_delay=0.005, termination_delay=0.005) as lab:
        yield lab


@pytest.fixture
async def api(lab: Lab, tmp_path: Path) -> AsyncIterator[Api]:
    lab.write_kubeconfig(tmp_path / "kubeconfig")
    api = await Api.connect(kubeconfig=str(tmp_path / "kubeconfig"))
    try:
        yield api
    finally:
        await api.aclose()


async def checked(
    api: Api, of: list[BoundRule], *, confined: tuple[str, ...] = (), asked: Prometheus | None = None
) -> ClusterChecked:
    return await check_cluster(api, of, Against("healer/healer", confined, asked, NOW))


def of(topic: str, found: ClusterChecked) -> list[ClusterFinding]:
    return [each for each in found.findings if each.topic == topic]


async def serve(lab: Lab, **more: Any) -> None:
    await lab.apply(serving(APP, SPACE, **more))
    replicas = more.get("replicas", 3)
    await lab.wait_for(
        lambda lab: (lab.objects("deployments", SPACE)[0].get("status") or {}).get("readyReplicas") == replicas, 20
    )


async def test_nothing_is_said_where_all_is_right(lab: Lab, api: Api) -> None:
    await serve(lab, min_available=2)
    found = await checked(api, rules(CRASH))
    assert (found.findings, found.notes) == ([], [])
    assert [(each.pods, each.workloads, each.doubts) for each in found.coverage] == [(3, 1, ())]


async def merge(api: Api, path: str, change: dict[str, Any]) -> None:
    await api.request("PATCH", path, body=change, content_type="application/merge-patch+json")


# budgets


async def budget(lab: Lab, name: str, wanted: int, **more: Any) -> None:
    spec = {"minAvailable": wanted, "selector": {"matchLabels": {"app": APP}}} | more
    made = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": spec,
    }
    await lab.apply(made)
    await lab.wait_for(
        lambda lab: all((each.get("status") or {}).get("expectedPods") for each in lab.objects("poddisruptionbudgets")), 20
    )


async def test_a_budget_that_wants_all_pods_lets_no_sick_one_go(lab: Lab, api: Api) -> None:
    await serve(lab, min_available=None)
    await budget(lab, "strict", 3)
    (found,) = of("budget", await checked(api, rules(CRASH, CRASH | {"name": "too", "heal": [{"page": {}}]})))
    assert found.rules == ("mine/crash",), "the other one evicts nothing"
    assert "poddisruptionbudget/strict in production wants all of its 3 pods healthy: no pod may go" in found.text
    assert "AlwaysAllow" in found.text


async def test_a_budget_over_one_pod_is_said_in_the_singular(lab: Lab, api: Api) -> None:
    await serve(lab, replicas=1, min_available=None)
    await budget(lab, "strict", 1)
    (found,) = of("budget", await checked(api, rules(CRASH)))
    assert "poddisruptionbudget/strict in production wants its one pod healthy: no pod may go, a sick one neither" in found.text


async def test_always_allow_lets_the_sick_go(lab: Lab, api: Api) -> None:
    await serve(lab, min_available=None)
    await budget(lab, "strict", 3, unhealthyPodEvictionPolicy="AlwaysAllow")
    (found,) = of("budget", await checked(api, rules(CRASH)))
    assert "only pods that are not ready may go" in found.text
    assert "lets the sick go" not in found.text


async def test_a_budget_that_is_not_met_now_refuses_for_now(lab: Lab, api: Api) -> None:
    await serve(lab, min_available=None)
    await budget(lab, "two", 2)
    assert of("budget", await checked(api, rules(CRASH))) == []
    for pod in lab.objects("pods", SPACE)[:2]:
        await lab.behave(SPACE, pod["metadata"]["name"], "crash")
    await lab.wait_for(lambda lab: lab.objects("poddisruptionbudgets")[0]["status"].get("currentHealthy") == 1, 20)
    (found,) = of("budget", await checked(api, rules(CRASH)))
    assert "has 1 healthy pod and wants 2: for now no pod may go" in found.text


async def test_two_budgets_refuse_every_eviction(lab: Lab, api: Api) -> None:
    await serve(lab, min_available=None)
    await budget(lab, "one", 1)
    await budget(lab, "other", 1)
    (found,) = of("budget", await checked(api, rules(CRASH)))
    assert "are matched by one, other: Kubernetes refuses to evict a pod of several budgets" in found.text


# workloads


def paging(name: str = "pages") -> dict[str, Any]:
    return {"name": name, "when": {"alert": ["X"]}, "heal": [{"page": {}}]}


@pytest.mark.parametrize("floor", [1, 2, 3, 4])
async def test_a_floor_that_no_eviction_leaves_is_found(lab: Lab, api: Api, floor: int) -> None:
    """Of three pods a sick one leaves two at best."""
    await serve(lab)
    found = of("workload", await checked(api, rules(CRASH | {"limits": {"minReady": floor}}, paging())))
    has = f"deployment/{APP} has 3 pods, 2 without a sick one, and minReady is {floor}: none is ever taken; a smaller"
    assert [(each.text.partition(" minReady, or")[0], each.rules) for each in found] == [(has, ("mine/crash",))] * (floor > 2)


async def test_the_last_pod_is_taken_only_while_it_is_not_ready(lab: Lab, api: Api) -> None:
    """By a condition of the pod itself it is, whatever minReady says; an alert names one that is ready."""
    await serve(lab, replicas=1, min_available=None)
    alerted = waits_for("X") | {"heal": [{"evict": {}}]}
    (found,) = of("workload", await checked(api, rules(CRASH | {"limits": {"minReady": 2}}, alerted)))
    assert (found.rules, found.text) == (
        ("mine/slow",),
        f"deployment/{APP} has 1 pod, which is never taken while it is ready: it is the last; give it a second one",
    )


async def test_a_workload_of_no_replicas_or_outside_of_the_scope_is_not_named(lab: Lab, api: Api) -> None:
    await lab.apply(serving("off", SPACE, replicas=0) + serving("other", "elsewhere", replicas=2))
    assert of("workload", await checked(api, rules(CRASH | {"limits": {"minReady": 5}}))) == []


async def test_a_rule_that_only_deletes_is_refused_under_a_budget(lab: Lab, api: Api) -> None:
    await serve(lab, min_available=2)
    deletes = CRASH | {"heal": [{"restart": {}}]}
    ladder = CRASH | {"name": "ladder", "heal": [{"evict": {}}, {"restart": {}}]}
    (found,) = of("workload", await checked(api, rules(deletes, ladder)))
    covered = f"the pods of deployment/{APP}, which poddisruptionbudget/{APP} covers"
    assert (found.rules, found.text) == (
        ("mine/crash",),
        f"restart is refused for {covered}: use evict, which honours it",
    )


PATHS = {"deployment": f"/apis/apps/v1/namespaces/{SPACE}/deployments/{APP}", "namespace": f"/api/v1/namespaces/{SPACE}"}


@pytest.mark.parametrize("of_what", PATHS)
async def test_a_pause_is_named_until_it_ends(lab: Lab, api: Api, of_what: str) -> None:
    await serve(lab)
    notes = {"healer.dev/paused": "true", "healer.dev/paused-by": "ann", "healer.dev/paused-until": "2027-01-15T09:00:00Z"}
    await merge(api, PATHS[of_what], {"metadata": {"annotations": notes}})
    (found,) = of("workload", await checked(api, rules(CRASH)))
    where = f"deployment/{APP}" if of_what == "deployment" else "the namespace"
    told = f'healer.dev/paused is "true" on {where} (by ann until 2027-01-15T09:00:00Z)'
    assert found.text == f"deployment/{APP} is left alone: {told}"
    over = await check_cluster(api, rules(CRASH), Against("healer/healer", (), None, NOW + 86_400))
    assert of("workload", over) == []


BACK = waits_for("X") | {"heal": [{"rollback": {}}]}
ANEW = waits_for("X") | {"name": "anew", "heal": [{"rolloutRestart": {}}]}


async def test_rollouts_that_a_strategy_forbids_are_found_for_both_actions(lab: Lab, api: Api) -> None:
    await serve(lab)
    assert of("workload", await checked(api, rules(BACK, ANEW))) == []
    await merge(api, PATHS["deployment"], {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}})
    found = of("workload", await checked(api, rules(BACK, ANEW)))
    why = f"the strategy of deployment/{APP} is Recreate: all 3 ready replicas would go before new ones start"
    assert [(each.rules, each.text) for each in found] == [
        (("mine/slow",), f"rollback is refused: {why}"),
        (("mine/anew",), f"rolloutRestart is refused: {why}"),
    ]
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2, "maxSurge": 0}}
    await merge(api, PATHS["deployment"], {"spec": {"strategy": rolling}})
    careful = BACK | {"limits": {"minReady": 2}}
    (found_two,) = of("workload", await checked(api, rules(careful, ANEW)))
    left = f"a rollout of deployment/{APP} may leave 1 of 3 replicas ready (maxUnavailable 2)"
    assert found_two.text == f"rollback is refused: {left}; minReady asks for 2"


async def test_the_only_pod_that_is_not_ready_is_rolled_out_anew_whatever_the_strategy(lab: Lab, api: Api) -> None:
    """As the guard sees it: without a ready replica nothing can be lost. An alert may name one that is ready."""
    await serve(lab, replicas=1, min_available=None)
    await merge(api, PATHS["deployment"], {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}})
    sick = [CRASH | {"name": f"sick-{number}", "heal": [{act: {}}]} for number, act in enumerate(("rollback", "rolloutRestart"))]
    found = of("workload", await checked(api, rules(*sick, BACK, ANEW)))
    assert [each.rules for each in found] == [("mine/slow",), ("mine/anew",)]


async def test_what_git_owns_is_not_rolled_back_and_evict_is_possible(lab: Lab, api: Api) -> None:
    await serve(lab)
    await merge(api, PATHS["deployment"], {"metadata": {"labels": {"argocd.argoproj.io/instance": "models"}}})
    even = BACK | {"name": "even", "heal": [{"rollback": {"evenIfManaged": True}}]}
    (found,) = of("workload", await checked(api, rules(CRASH, BACK, ANEW, even)))
    assert (found.rules, "is managed by Argo CD (Application models), which would revert a rollback" in found.text) == (
        ("mine/slow",),
        True,
    )


def scales(most: int) -> dict[str, Any]:
    return waits_for("X") | {"heal": [{"scale": {"max": most}}]}


async def test_a_bound_that_is_reached_is_found(lab: Lab, api: Api) -> None:
    """The rule's own, or that of the autoscaler."""
    await serve(lab)
    assert of("workload", await checked(api, rules(scales(4)))) == []
    (found,) = of("workload", await checked(api, rules(scales(3))))
    assert found.text == f"scale is refused: deployment/{APP} has 3 replicas, and may have 3: no more are added"
    spec = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": APP}, "minReplicas": 2, "maxReplicas": 3}
    made = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a", "namespace": SPACE}}
    await lab.apply(made | {"spec": spec})
    (found,) = of("workload", await checked(api, rules(scales(9))))
    assert found.text == f"scale is refused: deployment/{APP} has 3 replicas, and may have 3: no more are added"
    lab.forbid("list", "horizontalpodautoscalers")
    (found,) = of("workload", await checked(api, rules(scales(9))))
    assert (found.unknown, f"whether scale is possible for deployment/{APP} is not known" in found.text) == (True, True)


async def test_many_such_workloads_are_counted_and_a_rule_costs_one_look(lab: Lab, api: Api) -> None:
    for number in range(25):
        await lab.apply(serving(f"model-{number:02}", SPACE, replicas=1, min_available=None))
    lab.requests.clear()
    many = [scales(2) | {"name": f"scale-{number}"} for number in range(3)]
    found = of("workload", await checked(api, rules(*many, waits_for("X") | {"heal": [{"evict": {}}]})))
    assert [each.text for each in found][-1] == "5 more like these are not shown"
    assert len(found) == 21
    asked = [seen.name for seen in lab.requests if (seen.verb, seen.permission) == ("get", "deployments")]
    assert len(asked) == len(set(asked)) == 25


async def test_a_namespace_that_healer_is_not_confined_to_is_a_doubt(lab: Lab, api: Api) -> None:
    await serve(lab)
    found = await checked(api, rules(CRASH), confined=("payments",))
    (covered,) = found.coverage
    assert covered.doubts == (f"healer does not watch the namespace {SPACE!r}: cluster.namespaces has payments",)


# objects


SHIFT = {
    "name": "bad",
    "when": {
        "canary": {
            "route": {"kind": "Ingress", "name": "model-ab-testing"},
            "stable": {"deployment": STABLE},
            "canary": {"deployment": CANARY},
            "measures": [
                {"name": "errors", "total": 'requests_total{pod=~"{{ pods }}"}', "bad": 'failures_total{pod=~"{{ pods }}"}'}
            ],
        }
    },
    "heal": [{"shiftTraffic": {"to": 0}}],
}


async def test_a_route_that_is_missing_is_said_once(lab: Lab, api: Api) -> None:
    await lab.apply(versions(SPACE))
    (found,) = of("object", await checked(api, rules(SHIFT)))
    assert ("model-ab-testing" in found.text, found.rules) == (True, ("mine/bad",))
    await lab.apply(ingresses(SPACE))
    assert of("object", await checked(api, rules(SHIFT))) == []


async def test_a_route_without_its_canary_is_found(lab: Lab, api: Api) -> None:
    """An Ingress that splits nothing, and one whose canary leads to a Service of neither side."""
    await lab.apply(versions(SPACE))
    main, split = ingresses(SPACE)
    split["metadata"]["annotations"].pop("nginx.ingress.kubernetes.io/canary")
    await lab.apply([main, split])
    (found,) = of("object", await checked(api, rules(SHIFT)))
    assert (found.rules, "canary" in found.text) == (("mine/bad",), True), found.text


async def test_a_config_map_without_the_model_is_found(lab: Lab, api: Api) -> None:
    pin = {"pinModelVersion": {"configMap": "models", "model": "ranker", "label": "stable"}}
    asking = rules(CRASH | {"when": {"alert": ["X"]}, "heal": [pin]})
    said = [each.text for each in of("object", await checked(api, asking))]
    assert said == ["there is no configmap/models in production, in which the version is to be pinned"]
    text = 'model_config_list { config { name: "other" base_path: "/models/other" model_platform: "tensorflow" } }'
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "models", "namespace": SPACE}}
    await lab.apply(made | {"data": {"models.config": text}})
    (found,) = of("object", await checked(api, asking))
    assert "ranker" in found.text
    await merge(
        api, "/api/v1/namespaces/production/configmaps/models", {"data": {"models.config": text.replace("other", "ranker")}}
    )
    assert of("object", await checked(api, asking)) == []


async def test_the_template_of_a_job_must_be_there_and_allow_it(lab: Lab, api: Api) -> None:
    asking = rules(CRASH | {"when": {"alert": ["X"]}, "heal": [{"job": {"template": "warm"}}]})
    (found,) = of("object", await checked(api, asking))
    assert found.text == "there is no cronjob/warm in production, whose template is to be run"
    template = {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}}}
    made = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "warm", "namespace": SPACE},
        "spec": {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": template},
    }
    await lab.apply(made)
    (found,) = of("object", await checked(api, asking))
    assert "lacks the label healer.dev/remediation" in found.text
    allowed = {"metadata": {"labels": {"healer.dev/remediation": "true"}}}
    await merge(api, "/apis/batch/v1/namespaces/production/cronjobs/warm", allowed)
    assert of("object", await checked(api, asking)) == []


async def test_a_rule_for_every_namespace_may_name_what_only_some_have(api: Api) -> None:
    asking = rules(CRASH | {"when": {"alert": ["X"]}, "heal": [{"job": {"template": "warm"}}]}, namespaces="*")
    assert of("object", await checked(api, asking)) == []


# permissions


@pytest.mark.parametrize(("verb", "resource"), [("create", "pods/eviction"), ("get", "pods"), ("list", "pods")])
async def test_a_permission_that_is_missing_is_named_with_its_rules(lab: Lab, api: Api, verb: str, resource: str) -> None:
    await serve(lab, min_available=2)
    paging = CRASH | {"name": "pages", "heal": [{"page": {}}]}
    asking = rules(CRASH, paging)
    lab.forbid(verb, resource)
    found = of("permission", await checked(api, asking))
    assert [each.text for each in found if f"{verb} {resource}" in each.text] == [f"healer/healer may not {verb} {resource}"]
    if resource == "pods/eviction":
        assert [each.rules for each in found] == [("mine/crash",)]


async def test_of_a_confined_healer_each_namespace_is_asked_about(lab: Lab, api: Api) -> None:
    lab.forbid("create", "pods/eviction")
    found = of("permission", await checked(api, rules(CRASH), confined=("one", "two")))
    assert [each.text for each in found] == [f"healer/healer may not create pods/eviction in {where}" for where in ("one", "two")]


async def test_before_healer_is_installed_it_is_said_once(lab: Lab, api: Api) -> None:
    result = await check_cluster(api, rules(CRASH), Against("elsewhere/healer", (), None, NOW))
    (found,) = of("permission", result)
    assert found.text.startswith("elsewhere/healer may do nothing of what the rules need: healer is not installed here yet")


async def test_who_may_not_ask_is_told_so_once(lab: Lab, api: Api) -> None:
    lab.forbid("create", "subjectaccessreviews")
    (found,) = of("permission", await checked(api, rules(CRASH)))
    assert (found.unknown, "what healer/healer may do is not known" in found.text) == (True, True)


# alerts


async def prometheus_rule(lab: Lab, name: str, **labels: str) -> None:
    await lab.apply(yaml.safe_load((CRDS / "prometheusrules.yaml").read_text("utf-8")))
    spec = {"groups": [{"name": "g", "rules": [{"alert": name, "expr": "up == 0", "labels": labels}]}]}
    meta = {"name": "ours", "namespace": "monitoring"}
    await lab.apply({"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": meta, "spec": spec})


async def test_an_alert_that_no_rule_defines_is_found(lab: Lab, api: Api) -> None:
    await prometheus_rule(lab, "ModelLatencyHigh", severity="critical")
    (found,) = of("alert", await checked(api, rules(waits_for("ModelLatencyHihg"))))
    assert found.text == "no PrometheusRule defines the alert 'ModelLatencyHihg'; did you mean 'ModelLatencyHigh'?"
    assert of("alert", await checked(api, rules(waits_for("ModelLatencyHigh", severity="critical")))) == []
    assert of("alert", await checked(api, rules(waits_for("ModelLatencyHigh", model="ranker")))) == [], "a label of the series"
    (found,) = of("alert", await checked(api, rules(waits_for("ModelLatencyHigh", severity="warning"))))
    assert found.text == "the alert 'ModelLatencyHigh' has severity=critical, and the rule waits for severity=warning"


async def test_without_the_operator_and_without_a_prometheus_it_is_not_known(lab: Lab, api: Api) -> None:
    (found,) = of("alert", await checked(api, rules(waits_for("X"))))
    assert (found.unknown, found.rules) == (True, ("mine/slow",))
    assert found.text.startswith("whether anybody defines 'X' is not known: the cluster has no kind PrometheusRule; ")


# Prometheus itself


@pytest.mark.slow
async def test_what_prometheus_has_loaded_and_scraped_counts(lab: Lab, api: Api, tmp_path: Path) -> None:
    """A PrometheusRule that its selector leaves out fires nothing; a misspelt metric is found by the index."""
    await prometheus_rule(lab, "LeftOut")
    groups = [{"name": "g", "rules": [{"alert": "Loaded", "expr": "up == 0", "labels": {"severity": "page"}}]}]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    scraped = [{"job_name": "self", "scrape_interval": "1s", "static_configs": [{"targets": ["127.0.0.1:1"]}]}]
    config = {"rule_files": [str(tmp_path / "rules.yml")], "scrape_configs": scraped}
    asking = rules(waits_for("Loaded", "LeftOut", "Lost"), asks("sum by (namespace, pod) (upp) + up"))
    async with prometheus(tmp_path / "prometheus", config) as monitor:
        await monitor.until("up")
        at = (await monitor.until("time()"))[0]
        client = Prometheus(f"http://{monitor.address}")
        try:
            result = await check_cluster(api, asking, Against("healer/healer", (), client, float(at)))
        finally:
            await client.aclose()
    assert [each.text for each in of("alert", result)] == [
        "Prometheus has loaded no rule for the alert 'LeftOut', though prometheusrule/ours in monitoring has it: does the "
        "ruleSelector of Prometheus select it?",
        "Prometheus has loaded no rule for the alert 'Lost'",
    ]
    assert [each.text for each in of("metric", result)] == ["Prometheus has had no series of 'upp' for a day; did you mean 'up'?"]


async def test_a_prometheus_that_does_not_answer_is_said(api: Api) -> None:
    client = Prometheus("http://127.0.0.1:1")
    try:
        found = await checked(api, rules(waits_for("X"), asks("up")), asked=client)
    finally:
        await client.aclose()
    assert [each.unknown for each in found.findings] == [True, True, True]
    assert [each.topic for each in found.findings] == ["alert", "alert", "metric"]


async def test_without_a_prometheus_its_metrics_are_not_known(api: Api) -> None:
    (found,) = of("metric", await checked(api, rules(asks("up"))))
    assert (found.unknown, found.rules) == (True, ("mine/asks",))
