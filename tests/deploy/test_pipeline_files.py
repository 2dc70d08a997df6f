"""deploy/pipelines beside its script: the workflow, and the examples for Argo CD and Flux."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from healer.lab.canary import CANARY, ROUTE
from tests.deploy.rendered import ROOT, overlay
from tests.support.healer import HEALER
from tests.support.kustomize import Manifest
from tests.support.processes import program
from tests.support.schemas import faults

FOLDER = ROOT / "deploy" / "pipelines"
WORKFLOW = FOLDER / "rollout.yml"
NGINX = "nginx.ingress.kubernetes.io/canary-weight"
RESTARTED = "kubectl.kubernetes.io/restartedAt"


def _all(name: str) -> list[Manifest]:
    return [*yaml.safe_load_all((FOLDER / name).read_text("utf-8"))]


# -- the workflow ------------------------------------------------------------------------------------------------------


def test_the_workflow_is_bounded_pinned_and_trusts_no_input() -> None:
    """Least permissions, a time after which it ends, actions by their commits; inputs reach a shell as variables alone."""
    workflow = yaml.safe_load(WORKFLOW.read_text("utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is False
    pinned = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
    for job in workflow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 360
        assert {*job.get("permissions", {}).items()} <= {("contents", "read"), ("packages", "write")}
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
                assert step["uses"] in pinned, "the commit that this repository itself uses"


def test_the_workflow_calls_the_script_with_options_that_it_has() -> None:
    text = WORKFLOW.read_text("utf-8")
    (call,) = re.findall(r"bash (deploy/pipelines/rollout\.sh) (.*)", text)
    assert (ROOT / call[0]).is_file()
    shown = subprocess.run(["bash", str(ROOT / call[0]), "--help"], capture_output=True, text=True, check=True).stdout
    named = re.findall(r"--[a-z-]+", call[1])
    assert named
    assert all(f"  {option} " in shown for option in named)


def test_its_time_is_enough_for_the_gate_and_both_rollouts() -> None:
    shown = subprocess.run(["bash", str(FOLDER / "rollout.sh"), "--help"], capture_output=True, text=True, check=True).stdout
    hours = re.search(r"--timeout TIME .*\[(\d+)h\]", shown)
    minutes = re.search(r"--rollout-timeout TIME .*\[(\d+)m\]", shown)
    assert hours
    assert minutes
    job = yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"]["roll-out"]
    assert job["timeout-minutes"] > int(hours[1]) * 60 + 2 * int(minutes[1])


# -- GitOps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["argo-cd/application.yaml", "flux/serving.yaml"])
def test_an_example_is_one_that_its_controller_takes(name: str) -> None:
    assert [fault for each in _all(name) for fault in faults(each, "1.36")] == []


def _argo(manifest: Manifest) -> Manifest:
    """What Argo CD compares of an object: without what the Application ignores, by the real jq."""
    (application,) = _all("argo-cd/application.yaml")
    left = copy.deepcopy(manifest)
    for entry in application["spec"]["ignoreDifferences"]:
        group = manifest["apiVersion"].rpartition("/")[0]
        if (entry.get("group", ""), entry["kind"]) != (group, manifest["kind"]):
            continue
        if entry.get("name") not in (None, manifest["metadata"]["name"]):
            continue
        for pointer in entry.get("jsonPointers", []):
            _drop(left, pointer)
        for expression in entry.get("jqPathExpressions", []):
            command = [program("jq", "jq"), f"del({expression})"]
            done = subprocess.run(command, input=json.dumps(left), capture_output=True, text=True, check=True)
            left = json.loads(done.stdout)
    return left


def _created_once(manifest: Manifest) -> bool:
    """Whether a patch of the example tells Flux to create the object, and to apply it never again."""
    _, kustomization = _all("flux/serving.yaml")
    patches = [yaml.safe_load(each["patch"]) for each in kustomization["spec"]["patches"]]
    return any(
        (each["apiVersion"], each["kind"], each["metadata"]["name"])
        == (manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"])
        and each["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/ssa"] == "IfNotPresent"
        for each in patches
    )


def _flux(manifest: Manifest) -> Manifest:
    """The same of Flux."""
    _, kustomization = _all("flux/serving.yaml")
    if _created_once(manifest):
        return {}
    left = copy.deepcopy(manifest)
    for entry in kustomization["spec"]["ignore"]:
        target = entry["target"]
        group = manifest["apiVersion"].rpartition("/")[0]
        if (target.get("group", group), target["kind"]) != (group, manifest["kind"]):
            continue
        if not re.fullmatch(target.get("name", ".*"), manifest["metadata"]["name"]):
            continue
        for pointer in entry["paths"]:
            _drop(left, pointer)
    return left


def _drop(manifest: Any, pointer: str) -> None:
    *path, last = [part.replace("~1", "/") for part in pointer.split("/")[1:]]
    for part in path:
        manifest = manifest[int(part)] if isinstance(manifest, list) else manifest.get(part, {})
    manifest.pop(int(last) if isinstance(manifest, list) else last, None)


def _shifted(route: Manifest) -> None:
    for rule in route["spec"].get("rules") or route["spec"]["http"]:
        for number, each in enumerate(rule.get("backendRefs") or rule["route"]):
            each["weight"] = (80, 20)[number]


def _rolled(deployment: Manifest) -> None:
    deployment["spec"]["replicas"] = 7
    template = deployment["spec"]["template"]
    template["spec"]["containers"][0]["image"] = "registry.example/ranker@sha256:" + "9" * 64
    template["metadata"].setdefault("annotations", {})[RESTARTED] = "2026-11-29T00:00:00Z"


CHANGES: list[tuple[str, str, str, Callable[[Manifest], object]]] = [
    ("httproute", "Deployment", CANARY, _rolled),
    ("httproute", "HorizontalPodAutoscaler", "tensorflow-serving-v1", lambda each: each["spec"].update(minReplicas=9)),
    ("httproute", "HTTPRoute", ROUTE, _shifted),
    ("httproute", "ConfigMap", "models", lambda each: each["data"].update({"models.config": "another"})),
    ("httproute", "ConfigMap", "models-canary", lambda each: each["data"].update({"models.config": "another"})),
    ("istio", "VirtualService", ROUTE, _shifted),
    ("nginx-canary", "Ingress", ROUTE, lambda each: each["metadata"]["annotations"].update({NGINX: "20"})),
]


COMPARED = [(_argo, *each) for each in CHANGES] + [(_flux, *each) for each in CHANGES if each[0] == "httproute"]
"""The example for Flux is of the overlay httproute alone: it ignores an element of a list by its place."""


@pytest.mark.parametrize(
    ("compared", "name", "kind", "called", "change"),
    COMPARED,
    ids=[f"{each[0].__name__}-{each[2]}-{each[3]}" for each in COMPARED],
)
def test_what_healer_and_the_pipeline_change_is_not_put_back(
    compared: Callable[[Manifest], Manifest], name: str, kind: str, called: str, change: Callable[[Manifest], object]
) -> None:
    (manifest,) = [each for each in overlay(name) if (each["kind"], each["metadata"]["name"]) == (kind, called)]
    changed = copy.deepcopy(manifest)
    change(changed)
    if kind == "Deployment":
        manifest["spec"]["template"]["metadata"].setdefault("annotations", {})
    assert changed != manifest
    assert compared(changed) == compared(manifest)


def test_flux_leaves_nothing_out_of_a_list_that_is_replaced_as_a_whole() -> None:
    """What it ignores it does not apply: an element of an atomic list would lose the field. Containers are told apart by name."""
    _, kustomization = _all("flux/serving.yaml")
    paths = [path for entry in kustomization["spec"]["ignore"] for path in entry["paths"]]
    listed = [path for path in paths if re.search(r"/\d+/", path)]
    assert listed
    assert [path for path in listed if not re.fullmatch(r"/spec/template/spec/containers/\d+/\w+", path)] == []
    for path in listed:
        kinds = {entry["target"]["kind"] for entry in kustomization["spec"]["ignore"] if path in entry["paths"]}
        assert kinds == {"Deployment"}


@pytest.mark.parametrize("compared", [_argo, _flux])
def test_what_people_commit_is_still_applied(compared: Callable[[Manifest], Manifest]) -> None:
    """No entry ignores more than it says."""
    for manifest in overlay("httproute"):
        if compared is _flux and _created_once(manifest):
            assert manifest["kind"] == "HTTPRoute", "the page says that a change of the route is made by hand"
            continue
        changed = copy.deepcopy(manifest)
        changed["metadata"]["labels"] = {"committed": "yes"}
        if manifest["kind"] == "Deployment":
            changed["spec"]["template"]["spec"]["containers"][0]["args"] = ["--committed"]
            assert compared(changed)["spec"] != compared(manifest)["spec"]
        assert compared(changed) != compared(manifest)


# -- rules -------------------------------------------------------------------------------------------------------------

EXAMPLES = ROOT / "docs" / "examples"
DOCKER = """#!/bin/sh
while [ "$1" != "$HEALER" ]; do shift; done
shift
exec {healer} "$@"
"""


def _tested(folder: Path, wrong: str = "") -> Path:
    """A repository with rules and their tests in rules/, and a docker that runs healer as its image does."""
    for name in ("crash-loops.rules.yaml", "crash-loops.rules.test.yaml"):
        text = (EXAMPLES / name).read_text("utf-8")
        (folder / "rules").mkdir(exist_ok=True)
        (folder / "rules" / name).write_text(text.replace(wrong, "mode: observe") if wrong else text, "utf-8")
    (folder / "docker").write_text(DOCKER.format(healer=HEALER), "utf-8")
    (folder / "docker").chmod(0o755)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["", "mode: enforce"])
def test_the_workflow_of_rules_refuses_a_change_that_breaks_a_test(tmp_path: Path, wrong: str) -> None:
    workflow = yaml.safe_load((FOLDER / "rules.yml").read_text("utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    checkout, step = job["steps"]
    assert checkout["uses"] in (ROOT / ".github/workflows/ci.yml").read_text("utf-8"), (
        "the commit that this repository itself uses"
    )
    environ = {"PATH": f"{_tested(tmp_path, wrong)}:/usr/bin:/bin", "HOME": str(tmp_path), **workflow["env"]}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == bool(wrong), done.stdout + done.stderr
    assert "2 rules in 1 file: no problems" in done.stdout
    assert ("FAILED " in done.stdout) is bool(wrong)


@pytest.mark.slow
def test_the_hooks_check_and_test_what_they_are_run_for(tmp_path: Path) -> None:
    (repository,) = yaml.safe_load((FOLDER / "pre-commit-config.yaml").read_text("utf-8"))["repos"]
    _tested(tmp_path)
    for hook in repository["hooks"]:
        assert (hook["language"], hook["pass_filenames"]) == ("system", False)
        assert [name for name in ("rules/a.rules.yaml", "rules/a.test.yaml") if not re.search(hook["files"], name)] == []
        assert not re.search(hook["files"], "deploy/rules.yaml")
        program_of_it, *arguments = hook["entry"].split()
        assert program_of_it == "healer"
        done = subprocess.run([HEALER, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
