"""A canary on trial, all real but the cluster, the models and Slack: requests by the route's weights, Prometheus, healer."""

import asyncio
import html
import re
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest

from healer.demo.counters import LATENCY, REQUESTS
from healer.lab import Lab
from healer.lab.canary import CANARY, ROUTE, STABLE, versions
from healer.lab.objects import Object
from tests.integration.conftest import ROOT, Run
from tests.integration.world import CHANNEL, NAMESPACE, rule, ruleset, serves, told
from tests.support.canary import reserved, route, scraping, when
from tests.support.healer import Healer, verb
from tests.support.processes import PATIENCE
from tests.support.prometheus import prometheus
from tests.support.slack import FakeSlack
from tests.support.traffic import Traffic, Version, serving

DEFINITIONS = {"Ingress": "", "HTTPRoute": "httproutes.yaml", "VirtualService": "virtualservices.yaml"}
"""The kinds of routes, and what defines them in a cluster that does not have them by itself."""
RULE = "test/bad-canary"
BEFORE = {STABLE: 80, CANARY: 20}
SHIFTED = {STABLE: 100, CANARY: 0}
USUAL = 0.01
"""The share of the requests that fails when all is well."""
LOOKS = 10
"""A canary that fails 20 % of its requests is caught within so many looks; a good one is left alone for as many."""


class Prometheus:
    """A Prometheus that can die, and come back where it was with what it had stored."""

    def __init__(self, folder: Path, config: dict[str, Any], address: str) -> None:
        self.url = f"http://{address}"
        self._how = (folder, config, address)
        self._life = AsyncExitStack()

    async def start(self) -> None:
        """Be up."""
        self._monitor = await self._life.enter_async_context(prometheus(*self._how))

    async def stored(self, versions: Sequence[Version]) -> None:
        """Return when an answer has two samples of each counter that a look at these versions reads, of each of their pods."""
        pods = sum(len(version.targets()) for version in versions)
        for counter in (REQUESTS, f"{LATENCY}_bucket"):
            await self._monitor.until(f"count(count by (pod) (count_over_time({counter}[1m]) >= 2)) == {pods}")

    async def kill(self) -> None:
        """Be gone, at once."""
        self._monitor.process.send(signal.SIGKILL)
        await self._monitor.process.ended()

    async def aclose(self) -> None:
        """End what runs."""
        await self._life.aclose()


@dataclass(frozen=True, slots=True)
class Trial:
    """A canary with a fifth of the traffic, and a healer that looks at it every second."""

    lab: Lab
    healer: Healer
    prometheus: Prometheus
    traffic: Traffic
    stable: Version
    canary: Version

    async def looks(self, *verdicts: str) -> float:
        """How often healer has looked, in all or with these verdicts."""
        metrics = await self.healer.metrics()
        found = re.compile(rf"healer_verdicts_total{{rule={RULE},verdict=({'|'.join(verdicts) or '.*'})}}")
        return sum(value for name, value in metrics.items() if found.fullmatch(name))

    async def look(self, times: int, *verdicts: str) -> None:
        """Return when healer has looked so many times more, counting those with these verdicts."""
        goal = await self.looks(*verdicts) + times
        try:
            async with asyncio.timeout(PATIENCE):
                while await self.looks(*verdicts) < goal:
                    await self.traffic.until(1)
        except TimeoutError:
            pytest.fail(f"healer has not looked {goal:g} times with {verdicts}; the weights are {self.traffic.weights()}")

    async def shifted(self) -> None:
        """Return when all traffic is stable's."""
        await self.lab.wait_for(lambda _: self.traffic.weights() == SHIFTED, PATIENCE)

    async def ended(self, times: int) -> None:
        """Return when so many incidents were healed and are closed."""
        closed = partial(self.healer.find, "incident closed", rule=RULE, reason="CooledDown")
        await self.healer.until(lambda: len(closed()) >= times, f"{times} incidents were healed and closed", PATIENCE)

    def incidents(self) -> list[Object]:
        """As kubectl shows them."""
        return self.lab.objects("incidents.healer.dev", NAMESPACE)


