"""The Helm chart: the same objects as the kustomizations for the same options, values that are checked, notes that are true."""

import json
import subprocess
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from healer.actions.registry import ACTIONS
from healer.daemon.rulefiles import is_test, load_rules, vocabulary
from healer.model.action import Permission
from healer.operate.rbac import needed, rule_roles
from healer.sinks.slack.settings import SlackSettings
from healer.sinks.tracing import TracingSettings
from tests.deploy.test_components import with_components
from tests.deploy.test_healer import FOLDER, WITHOUT, one, rules, settings
from tests.docs.chart import rows
from tests.support.helm import CHART, notes, rendered, values
from tests.support.kustomize import Manifest, built
from tests.support.manifest_checks import faults
from tests.support.rbac import granted
from tests.support.schemas import all_faults

SLACK: dict[str, Any] = {"slack": {"channel": "#ml-oncall"}}
PROMETHEUS = {
    "prometheus": {"url": "http://prometheus.monitoring:9090"},
    "alertmanager": {"url": "http://alertmanager.monitoring:9093"},
}
OWN = {"rules": {"own.yaml": (FOLDER / "components/own-rules/own.yaml").read_text("utf-8")}}
CANARY: dict[str, Any] = {
    "rules": {"canary.yaml": (FOLDER / "components/canary/canary.yaml").read_text("utf-8")},
    "roles": (FOLDER / "components/canary-ingress/role.yaml").read_text("utf-8"),
}
MODELS: dict[str, Any] = {
    "rules": {"models.yaml": (FOLDER / "components/models/models.yaml").read_text("utf-8")},
    "roles": (FOLDER / "components/models/role.yaml").read_text("utf-8"),
}
QUERIES = {"rules": {"queries.yaml": (FOLDER / "components/queries/queries.yaml").read_text("utf-8")}}
EACH: dict[str, Any] = {
    **SLACK,
    **PROMETHEUS,
    "rules": OWN["rules"] | CANARY["rules"] | MODELS["rules"] | QUERIES["rules"],
    "roles": f"{CANARY['roles']}\n---\n{MODELS['roles']}",
}
TLS: dict[str, Any] = {"tls": {"enabled": True}}
GUARDED: dict[str, Any] = {
    "tls": {"enabled": True, "clientNames": ["alertmanager.monitoring.svc"]},
    "tokenReview": True,
    "control": True,
}
SAME: dict[str, dict[str, Any]] = {
    ".": values(),
    "overlays/observe": values("observe"),
    "overlays/production": values("production"),
    "overlays/namespaced": values("namespaced"),
    "overlays/prometheus-operator": values("production", "prometheus-operator"),
    "examples/slack": values("observe", **SLACK),
    "examples/prometheus": values("observe", **PROMETHEUS),
    "examples/own-rules": values("observe", **OWN),
    "examples/canary": values("observe", **PROMETHEUS, **CANARY),
    "examples/models": values("observe", **MODELS),
    "examples/queries": values("observe", **PROMETHEUS, **QUERIES),
    "examples/everything": values("production", **EACH),
    "examples/tls": values("production", "prometheus-operator", **TLS),
    "examples/guarded": values("production", "prometheus-operator", **GUARDED),
}
"""For each kustomization the values with which the chart is the same."""
EVERYTHING = values(
    "observe",
    "production",
    "prometheus-operator",
    **PROMETHEUS,
    **OWN,
    **GUARDED,
    slack={"channel": "#ml-oncall", "mention": "here", "buttons": "socket", "allow": ["U0123456789"]},
    pagerduty={"services": ["ml-oncall"], "default": "ml-oncall"},
    webhook={"targets": {"teams": {"url_file": "/etc/healer/secrets/teams-url", "template": "teams"}}, "default": "teams"},
    apprise={"tags": ["ml-oncall"], "default": "ml-oncall"},
    roles=CANARY["roles"],
    tracing={"endpoint": "http://otel-collector.monitoring:4318", "headers": True},
    rulesets={"enabled": True, "grants": {"payments": {"mode": "enforce", "actions": ["evict"]}}},
    record={"enabled": True, "totalSize": 1 << 30},
    runbooks={"baseUrl": "https://git.example.com/ml/healer/docs/"},
    image={"repository": "registry.example.com/ml/healer", "tag": "0.1.0"},
    imagePullSecrets=[{"name": "registry"}],
    settings={"HEALER_LOG__LEVEL": "debug", "HEALER_LIMITS__CORDON": True},
    podLabels={"team": "ml"},
    podAnnotations={"note": "x"},
    nodeSelector={"pool": "system"},
    tolerations=[{"key": "system", "operator": "Exists"}],
    priorityClassName="important",
)


