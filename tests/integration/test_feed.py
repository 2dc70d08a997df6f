"""From a server's metrics to a healed pod, with what is shipped: the alerts of deploy/alerts in a real Prometheus, the
configuration of a real Alertmanager, and the daemon with the pack. Only addresses are other ones, and times are shorter.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from aiohttp import web

from healer.lab import Lab
from healer.lab.objects import Object
from tests.integration.conftest import ROOT, Run
from tests.integration.world import NAMESPACE, evictions, pods, serve
from tests.support.healer import TOKEN, Healer
from tests.support.processes import PATIENCE
from tests.support.prometheus import Monitor, alertmanager, prometheus

pytestmark = pytest.mark.slow

ALERTS = ROOT / "deploy" / "alerts"
ALERTS_SPEED, RULES_SPEED = 200, 60
"""How much faster than shipped the alerts and Alertmanager are, and the rules."""
SCRAPE = "100ms"
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000}
_OF_ALERTS = re.compile(r"(?<=\[)(\d+)([smh])(?=])|(?:(?<=for: )|(?<=offset )|(?<=group_wait: )|(?<=interval: ))(\d+)([smh])\b")
_OF_RULES = re.compile(r"(?:(?<=for: )|(?<=within: )|(?<=stable: )|(?<=cooldown: ))(\d+)([smh])\b")


def faster(text: str, times: re.Pattern[str], speed: int) -> str:
    """The text with each of these times so many times shorter."""

    def shorter(match: re.Match[str]) -> str:
        number, unit = (each for each in match.groups() if each)
        return f"{int(number) * _UNITS[unit] // speed}ms"

    return times.sub(shorter, text)


class Gpus:
    """What the exporter of DCGM shows of three GPUs: a pod that comes gets the one of the pod that has gone."""

    def __init__(self) -> None:
        self._holders: dict[int, str] = {}
        self._xids = [0] * 3
        self._totals: dict[tuple[int, int], int] = {}

    def of(self, pod: str) -> int:
        """The GPU that the pod has."""
        return next(gpu for gpu, holder in self._holders.items() if holder == pod)

    def fails(self, gpu: int, xid: int) -> None:
        """The driver reports an error of it once. The gauge keeps the last number."""
        self._xids[gpu] = xid
        self._totals[gpu, xid] = self._totals.get((gpu, xid), 0) + 1

    def mended(self, gpu: int) -> None:
        """It is reset, and its exporter has begun anew."""
        self._xids[gpu] = 0
        self._totals = {(each, xid): times for (each, xid), times in self._totals.items() if each != gpu}

    def lines(self, names: list[str]) -> list[str]:
        """One scrape, while these pods exist."""
        self._holders = {gpu: pod for gpu, pod in self._holders.items() if pod in names}
        free = [gpu for gpu in range(len(self._xids)) if gpu not in self._holders]
        self._holders |= dict(zip(free, (name for name in names if name not in self._holders.values()), strict=False))
        shown = [
            f'DCGM_FI_DEV_XID_ERRORS{{{self._labels(gpu)},err_code="{xid}",err_msg="x"}} {xid}'
            for gpu, xid in enumerate(self._xids)
        ]
        return shown + [
            f'DCGM_EXP_XID_ERRORS_TOTAL{{{self._labels(gpu)},xid="{xid}"}} {times}' for (gpu, xid), times in self._totals.items()
        ]

    def _labels(self, gpu: int) -> str:
        pod = f'namespace="{NAMESPACE}",pod="{self._holders[gpu]}",container="main",' if gpu in self._holders else ""
        return f'{pod}gpu="{gpu}",UUID="GPU-{gpu}",device="nvidia{gpu}",Hostname="node-1"'


class Exposition:
    """What three vLLMs, their GPUs and kube-state-metrics show of the lab at one address: a pod that is gone shows nothing."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._steps: dict[str, int] = {}
        self.hangs = ""
        """The uid of the pod whose engine makes no step."""
        self.gpus = Gpus()
        self.waiting = 0
        """Requests that wait at each pod. While some do, the KV cache is full."""

    async def answer(self, _: web.Request) -> web.Response:
        """One scrape. Engines make steps between two of them."""
        lines = [line for pod in pods(self._lab).values() for line in (*self._vllm(pod), *_owner("pod", pod))]
        lines += self.gpus.lines(list(pods(self._lab)))
        lines += [line for each in self._lab.objects("replicasets", NAMESPACE) for line in _owner("replicaset", each)]
        return web.Response(text="".join(f"{line}\n" for line in lines))

    def _vllm(self, pod: Object) -> list[str]:
        uid = pod["metadata"]["uid"]
        self._steps[uid] = self._steps.get(uid, 0) + (0 if uid == self.hangs else 90)
        labels = f'{{namespace="{NAMESPACE}",pod="{pod["metadata"]["name"]}",engine="0",model_name="m"}}'
        cache = 0.99 if self.waiting else 0.5
        return [
            f"vllm:num_requests_running{labels} 8",
            f"vllm:num_requests_waiting{labels} {self.waiting}",
            f"vllm:kv_cache_usage_perc{labels} {cache}",
            f"vllm:iteration_tokens_total_count{labels} {self._steps[uid]}",
        ]