class Start(Protocol):
    """Begins a trial, which ends with the test."""

    async def __call__(self, kind: str = "Ingress", within: str = "30s") -> Trial:
        """Behind that kind of route; a shift is given so long to help."""


@pytest.fixture
async def start(lab: Lab, run: Run, tmp_path: Path) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def begin(kind: str = "Ingress", within: str = "30s") -> Trial:
            if DEFINITIONS[kind]:
                await lab.apply_yaml((ROOT / "tests" / "contract" / "crds" / DEFINITIONS[kind]).read_text("utf-8"))
            await lab.apply(versions(NAMESPACE, replicas=(2, 2)))
            await lab.wait_for(serves(4), PATIENCE)
            stable, canary = await stack.enter_async_context(serving(lab, NAMESPACE, STABLE, CANARY))
            for version in (stable, canary):
                version.behave(failing=USUAL)
            traffic = await stack.enter_async_context(Traffic(lab, NAMESPACE, (kind, ROUTE), (stable, canary)))
            server = Prometheus(tmp_path / "prometheus", scraping([stable, canary]), stack.enter_context(reserved()))
            stack.push_async_callback(server.aclose)
            await server.start()
            step = {"shiftTraffic": {"to": 0}, "verify": {"within": within, "stable": "300ms"}}
            bad_canary = rule("bad-canary", when=when(kind), heal=[step], limits={"cooldown": "1s"})
            healer, _ = await asyncio.gather(
                run(ruleset(bad_canary), HEALER_PROMETHEUS__URL=server.url), server.stored([stable, canary])
            )
            await lab.apply(route(kind, NAMESPACE, BEFORE[CANARY]))
            return Trial(lab, healer, server, traffic, stable, canary)

        yield begin


def message(slack: FakeSlack) -> str:
    """All that people have read in the only message there is, as it stood from first to last."""
    (posted,) = slack.messages[CHANNEL]
    return html.unescape("\n".join([*posted.edits, posted.text]))


def story(slack: FakeSlack) -> str:
    """All that people read in the thread of that message."""
    return html.unescape("\n".join(slack.threads(CHANNEL)[0]))


def history(incident: Object) -> str:
    """All that an incident's object says of what happened."""
    return "\n".join(entry["reason"]["text"] for entry in incident["status"]["history"])


async def test_without_prometheus_the_weight_is_held_and_that_is_said_once(lab: Lab, slack: FakeSlack, start: Start) -> None:
    trial = await start()
    await trial.look(2, "INSUFFICIENT", "GOOD")
    await trial.prometheus.kill()
    held = await trial.healer.says("incident waiting", rule=RULE)
    assert held["reason"] == "UnknownVerdict"
    await slack.wait_for(told("waiting"), PATIENCE)
    said = list(slack.posted)
    await trial.look(4, "UNKNOWN")
    assert trial.traffic.weights() == BEFORE
    assert list(slack.posted) == said, "said once"
    assert "the traffic stays as it is" in message(slack)
    (unknown,) = trial.incidents()

    await trial.prometheus.start()
    await trial.look(2, "INSUFFICIENT", "GOOD")
    await slack.wait_for(told("closed"), PATIENCE)
    assert ": over, without an action of healer: " in message(slack)
    assert [incident["status"]["state"] for incident in trial.incidents()] == ["closed"]
    assert trial.traffic.weights() == BEFORE

    trial.canary.behave(failing=0.2)
    await trial.shifted()
    healed = await trial.healer.says("incident healed", rule=RULE)
    assert healed["incident"] != unknown["metadata"]["name"], "another case, though of the same canary"


