"""The components of deploy/healer: each sits on any overlay, and leaves to the overlay whether healer acts."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from healer.actions.registry import ACTIONS
from healer.daemon.rulefiles import is_test, load_rules, vocabulary
from healer.model.action import permissions
from healer.operate.rbac import RULESETS_READ, needed
from healer.rules.grants import Grant
from healer.rules.loading import load_all
from healer.rules.rulebook import Rulebook
from healer.rules.schema import Mode
from tests.deploy.test_healer import ALL, FOLDER, ROOT, WITHOUT, changed, one, rules, settings
from tests.docs.roles import SPLITTERS
from tests.support.helm import rendered, values
from tests.support.kustomize import Manifest, built
from tests.support.manifest_checks import faults
from tests.support.rbac import granted
from tests.support.schemas import VERSIONS, all_faults

COMPONENTS = sorted(path.parent.name for path in FOLDER.glob("components/*/kustomization.yaml"))
OVERLAYS = sorted(path.parent.name for path in FOLDER.glob("overlays/*/kustomization.yaml"))
NEEDS = {
    "client-certificates": ["tls"],
    "runbooks": ["prometheus-operator"],
    "canary": ["prometheus"],
    "queries": ["prometheus"],
    "record-claim": ["record"],
}
"""The components that a component builds on."""
BRINGS = {"production": {"egress", "nodes"}, "prometheus-operator": {"egress", "nodes", "prometheus-operator"}}
"""The components that an overlay has already: kustomize refuses an object that is there twice."""
SINCE = {"approver-name": "1.36"}
"""The first version of Kubernetes that has a component's kinds, where that is not the oldest."""
_RBAC = "rbac.authorization.k8s.io"
CANARIES = [f"canary-{kind.lower()}" for kind in SPLITTERS]
CLUSTER = {*CANARIES, "models"}
"""Components with a part of the ClusterRole healer, which overlays/namespaced does without."""


def with_components(overlay: str, names: list[str], home: Path) -> list[Manifest]:
    """The objects of an overlay of one's own, outside of this repository, that has these components and what they need."""
    wanted = [each for name in names for each in (*NEEDS.get(name, ()), name)]
    kept = [name for name in dict.fromkeys(wanted) if name not in BRINGS.get(overlay, ())]
    here = Path(os.path.relpath(FOLDER, home.resolve()))
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(here / "overlays" / overlay)],
        "components": [str(here / "components" / name) for name in kept],
    }
    (home / "kustomization.yaml").write_text(json.dumps(kustomization), "utf-8")
    return built(home)


def _pairs() -> list[tuple[str, str]]:
    return [(overlay, name) for overlay in OVERLAYS for name in COMPONENTS if overlay != "namespaced" or name not in CLUSTER]


