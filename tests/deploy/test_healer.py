"""The overlays and examples of deploy/healer: valid, whole, and each different from the base in what it is for."""

import json
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from healer.actions.registry import ACTIONS
from healer.daemon.rulefiles import load_rules, vocabulary
from healer.model.action import permissions
from healer.model_servers.registry import SERVERS
from healer.operate.rbac import CONTROL, LEASE, NODES_WATCHED, REVIEWS, apart, asked_for, manifests, needed
from healer.rules.loading import load_all
from healer.rules.rulebook import Rulebook
from healer.settings import Settings, load_settings
from tests.support.kustomize import Manifest, built
from tests.support.manifest_checks import faults
from tests.support.rbac import granted
from tests.support.schemas import all_faults

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "healer"
ALL = sorted(
    path.parent.relative_to(FOLDER).as_posix()
    for path in FOLDER.rglob("kustomization.yaml")
    if not {"components", "approvals"} & {*path.parts}
)
WITHOUT = {"cpu-limit"}
"""A leader whose CPU is throttled renews its lease late, and another healer takes over."""
NAMES = (53, 5353)
"""Where DNS answers: its Service's port, and that of its pods on OpenShift."""
NODES = {("ClusterRole", "healer-nodes"), ("ClusterRoleBinding", "healer-nodes"), ("ConfigMap", "healer-rules")}
"""What components/nodes changes beside the Deployment."""
CLUSTER = {"ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}


def one(objects: list[Manifest], kind: str, name: str = "healer") -> Manifest:
    """The object of that kind and name."""
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def changed(name: str) -> set[tuple[str, str]]:
    """Which objects are not as in the base, by kind and name."""
    before, after = (
        {(each["kind"], each["metadata"]["name"]): each for each in built(place)} for place in (FOLDER, FOLDER / name)
    )
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def settings(objects: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As the daemon reads them from the environment of the container."""
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    for entry in container["env"]:
        if "value" in entry:
            monkeypatch.setenv(entry["name"], entry["value"])
    return load_settings()


def rules(objects: list[Manifest]) -> Rulebook:
    """Those of the ConfigMap that healer mounts."""
    bound, problems = load_all(one(objects, "ConfigMap", "healer-rules")["data"], vocabulary())
    assert problems == []
    return Rulebook(bound)


@pytest.mark.parametrize("name", ALL)
def test_every_object_is_valid_in_each_version_of_kubernetes(name: str) -> None:
    """With unknown fields as faults; custom resources by their definitions."""
    assert list(all_faults(built(FOLDER / name))) == []


@pytest.mark.parametrize("name", ["namespace.yaml", "crd.yaml"])
def test_what_comes_first_is_valid_in_each_version_of_kubernetes(name: str) -> None:
    assert list(all_faults([yaml.safe_load((FOLDER / name).read_text("utf-8"))])) == []


@pytest.mark.parametrize("name", ALL)
def test_the_checks_of_kube_score_and_polaris_find_nothing(name: str) -> None:
    assert faults(built(FOLDER / name), without=WITHOUT) == []


@pytest.mark.parametrize("name", ALL)
def test_what_is_deleted_with_it_can_be_made_anew(name: str) -> None:
    """`kubectl delete -k` takes neither the definition, and all incidents with it, nor the namespace with people's Secret."""
    assert not {each["kind"] for each in built(FOLDER / name)} & {"CustomResourceDefinition", "Namespace", "Secret"}


@pytest.mark.parametrize("name", ALL)
def test_objects_of_the_cluster_have_no_namespace_and_all_others_have_one(name: str) -> None:
    for each in built(FOLDER / name):
        assert ("namespace" in each["metadata"]) is (each["kind"] not in CLUSTER), each["kind"]


@pytest.mark.parametrize("name", ALL)
def test_its_rules_can_be_used_with_its_settings_and_its_permissions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The roles grant what these rules need, and only what the packs need besides."""
    objects = built(FOLDER / name)
    given = settings(objects, monkeypatch)
    book = rules(objects)
    needs = needed(book, ACTIONS) | asked_for(given)
    own = manifests(needs, "healer", within=given.cluster.namespaces, routes=apart(book, ACTIONS))
    packs = needed(load_rules([ROOT / "rules"], vocabulary()), ACTIONS)
    assert granted(own) <= granted(objects) <= granted(own) | packs | LEASE


def test_the_observing_healer_acts_nowhere_and_is_otherwise_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert changed("overlays/observe") == {("Deployment", "healer")}
    assert settings(built(FOLDER / "overlays/observe"), monkeypatch).mode == "observe"


def test_by_default_the_rules_say_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(built(FOLDER), monkeypatch).mode == "enforce"


def test_in_production_the_replicas_are_on_two_nodes_and_reach_only_what_they_need() -> None:
    assert changed("overlays/production") - NODES == {("Deployment", "healer"), ("NetworkPolicy", "healer")}
    objects = built(FOLDER / "overlays/production")
    spread = one(objects, "Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [(each["topologyKey"], each["whenUnsatisfiable"]) for each in spread] == [
        ("kubernetes.io/hostname", "DoNotSchedule"),
        ("topology.kubernetes.io/zone", "ScheduleAnyway"),
    ]
    egress = one(objects, "NetworkPolicy")["spec"]["egress"]
    servers = {server.port for server in SERVERS.values()}
    assert {port["port"] for rule in egress for port in rule["ports"]} == {*NAMES, 443, 6443, 8080, 9090, 9093} | servers
    (names,) = [
        {(each["protocol"], each["port"]) for each in rule["ports"]} for rule in egress if rule["ports"][0]["port"] in NAMES
    ]
    assert names == {(protocol, port) for protocol in ("UDP", "TCP") for port in NAMES}


MONITORING = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
OWN_PODS = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "healer"}}}
PORT = [{"protocol": "TCP", "port": "http"}]


@pytest.mark.parametrize("name", ALL)
def test_monitoring_and_healers_own_pods_reach_its_port_and_no_others(name: str) -> None:
    """Each by its label: a peer that is left out is everybody."""
    objects = built(FOLDER / name)
    policy, pod = one(objects, "NetworkPolicy")["spec"], one(objects, "Deployment")["spec"]["template"]
    assert policy["ingress"] == [{"from": [MONITORING, OWN_PODS], "ports": PORT}]
    assert OWN_PODS["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items(), "a follower asks the leader"
    (container,) = pod["spec"]["containers"]
    assert "http" in {port["name"] for port in container["ports"]}


def test_a_monitoring_namespace_of_ones_own_and_the_api_server_are_let_in_as_the_readme_says(tmp_path: Path) -> None:
    (said,) = re.findall(r"```yaml\n(patches:\n.*?)```", (FOLDER / "README.md").read_text("utf-8"), re.DOTALL)
    overlay = {"resources": [os.path.relpath(FOLDER / "overlays/production", tmp_path.resolve())], **yaml.safe_load(said)}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(overlay), "utf-8")
    objects = built(tmp_path)
    assert list(all_faults(objects)) == []
    there = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-monitoring"}}}
    peers = [there, OWN_PODS, {"ipBlock": {"cidr": "192.0.2.10/32"}}]
    assert one(objects, "NetworkPolicy")["spec"]["ingress"] == [{"from": peers, "ports": PORT}]


def test_in_production_healer_reaches_prometheus_and_alertmanager_in_their_namespace_alone() -> None:
    egress = one(built(FOLDER / "overlays/production"), "NetworkPolicy")["spec"]["egress"]
    to = {port["port"]: rule.get("to") for rule in egress for port in rule["ports"] if port["port"] in (9090, 9093)}
    assert to == {9090: [MONITORING], 9093: [MONITORING]}
    found = [
        each["value"]
        for each in yaml.safe_load((FOLDER / "components/prometheus/prometheus.yaml").read_text("utf-8"))["spec"]["template"][
            "spec"
        ]["containers"][0]["env"]
    ]
    assert [(urlsplit(url).hostname, urlsplit(url).port) for url in found] == [
        ("prometheus.monitoring", 9090),
        ("alertmanager.monitoring", 9093),
    ], "where components/prometheus asks"


def test_in_production_healer_sees_nodes_and_changes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the component, which has the rule on them as well, beside the packs."""
    objects, before = built(FOLDER / "overlays/production"), built(FOLDER)
    assert changed("overlays/production") >= NODES
    assert settings(objects, monkeypatch).cluster.nodes
    assert granted(objects) - granted(before) == NODES_WATCHED
    data, packs = (one(each, "ConfigMap", "healer-rules")["data"] for each in (objects, before))
    assert data == packs | {"nodes-gpu.yaml": (ROOT / "rules/nodes/gpu.yaml").read_text("utf-8")}


def test_the_namespaced_healer_has_nothing_outside_of_its_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = built(FOLDER / "overlays/namespaced")
    assert settings(objects, monkeypatch).cluster.namespaces == ("production",)
    assert not {each["kind"] for each in objects} & CLUSTER
    assert {each["metadata"]["namespace"] for each in objects} == {"healer", "production"}
    assert {each["kind"] for each in objects if each["metadata"]["namespace"] == "production"} == {"Role", "RoleBinding"}


def test_what_a_cluster_admin_applies_once_makes_the_namespaced_healer_as_safe_as_the_others() -> None:
    """The policy, its binding and the role for people: valid, those of the base, and nothing that the overlay has as well."""
    objects = built(FOLDER / "approvals")
    assert list(all_faults(objects)) == []
    kinds = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    approvals = [each for each in built(FOLDER) if each["kind"] in kinds or each["metadata"]["name"] == "healer-approver"]
    assert {each["kind"] for each in objects} == kinds | {"ClusterRole"}
    assert sorted(objects, key=str) == sorted(approvals, key=str)
    confined = {(each["kind"], each["metadata"]["name"]) for each in built(FOLDER / "overlays/namespaced")}
    assert not confined & {(each["kind"], each["metadata"]["name"]) for each in objects}


def test_with_the_operator_healer_is_scraped_as_its_alerts_ask_for_it() -> None:
    objects = built(FOLDER / "overlays/prometheus-operator")
    monitor, service = one(objects, "ServiceMonitor"), one(objects, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {each["port"] for each in monitor["spec"]["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}
    assert service["metadata"]["name"] == "healer", "the job that the alerts name"
    dashboard = one(objects, "ConfigMap", "healer-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_with_tls_the_port_speaks_https_to_the_kubelet_prometheus_and_the_other_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is different; the certificate's files are where the settings look for them."""
    added = {("Issuer", "healer-self-signed"), ("Issuer", "healer-ca"), ("Certificate", "healer-ca"), ("Certificate", "healer")}
    differs = {("Deployment", "healer"), ("ServiceMonitor", "healer")}
    assert (
        changed("examples/tls") - changed("overlays/production")
        == changed("overlays/prometheus-operator") - changed("overlays/production") | added
    )
    objects, before = built(FOLDER / "examples/tls"), built(FOLDER / "overlays/prometheus-operator")
    assert {(each["kind"], each["metadata"]["name"]) for each in objects if each not in before} == added | differs
    pod, certificate = one(objects, "Deployment")["spec"]["template"]["spec"], one(objects, "Certificate")["spec"]
    (container,) = pod["containers"]
    volumes = {each["name"]: each.get("secret", {}).get("secretName") for each in pod["volumes"]}
    (mount,) = [each["mountPath"] for each in container["volumeMounts"] if volumes[each["name"]] == certificate["secretName"]]
    found = settings(objects, monkeypatch)
    files = (found.http.tls_cert_file, found.http.tls_key_file, found.leader.ca_file)
    assert files == tuple(Path(mount, name) for name in ("tls.crt", "tls.key", "ca.crt"))
    probes = [container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert [each["scheme"] for each in probes] == ["HTTPS"] * 3
    (endpoint,) = one(objects, "ServiceMonitor")["spec"]["endpoints"]
    trusted = {"secret": {"name": certificate["secretName"], "key": "ca.crt"}}
    assert (endpoint["scheme"], endpoint["tlsConfig"]["ca"]) == ("https", trusted)
    assert {endpoint["tlsConfig"]["serverName"], "healer"} == {*certificate["dnsNames"]}
    assert {"server auth", "client auth"} <= {*certificate["usages"]}
    authority = one(objects, "Certificate", "healer-ca")["spec"]
    assert (one(objects, "Issuer", "healer-ca")["spec"]["ca"]["secretName"], authority["isCA"]) == (authority["secretName"], True)


def test_the_guarded_port_takes_certificates_and_tokens_by_one_component_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Secret that people make has the tokens. The reviews take a role of the cluster, and the sender's is bound to nobody."""
    objects, before = built(FOLDER / "examples/guarded"), built(FOLDER / "examples/tls")
    roles = {
        ("ClusterRole", "healer-token-review"),
        ("ClusterRoleBinding", "healer-token-review"),
        ("ClusterRole", "healer-webhook"),
        *((kind, "healer-control") for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")),
    }
    differs = {(each["kind"], each["metadata"]["name"]) for each in objects if each not in before}
    assert differs == roles | {("Deployment", "healer")}
    http = settings(objects, monkeypatch).http
    assert http.tls_client_ca_file == Path("/etc/healer/tls/ca.crt")
    assert {*one(objects, "Certificate")["spec"]["dnsNames"]} & {*http.tls_client_names}, "followers pass webhooks on"
    assert http.webhook_token_file is not None
    assert http.read_token_file == http.webhook_token_file.with_name("read-token")
    assert http.token_review == ("webhook",)
    assert http.control_token_file == http.webhook_token_file.with_name("control-token")
    paused = permissions("coordination.k8s.io", "leases", "patch")
    assert granted(objects) - granted(before) == REVIEWS | paused | CONTROL - granted(before)
    bound = {each["roleRef"]["name"] for each in objects if each["kind"] == "ClusterRoleBinding"}
    assert bound == {"healer", "healer-control", "healer-nodes", "healer-token-review"}


def test_no_file_is_left_over() -> None:
    """Each manifest is of some kustomization, or comes first."""
    named = set()
    for path in FOLDER.rglob("kustomization.yaml"):
        said = yaml.safe_load(path.read_text("utf-8"))
        files = [*said.get("resources", ()), *(each["path"] for each in said.get("patches", ()))]
        files += [name.partition("=")[2] or name for each in said.get("configMapGenerator", ()) for name in each["files"]]
        named |= {(path.parent / name).resolve() for name in files}
    kept = {FOLDER / "namespace.yaml", FOLDER / "crd.yaml", FOLDER / "crd-rulesets.yaml"}
    assert {path for path in FOLDER.rglob("*.*") if path.name not in ("kustomization.yaml", "README.md")} == kept | {
        path for path in named if path.is_file() and path.is_relative_to(FOLDER)
    }