async def test_the_stand_in_splits_by_the_weights(lab: Lab) -> None:
    await lab.apply([*versions(NAMESPACE, replicas=(2, 2)), *route("Ingress", NAMESPACE, 20)])
    await lab.wait_for(serves(4), PATIENCE)
    async with (
        serving(lab, NAMESPACE, STABLE, CANARY) as sides,
        Traffic(lab, NAMESPACE, ("Ingress", ROUTE), sides) as traffic,
    ):
        await traffic.until(200)
        assert traffic.sent[CANARY] / traffic.sent.total() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("kind", DEFINITIONS)
async def test_a_canary_that_fails_loses_its_traffic(kind: str, lab: Lab, slack: FakeSlack, start: Start) -> None:
    trial = await start(kind)
    await trial.look(2, "INSUFFICIENT", "GOOD")
    assert trial.traffic.weights() == BEFORE

    before = await trial.looks()
    trial.canary.behave(failing=0.2)
    await trial.shifted()
    assert await trial.looks() - before <= LOOKS
    healed = await trial.healer.says("incident healed", rule=RULE)
    await slack.wait_for(told("healed"), PATIENCE)

    assert slack.messages[CHANNEL][0].text.startswith(":no_entry: BadCanary: "), "no green tick: the release failed"
    assert "taken off, the release failed" in message(slack)
    assert "*Taken off, the release failed* (shiftTraffic)" in slack.threads(CHANNEL)[0][-1]
    (incident,) = trial.incidents()
    for said in (story(slack), history(incident)):
        found = re.search(
            r"errors: canary (\d+) of (\d+) bad \(([\d.]+) %\), stable \d+ of [\d,]+(?: \([\d.]+ %\))?; "
            r"evidence ([\d,]+) where 200 is enough",
            said,
        )
        assert found is not None, said
        bad, requests, percentage, evidence = (float(figure.replace(",", "")) for figure in found.groups())
        assert percentage == pytest.approx(100 * bad / requests, rel=0.05)
        assert 0 < bad <= 0.2 * requests + 1
        assert requests <= trial.traffic.sent[CANARY]
        assert evidence >= 200
        assert "canary 20 % -> 0 %" in said
    assert healed["incident"] == incident["metadata"]["name"]
    assert '"before":"80:20"' in str(incident["status"]["notices"]["shiftTraffic"]), "the weights before are journaled"
    written = [seen for seen in lab.requests if seen.verb == "patch" and seen.name == ROUTE]
    assert len(written) == 1, "one change, whatever healer knows besides"
    metrics = await trial.healer.metrics()
    assert metrics["healer_signals_total{name=BadCanary,source=canary}"] >= 2, "firing and over"
    assert metrics["healer_actions_total{action=shiftTraffic,outcome=done}"] == 1
    seen = trial.traffic.sent[CANARY]
    await trial.traffic.until(200)
    assert trial.traffic.sent[CANARY] == seen, "nobody is sent to the canary any more"


async def test_a_good_canary_keeps_its_traffic(slack: FakeSlack, start: Start) -> None:
    """Somewhat worse than stable, but not 1.5 times as bad; and its callers make mistakes."""
    trial = await start()
    trial.stable.behave(failing=0.05, slow=0.05)
    trial.canary.behave(failing=0.07, slow=0.07, invalid=0.3)
    await trial.look(LOOKS, "INSUFFICIENT", "GOOD")
    assert await trial.looks("BAD", "UNKNOWN") <= 2, "only before the first two scrapes may it be unknown"
    assert trial.traffic.weights() == BEFORE
    assert trial.incidents() == []
    assert slack.messages == {}


async def test_a_slow_canary_loses_its_traffic(slack: FakeSlack, start: Start) -> None:
    trial = await start()
    trial.stable.behave(failing=USUAL, slow=USUAL)
    await trial.look(2, "INSUFFICIENT", "GOOD")
    trial.canary.behave(slow=0.4)
    await trial.shifted()
    await slack.wait_for(told("healed"), PATIENCE)
    counts = r"latency: canary [\d,]+ of [\d,]+ slower than 218\.6 ms \([\d.]+ %\), stable [\d,]+ of [\d,]+(?: \([\d.]+ %\))?"
    figures = counts + r"; evidence (?:[\d,]+|over a million) where 200 is enough"
    assert re.search(figures, story(slack))


