"""The guarded port of a real daemon: real Alertmanager and Prometheus, tokens of Kubernetes, a follower, verbs that read."""

import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from healer.http.tls import client_context
from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import NAMESPACE, SLOW, evictions, ruleset, serve
from tests.support.certificates import Authority, Pair, rotate
from tests.support.healer import Healer, alert, verb
from tests.support.processes import PATIENCE
from tests.support.prometheus import Monitor, alertmanager, prometheus

HOOK = "/webhooks/alertmanager"
HURRY = {"group_wait": "100ms", "group_interval": "500ms", "repeat_interval": "4h"}
SENDER = "system:serviceaccount:monitoring:alertmanager"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as place:
        port: int = place.getsockname()[1]
        return port


class Site:
    """The files of a guarded port: a Secret volume with its certificate and authority, tokens, and a client's pair."""

    def __init__(self, folder: Path) -> None:
        self.ca = Authority.make(folder / "pki")
        self.volume = folder / "volume"
        self.tokens = folder / "tokens"
        self.tokens.write_text("first-token\n")
        self.credentials = folder / "credentials"
        self.credentials.write_text("first-token")
        self.client = self.ca.pair_for("alertmanager", ())
        self.write(self.ca.pair_for("healer"))

    def write(self, pair: Pair) -> None:
        rotate(self.volume, tls_crt=pair.cert, tls_key=pair.key, ca_crt=self.ca.file)

    @property
    def settings(self) -> dict[str, Any]:
        """TLS with clients' certificates for webhooks, and tokens."""
        return {
            "HEALER_HTTP__TLS_CERT_FILE": self.volume / "tls.crt",
            "HEALER_HTTP__TLS_KEY_FILE": self.volume / "tls.key",
            "HEALER_HTTP__TLS_CLIENT_CA_FILE": self.volume / "ca.crt",
            "HEALER_HTTP__WEBHOOK_TOKEN_FILE": self.tokens,
            "HEALER_HTTP__METRICS_TOKEN_FILE": self.tokens,
            "HEALER_LEADER__CA_FILE": self.volume / "ca.crt",
        }

    def client_config(self) -> dict[str, Any]:
        """The http_config of Alertmanager, and the same for Prometheus."""
        tls = {"ca_file": str(self.ca.file), "cert_file": str(self.client.cert), "key_file": str(self.client.key)}
        authorization = {"type": "Bearer", "credentials_file": str(self.credentials)}
        return {"authorization": authorization, "tls_config": tls | {"server_name": "localhost"}}

    async def post(self, port: int, token: str, *alerts: Any) -> tuple[int, Any]:
        """Post alerts as Alertmanager does, with its certificate."""
        body = {"version": "4", "groupKey": "{}:{}", "status": "firing", "receiver": "healer", "alerts": alerts}
        context = client_context(self.ca.file, (self.client.cert, self.client.key))
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"https://localhost:{port}{HOOK}", json=body, ssl=context) as answer,
        ):
            return answer.status, await answer.json()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def receiver(url: str, http_config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Alertmanager's configuration with healer as the only receiver."""
    webhook = {"url": url, "send_resolved": True} | ({"http_config": http_config} if http_config else {})
    route = {"receiver": "healer", "group_by": ["..."], **HURRY}
    return {"route": route, "receivers": [{"name": "healer", "webhook_configs": [webhook]}]}


async def fire(monitor: Monitor, pod: str) -> None:
    now = datetime.now(UTC)
    labels = {"alertname": "HighLatency", "namespace": NAMESPACE, "pod": pod}
    body = [{"labels": labels, "startsAt": now.isoformat(), "endsAt": (now + timedelta(minutes=5)).isoformat()}]
    url = f"http://{monitor.address}/api/v2/alerts"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
        assert answer.ok, await answer.text()


async def port_of(healer: Healer) -> int:
    return int((await healer.says("healer listens"))["port"])


# Alertmanager and Prometheus


async def test_alertmanager_comes_in_with_certificate_and_token_before_and_after_both_rotate(
    lab: Lab, run: Run, site: Site, tmp_path: Path
) -> None:
    first, second, *_ = await serve(lab, min_available=None)
    healer = await run(ruleset(SLOW | {"limits": {"cooldown": "1s"}}), **site.settings)
    config = receiver(f"https://localhost:{await port_of(healer)}{HOOK}", site.client_config())
    async with alertmanager(tmp_path / "alertmanager", config) as monitor:
        await fire(monitor, first)
        await healer.says("incident verifying", rule="test/slow")
        site.tokens.write_text("first-token\nsecond-token\n")
        site.credentials.write_text("second-token")
        site.tokens.write_text("second-token\n")
        site.write(site.ca.pair_for("healer-2"))
        assert (await site.post(await port_of(healer), "second-token"))[0] == 200, "on a new connection"
        await healer.says("new TLS files are in force")
        await fire(monitor, second)
        await healer.until(lambda: len(evictions(lab)) == 2, "the second eviction", PATIENCE)
    assert evictions(lab) == [first, second]
    assert not healer.find("a request was refused")


async def test_prometheus_scrapes_over_tls_with_a_token(run: Run, site: Site, tmp_path: Path) -> None:
    healer = await run(ruleset(SLOW), **site.settings)
    target = {"job_name": "healer", "scheme": "https", "scrape_interval": "200ms", "scrape_timeout": "200ms"}
    target |= site.client_config() | {"static_configs": [{"targets": [f"localhost:{await port_of(healer)}"]}]}
    async with prometheus(tmp_path / "prometheus", {"scrape_configs": [target]}) as monitor:
        found = await monitor.until("healer_tls_files_usable")
    assert found[0]["value"][1] == "1"


async def test_an_alert_that_came_too_fast_is_sent_again_and_taken(lab: Lab, run: Run, tmp_path: Path) -> None:
    """Alertmanager repeats after the 503 of the rate limit. After 429 it would not."""
    sick, *_ = await serve(lab, min_available=None)
    healer = await run(ruleset(SLOW), HEALER_HTTP__RATE_PER_MINUTE="20", HEALER_HTTP__RATE_BURST="1")
    async with alertmanager(tmp_path / "alertmanager", receiver(await healer.listens() + HOOK)) as monitor:
        while (await healer.get("/rules"))[0] != 429:
            pass
        await fire(monitor, sick)
        refused = await healer.says("a request was refused", status=503)
        assert refused["error"] == "too many requests"
        await healer.says("incident verifying", rule="test/slow")
    assert evictions(lab) == [sick]


# tokens of Kubernetes


async def test_a_token_of_kubernetes_is_taken_where_its_user_may_post(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab)
    lab.reviews.add_token("for-healer", SENDER, "healer")
    lab.reviews.add_token("for-another", SENDER, "vault")
    healer = await run(ruleset(SLOW), HEALER_HTTP__TOKEN_REVIEW="webhook", HEALER_HTTP__TOKEN_REVIEW_CACHE="1ms")
    firing = alert("HighLatency", pod=sick)
    assert [(await healer.post(firing, token=token))[0] for token in ("", "junk", "for-another", "for-healer")] == [401] * 4
    lab.reviews.grant(SENDER, "post", HOOK)
    assert [(await healer.post(firing, token=token))[0] for token in ("for-another", "for-healer")] == [401, 200]
    lab.reviews.revoke(SENDER, "post", HOOK)
    assert (await healer.post(firing, token="for-healer"))[0] == 401
    assert not [line for line in healer.lines if "for-healer" in line]


async def test_what_the_api_server_said_counts_for_a_while(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab)
    lab.reviews.add_token("for-healer", SENDER, "healer")
    lab.reviews.grant(SENDER, "post", HOOK)
    healer = await run(ruleset(SLOW), HEALER_HTTP__TOKEN_REVIEW="webhook")
    for _ in range(3):
        assert (await healer.post(alert("HighLatency", pod=sick), token="for-healer"))[0] == 200
    reviews = [seen.resource for seen in lab.requests if seen.resource in ("tokenreviews", "subjectaccessreviews")]
    assert reviews == ["tokenreviews", "subjectaccessreviews"]


async def test_without_an_answer_of_the_api_server_nobody_comes_in_and_the_sender_tries_again(lab: Lab, run: Run) -> None:
    lab.reviews.add_token("for-healer", SENDER, "healer")
    lab.reviews.grant(SENDER, "post", HOOK)
    healer = await run(ruleset(SLOW), HEALER_HTTP__TOKEN_REVIEW="webhook")
    lab.forbid("create", "tokenreviews")
    assert (await healer.post(alert("HighLatency"), token="for-healer"))[0] == 503
    assert (await healer.says("a token of Kubernetes is refused: it cannot be reviewed"))["endpoint"] == "webhook"
    lab.allow("create", "tokenreviews")
    assert (await healer.post(alert("HighLatency"), token="for-healer"))[0] == 200


@pytest.mark.parametrize("reviewing", ["", "webhook,read"])
async def test_rbac_grants_reviews_where_the_setting_asks_for_them(rules_folder: Path, tmp_path: Path, reviewing: str) -> None:
    (rules_folder / "rules.yaml").write_text(ruleset(SLOW), "utf-8")
    settings: dict[str, Any] = {"HEALER_HTTP__TOKEN_REVIEW": reviewing} if reviewing else {}
    for confined in ((), ("--namespace", NAMESPACE)):
        code, printed = await verb("rbac", rules_folder, *confined, home=tmp_path, **settings)
        assert code == 0
        assert ("tokenreviews" in printed, "subjectaccessreviews" in printed) == (bool(reviewing), bool(reviewing))


# replicas and verbs


async def test_a_follower_passes_a_webhook_on_over_tls_with_its_senders_token(lab: Lab, run: Run, site: Site) -> None:
    slow, *_ = await serve(lab, min_available=None)
    leads, follows = free_port(), free_port()
    for port in (leads, follows):
        peers = f"127.0.0.1:{leads}"
        address: dict[str, Any] = {
            "HEALER_HTTP__PORT": str(port),
            "HEALER_LEADER__ADDRESS": f"127.0.0.1:{port}",
            "HEALER_LEADER__PEERS": peers,
        }
        healer = await run(ruleset(SLOW), **site.settings, **address)
    assert (await healer.says("healer is ready"))["role"] == "follower"
    status, answer = await site.post(follows, "first-token", alert("HighLatency", pod=slow))
    assert (status, answer) == (200, {"accepted": 1, "untargeted": 0, "truncated": 0})
    assert (await site.post(follows, "wrong", alert("HighLatency", pod=slow)))[0] == 401


async def test_status_reads_over_tls_with_a_token(run: Run, site: Site, settings: dict[str, str | Path], tmp_path: Path) -> None:
    (tmp_path / "read").write_text("reads\n")
    healer = await run(ruleset(SLOW), **site.settings, HEALER_HTTP__READ_TOKEN_FILE=tmp_path / "read")
    url, kubeconfig = f"https://localhost:{await port_of(healer)}", settings["KUBECONFIG"]
    trusted = ("--url", url, "--ca", site.ca.file, "-o", "json", "--healer-namespace", "default")
    code, printed = await verb("status", *trusted, "--token-file", tmp_path / "read", home=tmp_path, KUBECONFIG=kubeconfig)
    assert (code, [rule["name"] for rule in json.loads(printed)["rules"]]) == (0, ["test/slow"])
    _, printed = await verb("status", *trusted, home=tmp_path, KUBECONFIG=kubeconfig)
    assert json.loads(printed)["rules"] is None
    assert "--token-file" in printed
