"""deploy/serving fits the rest as it is: healer's rule packs, its alerts, what TensorFlow Serving exposes, and itself."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from healer.daemon.rulefiles import load_rules, vocabulary
from healer.model_servers.tensorflow_serving.server import TENSORFLOW_SERVING
from healer.rules.triggers import MODEL
from healer.workloads.registry import WORKLOADS
from tests.deploy.rendered import ROOT, SERVING, overlay
from tests.docs.metrics import declared
from tests.support.kustomize import Manifest
from tests.support.manifest_links import backends, selects
from tests.support.processes import program
from tests.support.promql import selected
from tests.support.schemas import all_faults

Yaml = dict[str, Any]
PAGE = Path(__file__).parent / "expositions" / "tensorflow-serving.prom"
TARGET = {"namespace", "pod", "version", "job", "instance"}
"""Labels that the scrape sets."""
ROUTES = {"nginx-canary": "Ingress", "httproute": "HTTPRoute", "istio": "VirtualService"}


def _one(name: str, kind: str, called: str | None = None) -> Manifest:
    (found,) = [each for each in overlay(name) if each["kind"] == kind and called in (None, each["metadata"]["name"])]
    return found


def _rules(path: str) -> Yaml:
    found: Yaml = yaml.safe_load((ROOT / "rules" / path).read_text("utf-8"))["spec"]
    return found


def _pod(name: str, deployment: str) -> Manifest:
    pod: Manifest = _one(name, "Deployment", deployment)["spec"]["template"]
    return pod


# -- the rule packs ----------------------------------------------------------------------------------------------------


def test_the_kubelet_leaves_healer_the_time_to_call_a_start_stuck() -> None:
    """A restart by the startup probe begins another process, and the time of the one before counts no more. healer counts from
    its first look, and may see the end of `loading` a look late."""
    (container,) = _pod("httproute", "tensorflow-serving-v1")["spec"]["containers"]
    startup = container["startupProbe"]
    rules = load_rules([ROOT / "rules" / "models" / "tensorflow-serving.yaml"], vocabulary()).rules
    (model,) = [found for each in rules if (found := each.rule.when.get(MODEL)) and "ModelStuckStarting" in found.conditions]
    assert startup["periodSeconds"] * startup["failureThreshold"] > model.loading + 2 * model.every


@pytest.mark.parametrize(
    ("rules", "name", "deployment"),
    [
        ("tensorflow-serving.yaml", "httproute", "tensorflow-serving-v1"),
        ("models/tensorflow-serving.yaml", "httproute", "tensorflow-serving-v2"),
        ("vllm.yaml", "vllm", "vllm-v1"),
        ("models/vllm.yaml", "vllm", "vllm-v1"),
    ],
)
def test_the_scope_of_a_pack_covers_the_pods(rules: str, name: str, deployment: str) -> None:
    scope = _rules(rules)["scope"]
    manifest = _one(name, "Deployment", deployment)
    assert manifest["metadata"]["namespace"] in scope["namespaces"]
    for labels in (manifest["metadata"]["labels"], manifest["spec"]["template"]["metadata"]["labels"]):
        assert selects(scope["selector"], labels)


@pytest.mark.parametrize(("name", "kind"), ROUTES.items())
def test_the_canary_rule_names_what_there_is(name: str, kind: str) -> None:
    """The route, both Deployments, and Services of their names behind it; only the kind of route is to be filled in."""
    (rule,) = _rules("canary/tensorflow-serving.yaml")["rules"]
    canary = rule["when"]["canary"]
    sides = [canary[side]["deployment"] for side in ("stable", "canary")]
    route = _one(name, kind, canary["route"]["name"])
    named = {backend for backend, _ in backends(route)}
    assert named == ({sides[1]} if kind == "Ingress" else {*sides})
    for side in sides:
        assert selects({"matchLabels": _one(name, "Service", side)["spec"]["selector"]}, _pod(name, side)["metadata"]["labels"])


@pytest.mark.parametrize(("name", "kind"), ROUTES.items())
def test_a_route_matches_every_path_of_the_server_and_not_its_metrics(name: str, kind: str) -> None:
    """A prefix ends at a slash, and the path goes on with NAME:predict: one with the model's name would match none."""
    spec = _one(name, kind, "model-ab-testing")["spec"]
    if kind == "Ingress":
        found = [path["path"] for rule in spec["rules"] for path in rule["http"]["paths"]]
    elif kind == "HTTPRoute":
        found = [match["path"]["value"] for rule in spec["rules"] for match in rule["matches"]]
    else:
        found = [match["uri"]["prefix"] for rule in spec["http"] for match in rule["match"]]
    assert found == ["/v1/models", "/tensorflow.serving.PredictionService"][: 1 if kind == "Ingress" else 2]