def by_name(objects: list[Manifest]) -> dict[tuple[str, str, str], Manifest]:
    """The objects by kind, namespace and name; the order of variables means nothing."""
    for each in objects:
        if each["kind"] == "Deployment":
            for container in each["spec"]["template"]["spec"]["containers"]:
                container["env"].sort(key=lambda entry: entry["name"])
    return {(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each for each in objects}


@pytest.mark.parametrize("name", SAME)
def test_the_objects_are_those_of_the_kustomization(name: str) -> None:
    """kustomize lists what may be reached for different reasons apart, the chart in one list."""
    helm, kustomize = by_name(rendered(SAME[name])), by_name(built(FOLDER / name))
    assert helm.keys() == kustomize.keys()
    for key, each in kustomize.items():
        if key[0] == "NetworkPolicy":
            assert _reached(helm.pop(key)) == _reached(each)
        else:
            assert helm.pop(key) == each, key


def _reached(policy: Manifest) -> set[tuple[str, str, int]]:
    spec = policy["spec"]
    return {
        (json.dumps(rule.get(whom)), port["protocol"], port["port"])
        for side, whom in (("ingress", "from"), ("egress", "to"))
        for rule in spec[side]
        for port in rule.get("ports", ())
    }


def test_a_monitoring_namespace_and_peers_of_ones_own_take_the_place_of_the_usual_ones() -> None:
    """Prometheus is let in from there and reached there; the peers are let in beside it and healer's own pods."""
    proxy = {"ipBlock": {"cidr": "192.0.2.10/32"}}
    given = values("production")
    given["networkPolicy"] |= {"monitoringNamespace": "openshift-monitoring", "from": [proxy], "monitoringPorts": [9091]}
    objects = rendered(given)
    assert list(all_faults(objects)) == []
    spec = one(objects, "NetworkPolicy")["spec"]
    there = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-monitoring"}}}
    own = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "healer"}}}
    assert spec["ingress"] == [{"from": [there, own, proxy], "ports": [{"protocol": "TCP", "port": "http"}]}]
    assert {"to": [there], "ports": [{"protocol": "TCP", "port": 9091}]} in spec["egress"]
    assert "9090" not in json.dumps(spec)


def test_the_overlays_have_values_of_their_own() -> None:
    """Each overlay has a file in values/, and the chart has the definition that kustomize users apply."""
    assert {path.stem for path in (CHART / "values").glob("*.yaml")} == {path.name for path in (FOLDER / "overlays").iterdir()}
    assert (CHART / "crds/crd.yaml").read_text("utf-8") == (FOLDER / "crd.yaml").read_text("utf-8")


SINKS: dict[str, Any] = {
    "pagerduty": {"services": ["ml-oncall"], "default": "ml-oncall"},
    "webhook": {"targets": {"teams": {"url_file": "/etc/healer/secrets/teams-url", "template": "teams"}}},
    "apprise": {"tags": ["ml-oncall"]},
}


