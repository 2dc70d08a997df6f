"""Each documented alert fires in its trouble, by what the daemon shows on /metrics then, and is silent before.

A second of a test is a minute of the alerts: a scrape follows the next as soon as another look was counted.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import generate_latest

from healer.daemon.metrics import Metrics
from healer.engine.safety.wide import BREAKER
from healer.http.tls import client_context
from healer.lab import Lab
from healer.lab.canary import CANARY, STABLE, ingresses, versions
from healer.model.incident import State
from tests.integration.conftest import ROOT, Run
from tests.integration.world import CHANNEL, NAMESPACE, rule, ruleset, serve, serves
from tests.support.certificates import Authority, rotate
from tests.support.healer import Healer, alert
from tests.support.processes import PATIENCE
from tests.support.promtool import Scrape, documented, firing, scraped
from tests.support.slack import FakeSlack
from tests.unit.journal.incidents import incident, then

ALERTS = ROOT / "deploy" / "healer" / "components" / "prometheus-operator" / "alerts.yaml"
RUNBOOKS = "docs/healer-alerts.md"
QUIET = 20
"""Scrapes before the trouble: as many minutes."""
LONG = 12
"""Scrapes in it."""
PAGE: list[dict[str, object]] = [{"page": {}}]
ASKED = rule("asked", when={"query": {"expr": "latency", "above": 1, "every": "1s"}}, heal=PAGE)
JUDGED = rule(
    "judged",
    when={
        "canary": {
            "route": {"kind": "Ingress", "name": "model-ab-testing"},
            "stable": {"deployment": STABLE},
            "canary": {"deployment": CANARY},
            "every": "1s",
            "measures": [{"name": "errors", "total": 'total{pod=~"{{ pods }}"}', "bad": 'bad{pod=~"{{ pods }}"}'}],
        }
    },
    heal=[{"shiftTraffic": {"to": 0}}],
    scope={"namespaces": [NAMESPACE]},
)
EVICTED = rule("evicted", when={"alert": ["HighLatency"]}, heal=[{"evict": {}, "verify": {"within": "1s", "stable": "1s"}}])


class Servers:
    """What answers in place of Prometheus and of Alertmanager, until it does no more."""

    def __init__(self) -> None:
        self.url = ""
        self.away = False
        self.slow = asyncio.Event()
        """Set: no answer but after a while."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The one handler."""
        if self.slow.is_set():
            await asyncio.sleep(2.5)
        if self.away:
            return web.Response(status=503)
        if request.path.startswith("/api/v2"):
            return web.json_response([])
        expr = (await request.post()).get("query", "")
        value = "0" if str(expr).startswith(("bad", "latency")) else f"{time.monotonic():.0f}"
        found = {"metric": {"namespace": NAMESPACE, "deployment": "tensorflow-serving"}, "value": [time.time(), value]}
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": [found]}})


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    servers = Servers()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", servers.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    servers.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield servers
    await runner.cleanup()


async def scrape(healer: Healer, scale: float = 1.0) -> Scrape:
    """What /metrics shows now; ages are multiplied by `scale`."""
    status, text = await healer.get("/metrics")
    assert status == 200
    return scraped(text, scale)


def total(scrape: Scrape, *names: str) -> float:
    """The sum of what a scrape has of series that begin with one of these names."""
    return sum(value for series, value in (scrape or {}).items() if series.startswith(names))


