"""deploy/healer/examples/guarded with real daemons: its settings, certificates for the names that it asks cert-manager for."""

import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from healer.http.tls import client_context
from healer.lab import Lab
from tests.integration.conftest import ROOT, Run
from tests.integration.test_port import HOOK, free_port
from tests.integration.world import SLOW, evictions, ruleset, serve
from tests.support.certificates import Authority, Pair, rotate
from tests.support.healer import alert
from tests.support.kustomize import Manifest, built
from tests.support.processes import PATIENCE

SENDER = "alertmanager.monitoring.svc"
SERVER = "healer.healer.svc"


class Deployed:
    """The example, with its volumes as folders of this machine."""

    def __init__(self, folder: Path) -> None:
        objects = built(ROOT / "deploy/healer/examples/guarded")
        (self.container,) = self._one(objects, "Deployment")["template"]["spec"]["containers"]
        self._etc = folder / "etc"
        self.ca = Authority.make(folder / "pki")
        names = [f"DNS:{name}" for name in self._one(objects, "Certificate")["dnsNames"]]
        pair = self.ca.pair_for("healer", names)
        self._etc.mkdir()
        rotate(self._etc / "tls", tls_crt=pair.cert, tls_key=pair.key, ca_crt=self.ca.file)
        (self._etc / "secrets").mkdir()
        for name in ("webhook", "read"):
            (self._etc / "secrets" / f"{name}-token").write_text(f"to-{name}\n")

    @staticmethod
    def _one(objects: list[Manifest], kind: str) -> Any:
        return next(each["spec"] for each in objects if each["kind"] == kind and each["metadata"]["name"] == "healer")

    def settings(self, port: int, leads: int) -> dict[str, Any]:
        """The container's environment for a replica at this port, which may pass webhooks on to the one that leads."""
        given = {each["name"]: each["value"] for each in self.container["env"] if "value" in each}
        placed = {name: value.replace("/etc/healer", str(self._etc)) for name, value in given.items()}
        return placed | {
            "HEALER_HTTP__PORT": str(port),
            "HEALER_LEADER__NAMESPACE": "healer",
            "HEALER_LEADER__ADDRESS": f"127.0.0.1:{port}",
            "HEALER_LEADER__PEERS": f"127.0.0.1:{leads}",
        }

    async def get(self, scheme: str, port: int, path: str, token: str = "") -> int:
        """The status of a GET as the kubelet makes it, which believes any certificate and has none."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{scheme}://127.0.0.1:{port}{path}", ssl=context) as answer,
        ):
            return answer.status

    async def post(self, port: int, token: str, client: Pair | None, *alerts: Any) -> int:
        """The status of a webhook of Alertmanager, which trusts the authority alone and asks for healer's name."""
        body = {"version": "4", "groupKey": "{}:{}", "status": "firing", "receiver": "healer", "alerts": alerts}
        context = client_context(self.ca.file, (client.cert, client.key) if client else None)
        url, headers = f"https://127.0.0.1:{port}{HOOK}", {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(url, json=body, ssl=context, server_hostname=SERVER) as answer,
        ):
            return answer.status


@pytest.fixture
async def deployed(lab: Lab, tmp_path: Path) -> Deployed:
    await lab.apply([yaml.safe_load((ROOT / "deploy/healer/namespace.yaml").read_text("utf-8"))])
    return Deployed(tmp_path)


async def test_its_probes_are_answered_over_https_and_only_so(run: Run, deployed: Deployed) -> None:
    """Whoever asks: the kubelet has no token and no certificate. Decisions take the token."""
    port = free_port()
    await run(ruleset(SLOW), **deployed.settings(port, port))
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = deployed.container[name]["httpGet"]
        assert await deployed.get(probe["scheme"].lower(), port, probe["path"]) == 200, name
    with pytest.raises(aiohttp.ClientError):
        await deployed.get("http", port, "/healthz")
    assert [await deployed.get("https", port, "/decisions", token) for token in ("", "to-webhook", "to-read")] == [401, 401, 200]


async def test_a_follower_passes_a_webhook_on_to_the_leader(lab: Lab, run: Run, deployed: Deployed) -> None:
    """By its own certificate, whose name it is let in by, to a leader whose certificate has the name of the Service."""
    sick, *_ = await serve(lab, min_available=None)
    lab.reviews.add_token("of-kubernetes", "system:serviceaccount:monitoring:alertmanager", "healer")
    lab.reviews.grant("system:serviceaccount:monitoring:alertmanager", "post", HOOK)
    leads, follows = free_port(), free_port()
    leader = await run(ruleset(SLOW), **deployed.settings(leads, leads))
    follower = await run(**deployed.settings(follows, leads))
    assert (await follower.says("healer is ready"))["role"] == "follower"
    sender, other = (deployed.ca.pair_for(name, [f"DNS:{name}"]) for name in (SENDER, "grafana.monitoring.svc"))
    firing = alert("HighLatency", pod=sick)
    refused = [("of-kubernetes", None), ("of-kubernetes", other), ("unknown", sender)]
    assert [await deployed.post(follows, token, pair, firing) for token, pair in refused] == [403, 403, 401]
    assert await deployed.post(follows, "of-kubernetes", sender, firing) == 200
    await leader.until(lambda: evictions(lab) == [sick], "the eviction", PATIENCE)
