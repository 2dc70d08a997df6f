"""deploy/serving: each overlay renders, is what Kubernetes 1.30 to 1.36 take, and holds together."""

import pytest

from tests.deploy.rendered import OVERLAYS, overlay
from tests.support.manifest_checks import faults
from tests.support.schemas import all_faults

GIVEN = {"monitoring": {"secret/healer-webhook"}, "keda": {"secret/healer-webhook"}, "nginx-secured": {"secret/models-basic-auth"}}
"""What an overlay expects in the cluster, and does not bring: Secrets are nobody's to commit."""


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_object_is_valid_in_each_version_of_kubernetes(name: str) -> None:
    """With unknown fields as faults; custom resources by their definitions."""
    assert list(all_faults(overlay(name))) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_checks_of_kube_score_and_polaris_find_nothing(name: str) -> None:
    assert faults(overlay(name), given=GIVEN.get(name, set())) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_everything_that_has_a_namespace_is_in_one(name: str) -> None:
    assert {manifest["metadata"].get("namespace") for manifest in overlay(name)} == {"production"}
