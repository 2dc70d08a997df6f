"""A pipeline asks for a canary: `healer gate` and `healer compare` as processes, against the lab, traffic, a real Prometheus."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import pytest

from healer.lab import Lab
from healer.lab.canary import CANARY, ROUTE, STABLE, versions
from healer.lab.objects import Object
from tests.integration.world import LAB_TOKEN, NAMESPACE, patch, pods, rule, ruleset, serves
from tests.support.canary import route, scraping, when
from tests.support.healer import HEALER, Verb, environment
from tests.support.processes import PATIENCE
from tests.support.prometheus import prometheus
from tests.support.traffic import Traffic, Version, serving

pytestmark = pytest.mark.timeout(300)  # a verb looks for as long as its options say

NAME = f"deployment/{CANARY}"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{CANARY}"
INGRESS = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses/{ROUTE}"
USUAL = 0.01
HALF = 50


@dataclass
class Site:
    """A cluster, a Prometheus, a rule file without a mode: all that a pipeline has."""

    lab: Lab
    home: Path
    prometheus: str
    traffic: Traffic | None = None
    versions: list[Version] = field(default_factory=list)

    def write(self, text: str) -> Path:
        """A rule file."""
        path = self.home / "canary.yaml"
        path.write_text(text, "utf-8")
        return path

    def command(self, verb: str, what: str, *options: str) -> list[str]:
        """Options come last, and so win."""
        file = str(self.home / "canary.yaml")
        return [HEALER, verb, what, "-n", NAMESPACE, "--canary", file, "--prometheus", self.prometheus, *options]

    def environment(self) -> dict[str, str]:
        return environment(self.home, {"KUBECONFIG": self.home / "kubeconfig"})

    async def ask(self, verb: str, *options: str, what: str = NAME) -> "Answer":
        """Run it to its end."""
        assert Verb.warm is not None  # tests/conftest.py
        answer = Answer(*await Verb.warm.run(self.command(verb, what, *options), self.environment()))
        print(answer)  # noqa: T201 - pytest shows it with a test that failed
        return answer

    def asking(self, verb: str, *options: str) -> Verb:
        """The same, to be listened to."""
        return Verb(self.command(verb, NAME, *options)[1:], self.environment())


@dataclass(frozen=True)
class Answer:
    """How it ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Open(Protocol):
    """Makes a site, which ends with the test."""

    async def __call__(self, *, weight: int = HALF, traffic: bool = True, manifests: list[Object] | None = None) -> Site:
        """With this weight for the canary."""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def make(*, weight: int = HALF, traffic: bool = True, manifests: list[Object] | None = None) -> Site:
            lab = await stack.enter_async_context(Lab(time_scale=0.02, token=LAB_TOKEN))
            lab.write_kubeconfig(tmp_path / "kubeconfig")
            workloads = versions(NAMESPACE, replicas=(2, 2)) if manifests is None else manifests
            await lab.apply([*workloads, *route("Ingress", NAMESPACE, weight)])
            config: dict[str, Any] = {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"}}
            sides: list[Version] = []
            requests = None
            if traffic:
                await lab.wait_for(serves(4), PATIENCE)
                sides = await stack.enter_async_context(serving(lab, NAMESPACE, STABLE, CANARY))
                for side in sides:
                    side.behave(failing=USUAL)
                requests = await stack.enter_async_context(Traffic(lab, NAMESPACE, ("Ingress", ROUTE), sides))
                config = scraping(sides)
            monitor = await stack.enter_async_context(prometheus(tmp_path / "prometheus", config))
            site = Site(lab, tmp_path, f"http://{monitor.address}", requests, sides)
            site.write(ruleset(judging()))
            return site

        yield make


def judging(name: str = "bad-canary") -> dict[str, Any]:
    """A rule that judges it every second, and that would not act."""
    bare = rule(name, when=when("Ingress"), heal=[{"shiftTraffic": {"to": 0}}])
    return {key: value for key, value in bare.items() if key != "mode"}


async def test_a_good_canary_passes_and_nothing_is_touched(site: Open) -> None:
    here = await site()
    here.versions[0].behave(failing=USUAL, slow=USUAL)
    here.versions[1].behave(times=50)
    assert here.traffic is not None
    here.traffic.batch = 60
    await here.traffic.until(6000)  # stable shows that its bad requests come alone
    here.lab.requests.clear()
    answer = await here.ask("gate", "-o", "json")
    assert answer.code == 0, answer
    result = answer.json
    assert (result["verdict"], result["timedOut"]) == ("GOOD", False)
    assert result["target"] == {"kind": "Deployment", "namespace": NAMESPACE, "name": CANARY}
    assert {finding["measure"]: finding["verdict"] for finding in result["findings"]} == {"errors": "GOOD", "latency": "GOOD"}
    assert 0 < result["findings"][0]["canary"]["requests"] <= 50 * here.traffic.sent[CANARY]
    assert result["looks"] >= 2
    assert result["seconds"] > 0
    told = answer.err.splitlines()
    assert len(told) > 1
    assert all(line != after for line, after in pairwise(told)), "a line when something has changed, no more"
    assert told[-1].startswith("GOOD: errors: ")
    assert {verb for _, _, verb in here.lab.requests.permissions()} == {"get", "list"}


async def test_a_bad_canary_is_stopped_and_compared(site: Open) -> None:
    here = await site()
    stable, canary = here.versions
    canary.behave(failing=0.3, slow=0.5)
    answer = await here.ask("gate", "--every", "2s")
    assert answer.code == 1
    head, *lines = answer.out.splitlines()
    assert re.fullmatch(rf"BAD: {NAME} in {NAMESPACE}, after \d+ looks? in \d+ s", head)
    counts = r"canary [\d,]+ of [\d,]+ [^,]+ \([\d.]+ %\), stable [\d,]+ of [\d,]+(?: \([\d.]+ %\))?"
    assert re.search(counts + r"; evidence (?:[\d,]+|over a million) where 200 is enough", "\n".join(lines))

    await asyncio.gather(stable.scraped(), canary.scraped())
    answer = await here.ask("compare", "--since", "1m", "-o", "json")
    assert answer.code == 0, "the report could be made, whatever the verdict"
    report = answer.json
    assert report["verdict"] == "BAD"
    assert report["shareNow"] == HALF / 100
    errors, latency = report["measures"]
    assert 0.2 < errors["canary"]["share"] < 0.4
    assert errors["stable"]["share"] < 0.1
    assert errors["canary"]["interval95"][0] < errors["canary"]["share"] < errors["canary"]["interval95"][1]
    assert latency["bad"] == "slower than 218.6 ms"
    assert latency["canary"]["p99"]["seconds"] > 0.3 > latency["stable"]["p99"]["seconds"]

    answer = await here.ask("compare", "--since", "1m")
    assert answer.code == 0
    assert "\x1b" not in answer.out, "colour is for terminals"
    for said in (f"stable: {STABLE}", f"canary: {CANARY}", "share, 95 % interval", "p99", "BAD since "):
        assert said in answer.out


async def test_without_traffic_it_times_out_and_says_what_to_do(site: Open) -> None:
    here = await site(weight=0)
    answer = await here.ask("gate", "--timeout", "4s")
    assert answer.code == 2
    assert "INSUFFICIENT: " in answer.out
    assert "timed out after 4 s: the canary gets no traffic" in answer.out
    assert f"Give {NAME} weight on ingress/{ROUTE}" in answer.out


async def test_without_data_it_times_out_unknown(site: Open) -> None:
    here = await site(traffic=False)
    answer = await here.ask("gate", "--timeout", "4s", "-o", "json")
    assert answer.code == 2
    assert (answer.json["verdict"], answer.json["timedOut"]) == ("UNKNOWN", True)
    assert "no data of the canary" in answer.json["text"]
    assert "See that Prometheus has the series" in answer.json["text"]
    answer = await here.ask("compare", "--since", "1m")
    assert answer.code == 0
    assert "UNKNOWN: errors: no data of the canary" in answer.out


async def test_a_rollout_is_waited_for(site: Open) -> None:
    here = await site(traffic=False)
    await here.lab.wait_for(serves(4), PATIENCE)
    for name in pods(here.lab):
        if name.startswith(CANARY):
            await here.lab.behave(NAMESPACE, name, "hang")
    async with here.asking("gate", "--timeout", "1m") as gate:
        await gate.until(lambda: "rollout: 0 of 2 replicas are ready" in gate.lines, "the rollout")
        for name in pods(here.lab):
            await here.lab.behave(NAMESPACE, name, "ok")
        await gate.until(lambda: any(line.startswith("UNKNOWN: ") for line in gate.lines), "the first verdict")
        gate.send(signal.SIGINT)
        assert await gate.ended() == 130
        assert "Traceback" not in gate.printed


async def test_a_rollout_that_never_ends_times_out(site: Open) -> None:
    here = await site(traffic=False, manifests=versions(NAMESPACE, replicas=(2, 0)))
    answer = await here.ask("gate", "--timeout", "4s")
    assert answer.code == 2
    assert "timed out after 4 s: it is scaled to 0 replicas" in answer.out


async def test_a_rollout_that_fails_is_bad_at_once(site: Open) -> None:
    here = await site(traffic=False)
    await here.lab.wait_for(serves(4), PATIENCE)
    template = {"spec": {"containers": [{"name": "tensorflow-serving", "image": "tensorflow/serving:bad"}]}}
    await patch(here.lab, DEPLOYMENT, {"spec": {"progressDeadlineSeconds": 20, "minReadySeconds": 0, "template": template}})
    answer = await here.ask("gate", "--timeout", "1m", "-o", "json")
    assert answer.code == 1
    assert answer.json["verdict"] == "BAD"
    assert re.search(r"its rollout failed: .* has timed out progressing. \(ProgressDeadlineExceeded\)", answer.json["text"])


async def test_what_is_not_there_is_no_verdict(site: Open) -> None:
    here = await site(traffic=False, manifests=[])
    nowhere = ("--prometheus", "http://127.0.0.1:1")

    async def said(*options: str, what: str = NAME, verb: str = "gate") -> str:
        answer = await here.ask(verb, *options, what=what)
        assert answer.code == 2
        assert answer.out == ""
        assert "Traceback" not in answer.err
        return answer.err

    assert "write deployment/NAME" in await said(what="pod/x")
    assert "is no URL of Prometheus" in await said("--prometheus", "http://[::1")
    assert "which Prometheus?" in await said("--prometheus", "")
    assert "'5' is not a duration" in await said("--timeout", "5")
    assert "is not the canary of any rule" in await said(what=f"deployment/{STABLE}", verb="compare")
    assert f"there is no {NAME} in elsewhere: name its namespace by -n" in await said("-n", "elsewhere")
    await here.lab.apply(versions(NAMESPACE, replicas=(2, 2)))
    await here.lab.wait_for(serves(4), PATIENCE)
    assert "Prometheus at 127.0.0.1:1: " in await said(*nowhere)
    assert "Prometheus at 127.0.0.1:1: " in await said(*nowhere, verb="compare")
    await patch(here.lab, INGRESS, {"metadata": {"annotations": None}})
    assert f"ingress/{ROUTE}" in await said()
    here.lab.forbid("list", "pods")
    assert "403" in await said(verb="compare")
    file = here.write(ruleset(judging()).replace("every: 1s", "evry: 1s"))
    wrong = await said()
    assert f"{file}:" in wrong
    assert "did you mean every" in wrong