@pytest.mark.parametrize(("name", "kind"), ROUTES.items())
def test_an_apply_gives_the_canary_no_traffic(name: str, kind: str) -> None:
    """Else each one would take back what healer has shifted away."""
    route = _one(name, kind, "model-ab-testing")
    if kind == "Ingress":
        assert route["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"] == "0"
        return
    rules = route["spec"].get("rules") or route["spec"]["http"]
    splits = [rule.get("backendRefs") or rule["route"] for rule in rules]
    assert [[each["weight"] for each in split] for split in splits] == [[100, 0]] * 2
    assert [name for name, _ in backends(route)] == ["tensorflow-serving-v1", "tensorflow-serving-v2"] * 2


@pytest.mark.parametrize("name", ["httproute", "object-store"])
def test_healer_can_pin_in_the_file_of_models(name: str) -> None:
    """The object has its name, the pods see its changes, and the model and its label are those of the shipped rules."""
    steps = [rule["heal"] for rule in _rules("models/tensorflow-serving.yaml")["rules"]]
    pins = [step["pinModelVersion"] for heal in steps for step in heal if "pinModelVersion" in step]
    file = TENSORFLOW_SERVING.file
    assert pins
    assert file is not None
    for pin in pins:
        text = _one(name, "ConfigMap", pin["configMap"])["data"][file.key]
        configured = file.find(text, pin["model"])
        assert configured.labels.keys() >= {"stable"}
        version = pin.get("version") or configured.labels["stable"]
        assert not file.pin(configured, version).differs(configured), "the shipped file is what the shipped rules would pin"
        assert file.remarks(text) == []
        assert file.caveats(_pod(name, "tensorflow-serving-v1"), pin["configMap"], labels=True) == []


def test_a_canary_has_a_file_of_its_own() -> None:
    """A pin of stable's version changes nothing for the canary."""
    maps = [
        {volume["configMap"]["name"] for volume in _pod("httproute", name)["spec"]["volumes"] if "configMap" in volume}
        for name in ("tensorflow-serving-v1", "tensorflow-serving-v2")
    ]
    assert maps[0].isdisjoint(maps[1])


@pytest.mark.parametrize("name", ["httproute", "object-store"])
def test_whichever_side_the_route_chooses_has_the_label_that_clients_ask_for(name: str) -> None:
    """And versions of its own."""
    file = TENSORFLOW_SERVING.file
    assert file is not None
    stable, canary = (
        file.find(_one(name, "ConfigMap", each)["data"][file.key], "ranker") for each in ("models", "models-canary")
    )
    assert stable.labels.keys() == canary.labels.keys() == {"stable"}
    assert {*stable.labels.values()}.isdisjoint(canary.labels.values())


# -- what the servers expose -------------------------------------------------------------------------------------------


