"""What healer says, where and how often, when the API server does not answer as it should, or when nobody leads."""

import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from aiohttp import web

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import CRASH_LOOP, SLOW, patch, ruleset, serve
from tests.support.healer import TOKEN, Healer, alert

UNREACHABLE = "the cluster cannot be reached: nothing is healed until it can"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


def loud(healer: Healer) -> list[str]:
    """The events that an operator sees at the usual level, apart from those of a start."""
    usual = ("healer listens", "people may not be told")
    return [e["event"] for e in healer.events if e["level"] in ("warning", "error", "critical") and e["event"] not in usual]


def _closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.parametrize("way", ["refused", "500", "401", "no such host"])
async def test_no_cluster_is_one_line_that_says_which_and_why(lab: Lab, run: Run, settings: dict[str, Any], way: str) -> None:
    port = _closed_port()
    expected = {"refused": "Connect call failed", "500": "500", "401": "401", "no such host": "nowhere.invalid"}[way]
    if way in ("refused", "no such host"):
        config = yaml.safe_load(settings["KUBECONFIG"].read_text())
        host = "nowhere.invalid" if way == "no such host" else "127.0.0.1"
        config["clusters"][0]["cluster"]["server"] = f"http://{host}:{port}"
        settings["KUBECONFIG"].write_text(yaml.safe_dump(config))
    else:
        lab.faults.answer(int(way), times=None)
    healer = await run(ruleset(CRASH_LOOP), ready=False)
    said = await healer.says(UNREACHABLE)
    assert str(settings["KUBECONFIG"]) in said["cluster"]
    assert "http://" in said["cluster"]
    assert expected in said["error"]
    code = {"500": "5xx", "401": "401"}.get(way, "none")
    failures = f"healer_api_requests_total{{code={code},verb=list}}"
    while (await healer.metrics())[failures] < 12:  # each of five kinds has failed more than once by then
        pass
    assert loud(healer) == [UNREACHABLE]

    status, live = await healer.get("/healthz")
    assert status == 200, "a restart would not help"
    assert not live["checks"]["cluster"]["ok"]
    assert "never heard" in live["checks"]["cluster"]["reason"]
    assert expected in live["checks"]["cluster"]["reason"]
    assert "never heard" in live["checks"]["watch pods"]["reason"]
    status, ready = await healer.get("/readyz")
    assert status == 503
    assert expected in ready["checks"]["pods synced"]["reason"]
    numbers = await healer.metrics()
    assert (numbers["healer_api_reachable"], numbers["healer_leader"]) == (0, 0)


async def test_an_api_server_that_fails_later_is_said_in_the_probes_which_stay_green(lab: Lab, run: Run) -> None:
    """A follower or leader that cannot reach it is as good as the others: neither a restart nor leaving the Service mends it."""
    await serve(lab)
    healer = await run(ruleset(CRASH_LOOP))
    assert (await healer.metrics())["healer_leader"] == 1
    lab.faults.answer(500, times=None)
    lab.faults.end_watch(times=None)
    await healer.says(UNREACHABLE)
    for probe in ("/healthz", "/readyz"):
        status, said = await healer.get(probe)
        assert (status, said["checks"]["cluster"]["ok"]) == (200, False)
        assert "500" in said["checks"]["cluster"]["reason"]
    assert (await healer.metrics())["healer_api_reachable"] == 0
    await healer.says("lease lost")
    _, ready = await healer.get("/readyz")
    assert not ready["checks"]["leadership"]["ok"]
    assert "nobody leads" in ready["checks"]["leadership"]["reason"]
    assert (await healer.metrics())["healer_leader"] == 0

    lab.faults.clear()
    await healer.says("the cluster answers again")
    while not (await healer.metrics())["healer_leader"]:
        pass
    _, ready = await healer.get("/readyz")
    assert ready["checks"]["leadership"]["reason"].startswith("leader: this replica")


async def test_a_missing_permission_is_named_once_with_verb_resource_and_what_to_apply(lab: Lab, run: Run) -> None:
    lab.forbid("list", "poddisruptionbudgets")
    healer = await run(ruleset(CRASH_LOOP), ready=False)
    said = await healer.says("a permission is missing")
    refused = "healer_api_requests_total{code=403,verb=list}"
    while (await healer.metrics())[refused] < 3:
        pass
    assert said["permission"] == "list poddisruptionbudgets.policy"
    assert "healer rbac" in said["hint"]
    assert loud(healer) == ["a permission is missing"]
    assert (await healer.metrics())["healer_missing_permissions"] == 1
    status, ready = await healer.get("/readyz")
    assert (status, ready["checks"]["cluster"]["ok"]) == (503, False)
    assert "may not list poddisruptionbudgets.policy" in ready["checks"]["cluster"]["reason"]
    lab.allow("list", "poddisruptionbudgets")
    await healer.says("a permission that was missing is granted now")
    await healer.says("healer is ready")


