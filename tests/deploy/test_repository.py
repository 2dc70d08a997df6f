"""What stands around the code, for those who carry on: make targets, the workflow, hooks and forms name what there is."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import coverage

ROOT = Path(__file__).parents[2]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROMISED = {
    "setup",
    "unit",
    "test",
    "fmt",
    "lint",
    "types",
    "layers",
    "coverage",
    "bench",
    "docs",
    "image",
    "lab",
    "demo",
    "lock",
}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


@cache
def targets() -> dict[str, str]:
    """The recipe of each target of the Makefile, by the target's name."""
    text = (ROOT / "Makefile").read_text("utf-8")
    return dict(re.findall(r"^([a-z]+):.*\n((?:\t.*\n)*)", text, re.MULTILINE))


def test_make_help_lists_every_target_with_a_sentence() -> None:
    """But one that is only a part of another, whose comment has one `#`."""
    listed = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    said = dict(re.findall(r"^  make (\S+) +(\S.*)$", listed, re.MULTILINE))
    assert set(said) == set(targets()) - {"suite"}
    assert set(said) >= PROMISED


def test_only_setup_installs_packages_of_the_distribution() -> None:
    """`make test` does everything on a fresh machine, and it does this by `setup`."""
    assert [name for name, recipe in targets().items() if "packages" in recipe or "apt" in recipe] == ["setup"]
    assert re.search(r"^test:[^#]*\bsetup\b", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    ["README.md", ".pre-commit-config.yaml", ".github/pull_request_template.md", ".github/ISSUE_TEMPLATE/bug.yml", ".ci/run"],
)
def test_every_make_target_that_is_named_exists(page: str) -> None:
    named = set(
        re.findall(r"(?:`|^ {4}|exec |: )make (?:--no-print-directory )?([a-z]+)", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    )
    assert named
    assert named <= set(targets())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_bounded_pinned_and_runs_what_there_is(path: Path) -> None:
    """Least permissions, a time after which it ends, actions by their commits, scripts of this repository."""
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        if "uses" in job:
            assert (ROOT / job["uses"]).is_file(), "a workflow of this repository"
            continue
        assert 0 < job["timeout-minutes"] <= 90
        used = [step["uses"] for step in job["steps"] if "uses" in step]
        assert [each for each in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", each)] == []
        words = [word for step in job["steps"] for word in step.get("run", "").split()]
        assert [word for word in words if word.startswith(".ci/") and not (ROOT / word).is_file()] == []


def test_ci_runs_its_script_and_a_release_waits_for_it() -> None:
    ci, release = map(read, WORKFLOWS)
    assert any("bash .ci/run" in step.get("run", "") for step in ci["jobs"]["test"]["steps"])
    assert release["jobs"]["image"]["needs"] == "test"
    assert release["jobs"]["test"]["uses"] == "./.github/workflows/ci.yml"


def test_a_release_names_the_image_after_it_ran_and_all_else_was_built() -> None:
    """Before, it has only its digest: no `--tag`, and what gives it its name waits for the other jobs."""
    jobs = read(WORKFLOWS[1])["jobs"]
    runs = {name: [step.get("run", "") for step in job.get("steps", [])] for name, job in jobs.items()}
    assert [name for name, texts in runs.items() if any("--tag " in text for text in texts)] == ["publish"]
    pushed, ran = (
        next(at for at, text in enumerate(runs["image"]) if word in text) for word in ("push=true", '"$REFERENCE" demo')
    )
    assert pushed < ran
    assert "push-by-digest=true" in runs["image"][pushed]
    assert {*jobs["publish"]["needs"]} == {"image", "files"}
    assert jobs["files"]["needs"] == "image"


def test_who_may_write_runs_nothing_of_this_repository() -> None:
    """Its build runs programs of others; a job with `contents: write` or a token in its environment would lend them both."""
    for path in WORKFLOWS:
        workflow = read(path)
        assert "TOKEN" not in str(workflow.get("env", {}))
        for job in workflow["jobs"].values():
            assert "TOKEN" not in str(job.get("env", {}))
            if job.get("permissions", {}).get("contents") == "write":
                assert not [step for step in job["steps"] if "checkout" in step.get("uses", "")]


@pytest.mark.parametrize("path", [*WORKFLOWS, ROOT / "deploy/pipelines/rollout.yml"], ids=lambda path: path.name)
def test_a_token_goes_only_to_a_step_that_uses_it(path: Path) -> None:
    """And no text of others, as the name of a branch, is part of a command: it reaches the shell as a variable."""
    workflow = read(path)
    for step in [step for job in workflow["jobs"].values() for step in job.get("steps", [])]:
        run = step.get("run", "")
        assert "${{" not in run
        for name, value in step.get("env", {}).items():
            if "token" in value or "secrets" in value:
                uses = f"${name}" in run or (name == "GH_TOKEN" and run.startswith("gh "))
                assert uses, f"{step['name']} has {name} and does not use it"
    outside = {key: value for key, value in workflow.items() if key not in ("jobs", True)}
    assert "github.token" not in str(outside)
    for job in workflow["jobs"].values():
        assert "github.token" not in str(job.get("env", {}))
        assert "secrets." not in str(job.get("env", {}))


def test_the_image_is_built_on_a_pull_request() -> None:
    """And runs the demo, before anything is merged: the workflow runs the script, the script that of the image."""
    ci = read(ROOT / ".github" / "workflows" / "ci.yml")
    assert "pull_request" in ci[True], "YAML 1.1 reads `on` as true"
    assert any("bash .ci/run" in step.get("run", "") for step in ci["jobs"]["test"]["steps"])
    assert "\nrun healer demo\n" in (ROOT / ".ci" / "image").read_text("utf-8")


@pytest.mark.parametrize(("image", "tests"), [(0, 0), (1, 0), (0, 1)])
def test_what_integration_runs_fails_with_the_image_and_with_the_tests(image: int, tests: int, tmp_path: Path) -> None:
    """The image is built while the tests run; what it prints is printed after them."""
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    for name, does in ((".ci/image", f"echo built; exit {image}"), ("make", f"[ $1 = setup ] || exit {tests}")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n", "utf-8")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    ended = subprocess.run(["bash", ".ci/run"], cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True, timeout=60)
    assert (ended.returncode == 0) is (image == tests == 0)
    assert ended.stdout == "built\n"


def test_a_release_has_what_its_users_apply() -> None:
    (build,) = [
        step["run"] for step in read(WORKFLOWS[1])["jobs"]["files"]["steps"] if step.get("name") == "Build what else is released"
    ]
    archived = re.search(r"git archive .* HEAD ((?:\S+ ?)+)", build)
    assert archived
    assert all((ROOT / name).exists() for name in archived[1].split())
    assert "deploy" in archived[1].split()


def test_there_is_a_workflow() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "release.yml"]


def hooks() -> Iterator[dict[str, Any]]:
    for repository in read(ROOT / ".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local", "versions stand in the lock file alone"
        yield from repository["hooks"]


def test_the_hooks_run_programs_of_the_lock_or_targets_of_make() -> None:
    lock = (ROOT / ".ci" / "requirements.lock").read_text("utf-8")
    assert {hook["id"] for hook in hooks()} == {"ruff-check", "ruff-format", "types", "layers"}
    for hook in hooks():
        program, *arguments = hook["entry"].split()
        if program == "make":
            assert arguments[-1] in targets()
        else:
            name = program.removeprefix(".venv/bin/")
            assert name != program, "of this repository's own environment"
            assert re.search(rf"^{name}==", lock, re.MULTILINE)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_is_one(path: Path) -> None:
    """What GitHub demands of a form; a form that it cannot read is not offered, and says nothing."""
    form = read(path)
    assert form.keys() <= {"name", "description", "title", "labels", "body"}
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    ids = [field["id"] for field in fields]
    assert len(ids) == len(set(ids))
    assert any(field.get("validations", {}).get("required") for field in fields)
    for field in form["body"]:
        assert field["type"] in {"markdown", "textarea", "input", "dropdown", "checkboxes"}
        assert field["attributes"]["value" if field["type"] == "markdown" else "label"]


def test_there_are_forms() -> None:
    assert [path.name for path in FORMS] == ["bug.yml", "feature.yml"]


# how much of a room the tests ran


def report(**branches: tuple[int, int]) -> dict[str, Any]:
    """As coverage.py writes it: of each room one file with so many branches that ran, and so many in all."""
    return {
        "files": {
            f"healer/{room}/file.py": {
                "summary": {"covered_branches": ran, "num_branches": known},
                "missing_branches": [[line, -1] for line in range(known - ran)],
            }
            for room, (ran, known) in branches.items()
        }
    }


def test_too_few_branches_fail_and_name_those_that_did_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "coverage.json"
    path.write_text(json.dumps(report(engine=(94, 100), judge=(95, 100))), "utf-8")
    assert coverage.main(path) == 1
    printed = capsys.readouterr().out
    assert "healer/engine/file.py:5 to the end" in printed
    assert "healer/judge/file.py" not in printed


def test_enough_branches_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "coverage.json"
    path.write_text(json.dumps(report(engine=(95, 100), rules=(100, 100))), "utf-8")
    assert coverage.main(path) == 0
    assert "95.0%" in capsys.readouterr().out
