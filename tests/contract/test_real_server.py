"""Says, once and aloud, when the contract is held against the lab only."""

from __future__ import annotations

import pytest

from tests.contract.apiserver import binaries
from tests.contract.conftest import LAB_ALONE


def test_the_contract_is_checked_on_a_real_server_too(pytestconfig: pytest.Config) -> None:
    if binaries() is None:
        alone = pytestconfig.stash.get(LAB_ALONE, 0)
        pytest.skip(
            f"KUBEBUILDER_ASSETS is not set: none of the {alone} tests of the contract was held against a real kube-apiserver "
            "(name a folder with etcd, kube-apiserver and kube-controller-manager: docs/contributing.md)"
        )