def _owner(kind: str, obj: Object) -> list[str]:
    name = f'namespace="{NAMESPACE}",{kind}="{obj["metadata"]["name"]}"'
    return [
        f'kube_{kind}_owner{{{name},owner_kind="{owner["kind"]}",owner_name="{owner["name"]}",owner_is_controller="true"}} 1'
        for owner in obj["metadata"].get("ownerReferences", ())
    ]


class People:
    """Who gets all alerts: what they were told, as (alert, status)."""

    def __init__(self) -> None:
        self.told: set[tuple[str, str]] = set()
        self._news = asyncio.Condition()

    async def answer(self, request: web.Request) -> web.Response:
        """One message of Alertmanager."""
        said = await request.json()
        async with self._news:
            self.told |= {(each["labels"]["alertname"], each["status"]) for each in said["alerts"]}
            self._news.notify_all()
        return web.Response()

    async def until(self, alert: str, status: str) -> None:
        """Wait until they are told that."""
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: (alert, status) in self.told)


@asynccontextmanager
async def _local(exposition: Exposition, people: People) -> AsyncIterator[str]:
    """Both on a free port; its address."""
    app = web.Application()
    app.router.add_get("/metrics", exposition.answer)
    app.router.add_post("/people", people.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()


def _rule_files(folder: Path) -> list[str]:
    """All that deploy/alerts ships, as plain rule files in a hurry."""
    folder.mkdir()
    for name in yaml.safe_load((ALERTS / "kustomization.yaml").read_text("utf-8"))["resources"]:
        shipped = yaml.safe_load(faster((ALERTS / name).read_text("utf-8"), _OF_ALERTS, ALERTS_SPEED))
        (folder / name).write_text(yaml.safe_dump(shipped["spec"]), "utf-8")
    return [str(folder / "*.yaml")]


def _routes(port: int, local: str, token: Path) -> Any:
    """The shipped configuration of Alertmanager, with the addresses of this test."""
    text = faster((ALERTS / "alertmanager.yaml").read_text("utf-8"), _OF_ALERTS, ALERTS_SPEED)
    for shipped, here in (
        ("http://healer.healer.svc:8080", f"http://127.0.0.1:{port}"),
        ("http://people.example/alerts", f"http://{local}/people"),
        ("/etc/alertmanager/healer-token", str(token)),
    ):
        assert shipped in text
        text = text.replace(shipped, here)
    return yaml.safe_load(text)


@dataclass(frozen=True, slots=True)
class Feed:
    """All of it, at work."""

    healer: Healer
    exposition: Exposition
    people: People
    prometheus: Monitor

    async def recorded(self, expr: str) -> None:
        """Wait until that expression has a value."""
        async with asyncio.timeout(PATIENCE):
            while not await self._value(expr):  # noqa: ASYNC110 - Prometheus tells nobody when it has evaluated its rules
                await asyncio.sleep(0.1)

    async def _value(self, expr: str) -> list[object]:
        found: list[object] = (await self.prometheus.get(f"/api/v1/query?query={quote(expr)}"))["data"]["result"]
        return found


@pytest.fixture
async def feed(lab: Lab, run: Run, tmp_path: Path) -> AsyncIterator[Feed]:
    await serve(lab, name="vllm", min_available=None)
    exposition, people, token = Exposition(lab), People(), tmp_path / "webhook-token"
    token.write_text(TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as place:  # healer and Alertmanager must know each other's address
        port = place.getsockname()[1]
    async with AsyncExitStack() as stack:
        local = await stack.enter_async_context(_local(exposition, people))
        monitor = await stack.enter_async_context(alertmanager(tmp_path / "alertmanager", _routes(port, local, token)))
        healer = await run(
            *(faster((ROOT / "rules" / f"{pack}.yaml").read_text("utf-8"), _OF_RULES, RULES_SPEED) for pack in ("vllm", "gpu")),
            HEALER_HTTP__PORT=str(port),
            HEALER_HTTP__WEBHOOK_TOKEN_FILE=token,
            HEALER_ALERTS__URL=f"http://{monitor.address}",
            HEALER_ALERTS__FRESHNESS="1",
            HEALER_ALERTS__ABSENT="500ms",
        )
        targets = [{"targets": [local]}]
        config = {
            "global": {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": SCRAPE},
            "rule_files": _rule_files(tmp_path / "alerts"),
            "scrape_configs": [{"job_name": "all", "honor_labels": True, "static_configs": targets}],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [monitor.address]}]}]},
        }
        server = await stack.enter_async_context(prometheus(tmp_path / "prometheus", config))
        yield Feed(healer, exposition, people, server)