async def test_undo_gives_the_canary_its_traffic_back_and_is_told(
    lab: Lab, slack: FakeSlack, start: Start, settings: dict[str, str | Path], tmp_path: Path
) -> None:
    trial = await start()
    trial.canary.behave(failing=0.2)
    await trial.shifted()
    incident = (await trial.healer.says("incident healed", rule=RULE))["incident"]
    trial.canary.behave(failing=USUAL)
    arguments = ("undo", f"incident/{incident}", "-n", NAMESPACE, "--by", "alice")
    code, printed = await verb(*arguments, home=tmp_path, KUBECONFIG=settings["KUBECONFIG"])
    assert code == 0, printed
    assert "canary 0 % -> 20 %" in printed
    assert trial.traffic.weights() == BEFORE
    await trial.look(4, "INSUFFICIENT", "GOOD")
    assert trial.traffic.weights() == BEFORE, "what was held against it before is forgotten"
    (found,) = trial.incidents()
    assert found["metadata"]["annotations"]["healer.dev/undone-by"] == "alice"
    line = "alice has taken back what healer did for it"
    await slack.wait_for(lambda s: any(line in reply for thread in s.threads(CHANNEL) for reply in thread), PATIENCE)


STILL = r"the weight is 0, and the canary still answered \d+ requests in the last 1 s, of \d+ in all: open connections outlive"


async def test_a_weight_that_connections_outlive_is_not_healed_and_a_human_is_told_why(
    lab: Lab, slack: FakeSlack, start: Start
) -> None:
    trial = await start(within="8s")
    await trial.look(2, "INSUFFICIENT", "GOOD")
    trial.traffic.open[CANARY] = 5
    trial.canary.behave(failing=0.2)
    await trial.shifted()
    escalated = await trial.healer.says("incident escalated", rule=RULE)
    await slack.wait_for(told("escalated"), PATIENCE)
    assert re.search(rf"no step is left after shiftTraffic, a human is needed: still sick: .*{STILL}", escalated["text"])
    assert re.search(STILL, story(slack))
    (incident,) = trial.incidents()
    assert "healed" not in [entry["state"] for entry in incident["status"]["history"]]
    assert len(re.findall(STILL, history(incident))) == 2, "when it is seen, and when a human is called"
    assert trial.traffic.weights() == SHIFTED

    trial.traffic.open.clear()
    await trial.healer.says("incident closed", rule=RULE)


async def test_a_shift_is_healed_when_the_last_connection_ends(slack: FakeSlack, start: Start) -> None:
    trial = await start()
    await trial.look(2, "INSUFFICIENT", "GOOD")
    trial.traffic.open[CANARY] = 5
    trial.canary.behave(failing=0.2)
    await trial.shifted()
    await slack.wait_for(lambda _: any(re.search(STILL, history(each)) for each in trial.incidents()), PATIENCE)
    trial.traffic.open.clear()
    await trial.healer.says("incident healed", rule=RULE)
    assert await trial.looks("UNKNOWN") <= 2, "only before the first two scrapes"


