"""The locks: complete for what pyproject.toml asks, hashed throughout, of one mind, and silent about package indexes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("deploy/requirements.lock", "deploy/extras.lock", "deploy/build.lock", ".ci/requirements.lock")


def _entries(name: str) -> dict[str, tuple[str, list[str]]]:
    """Version and hashes by canonical package name."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            pin, *hashes = line.split(" --hash=")
            requirement = Requirement(pin.strip())
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", f"{name}: {requirement.name} is not pinned"
            found[canonicalize_name(requirement.name)] = (specifier.version, [each.strip() for each in hashes])
    return {str(key): value for key, value in found.items()}


def _asked(name: str) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime, build = project["project"]["dependencies"], project["build-system"]["requires"]
    optional: dict[str, list[str]] = project["project"]["optional-dependencies"]
    development = optional.pop("dev")
    extras = [each for extra in optional.values() for each in extra]
    whole = (runtime, runtime + extras, build, runtime + build + extras + development)
    asked: dict[str, list[str]] = dict(zip(LOCKS, whole, strict=True))
    return asked[name]


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_hashed(name: str) -> None:
    entries = _entries(name)
    assert entries
    for package, (_, hashes) in entries.items():
        assert hashes, f"{package} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), package


@pytest.mark.parametrize("name", LOCKS)
def test_what_is_asked_for_is_locked(name: str) -> None:
    entries = _entries(name)
    for requirement in map(Requirement, _asked(name)):
        version, _ = entries.get(canonicalize_name(requirement.name), ("", []))
        assert version, f"{requirement.name} is not in {name}: run `make lock`"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} is not {version}: run `make lock`"


def test_development_has_the_versions_of_the_image() -> None:
    development = _entries(".ci/requirements.lock")
    for name in LOCKS[:3]:
        versions = {package: version for package, (version, _) in _entries(name).items()}
        assert versions == {package: development[package][0] for package in versions}


@pytest.mark.parametrize("name", [*LOCKS, "Dockerfile", "Makefile", ".ci/run", ".ci/packages", "pyproject.toml"])
def test_no_package_index_is_named(name: str) -> None:
    named = re.findall(r"\S*(?:://|index-url|find-links|trusted-host)\S*", (ROOT / name).read_text())
    assert not named
