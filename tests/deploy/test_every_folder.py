"""No folder of deploy/ escapes the tests: a new kustomization, component or file of values is walked because it is there."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.deploy.rendered import OVERLAYS, SERVING
from tests.deploy.test_components import COMPONENTS
from tests.deploy.test_healer import ALL, FOLDER, ROOT, WITHOUT
from tests.deploy.test_helm import SAME
from tests.support.helm import CHART, rendered, values
from tests.support.kustomize import built
from tests.support.manifest_checks import faults
from tests.support.schemas import all_faults

ALERTS = ROOT / "deploy" / "alerts"
VALUES = sorted(path.stem for path in CHART.glob("values/*.yaml"))


def _kustomizations() -> dict[Path, list[Path]]:
    """Each folder of deploy/ that kustomize reads, and the folders that it names. Others have no file of its name."""
    found = {}
    for path in (ROOT / "deploy").rglob("kustomization.yaml"):
        if not path.is_relative_to(CHART):
            said = yaml.safe_load(path.read_text("utf-8"))
            assert said["apiVersion"].startswith("kustomize.config.k8s.io/"), f"kubectl kustomize refuses {path}"
            named = [*said.get("resources", ()), *said.get("components", ())]
            found[path.parent] = [folder for each in named if (folder := (path.parent / each).resolve()).is_dir()]
    return found


def test_every_kustomization_is_validated_by_itself_or_as_a_part() -> None:
    """By the lists that the tests go through: overlays and examples, components on each overlay, the alerts."""
    named = _kustomizations()
    walked: set[Path] = set()
    waiting = [FOLDER / name for name in ALL] + [FOLDER / "components" / name for name in COMPONENTS]
    waiting += [SERVING / "overlays" / name for name in OVERLAYS] + [ALERTS]
    while waiting:
        folder = waiting.pop().resolve()
        if folder not in walked:
            walked.add(folder)
            waiting += named.get(folder, [])
    assert named.keys() - walked == set()


def test_the_chart_is_compared_with_every_overlay_and_example() -> None:
    """`base` is what `deploy/healer` itself is."""
    assert SAME.keys() == {*ALL} - {"base"}


@pytest.mark.parametrize("name", VALUES)
def test_the_chart_is_valid_and_good_with_each_file_of_values(name: str) -> None:
    """By itself, as people may give it, in each version of Kubernetes."""
    objects = rendered(values(name))
    assert list(all_faults(objects)) == []
    assert faults(objects, without=WITHOUT) == []


def test_the_alerts_are_valid_in_each_version_of_kubernetes() -> None:
    assert list(all_faults(built(ALERTS))) == []
