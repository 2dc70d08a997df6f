"""deploy/pipelines/rollout.sh with all that is real: healer's gate and daemon, Prometheus, traffic, kubectl."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from healer.lab import Lab
from healer.lab.canary import CANARY, ROUTE, STABLE
from tests.deploy.rendered import ROOT, overlay
from tests.deploy.test_pipeline import NEW, OLD, SCRIPT, SERVED
from tests.integration.test_serving_stack import shipped
from tests.integration.world import NAMESPACE, serves
from tests.support.canary import scraping
from tests.support.healer import HEALER, Healer, environment
from tests.support.kustomize import KUBECTL
from tests.support.processes import PATIENCE, Process, program
from tests.support.prometheus import prometheus
from tests.support.traffic import METRICS, Traffic, Version, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


GATE = 2 * PATIENCE
"""Seconds after which the gate of these tests gives up; a test waits longer, or it would give up first on a busy machine."""
DIRECT = """#!/usr/bin/env bash
# healer, but the status asks the daemon at its address: the lab's API server has no proxy that leads to it.
[[ $1 != status ]] || set -- "$@" --url URL
exec HEALER "$@"
"""


@dataclass
class Site:
    """A cluster with deploy/serving, a healer with its canary rule, and a Prometheus that is told later what to scrape."""

    lab: Lab
    home: Path
    prometheus: str
    stack: AsyncExitStack

    def rollout(self, *arguments: str) -> Process:
        """The script, by the real commands."""
        given = ["--image", NEW, "--rules", str(self.home / "rules/canary.yaml"), "--prometheus", self.prometheus]
        more = ["--weight", "50", "--watch", "1", "--timeout", f"{GATE:g}s", *arguments]
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": str(self.home / "kubeconfig")}
        environ["HEALER"] = str(self.home / "direct")
        return Process("rollout.sh", ["bash", str(SCRIPT), *given, *more], environ | {"KUBECTL": str(KUBECTL)})

    async def serve(self) -> tuple[Version, Version, Traffic]:
        """Have the pods that there are now answer, and be scraped."""
        stable, canary = await self.stack.enter_async_context(serving(self.lab, NAMESPACE, STABLE, CANARY))
        (self.home / "targets.json").write_text(json.dumps([*stable.targets(), *canary.targets()]), "utf-8")
        traffic = await self.stack.enter_async_context(Traffic(self.lab, NAMESPACE, ("HTTPRoute", ROUTE), (stable, canary)))
        return stable, canary, traffic

    def image(self, name: str) -> str:
        (found,) = [each for each in self.lab.objects("deployments", NAMESPACE) if each["metadata"]["name"] == name]
        image: str = found["spec"]["template"]["spec"]["containers"][0]["image"]
        return image


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    program("jq", "jq")
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab(time_scale=0.02))  # kubectl sends no token without TLS
        for definition in ("tests/contract/crds/httproutes.yaml", "deploy/healer/crd.yaml"):
            await lab.apply_yaml((ROOT / definition).read_text("utf-8"))
        for name in (NAMESPACE, "healer"):
            await lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        objects = [each for each in overlay("httproute") if each["kind"] in SERVED]
        for each in objects:
            if each["kind"] == "Deployment":
                each["spec"]["replicas"] = 2
        await lab.apply(objects)
        await lab.wait_for(serves(4), PATIENCE)
        lab.write_kubeconfig(tmp_path / "kubeconfig")
        config = scraping([])
        (config["scrape_configs"][0]).pop("static_configs")
        config["scrape_configs"][0]["file_sd_configs"] = [{"files": [str(tmp_path / "targets.json")], "refresh_interval": "1s"}]
        assert config["scrape_configs"][0]["metrics_path"] == METRICS
        monitor = await stack.enter_async_context(prometheus(tmp_path / "prometheus", config))
        (tmp_path / "rules").mkdir()
        (tmp_path / "rules/canary.yaml").write_text(shipped("HTTPRoute"), "utf-8")
        settings: dict[str, str | Path] = {
            "KUBECONFIG": tmp_path / "kubeconfig",
            "HEALER_HTTP__HOST": "127.0.0.1",
            "HEALER_HTTP__PORT": "0",
            "HEALER_PROMETHEUS__URL": f"http://{monitor.address}",
            "HEALER_ENGINE__RETRY": "0.3",
            "HEALER_ENGINE__RECHECK": "0.3",
            "HEALER_LOG__FORMAT": "json",
            "HEALER_LEADER__NAMESPACE": "healer",
            "HEALER_LEADER__ENABLED": "true",
        }
        daemon = Healer(["--rules", str(tmp_path / "rules")], environment(tmp_path, settings))
        await (await stack.enter_async_context(daemon)).says("healer is ready")
        (tmp_path / "direct").write_text(DIRECT.replace("URL", await daemon.listens()).replace("HEALER", HEALER), "utf-8")
        (tmp_path / "direct").chmod(0o755)
        yield Site(lab, tmp_path, f"http://{monitor.address}", stack)


async def test_a_good_image_that_was_not_judged_in_time_keeps_its_share_and_is_promoted_by_the_next_run(site: Site) -> None:
    async with site.rollout("--timeout", "4s") as first:
        assert await first.ended() == 2
    kept = f"{CANARY} keeps 50 % of the requests on httproute/{ROUTE}, and healer's rule guards it."
    assert first.lines[-1].startswith(f"not judged in time: {kept}")
    stable, canary, traffic = await site.serve()
    assert (site.image(STABLE), traffic.weights()) == (OLD, {STABLE: 50, CANARY: 50})
    stable.behave(failing=0.01)
    canary.behave(times=50)
    traffic.batch = 60
    await traffic.until(6000)  # stable shows that its bad requests come alone
    async with site.rollout() as second:
        assert await second.ended(GATE + PATIENCE) == 0
    assert any(line.startswith("GOOD: ") for line in second.lines)
    assert (site.image(STABLE), traffic.weights()) == (NEW, {STABLE: 100, CANARY: 0})


async def test_a_bad_image_is_rolled_back_whoever_sees_it_first(site: Site) -> None:
    """The gate or the daemon; either takes all of its traffic."""
    async with site.rollout() as rollout:
        await rollout.until(lambda: any("gets 50 %" in line for line in rollout.lines), "the share of the canary")
        stable, canary, traffic = await site.serve()
        stable.behave(failing=0.01)
        canary.behave(failing=0.5)
        assert await rollout.ended(GATE + PATIENCE) == 1
    assert "rolled back: " in rollout.printed
    assert (site.image(STABLE), traffic.weights()) == (OLD, {STABLE: 100, CANARY: 0})


async def test_a_canary_on_which_healer_is_paused_gets_no_requests(site: Site) -> None:
    """`healer status` says it as the script reads it."""
    kind = site.lab.api.kinds.named("namespaces")
    site.lab.api.modify(kind, "", NAMESPACE, lambda each: each["metadata"].update(annotations={"healer.dev/paused": "true"}))
    async with site.rollout() as rollout:
        assert await rollout.ended() == 3
    assert f"healer is paused on namespace/{NAMESPACE}, so that nobody would guard {CANARY}" in rollout.lines[-1]
    assert site.image(STABLE) == OLD
