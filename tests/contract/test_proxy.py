"""The proxy of a real API server, through which people read from the daemon: which headers it forwards, and who is let in."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from healer.cluster.api import Api
from healer.http.health import Health
from healer.http.server import Server
from healer.operate.asking import DaemonClient, DaemonCredentials, rules
from healer.settings.http import HttpSettings
from tests.contract.client import Client
from tests.support.certificates import Authority


def _own_address() -> str:
    """An address of this host that is no loopback: the API server forwards to no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError as error:
            pytest.skip(f"this host has no address but loopback: {error}")
        return str(probe.getsockname()[0])


@pytest.mark.parametrize("https", [False, True])
async def test_the_token_of_people_comes_through_the_proxy(real: Client, tmp_path: Path, https: bool) -> None:
    """The API server takes Authorization for itself; it speaks https to a pod whose certificate it does not know."""
    host, tokens, pair = _own_address(), tmp_path / "tokens", Authority.make(tmp_path).pair_for("healer")
    tokens.write_text("reads\n")
    tls = {"tls_cert_file": pair.cert, "tls_key_file": pair.key} if https else {}
    settings = HttpSettings.model_validate({"host": host, "port": 0, "read_token_file": tokens, **tls})
    await real.make(
        f"{real.core}/pods", {"metadata": {"name": "healer-0"}, "spec": {"containers": [{"name": "healer", "image": "healer"}]}}
    )
    status = {"podIP": host, "podIPs": [{"ip": host}], "phase": "Running"}
    assert (await real.patch(f"{real.core}/pods/healer-0/status", {"status": status})).code == 200
    real.write_kubeconfig(tmp_path / "kubeconfig")
    server = Server(settings=settings, webhooks={}, health=Health, registry=CollectorRegistry())
    async with contextlib.aclosing(await Api.connect(kubeconfig=str(tmp_path / "kubeconfig"))) as api, server:
        leader = f"healer-0-17@{host}:{server.port}"
        assert await rules(DaemonClient(api, real.namespace, leader, None, DaemonCredentials(tokens))) == []
        refused = await rules(DaemonClient(api, real.namespace, leader, None))
        assert "--token-file" in str(refused)