@pytest.mark.parametrize(("overlay", "name"), _pairs())
def test_a_component_sits_on_any_overlay_and_leaves_the_mode_to_it(
    overlay: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its objects are valid and good; the settings and the rules can be used, and the mode is the overlay's."""
    objects = with_components(overlay, [name], tmp_path)
    assert list(all_faults(objects, [each for each in VERSIONS if each >= SINCE.get(name, "")])) == []
    assert faults(objects, without=WITHOUT) == []
    assert settings(objects, monkeypatch).mode == ("observe" if overlay == "observe" else "enforce")
    rules(objects)


def test_any_overlay_can_be_confined_to_the_ports_that_healer_needs(tmp_path: Path) -> None:
    open_, confined, production = (
        one(objects, "NetworkPolicy")["spec"]
        for objects in (built(FOLDER), with_components("observe", ["egress"], tmp_path), built(FOLDER / "overlays/production"))
    )
    assert open_["egress"] == [{}]
    assert all(rule.get("ports") for rule in confined["egress"]), "a rule without ports is for all"
    assert confined == production


@pytest.mark.parametrize("name", COMPONENTS)
def test_no_component_names_the_mode(name: str) -> None:
    for path in (FOLDER / "components" / name).iterdir():
        lines = [line for line in path.read_text("utf-8").splitlines() if not line.lstrip().startswith("#")]
        assert "HEALER_MODE" not in "\n".join(lines), path


@pytest.mark.parametrize("overlay", ["observe", "production"])
def test_all_components_go_together(overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of their names, with what each needs before it."""
    names = sorted(COMPONENTS, key=lambda name: (name != "prometheus-operator", name))
    objects = with_components(overlay, names, tmp_path)
    assert list(all_faults(objects, VERSIONS[-1:])) == []
    assert faults(objects, without=WITHOUT) == []
    found = settings(objects, monkeypatch)
    assert found.mode == ("observe" if overlay == "observe" else "enforce")
    assert (found.http.tls_client_ca_file is None, found.sinks["slack"].secret is None, found.cluster.nodes) == (
        False,
        False,
        True,
    )
    assert {
        "own/image-pull",
        "canary/bad-canary",
        "models-tensorflow-serving/stuck-loading",
        "queries-tensorflow-serving/failing-alone",
    } <= rules(objects).by_name.keys()


@pytest.mark.parametrize("name", [name for name in ALL if name.startswith("examples/")])
def test_an_example_is_one_overlay_and_components_and_says_so(name: str) -> None:
    """In its first words, and in the table of README.md."""
    text = (FOLDER / name / "kustomization.yaml").read_text("utf-8")
    said = yaml.safe_load(text)
    assert said.keys() <= {"apiVersion", "kind", "resources", "components"}
    (below,) = said["resources"]
    overlay = below.removeprefix("../../")
    assert re.match(r"overlays/[a-z-]+|\.\./tls$", overlay)
    assert all(each.startswith("../../components/") for each in said["components"])
    if overlay.startswith("overlays/"):
        assert text.startswith(f"# {overlay}")
        table = (FOLDER / "README.md").read_text("utf-8")
        assert re.search(rf"^\| `{name}` \| `{overlay}`", table, re.MULTILINE), f"no row of README.md has {name}"


def test_the_examples_of_the_first_days_change_nothing_in_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("slack", "prometheus", "own-rules", "canary", "models", "queries"):
        assert settings(built(FOLDER / "examples" / name), monkeypatch).mode == "observe", name
        monkeypatch.delenv("HEALER_MODE")
    assert settings(built(FOLDER / "examples/everything"), monkeypatch).mode == "enforce"


def test_a_rule_file_of_ones_own_is_one_line() -> None:
    """It stands beside the packs, in the same ConfigMap, whose name is the same."""
    assert changed("examples/own-rules") - changed("overlays/observe") == {("ConfigMap", "healer-rules")}
    data, without = (
        one(built(FOLDER / each), "ConfigMap", "healer-rules")["data"] for each in ("examples/own-rules", "overlays/observe")
    )
    assert data == without | {"own.yaml": (FOLDER / "components/own-rules/own.yaml").read_text("utf-8")}
    kustomization = (FOLDER / "components/own-rules/kustomization.yaml").read_text("utf-8")
    assert sum("own.yaml" in line for line in kustomization.splitlines() if not line.startswith("#")) == 1


def test_slack_is_one_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert changed("examples/slack") == changed("overlays/observe")
    objects = built(FOLDER / "examples/slack")
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    slack = settings(objects, monkeypatch).sinks["slack"]
    assert slack.secret is not None
    assert slack.secret.parent == Path(mounts["secrets"])


@pytest.mark.parametrize("name", ["pagerduty", "webhook", "apprise"])
def test_a_sink_is_one_patch_and_its_secrets_are_keys_of_the_secret(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sink is set up as it stands, and its comment names each key that the Secret needs."""
    objects = with_components("observe", [name], tmp_path)
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    section = settings(objects, monkeypatch).sinks[name]
    assert section.enabled
    assert section.secret is not None
    assert section.secret.parent == Path(mounts["secrets"])
    said = (FOLDER / "components" / name / "kustomization.yaml").read_text("utf-8")
    assert f"--from-file={section.secret.name}\n" in said


def test_prometheus_is_one_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert changed("examples/prometheus") == changed("overlays/observe")
    found = settings(built(FOLDER / "examples/prometheus"), monkeypatch)
    assert (found.prometheus.url, found.alerts.url) == (
        "http://prometheus.monitoring:9090",
        "http://alertmanager.monitoring:9093",
    )


def below_schema(text: str) -> str:
    """A rule file below its first line, which leads editors to the schema from where the file is."""
    first, _, rest = text.partition("\n")
    assert first.startswith("# yaml-language-server: "), first
    return rest


def test_a_canary_is_a_rule_file_and_what_it_may_do() -> None:
    """The rule is the shipped one, in which names are to be filled in."""
    added = {("ConfigMap", "healer-rules"), ("ClusterRole", "healer-canary-ingress")}
    assert changed("examples/canary") - changed("examples/prometheus") == added
    data = one(built(FOLDER / "examples/canary"), "ConfigMap", "healer-rules")["data"]
    assert below_schema(data["canary.yaml"]) == below_schema((ROOT / "rules/canary/tensorflow-serving.yaml").read_text("utf-8"))


@pytest.mark.parametrize("kind", SPLITTERS)
def test_a_canary_may_do_with_its_kind_of_route_what_healer_rbac_prints(kind: str, tmp_path: Path) -> None:
    """And nothing with those of the other kinds."""
    objects = with_components("observe", ["canary", f"canary-{kind.lower()}"], tmp_path)
    data = one(objects, "ConfigMap", "healer-rules")["data"]
    own = data | {"canary.yaml": data["canary.yaml"].replace("route: {kind: Ingress,", f"route: {{kind: {kind},")}
    bound, problems = load_all(own, vocabulary())
    assert problems == []
    before = granted(built(FOLDER / "overlays/observe"))
    added = granted(objects) - before
    assert added == needed(Rulebook(bound), ACTIONS) - before
    assert {each.resource for each in added} == {{"Ingress": "ingresses"}.get(kind, f"{kind.lower()}s")}
    assert "patch" in {each.verb for each in added}


def test_rules_on_a_model_are_a_rule_file_and_what_it_may_do() -> None:
    """The file is the shipped one, in which names are to be filled in; the role is what `healer rbac` prints for it."""
    added = {("ConfigMap", "healer-rules"), ("ClusterRole", "healer-models")}
    assert changed("examples/models") - changed("overlays/observe") == added
    objects, before = built(FOLDER / "examples/models"), granted(built(FOLDER / "overlays/observe"))
    data = one(objects, "ConfigMap", "healer-rules")["data"]
    assert below_schema(data["models.yaml"]) == below_schema((ROOT / "rules/models/tensorflow-serving.yaml").read_text("utf-8"))
    assert granted(objects) - before == needed(rules(objects), ACTIONS) - before
    assert granted(objects) - before == permissions("", "configmaps", "get patch"), "for pinModelVersion"


@pytest.mark.parametrize("folder", ["models", "queries"])
def test_the_file_of_each_server_can_take_the_place_of_the_components(folder: str) -> None:
    """With the rights that are there; those on queries need none beside the packs'."""
    may = granted(built(FOLDER / "examples" / folder))
    files = sorted(path for path in (ROOT / "rules" / folder).glob("*.yaml") if not is_test(path))
    assert (ROOT / "rules" / folder / "tensorflow-serving.yaml") in files
    for path in files:
        assert needed(load_rules([path], vocabulary()), ACTIONS) <= may, path


def test_a_rule_on_a_query_is_a_rule_file_and_no_more_rights() -> None:
    assert changed("examples/queries") - changed("examples/prometheus") == {("ConfigMap", "healer-rules")}
    data = one(built(FOLDER / "examples/queries"), "ConfigMap", "healer-rules")["data"]
    assert below_schema(data["queries.yaml"]) == below_schema((ROOT / "rules/queries/tensorflow-serving.yaml").read_text("utf-8"))


def test_the_runbooks_of_the_alerts_have_an_address_of_ones_own(tmp_path: Path) -> None:
    """Nothing else changes, and the ConfigMap with the address stays with kustomize."""
    before = built(FOLDER / "overlays/prometheus-operator")
    objects = with_components("prometheus-operator", ["runbooks"], tmp_path)
    base = yaml.safe_load((FOLDER / "components/runbooks/base-url.yaml").read_text("utf-8"))["data"]["baseUrl"]
    (group,) = one(before, "PrometheusRule")["spec"]["groups"]
    for rule in group["rules"]:
        path = rule["annotations"]["runbook_url"]
        assert path.startswith("docs/")
        rule["annotations"]["runbook_url"] = f"{base}/{path.removeprefix('docs/')}"
    assert objects == before


def test_rulesets_are_watched_and_answered_and_tenants_write_them_but_not_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = with_components("observe", ["rulesets"], tmp_path)
    assert settings(objects, monkeypatch).rulesets.enabled
    roles = [yaml.safe_load_all((FOLDER / "components/rulesets/roles.yaml").read_text("utf-8"))]
    bound = [role for each in roles for role in each if not role["metadata"]["name"].endswith(("edit", "view"))]
    assert granted(bound) == RULESETS_READ
    for name, into in (("healer-rulesets-edit", {"admin", "edit"}), ("healer-rulesets-view", {"view"})):
        role = one(objects, "ClusterRole", name)
        labels = role["metadata"]["labels"]
        assert {each for each in ("admin", "edit", "view") if labels.get(f"{_RBAC}/aggregate-to-{each}") == "true"} == into
        assert [rule["resources"] for rule in role["rules"]] == [["rulesets"]]
        assert ("create" in role["rules"][0]["verbs"]) is ("edit" in into)


def test_the_chart_has_rulesets_as_the_component_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grants = {"payments": {"mode": "enforce", "actions": ["evict"]}}
    chart = rendered(values("observe", rulesets={"enabled": True, "grants": grants}))
    component = with_components("observe", ["rulesets"], tmp_path)
    for each in component:
        if "rulesets" in each["metadata"]["name"]:
            assert one(chart, each["kind"], each["metadata"]["name"]) == each
    found = settings(chart, monkeypatch).rulesets
    assert found.enabled
    assert found.grants == {"payments": Grant(mode=Mode.ENFORCE, actions=("evict",))}


@pytest.mark.parametrize("claim", ["", "healer-record"])
def test_the_chart_records_as_the_components_do(claim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a volume that goes with the pod, or one that outlives it."""
    chart = rendered(values("observe", record={"enabled": True, "totalSize": 201326592, "existingClaim": claim}))
    component = with_components("observe", ["record-claim" if claim else "record"], tmp_path)
    assert [*all_faults(chart)] == []
    pods = [one(objects, "Deployment")["spec"]["template"]["spec"] for objects in (chart, component)]
    for get in (_volume, _mount, lambda pod: pod["securityContext"].get("fsGroup")):
        assert get(pods[0]) == get(pods[1])
    found = settings(chart, monkeypatch).record
    assert (str(found.folder), found.total_size) == (f"{_mount(pods[0])['mountPath']}/record", 201326592)
    assert ("persistentVolumeClaim" in _volume(pods[0])) is bool(claim)
    storage = [pods[0]["containers"][0]["resources"][kind]["ephemeral-storage"] for kind in ("requests", "limits")]
    assert storage == (["64Mi", "256Mi"] if claim else ["320Mi", "512Mi"])
    if claim:
        assert one(component, "PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteMany"]


def _volume(pod: Manifest) -> Manifest:
    (volume,) = [each for each in pod["volumes"] if each["name"] == "record"]
    return dict(volume)


def _mount(pod: Manifest) -> Manifest:
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "record"]
    return dict(mount)


def test_a_larger_record_in_the_pod_gets_the_room_for_it() -> None:
    chart = rendered(values("observe", record={"enabled": True, "totalSize": 1 << 30}))
    pod = one(chart, "Deployment")["spec"]["template"]["spec"]
    assert _volume(pod)["emptyDir"] == {"sizeLimit": "1088Mi"}
    assert pod["containers"][0]["resources"]["limits"]["ephemeral-storage"] == "1344Mi"