def _exposed() -> dict[str, set[str]]:
    """The names of all series of the page, with their labels."""
    found: dict[str, set[str]] = {}
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, labels = re.fullmatch(r"([:\w]+)\{(.*)\} \S+", line).groups()  # type: ignore[union-attr]
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def _expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL of the stack and of what feeds healer for it, with where it is."""
    dashboard = json.loads((SERVING / "components/monitoring/tensorflow-serving.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        yield from ((f"panel {panel['title']}", target["expr"].replace("$namespace", "n")) for target in panel["targets"])
    yield from ((f"alert {rule.get('alert') or rule['record']}", rule["expr"]) for rule in _evaluated("tensorflow-serving"))
    for trigger in _one("keda", "ScaledObject")["spec"]["triggers"]:
        if trigger["type"] == "prometheus":
            yield "ScaledObject", trigger["metadata"]["query"]
    for rule in _adapter():
        series = re.fullmatch(r'\{__name__="([^"]+)"(.*)\}', rule["seriesQuery"])
        assert series
        yield "adapter", series[1] + "{" + series[2].strip(", ") + "}"
        yield "adapter", rule["metricsQuery"].replace("<<.Series>>", series[1]).replace("<<.LabelMatchers>>", 'version="v1"')
    for measure in _rules("canary/tensorflow-serving.yaml")["rules"][0]["when"]["canary"]["measures"]:
        for key in {"total", "bad", "histogram"} & measure.keys():
            yield "canary", measure[key].replace("{{", "").replace("}}", "")


def _evaluated(pack: str) -> list[Yaml]:
    """What Prometheus evaluates for a pack."""
    groups = _one("monitoring", "PrometheusRule", f"healer-{pack}")["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _adapter() -> list[Yaml]:
    values = yaml.safe_load((SERVING / "components/external-metric/adapter.yaml").read_text("utf-8"))
    found: list[Yaml] = values["rules"]["external"]
    return found


def test_every_expression_asks_for_series_that_exist() -> None:
    """Of TensorFlow Serving by its page, with their labels; of healer by its code; of Kubernetes by kube-state-metrics' names."""
    exposed = _exposed()
    own = {each.name + part for each in declared() for part in ("", "_bucket", "_sum", "_count")}
    others = {"up", "kube_pod_status_ready", "kube_deployment_spec_replicas", "kube_deployment_status_replicas_ready"}
    recorded = {rule["record"] for pack in ("owners", "tensorflow-serving") for rule in _evaluated(pack) if "record" in rule}
    seen = 0
    for where, text in _expressions():
        for metric, labels in selected(text):
            if metric in exposed:
                seen += 1
                assert labels <= exposed[metric] | TARGET, f"{where}: {metric} has no label {labels - exposed[metric] - TARGET}"
            else:
                assert metric in own | others | recorded, f"{where}: nothing exposes {metric}"
    assert seen > 20


def test_the_page_is_one_that_prometheus_reads() -> None:
    """And has both counters by which the packs judge."""
    families = {family.name for family in text_string_to_metric_families(PAGE.read_text("utf-8"))}
    assert {":tensorflow:serving:request_count", ":tensorflow:serving:request_latency"} <= families