@pytest.mark.parametrize("name", SINKS)
def test_a_sink_is_set_up_as_its_component_does(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chart = settings(rendered(values("observe", **{name: SINKS[name]})), monkeypatch).sinks
    assert chart[name].enabled
    assert chart == settings(with_components("observe", [name], tmp_path), monkeypatch).sinks


def test_the_notes_name_the_keys_of_the_sinks() -> None:
    assert "--from-file=read-token --from-file=pagerduty-ml-oncall --from-file=apprise\n" in notes(values(**SINKS))


BUTTONS: dict[str, Any] = {"channel": "#ml-oncall", "mention": "S0123456789", "allow": ["U0123456789", "S0123456789"]}


@pytest.mark.parametrize(("way", "key"), [("socket", "slack-app-token"), ("http", "slack-signing-secret")])
def test_buttons_of_slack_come_by_a_value_with_their_secret_and_their_roles(
    way: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = values(slack={**BUTTONS, "buttons": way})
    objects = rendered(given)
    slack = settings(objects, monkeypatch).sinks["slack"]
    assert isinstance(slack, SlackSettings)
    assert (slack.buttons, slack.incomplete, slack.mentions) == (True, "", "<!subteam^S0123456789>")
    assert slack.allowed == {"U0123456789", "S0123456789"}
    files = {path for path in (slack.app_token_file, slack.signing_secret_file) if path is not None}
    assert files == {Path("/etc/healer/secrets") / key}
    assert f"--from-file=slack-token --from-file={key}\n" in notes(given)
    of_page = granted(rendered(values(control=True))) - granted(rendered(values()))
    assert of_page
    assert granted(objects) - granted(rendered(values())) == of_page, (
        "to pause is to annotate the workload, wherever it is pressed"
    )


def test_traces_come_by_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    given = values(tracing={"endpoint": "http://otel-collector.monitoring:4318", "headers": True})
    tracing = settings(rendered(given), monkeypatch).sinks["tracing"]
    assert isinstance(tracing, TracingSettings)
    assert (tracing.endpoint, tracing.headers_file) == (
        "http://otel-collector.monitoring:4318",
        Path("/etc/healer/secrets/tracing-headers"),
    )
    assert "--from-file=tracing-headers\n" in notes(given)
    assert "HEALER_TRACING" not in json.dumps(rendered(values()))


def test_helm_has_nothing_to_object() -> None:
    for given in (values(), EVERYTHING):
        report = helm_python.lint(str(CHART), given, strict=True)
        assert report["errors"] == []
        assert [each for each in report["messages"] if each["error"] != "icon is recommended"] == []


def test_with_every_value_set_the_objects_are_valid_and_good(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = rendered(EVERYTHING)
    assert list(all_faults(objects)) == []
    assert faults(objects, without=WITHOUT) == []
    found = settings(objects, monkeypatch)
    assert (found.mode, found.log.level, found.limits.cordon) == ("observe", "debug", True)
    assert found.prometheus.url == PROMETHEUS["prometheus"]["url"]
    assert "own/image-pull" in rules(objects).by_name
    pod = one(objects, "Deployment")["spec"]["template"]
    assert pod["metadata"]["labels"] == {"app.kubernetes.io/name": "healer", "team": "ml"}
    assert pod["metadata"]["annotations"] == {"note": "x"}
    spec = pod["spec"]
    assert spec["containers"][0]["image"] == "registry.example.com/ml/healer:0.1.0"
    assert (spec["nodeSelector"], spec["priorityClassName"]) == ({"pool": "system"}, "important")
    assert spec["tolerations"] == [{"key": "system", "operator": "Exists"}]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]


@pytest.mark.parametrize("given", [values(), values("namespaced"), EVERYTHING], ids=["plain", "namespaced", "everything"])
def test_in_another_namespace_nothing_is_left_of_the_usual_one(given: dict[str, Any]) -> None:
    """Bindings, the policy's account and the objects themselves."""
    text = json.dumps(rendered(given, namespace="ml-platform"))
    assert "serviceaccount:healer:healer" not in text
    assert '"namespace": "healer"' not in text
    assert "healer.healer.svc" not in text


def test_an_issuer_of_ones_own_signs_alone_and_a_secret_of_ones_own_needs_none() -> None:
    """Of cert-manager's objects only the certificate is left, then none; the Secret is mounted and trusted by its name."""
    of = {"kind": "ClusterIssuer", "name": "company"}
    signed = rendered({"tls": {"enabled": True, "secret": "mine", "issuer": of}})
    (certificate,) = [each for each in signed if each["apiVersion"].startswith("cert-manager.io")]
    assert (certificate["spec"]["issuerRef"], certificate["spec"]["secretName"]) == (of | {"group": "cert-manager.io"}, "mine")
    given = values("prometheus-operator", tls={"enabled": True, "secret": "mine", "certificate": False})
    objects = rendered(given)
    assert not [each for each in objects if each["apiVersion"].startswith("cert-manager.io")]
    assert faults(objects, without=WITHOUT, given={"secret/mine"}) == []
    (endpoint,) = one(objects, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["tlsConfig"]["ca"]["secret"]["name"] == "mine"


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"mode": "act"}, "mode"),
        ({"replica": 3}, "replica"),
        ({"replicas": 0}, "replicas"),
        ({"settings": {"LOG_LEVEL": "debug"}}, "LOG_LEVEL"),
        ({"prometheus": {"url": "prometheus:9090"}}, "prometheus"),
        ({"rules": {"own.txt": ""}}, "own.txt"),
        ({"namespaces": ["Production"]}, "namespaces"),
        ({"networkPolicy": {"egressPorts": ["https"]}}, "egressPorts"),
        ({"networkPolicy": {"monitoringNamespace": ""}}, "monitoringNamespace"),
        ({"networkPolicy": {"from": [{}]}}, "from"),
        ({"spread": {"node": "DoNotSchedule"}}, "node"),
        ({"tls": {"issuer": {"kind": "Certificate"}}}, "kind"),
        ({"settings": {"HEALER_HTTP__TLS_CERT_FILE": "/tls.crt"}}, "HEALER_HTTP__TLS_CERT_FILE.*the value tls.enabled"),
        ({"settings": {"HEALER_MODE": "enforce"}}, "HEALER_MODE.*the value mode"),
        ({"runbooks": {"baseUrl": "docs"}}, "baseUrl"),
        ({"slack": {"channel": "#ml-oncall", "buttons": "socket"}}, "allow"),
        ({"slack": {"buttons": "http", "allow": ["U0123456789"]}}, "channel"),
        ({"slack": {"channel": "#ml-oncall", "buttons": "both", "allow": ["U0123456789"]}}, "buttons"),
        ({"slack": {"channel": "#ml-oncall", "allow": ["@ann"]}}, "allow"),
        ({"tracing": {"headers": True}}, "endpoint"),
        ({"tracing": {"endpoint": "otel-collector:4317"}}, "endpoint"),
        ({"roles": "kind: Secret"}, "roles: an object of kind Secret"),
        ({"roles": "a: 1"}, "roles: an object of kind none"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(given: dict[str, Any], what: str) -> None:
    with pytest.raises(helm_python.HelmError, match=what):
        rendered(given)


def test_what_the_chart_sets_is_refused_among_the_settings() -> None:
    """A variable that is there twice has its last value: `settings` would end `observe`, or take the probes their port."""
    containers = [
        container
        for given in (EVERYTHING, values("namespaced"))
        for container in one(rendered({**given, "settings": {}}), "Deployment")["spec"]["template"]["spec"]["containers"]
    ]
    names = {entry["name"] for container in containers for entry in container["env"]} - {"POD_IP"}
    assert {"HEALER_MODE", "HEALER_CLUSTER__NAMESPACES", "HEALER_HTTP__TLS_CLIENT_NAMES"} < names
    for name in names:
        with pytest.raises(helm_python.HelmError, match=f"{name}.*set by the (value|chart)"):
            rendered({"settings": {name: "x"}})


def test_the_writers_name_comes_by_a_value() -> None:
    """The same objects as by the component, for the account of this release."""
    added = yaml.safe_load_all((FOLDER / "components/approver-name/policy.yaml").read_text("utf-8"))
    objects, before = rendered({"approverName": True}), rendered({})
    assert [each for each in objects if each not in before] == list(added)
    elsewhere = json.dumps(rendered({"approverName": True}, namespace="ml-platform"))
    assert elsewhere.count("system:serviceaccount:ml-platform:healer") == 2
    assert "serviceaccount:healer:healer" not in elsewhere


def test_the_roles_of_ones_own_rules_are_what_healer_rbac_prints() -> None:
    """A part of the ClusterRole healer, or Roles where healer is confined to namespaces."""
    before = granted(rendered(values("observe")))
    added = granted(rendered(values("observe", **PROMETHEUS, **CANARY))) - before
    assert added == {Permission("networking.k8s.io", "ingresses", verb) for verb in ("list", "patch")}
    needs = needed(load_rules([FOLDER / "components/canary/canary.yaml"], vocabulary()), ACTIONS)
    confined = yaml.safe_dump_all(rule_roles(needs, "healer", within=("production",), name="healer-own"))
    assert granted(rendered(values("namespaced", roles=confined))) - granted(rendered(values("namespaced"))) == added


def test_each_alert_leads_to_the_page_at_the_address_that_is_given() -> None:
    for base, expected in (("", "docs/"), ("https://git.example.com/docs", "https://git.example.com/docs/")):
        given = values("prometheus-operator", runbooks={"baseUrl": base})
        (group,) = one(rendered(given), "PrometheusRule")["spec"]["groups"]
        for rule in group["rules"]:
            assert rule["annotations"]["runbook_url"] == f"{expected}healer-alerts.md#{rule['alert'].lower()}"


def test_each_value_is_described_and_has_a_default() -> None:
    """And each that has a default is one: a misspelt default would be set for ever."""
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    defaults = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))

    def names(given: dict[str, Any], inside: dict[str, Any], prefix: str = "") -> set[str]:
        found: set[str] = set()
        for key, value in given.items():
            deeper = inside.get(key, {}).get("properties")
            found |= names(value, deeper, f"{prefix}{key}.") if deeper else {f"{prefix}{key}"}
        return found

    assert {name for name, *_ in rows(schema, defaults)} == names(defaults, schema["properties"])
    assert all(meaning.endswith(".") for *_, meaning in rows(schema, defaults))