async def test_a_hang_is_seen_in_the_metrics_and_healed_until_the_alert_is_resolved(lab: Lab, feed: Feed) -> None:
    """One of three engines makes no step: its pod goes, its series end, and so does the alert."""
    sick, *_ = pods(lab)
    feed.exposition.hangs = pods(lab)[sick]["metadata"]["uid"]
    await feed.healer.says("incident healed", rule="vllm/engine-stalled")
    await feed.people.until("VllmEngineStalled", "resolved")
    assert evictions(lab) == [sick]
    assert feed.people.told == {("VllmEngineStalled", "firing"), ("VllmEngineStalled", "resolved")}
    counted = await feed.healer.metrics()
    assert not any(count for name, count in counted.items() if name.startswith("healer_alerts_untargeted_total"))


async def test_a_saturated_workload_is_seen_in_the_metrics_and_keeps_its_pods(lab: Lab, feed: Feed) -> None:
    """The caches are full, and requests wait: healer asks a human for a replica, takes no pod, and waits until the alert ends."""
    names = list(pods(lab))
    feed.exposition.waiting = 20
    waiting = await feed.healer.says("incident waiting", rule="vllm/saturated")
    assert waiting["reason"] == "NeedsApproval"
    feed.exposition.waiting = 0
    await feed.healer.says("incident closed", rule="vllm/saturated")
    assert (evictions(lab), list(pods(lab))) == ([], names)
    assert {name for name, _ in feed.people.told} == {"VllmSaturated"}


async def test_an_xid_costs_its_pod_alone_until_it_happens_again(lab: Lab, feed: Feed) -> None:
    """The gauge keeps the number, and shows it with the pod that gets the GPU then. The same error again is counted."""
    gpus, healer = feed.exposition.gpus, feed.healer
    await feed.recorded("pod_gpu_xid:dcgm_xid_errors:count offset 1s")
    before = set(pods(lab))
    sick, *_ = before
    gpu = gpus.of(sick)
    gpus.fails(gpu, 31)
    first = await healer.says("incident healed", rule="gpu/xid-application")
    await feed.people.until("GpuXidError", "resolved")
    (successor,) = pods(lab).keys() - before
    assert (gpus.of(successor), evictions(lab)) == (gpu, [sick])
    assert not [line for line in healer.lines_of(first["incident"]) if successor in line["text"]]
    gpus.fails(gpu, 31)
    await healer.until(
        lambda: any(line["incident"] != first["incident"] for line in healer.find("incident open", rule="gpu/xid-application")),
        "an incident of the successor",
    )
    assert {name for name, _ in feed.people.told} == {"GpuXidError"}


async def test_an_ill_gpu_is_told_until_it_is_mended(lab: Lab, feed: Feed) -> None:
    """It outlasts an alert that ends by itself and that began later; its incident stays open, and says nothing of a recovery."""
    gpus, healer, people = feed.exposition.gpus, feed.healer, feed.people
    await feed.recorded("pod_gpu_xid:dcgm_xid_errors:count offset 1s")
    ill, other, _ = names = list(pods(lab))
    gpus.fails(gpus.of(ill), 79)
    paged = await healer.says("incident escalated", rule="gpu/xid-device")
    gpus.fails(gpus.of(other), 31)
    await people.until("GpuXidError", "resolved")
    assert people.told == {("GpuXidDevice", "firing"), ("GpuXidError", "firing"), ("GpuXidError", "resolved")}
    assert not healer.find("incident closed", incident=paged["incident"])
    gpus.mended(gpus.of(ill))
    await people.until("GpuXidDevice", "resolved")
    await healer.says("incident closed", incident=paged["incident"])
    assert (evictions(lab), list(pods(lab))) == ([], names)
