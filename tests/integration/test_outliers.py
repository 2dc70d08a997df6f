"""Outliers with a real Prometheus: the one pod that is far from its peers is evicted, and none while too many are."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import NAMESPACE, evictions, pods, rule, ruleset, serve
from tests.support.prometheus import prometheus

QUERY = {"expr": "sum by (namespace, pod) (error_share)", "above": 0.2, "every": "1s"}
OUTLIER = rule("outlier", when={"query": QUERY | {"outliers": {"difference": 0.1, "peers": 4}}})


class Shares:
    """The share of failed requests of every pod of the lab, each a target of its own; those in `bad` fail nine of ten."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.bad: set[str] = set()
        self.address = ""
        self._lab = lab
        self._targets = folder / "targets.json"

    def config(self) -> dict[str, object]:
        """The configuration of Prometheus."""
        scraped = {"job_name": "serving", "file_sd_configs": [{"files": [str(self._targets)]}]}
        return {"global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"}, "scrape_configs": [scraped]}

    def write(self) -> None:
        """Have the pods of now scraped."""
        entries = [
            {"targets": [self.address], "labels": {"namespace": NAMESPACE, "pod": name, "__metrics_path__": f"/{name}"}}
            for name in pods(self._lab)
        ]
        fresh = self._targets.with_suffix(".new")
        fresh.write_text(json.dumps(entries), "utf-8")
        fresh.replace(self._targets)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The metrics of one pod."""
        return web.Response(text=f"error_share {0.9 if request.match_info['pod'] in self.bad else 0.01}\n")


@pytest.fixture
async def shares(lab: Lab, tmp_path: Path) -> AsyncIterator[Shares]:
    found = Shares(lab, tmp_path)
    app = web.Application()
    app.router.add_get("/{pod}", found.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.address = f"127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


async def test_the_one_pod_that_is_far_from_its_peers_is_evicted_and_three_of_seven_are_not(
    lab: Lab, run: Run, shares: Shares, tmp_path: Path
) -> None:
    """With three of seven it is not these pods' fault: healer holds and says so. Two get well: the third is an outlier."""
    sick, *others = await serve(lab, replicas=7)
    shares.bad = {sick, *others[:2]}
    shares.write()

    def replaced(lab: Lab) -> bool:
        shares.write()
        return sick not in pods(lab)

    async with prometheus(tmp_path / "prometheus", shares.config()) as monitor:
        await monitor.until("count(error_share) == 7")
        healer = await run(ruleset(OUTLIER), HEALER_PROMETHEUS__URL=f"http://{monitor.address}")
        held = await healer.says("a query rule cannot be judged: healer does nothing for it, and resolves nothing")
        assert "3 of 7 pods are far from the others: more than a third is no outlier" in str(held)
        assert evictions(lab) == []
        shares.bad = {sick}
        await lab.wait_for(replaced)
        shares.write()
        await healer.says("incident healed")
    assert evictions(lab) == [sick]
    assert "far from the median 0.01 of 7 pods" in str(await healer.says("incident open"))
