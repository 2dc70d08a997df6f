"""The demo's substitute for Prometheus answers the queries of the demo's rules like a real Prometheus with the same samples."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from healer.demo.counters import Counters, CounterSample
from healer.demo.prometheus import StandIn
from healer.rules.probe import fill
from healer.sources.prometheus.client import Prometheus, QueryFailed
from tests.support.prometheus import prometheus
from tests.support.traffic import METRICS, exposition

RULE = Path(__file__).parents[2] / "rules" / "canary" / "tensorflow-serving.yaml"
NAMESPACE, PODS = "production", ("v1-a", "v1-b", "v2-a")


def samples() -> list[CounterSample]:
    """The counters of three pods. The third pod also answers errors, and has no slow answers."""
    found = []
    for number, pod in enumerate(PODS):
        counters = Counters()
        counters.count("OK", 0.03, 10 * (number + 1))
        counters.count("INVALID_ARGUMENT", 0.03, number)
        counters.count("INTERNAL" if number == 2 else "OK", 0.9, 7)
        labels = {"namespace": NAMESPACE, "pod": pod}
        found += [CounterSample(sample.name, labels | sample.labels, sample.value) for sample in counters.samples()]
    return found


def queries() -> list[str]:
    """The queries of the rule for both versions."""
    (document,) = yaml.safe_load_all(RULE.read_text("utf-8"))
    (rule,) = document["spec"]["rules"]
    sides = [{"namespace": NAMESPACE, "pods": pods} for pods in ("v1-a|v1-b", "v2-a")]
    measures: list[dict[str, Any]] = rule["when"]["canary"]["measures"]
    templates = [measure[key] for measure in measures for key in ("total", "bad", "histogram") if key in measure]
    return [fill(template, side) for template in templates for side in sides]


@pytest.fixture
async def scraped(tmp_path: Path) -> AsyncIterator[str]:
    """The address of a Prometheus that has scraped the samples."""
    scrapes = asyncio.Semaphore(0)

    async def metrics(_: web.Request) -> web.Response:
        scrapes.release()
        return web.Response(text=exposition(samples()), content_type="text/plain")

    app = web.Application()
    app.router.add_get(METRICS, metrics)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    job = {"job_name": "models", "metrics_path": METRICS, "static_configs": [{"targets": [f"{host}:{port}"]}]}
    config = {"global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"}, "scrape_configs": [job]}
    async with prometheus(tmp_path, config) as real:
        for _ in range(2):  # the second scrape starts when the first one is stored
            await scrapes.acquire()
        yield f"http://{real.address}"
    await runner.cleanup()


async def ask(url: str, queries: Iterable[str]) -> list[list[tuple[dict[str, str], float]]]:
    """The answers: labels and value of each series, without the labels of the scrape itself."""
    async with aclosing(Prometheus(url)) as client:
        found = [await client.query(query, time.time()) for query in queries]
    told = [[({k: v for k, v in s.labels.items() if k not in ("job", "instance")}, s.value) for s in each] for each in found]
    return [sorted(each, key=lambda series: sorted(series[0].items())) for each in told]


async def test_it_answers_the_rules_queries_as_prometheus_does(scraped: str) -> None:
    asked = queries()
    async with StandIn(lambda _: samples()) as stand_in:
        answers = await ask(stand_in.url, asked)
    assert answers == await ask(scraped, asked)
    assert [len(answer) for answer in answers] == [2, 2, 0, 1, 68, 34], "totals, bad ones, buckets, each of stable and canary"


async def test_each_series_has_a_recent_sample() -> None:
    """The daemon's query for stale counters, which asks whether anything new has been scraped."""
    async with StandIn(lambda _: samples()) as stand_in, aclosing(Prometheus(stand_in.url)) as client:
        for query in queries()[:1]:
            counted = await client.query(f"count_over_time({query}[999ms])", time.time())
            assert [sample.value for sample in counted] == [1.0] * len(await client.query(query, time.time()))
            assert counted


async def test_it_refuses_unsupported_queries() -> None:
    async with StandIn(lambda _: samples()) as stand_in, aclosing(Prometheus(stand_in.url)) as client:
        for query in ("rate(x[5m])", 'x{pod~"a"}', "x + y"):
            with pytest.raises(QueryFailed, match="HTTP 400: the demo's stand-in"):
                await client.query(query, time.time())
        assert await client.range("x", 0, 10, 1) == []