def test_metrics_are_served_where_they_are_scraped_and_probed() -> None:
    """At the path that the server's own file enables; the alerts know the job by the Service's name."""
    data = next(each["data"] for each in overlay("monitoring") if "monitoring.config" in each.get("data", {}))
    path = re.search(r'path: "([^"]+)"', data["monitoring.config"])
    assert path
    monitor = _one("monitoring", "ServiceMonitor")["spec"]
    assert [each["path"] for each in monitor["endpoints"]] == [path[1]]
    (container,) = _pod("monitoring", "tensorflow-serving-v1")["spec"]["containers"]
    assert {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe")} == {path[1]}
    services = [each for each in overlay("monitoring") if each["kind"] == "Service"]
    (service,) = [each for each in services if selects(monitor["selector"], each["metadata"]["labels"])]
    assert {each["port"] for each in monitor["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}
    jobs = {job for rule in _evaluated("tensorflow-serving") for job in re.findall(r'job=~"([^"]+)"', rule["expr"])}
    assert jobs
    assert all(re.fullmatch(job, service["metadata"]["name"]) for job in jobs)


def test_the_pod_monitor_of_vllm_reaches_its_port_under_the_job_of_its_alerts() -> None:
    monitor, pod = _one("vllm", "PodMonitor")["spec"], _pod("vllm", "vllm-v1")
    assert selects(monitor["selector"], pod["metadata"]["labels"])
    ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert {each["port"] for each in monitor["podMetricsEndpoints"]} <= ports
    assert re.fullmatch(".*vllm.*", pod["metadata"]["labels"][monitor["jobLabel"]])


# -- scaling -----------------------------------------------------------------------------------------------------------


def test_the_external_metric_is_one_that_the_adapter_serves() -> None:
    """By its name, with the labels by which the autoscaler asks, and for each pod."""
    metrics = _one("monitoring", "HorizontalPodAutoscaler")["spec"]["metrics"]
    (external,) = [each["external"] for each in metrics if each["type"] == "External"]
    (rule,) = [rule for rule in _adapter() if rule["name"]["as"] == external["metric"]["name"]]
    grouped = re.search(r"sum by \(([^)]*)\)", rule["metricsQuery"])
    assert grouped
    assert external["metric"]["selector"]["matchLabels"].keys() <= {*grouped[1].split(", ")}
    assert external["target"]["type"] == "AverageValue"
    pod = _pod("monitoring", "tensorflow-serving-v1")
    assert external["metric"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert {*external["metric"]["selector"]["matchLabels"]} <= {*_one("monitoring", "ServiceMonitor")["spec"]["podTargetLabels"]}


def test_keda_scales_instead_of_the_autoscaler_and_by_no_missing_number() -> None:
    """By the same use of CPU and memory, and by the requests."""
    assert not [each for each in overlay("keda") if each["kind"] == "HorizontalPodAutoscaler"]
    triggers = {each["type"]: each for each in _one("keda", "ScaledObject")["spec"]["triggers"]}
    assert triggers.pop("prometheus")["metadata"]["ignoreNullValues"] == "false"
    (scaler,) = [each for each in overlay("httproute") if each["kind"] == "HorizontalPodAutoscaler"]
    resources = {each["resource"]["name"]: each["resource"]["target"] for each in scaler["spec"]["metrics"]}
    assert {name: (each["metricType"], int(each["metadata"]["value"])) for name, each in triggers.items()} == {
        name: (target["type"], target["averageUtilization"]) for name, target in resources.items()
    }
    assert triggers.keys() == {"cpu", "memory"}


def test_names_can_be_asked_for_on_openshift_too() -> None:
    """There the pods of DNS have another namespace and another port, and a policy is about the pod's port."""
    rules = [rule for each in overlay("httproute") if each["kind"] == "NetworkPolicy" for rule in each["spec"].get("egress", ())]
    names = {
        rule["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]: {
            (port["protocol"], port["port"]) for port in rule["ports"]
        }
        for rule in rules
        if rule.get("to")
    }
    for namespace, port in (("kube-system", 53), ("openshift-dns", 5353)):
        assert names[namespace] == {("UDP", port), ("TCP", port)}


# -- the way of an alert -----------------------------------------------------------------------------------------------


def _snake(value: Any) -> Any:
    """The fields of an AlertmanagerConfig as Alertmanager writes them."""
    if isinstance(value, list):
        return [_snake(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    if "matchType" in value:
        return f'{value["name"]}{value["matchType"]}"{value["value"]}"'
    return {re.sub("([A-Z])", lambda found: "_" + found[1].lower(), name): _snake(each) for name, each in value.items()}


def test_both_ways_of_an_alert_have_the_same_routes() -> None:
    """With the operator and without it: the same groups and times; what is for people, then a pod, and each kind of workload."""
    with_operator = _snake(_one("monitoring", "AlertmanagerConfig")["spec"]["route"])
    without = yaml.safe_load((ROOT / "deploy/alerts/alertmanager.yaml").read_text("utf-8"))["route"]

    def matchers(route: Any) -> list[list[str]]:
        return [
            [each.replace("=~", "=").replace('"', "") for each in one["matchers"]] for one in route["routes"] if "matchers" in one
        ]

    assert matchers(with_operator) == matchers(without)
    assert {kind.word for kind in WORKLOADS.values()} == {first.partition("!")[0] for first, *more in matchers(without) if more}
    for key in ("group_by", "group_wait", "group_interval", "repeat_interval"):
        assert with_operator[key] == without[key], key


def test_the_operator_takes_it_with_tls_too() -> None:
    """The lines that are comments, and https."""
    path = ROOT / "deploy/serving/components/monitoring/alertmanagerconfig.yaml"
    text = path.read_text("utf-8").replace("# tls: ", "").replace("http://healer.", "https://healer.")
    manifest = yaml.safe_load(text)
    assert list(all_faults([manifest])) == []
    (webhook,) = manifest["spec"]["receivers"][1]["webhookConfigs"]
    assert webhook["url"].startswith("https://")
    assert webhook["httpConfig"].keys() == {"authorization", "tlsConfig"}


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"pod": "a"}, "healer"),
        *(({kind.word: "tf"}, "healer") for kind in WORKLOADS.values()),
        ({"pod": "a", "to": "people"}, "nobody"),
        ({"alertname": "Watchdog"}, "nobody"),
    ],
)
def test_healer_gets_what_names_a_target(labels: dict[str, str], receiver: str, tmp_path: Path) -> None:
    """As Alertmanager's own tool follows the route."""
    spec = _one("monitoring", "AlertmanagerConfig")["spec"]
    path = tmp_path / "alertmanager.yaml"
    names = [{"name": each["name"]} for each in spec["receivers"]]
    path.write_text(yaml.safe_dump({"route": _snake(spec["route"]), "receivers": names}), "utf-8")
    pairs = [f"{name}={value}" for name, value in labels.items()]
    tool = program("prometheus-alertmanager", "amtool")
    command = [tool, "config", "routes", "test", f"--config.file={path}", *pairs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.returncode) == (receiver, 0), done.stderr
