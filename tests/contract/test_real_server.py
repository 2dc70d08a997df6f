"""Says, once and aloud, when the contract is held against the lab only."""

from __future__ import annotations

import pytest

from tests.contract.apiserver import binaries


def test_the_contract_is_checked_on_a_real_server_too() -> None:
    if binaries() is None:
        pytest.skip(
            "KUBEBUILDER_ASSETS is not set: the contract was checked on the lab only, not on a real kube-apiserver "
            "(name a folder with etcd and kube-apiserver, as `setup-envtest use -p path` prints it)"
        )