def test_the_notes_say_what_was_installed() -> None:
    assert "It only observes" in notes(values("observe"))
    assert "--from-file=webhook-token --from-file=read-token --from-file=slack-token" in notes(values(**SLACK))
    assert "--from-literal" not in notes(values()), "a token that is in no file cannot be typed later"
    assert "healer pause everything" in notes(values())
    assert "--healer-namespace ml-platform" in notes(values(), namespace="ml-platform")
    confined = notes(values("namespaced", **OWN))
    assert "It is confined to production." in confined
    assert "kubectl apply -k deploy/healer/approvals" in confined
    assert "approvals" not in notes(values()), "the policy is installed with it"
    assert "system:serviceaccount:ml-platform:healer in its" in notes(values("namespaced"), namespace="ml-platform")
    assert "healer rbac RULES... --roles-only --namespace production | kubectl apply -f -" in confined


def test_the_packaged_chart_is_whole(tmp_path: Path) -> None:
    """The links are files in it, and what is not for the chart is left out."""
    package = helm_python.package(str(CHART), destination=str(tmp_path))
    listed = subprocess.run(["tar", "-tzf", str(package)], capture_output=True, text=True, check=True, timeout=60).stdout.split()
    packs = {path.name for path in (FOLDER.parents[1] / "rules").glob("*.yaml") if not is_test(path)} | {"nodes/gpu.yaml"}
    assert {f"healer/files/rules/{name}" for name in packs} | {"healer/crds/crd.yaml", "healer/README.md"} <= set(listed)
    assert not [name for name in listed if "canary" in name or "/models/" in name or "/queries/" in name]
    for given in ({}, values("production")):
        assert by_name(rendered(given, chart=Path(package))) == by_name(rendered(given))
