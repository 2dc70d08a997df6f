"""The files that ship with healer: found in a checkout and in a wheel, and printed by `healer crd`."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from typer.testing import CliRunner

from healer import shipped
from healer.cli import app

ROOT = Path(__file__).parents[2]


def test_crd_prints_the_definition_as_it_is() -> None:
    """What is printed goes to `kubectl apply -f -`."""
    result = CliRunner().invoke(app, ["crd"])
    assert result.exit_code == 0
    assert result.stdout == (ROOT / "deploy/healer/crd.yaml").read_text("utf-8")


def test_the_definition_of_rulesets_is_printed_for_itself() -> None:
    result = CliRunner().invoke(app, ["crd", "--rulesets"])
    assert (result.exit_code, result.stdout) == (0, (ROOT / "deploy/healer/crd-rulesets.yaml").read_text("utf-8"))


def test_the_image_is_built_from_all_that_a_wheel_holds() -> None:
    """Each file that the wheel includes is copied by the Dockerfile, and let through to it."""
    forced = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"][
        "force-include"
    ]
    copied = [line.split()[1:-1] for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if line.startswith("COPY")]
    let_through = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for path in forced:
        assert any(path in sources for sources in copied), path
        assert f"!{path}" in let_through


def test_a_wheel_holds_what_a_checkout_has(tmp_path: Path) -> None:
    """A wheel is installed without the repository: the packs and the definition are inside, at the paths that `shipped` names."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    print_paths = "from healer import shipped; print(shipped.RULES); print(shipped.DEFINITION); print(shipped.RULESETS)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {print_paths}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    rules, definition, rulesets = map(Path, done.stdout.split())
    assert rules.is_relative_to(tmp_path), "the wheel's own files, not the checkout's"
    assert definition.read_bytes() == shipped.DEFINITION.read_bytes()
    assert rulesets.read_bytes() == shipped.RULESETS.read_bytes()
    schemas = {path.name: path.read_bytes() for path in (tmp_path / "healer/files/docs/schemas").iterdir()}
    assert schemas == {path.name: path.read_bytes() for path in (ROOT / "docs/schemas").iterdir()}
    page = ROOT / "healer/http/static"
    assert {path.name: path.read_bytes() for path in (tmp_path / "healer/http/static").iterdir()} == {
        path.name: path.read_bytes() for path in page.iterdir()
    }
    packs = sorted(path.relative_to(shipped.RULES) for path in shipped.RULES.rglob("*.yaml"))
    assert packs
    assert sorted(path.relative_to(rules) for path in rules.rglob("*.yaml")) == packs