async def when(healer: Healer, holds: Callable[[Scrape], bool], scale: float = 1.0) -> Scrape:
    """The first scrape of which that holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds(now := await scrape(healer, scale)):  # noqa: ASYNC110 - another process tells nobody what it counts
            await asyncio.sleep(0.1)
        return now


async def after(healer: Healer, last: Scrape, *names: str, scale: float = 1.0) -> Scrape:
    """The first scrape in which each of these counters has counted since the last one."""
    return await when(healer, lambda now: all(total(now, name) > total(last, name) for name in names), scale)


async def test_alerts_on_what_healer_asks_tells_and_does(
    lab: Lab, run: Run, slack: FakeSlack, servers: Servers, rules_folder: Path, tmp_path: Path
) -> None:
    """Prometheus, Alertmanager, Slack, rights and rules fail; people must look."""
    sick, *_ = await serve(lab)
    await lab.apply([*versions(NAMESPACE, replicas=(2, 1)), *ingresses(NAMESPACE, weight=20)])
    await lab.wait_for(serves(6), PATIENCE)
    slack.joined = {CHANNEL, "#default"}
    healer = await run(
        ruleset(ASKED, JUDGED, EVICTED),
        HEALER_PROMETHEUS__URL=servers.url,
        HEALER_ALERTS__URL=servers.url,
        HEALER_ALERTS__FRESHNESS="3s",
    )
    looked = (
        'healer_unanswered_looks_total{job="healer",rule="test/asked"}',
        'healer_verdicts_total{job="healer",rule="test/judged",verdict="UNKNOWN"}',
    )
    calm = await after(healer, None, 'healer_verdicts_total{job="healer",rule="test/judged",verdict="INSUFFICIENT"}')
    assert [total(calm, name) for name in looked] == [0, 0]
    scrapes = [calm] * QUIET
    assert await firing(ALERTS, scrapes, tmp_path) == set()

    servers.away = True
    slack.errors = {CHANNEL: "is_archived", "#default": "is_archived"}
    forbidden = 'pods "x" is forbidden: User "healer" cannot create resource "pods/eviction" in API group ""'
    body = {"kind": "Status", "reason": "Forbidden", "message": forbidden, "code": 403}
    lab.faults.answer(403, resource="pods/eviction", body=body, times=None)
    (rules_folder / "broken.yaml").write_text("kind: RuleSet")
    await healer.post(alert("HighLatency", pod=sick))
    await healer.post(alert("Nameless"))
    for _ in range(LONG):
        scrapes.append(await after(healer, scrapes[-1], *looked, "healer_alertmanager_looks_total"))
    assert await firing(ALERTS, scrapes, tmp_path) == {
        "HealerPermissionMissing",
        "HealerRulesBroken",
        "HealerNeedsHuman",
        "HealerActionsFail",
        "HealerCanaryNotJudged",
        "HealerQueryUnanswered",
        "HealerAlertmanagerSilent",
        "HealerAlertsNameNothing",
        "HealerTellsNobody",
        "HealerChannelRefuses",
    }

    servers.slow.set()
    cut = {"version": "4", "alerts": [alert("Nameless")], "truncatedAlerts": 2}
    async with aiohttp.ClientSession(await healer.listens()) as session:
        assert (await session.post("/webhooks/alertmanager", data="no")).status in (400, 415)
        assert (await session.post("/webhooks/alertmanager", json=cut)).status == 200
    counted = ("healer_looks_late_total", "healer_http_refused_total", "healer_alerts_truncated_total")
    scrapes.append(await after(healer, scrapes[-1], *counted))
    assert {"HealerLooksLate", "HealerRefusesSender", "HealerAlertsCut"} <= await firing(ALERTS, scrapes, tmp_path)


async def test_alerts_on_the_api_server(lab: Lab, run: Run, tmp_path: Path) -> None:
    """It refuses incidents; then it is away; then healer is."""
    sick, *_ = await serve(lab)
    healer = await run(
        ruleset(EVICTED),
        HEALER_LEADER__DURATION="3s",
        HEALER_LEADER__DEADLINE="2s",
        HEALER_LEADER__RENEW="500ms",
        HEALER_HTTP__ACCEPT_TIMEOUT="1s",
    )
    scrapes = [await scrape(healer)] * QUIET
    assert await firing(ALERTS, scrapes, tmp_path) == set()

    refused = lab.faults.answer(422, verb="create", match=lambda seen: seen.permission.startswith("incidents"), times=None)
    await healer.post(alert("HighLatency", pod=sick))
    scrapes.append(await after(healer, scrapes[-1], "healer_journal_failures_total"))
    assert "HealerIncidentsNotWritten" in await firing(ALERTS, scrapes, tmp_path)
    lab.faults.remove(refused)

    lab.faults.drop(times=None)
    lab.faults.end_watch(times=None)
    await when(healer, lambda now: not total(now, "healer_leader", "healer_api_reachable"))
    for _ in range(LONG):
        last = scrapes[-1]
        scrapes.append(await after(healer, last, 'healer_api_requests_total{code="none"', "healer_watch_age_seconds", scale=60))
    found = await firing(ALERTS, scrapes, tmp_path)
    assert found >= {"HealerLeadsNowhere", "HealerApiServerAway", "HealerApiErrors", "HealerBlind"}
    assert "HealerDown" not in found

    scrapes += [None] * LONG
    assert "HealerDown" in await firing(ALERTS, scrapes, tmp_path)
    lab.faults.clear()


async def test_alerts_on_the_certificate_and_the_clients_of_the_port(run: Run, tmp_path: Path) -> None:
    """The certificate ends in two days, the next one is no pair with its key, and somebody has the wrong token."""
    ca, volume, tokens = Authority.make(tmp_path / "pki"), tmp_path / "volume", tmp_path / "tokens"
    lasting = ca.pair_for("healer")
    rotate(volume, tls_crt=lasting.cert, tls_key=lasting.key)
    tokens.write_text("right\n")
    healer = await run(
        ruleset(EVICTED),
        HEALER_HTTP__TLS_CERT_FILE=volume / "tls.crt",
        HEALER_HTTP__TLS_KEY_FILE=volume / "tls.key",
        HEALER_HTTP__READ_TOKEN_FILE=tokens,
    )
    port, ends = (await healer.says("healer listens"))["port"], "healer_tls_certificate_ends_timestamp_seconds"
    async with aiohttp.ClientSession(f"https://localhost:{port}", headers={"Authorization": "Bearer wrong"}) as session:

        async def now() -> Scrape:
            async with session.get("/metrics", ssl=client_context(ca.file, None)) as answer:
                return scraped(await answer.text())

        calm = await now()
        far = {name: value + 6 * 86400 * name.startswith(ends) for name, value in (calm or {}).items()}
        assert await firing(ALERTS, [far] * QUIET, tmp_path) == set()
        assert await firing(ALERTS, [calm] * QUIET, tmp_path) == {"HealerCertificateEnds"}

        other = ca.pair_for("other")
        rotate(volume, tls_crt=lasting.cert, tls_key=other.key)
        scrapes: list[Scrape] = [far] * QUIET
        for _ in range(LONG):
            async with session.get("/decisions", ssl=client_context(ca.file, None)) as answer:
                assert answer.status == 401
            scrapes.append(await now())
        assert total(scrapes[-1], "healer_tls_files_usable") == 0
        found = await firing(ALERTS, scrapes, tmp_path)
    assert found >= {"HealerTlsFilesUnusable", "HealerCertificateEnds", "HealerDeniesClient"}


async def test_an_alert_on_signals_that_wait(tmp_path: Path) -> None:
    """How many wait is read whenever metrics are asked for."""
    metrics, waiting = Metrics(), 0.0
    metrics.queue(lambda: waiting)
    scrapes = [scraped(generate_latest(metrics.registry).decode())] * 3
    assert "HealerQueueFills" not in await firing(ALERTS, scrapes, tmp_path)
    waiting = 500.0
    scrapes += [scraped(generate_latest(metrics.registry).decode())] * 3
    assert "HealerQueueFills" in await firing(ALERTS, scrapes, tmp_path)


async def test_an_alert_on_the_breaker(tmp_path: Path) -> None:
    """Its incident is as the engine opens it; when it is closed the alert ends."""
    metrics = Metrics()
    breaker = then(replace(incident("breaker-1"), rule=BREAKER), State.ESCALATED)
    calm = scraped(generate_latest(metrics.registry).decode())
    metrics.incident(breaker)
    open_ = scraped(generate_latest(metrics.registry).decode())
    assert "HealerBreakerOpen" not in await firing(ALERTS, [calm] * 3, tmp_path)
    assert "HealerBreakerOpen" in await firing(ALERTS, [calm, open_], tmp_path)
    metrics.incident(then(breaker, State.CLOSED))
    assert "HealerBreakerOpen" not in await firing(
        ALERTS, [calm, open_, scraped(generate_latest(metrics.registry).decode())], tmp_path
    )


async def test_an_alert_on_the_breaker_of_a_rule(tmp_path: Path) -> None:
    """It is said which rule does not act."""
    metrics, stopped = Metrics(), False
    metrics.breakers(lambda: {"pack/loop": stopped, "pack/other": False})
    calm = scraped(generate_latest(metrics.registry).decode())
    stopped = True
    open_ = scraped(generate_latest(metrics.registry).decode())
    assert 'healer_rule_breaker_open{rule="pack/loop"} 1.0' in generate_latest(metrics.registry).decode()
    assert "HealerRuleBreakerOpen" not in await firing(ALERTS, [calm] * 3, tmp_path)
    assert "HealerRuleBreakerOpen" in await firing(ALERTS, [calm, open_], tmp_path)


def test_each_documented_alert_is_tried_here_and_has_a_runbook() -> None:
    """By its name; the runbook is a section of its own."""
    here = Path(__file__).read_text("utf-8")
    page = (ROOT / "docs" / "operating.md").read_text("utf-8")
    sections = re.findall(r"^## (\w+)$", (ROOT / RUNBOOKS).read_text("utf-8"), re.MULTILINE)
    assert sections == [each["alert"] for each in documented(ALERTS)]
    for each in documented(ALERTS):
        assert f'"{each["alert"]}"' in here
        assert f"`{each['alert']}`" in page
        assert each["annotations"]["summary"]
        assert each["annotations"]["runbook_url"] == f"{RUNBOOKS}#{each['alert'].lower()}"