@pytest.fixture
async def eavesdropper() -> AsyncIterator[tuple[str, list[str]]]:
    """Somebody who listens on loopback: the address, and the Authorization of each request."""
    heard: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        heard.append(request.headers.get("Authorization", ""))
        return web.json_response({"accepted": 1})

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}", heard
    await runner.cleanup()


async def _held_by(lab: Lab, address: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": f"healer-0@{address}", "leaseDurationSeconds": 3600, "acquireTime": now, "renewTime": now}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "healer", "namespace": "default"}}
    await lab.apply(lease | {"spec": spec})


@pytest.fixture
def token(settings: dict[str, Any], tmp_path: Any) -> None:
    (tmp_path / "webhook-token").write_text(TOKEN)
    settings["HEALER_HTTP__WEBHOOK_TOKEN_FILE"] = tmp_path / "webhook-token"


@pytest.mark.usefixtures("token")
async def test_the_webhooks_token_goes_to_no_address_that_the_lease_makes_up(
    lab: Lab, run: Run, eavesdropper: tuple[str, list[str]]
) -> None:
    address, heard = eavesdropper
    await _held_by(lab, address)
    healer = await run(ruleset(SLOW))
    status, answer = await healer.post(alert("HighLatency", pod="a"), token=TOKEN)
    assert status == 503
    assert "no endpoint of healer's Service" in answer["error"]
    assert heard == []


def _slice(address: str) -> dict[str, Any]:
    """healer's Service, as it stands in an EndpointSlice."""
    host, _, port = address.rpartition(":")
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "healer-a", "namespace": "default", "labels": {"kubernetes.io/service-name": "healer"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": int(port), "protocol": "TCP"}],
    }


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("way", ["an endpoint of the Service", "a peer that the settings name"])
async def test_a_replica_that_is_known_is_passed_webhooks_on_to(
    lab: Lab, run: Run, eavesdropper: tuple[str, list[str]], way: str
) -> None:
    address, heard = eavesdropper
    await _held_by(lab, address)
    if way == "an endpoint of the Service":
        await lab.apply(_slice(address))
        healer = await run(ruleset(SLOW))
    else:
        healer = await run(ruleset(SLOW), HEALER_LEADER__PEERS=f'["{address}"]')
    assert await healer.post(alert("HighLatency", pod="a"), token=TOKEN) == (200, {"accepted": 1})
    assert heard == [f"Bearer {TOKEN}"]


@pytest.mark.usefixtures("token")
async def test_endpoints_that_may_not_be_read_allow_nothing(lab: Lab, run: Run, eavesdropper: tuple[str, list[str]]) -> None:
    address, heard = eavesdropper
    await _held_by(lab, address)
    await lab.apply(_slice(address))
    lab.forbid("list", "endpointslices")
    healer = await run(ruleset(SLOW))
    status, answer = await healer.post(alert("HighLatency", pod="a"), token=TOKEN)
    assert (status, heard) == (503, [])
    assert "is not known" in answer["error"]


async def test_without_an_election_a_pause_of_everything_is_seen(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab, min_available=None)
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    annotations = {"healer.dev/paused": "true", "healer.dev/paused-by": "ann"}
    await lab.apply(lease | {"metadata": {"name": "ours", "namespace": "default", "annotations": annotations}})
    own = {"HEALER_LEADER__NAME": "ours", "HEALER_LEADER__RENEW": "0.1"}
    healer = await run(ruleset(CRASH_LOOP), HEALER_LEADER__ENABLED="false", **own)  # type: ignore[arg-type]
    await lab.behave("production", sick, "crash")
    waiting = await healer.says("incident waiting")
    assert (waiting["reason"], "ann" in waiting["text"]) == ("Paused", True)
    await patch(lab, f"{LEASE}/ours", {"metadata": {"annotations": {"healer.dev/paused": None}}})
    await healer.says("incident healed")


async def test_without_an_election_and_without_the_right_to_see_a_pause_nothing_is_done(lab: Lab, run: Run) -> None:
    """A stop that would not be heard is no stop; what is missing is said."""
    sick, *_ = await serve(lab, min_available=None)
    lab.forbid("get", "leases")
    healer = await run(ruleset(CRASH_LOOP), HEALER_LEADER__ENABLED="false", HEALER_LEADER__RENEW="0.1")
    await lab.behave("production", sick, "crash")
    waiting = await healer.says("incident waiting")
    assert "whether somebody has paused everything is not known" in waiting["text"]
    assert len(healer.find("nothing is done: a pause of everything would not be seen")) == 1
    assert (await healer.says("a permission is missing"))["permission"] == "get leases.coordination.k8s.io in namespace default"
    lab.allow("get", "leases")
    await healer.says("incident healed")
