"""deploy/serving in the lab, as it renders: healer judges its canary by the shipped rule, and takes its traffic away."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from healer.lab import Lab
from healer.lab.canary import CANARY, ROUTE, STABLE
from healer.lab.objects import Object
from tests.deploy.rendered import overlay
from tests.integration.conftest import ROOT, Run
from tests.integration.world import NAMESPACE, serves
from tests.support.canary import scraping
from tests.support.healer import Healer
from tests.support.kustomize import KUBECTL
from tests.support.processes import PATIENCE
from tests.support.prometheus import prometheus
from tests.support.traffic import Traffic, serving

RULE = "canary/bad-canary"
REPLICAS = 3
"""The autoscaler's minimum, which nothing of the lab sets."""
NGINX = "nginx.ingress.kubernetes.io/canary-weight"


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """As the other tests have it, but without a token: kubectl sends none without TLS."""
    async with Lab(time_scale=0.02) as lab:
        await lab.apply_yaml((ROOT / "deploy/healer/crd.yaml").read_text("utf-8"))
        await lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        yield lab


def shipped(kind: str) -> str:
    """The shipped rule, with the kind of route filled in, and in a hurry."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "rules/canary/tensorflow-serving.yaml").read_text("utf-8"))
    (rule,) = document["spec"]["rules"]
    rule["when"]["canary"]["route"]["kind"] = kind
    rule["when"]["canary"]["every"] = "1s"
    rule["heal"][0]["verify"] = {"within": "30s", "stable": "300ms"}
    return yaml.safe_dump(document)


def share(kind: str, percent: int) -> Callable[[Object], None]:
    """What somebody changes to give the canary its share, in every rule of the route."""

    def change(route: Object) -> None:
        if kind == "Ingress":
            route["metadata"]["annotations"][NGINX] = str(percent)
            return
        for rule in route["spec"]["rules"]:
            rule["backendRefs"][0]["weight"], rule["backendRefs"][1]["weight"] = 100 - percent, percent

    return change


async def apply(objects: list[Object], home: Path) -> None:
    """As people apply them, with kubectl over HTTP; the lab has no schema that kubectl could validate by."""
    command = ("apply", "--validate=false", "-f", "-")
    environ = {"KUBECONFIG": str(home / "kubeconfig"), "HOME": str(home)}
    process = await asyncio.create_subprocess_exec(KUBECTL, *command, stdin=PIPE, stdout=PIPE, stderr=STDOUT, env=environ)
    said, _ = await asyncio.wait_for(process.communicate(yaml.safe_dump_all(objects).encode()), PATIENCE)
    assert process.returncode == 0, said.decode()


async def looks(healer: Healer, *verdicts: str) -> float:
    """How often healer has come to one of these verdicts."""
    metrics = await healer.metrics()
    return sum(metrics.get(f"healer_verdicts_total{{rule={RULE},verdict={verdict}}}", 0) for verdict in verdicts)


async def look(healer: Healer, traffic: Traffic, times: int) -> None:
    """Return when healer has judged the canary so many times more, and not as bad."""
    goal = await looks(healer, "INSUFFICIENT", "GOOD") + times
    async with asyncio.timeout(PATIENCE):
        while await looks(healer, "INSUFFICIENT", "GOOD") < goal:
            await traffic.until(1)


@pytest.mark.parametrize(("name", "kind"), [("httproute", "HTTPRoute"), ("nginx-canary", "Ingress")])
async def test_the_rendered_canary_keeps_its_traffic_until_it_fails(
    name: str, kind: str, lab: Lab, run: Run, tmp_path: Path
) -> None:
    if kind == "HTTPRoute":
        await lab.apply_yaml((ROOT / "tests/contract/crds/httproutes.yaml").read_text("utf-8"))
    objects = overlay(name)
    await apply(objects, tmp_path)
    lab.api.modify(lab.api.kinds.named("deployments"), NAMESPACE, STABLE, lambda each: each["spec"].update(replicas=REPLICAS))
    await lab.wait_for(serves(REPLICAS + 2), PATIENCE)
    routes = lab.api.kinds.named("httproutes" if kind == "HTTPRoute" else "ingresses")
    async with (
        serving(lab, NAMESPACE, STABLE, CANARY) as (stable, canary),
        Traffic(lab, NAMESPACE, (kind, ROUTE), (stable, canary)) as traffic,
        prometheus(tmp_path / "prometheus", scraping([stable, canary])) as monitor,
    ):
        for version in (stable, canary):
            version.behave(failing=0.01)
        healer, *_ = await asyncio.gather(
            run(shipped(kind), HEALER_PROMETHEUS__URL=f"http://{monitor.address}"), stable.scraped(), canary.scraped()
        )
        assert traffic.weights() == {STABLE: 100, CANARY: 0}, "an apply gives the canary nothing"
        lab.api.modify(routes, NAMESPACE, ROUTE, share(kind, 20))
        await look(healer, traffic, 2)
        assert traffic.weights() == {STABLE: 80, CANARY: 20}, "a canary that is as good as stable is left alone"

        canary.behave(failing=0.6)
        healed = await healer.says("incident healed", rule=RULE)
        assert traffic.weights() == {STABLE: 100, CANARY: 0}
        (route,) = [each for each in lab.objects(routes.plural, NAMESPACE) if each["metadata"]["name"] == ROUTE]
        if kind == "HTTPRoute":
            weights = [[each["weight"] for each in rule["backendRefs"]] for rule in route["spec"]["rules"]]
            assert weights == [[100, 0], [100, 0]], "gRPC is split by a rule of its own, which healer shifts too"
        assert healed["incident"]
        await apply(objects, tmp_path)
        assert traffic.weights() == {STABLE: 100, CANARY: 0}, "nor does the next apply"