async def test_a_weight_that_git_puts_back_is_said_and_not_fought_over(lab: Lab, slack: FakeSlack, start: Start) -> None:
    """A GitOps controller sets its own weight again some time after each change, as one with self-heal does."""
    trial = await start(within="6s")
    kind = lab.api.kinds.named("ingresses")
    labels = {"argocd.argoproj.io/instance": "shop"}
    lab.api.modify(kind, NAMESPACE, ROUTE, lambda obj: obj["metadata"].update(labels=labels))
    await trial.look(2, "INSUFFICIENT", "GOOD")
    trial.canary.behave(failing=0.2)
    await trial.shifted()
    await trial.healer.says("incident verifying", rule=RULE)
    committed = {"nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": "20"}
    lab.api.modify(kind, NAMESPACE, ROUTE, lambda obj: obj["metadata"].update(annotations=committed))
    escalated = await trial.healer.says("incident escalated", rule=RULE)
    who = "Argo CD (Application shop) manages ingress/model-ab-testing and puts its own weights back: pause its sync"
    again = f"the weight of ingress/model-ab-testing was set to 0 %, now 20 % again: {who}"
    assert again in escalated["text"]
    await slack.wait_for(told("escalated"), PATIENCE)
    assert again in story(slack)
    (incident,) = trial.incidents()
    assert f"canary 20 % -> 0 %, all to {STABLE}. But {who}" in history(incident), "it was said with the shift, too"
    written = [seen for seen in lab.requests if seen.verb == "patch" and seen.name == ROUTE]
    assert len(written) == 1
    assert trial.traffic.weights() == BEFORE


async def test_weights_that_argo_rollouts_sets_are_its_own(lab: Lab, slack: FakeSlack, start: Start) -> None:
    trial = await start("VirtualService")
    kind = lab.api.kinds.named("virtualservices.networking.istio.io")
    marks = {"argo-rollouts.argoproj.io/managed-by-rollouts": "shop"}
    lab.api.modify(kind, NAMESPACE, ROUTE, lambda obj: obj["metadata"].update(annotations=marks))
    await trial.look(2, "INSUFFICIENT", "GOOD")
    trial.canary.behave(failing=0.2)
    escalated = await trial.healer.says("incident escalated", rule=RULE)
    assert escalated["reason"] == "Managed"
    assert f"kubectl argo rollouts abort shop -n {NAMESPACE}" in escalated["text"]
    await slack.wait_for(told("escalated"), PATIENCE)
    assert "argo rollouts abort shop" in message(slack)
    assert [seen for seen in lab.requests if seen.verb == "patch" and seen.name == ROUTE] == []
    assert trial.traffic.weights() == BEFORE


async def test_a_weight_that_git_puts_back_after_each_healing_is_set_once_more_and_then_left_to_people(
    lab: Lab, slack: FakeSlack, start: Start
) -> None:
    """Each time another incident opens, and each of them alone would take the traffic away."""
    trial = await start()
    kind = lab.api.kinds.named("ingresses")
    committed = {"nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": "20"}
    await trial.look(2, "INSUFFICIENT", "GOOD")
    trial.canary.behave(failing=0.2)
    for times in (1, 2):
        await trial.ended(times)
        assert trial.traffic.weights() == SHIFTED
        lab.api.modify(kind, NAMESPACE, ROUTE, lambda obj: obj["metadata"].update(annotations=committed))
    escalated = await trial.healer.says("incident escalated", rule=RULE)
    assert escalated["reason"] == "PutBack"
    assert "was set, and set again, now it is 20 % once more: something else sets it" in escalated["text"]
    written = [seen for seen in lab.requests if seen.verb == "patch" and seen.name == ROUTE]
    assert len(written) == 2
    assert trial.traffic.weights() == BEFORE


async def test_a_healer_that_begins_anew_does_not_believe_the_weight_alone_either(start: Start, run: Run) -> None:
    trial = await start()
    await trial.look(2, "INSUFFICIENT", "GOOD")
    trial.traffic.open[CANARY] = 5
    trial.canary.behave(failing=0.2)
    await trial.shifted()
    await trial.healer.says("incident verifying", rule=RULE)
    trial.healer.send(signal.SIGTERM)
    assert await trial.healer.ended() == 0
    again = replace(trial, healer=await run(HEALER_PROMETHEUS__URL=trial.prometheus.url))
    said = await again.healer.says("incident verifying", rule=RULE, reason="BadCanary")
    assert re.search(STILL, said["text"])
    trial.traffic.open.clear()
    await again.healer.says("incident healed", rule=RULE)
    (incident,) = trial.incidents()
    assert incident["metadata"]["name"] == said["incident"]
