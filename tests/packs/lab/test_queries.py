"""The shipped rules on queries, with the daemon in the lab and a real Prometheus: the one pod that fails alone is taken.

None is taken where three of seven fail.

All at the same time: each rule has a workload for either. At the end two of the three get well, and the third is taken: so the
rule had an eye on them.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiohttp import web

from healer.daemon.rulefiles import load_rules, vocabulary
from healer.lab import Lab, serving
from healer.lab.apiserver.store import StoreEvent
from healer.lab.kinds import POD
from healer.lab.objects import condition
from healer.model.incident import State
from healer.rules.rulebook import BoundRule, Rulebook, scaled
from healer.rules.triggers import QUERY
from healer.settings.sections import PrometheusSettings
from tests.packs.drills import FILES, RULES
from tests.packs.lab.stage import SPEED
from tests.packs.lab.telling import Scenario, in_slack, on_page
from tests.packs.troubles import measured
from tests.seams.house import House, house
from tests.support.processes import PATIENCE
from tests.support.prometheus import prometheus

pytestmark = pytest.mark.slow

QUERIES = tuple(path for path in FILES if path.parent == RULES / "queries")
REPLICAS = 7
_WINDOW = "[5m]"
_USUAL, _BAD = 0.01, 0.3
"""Shares of the requests that fail."""
_REQUESTS = 100
"""Those that a pod answers between two scrapes."""
_COUNTERS: Mapping[str, tuple[str, str]] = {
    "queries-tensorflow-serving": (
        ':tensorflow:serving:request_count{{model_name="ranker",status="OK",{pod}}}',
        ':tensorflow:serving:request_count{{model_name="ranker",status="INTERNAL",{pod}}}',
    ),
    "queries-triton": (
        'nv_inference_request_success{{model="ranker",version="1",{pod}}}',
        'nv_inference_request_failure{{model="ranker",version="1",reason="BACKEND",{pod}}}',
    ),
    "queries-vllm": (
        'vllm:request_success_total{{model_name="m",finished_reason="stop",{pod}}}',
        'vllm:request_success_total{{model_name="m",finished_reason="error",{pod}}}',
    ),
}
"""What the servers of each rule set count of a request that succeeds, and of one that fails."""


@dataclass
class Peers:
    """A workload of a rule. Pods in `bad` fail. Half of the others have not failed at all, and have no such series."""

    lab: Lab
    bound: BoundRule
    namespace: str
    bad: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    evicted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lab.store.listeners.append(self._changed)

    def _changed(self, collection: str, change: StoreEvent) -> None:
        namespace, name = change.key
        if (collection, namespace) == (POD.stored_in, self.namespace) and name not in self.evicted:
            target = condition(change.now.object, "DisruptionTarget")
            if target is not None and target["reason"] == "EvictionByEvictionAPI":
                self.evicted.append(name)

    async def serve(self) -> None:
        """Have it run."""
        selector = self.bound.scope.selector
        assert selector is not None
        app = selector.match_labels["app"]
        await self.lab.apply(serving("peers", self.namespace, replicas=REPLICAS, min_available=None, app=app))

    @property
    def pods(self) -> list[str]:
        """The names of its pods."""
        return sorted(pod["metadata"]["name"] for pod in self.lab.objects("pods", self.namespace))

    def lines(self) -> list[str]:
        """What its pods have counted, after some more requests, in the text format of Prometheus."""
        for number, pod in enumerate(self.pods):
            well, ill = (text.format(pod=f'namespace="{self.namespace}",pod="{pod}"') for text in _COUNTERS[self.bound.ruleset])
            failed = int(_REQUESTS * (_BAD if pod in self.bad else _USUAL))
            self.counts[well] += _REQUESTS - failed
            if pod in self.bad or number % 2:
                self.counts[ill] += failed
        return [f"{series} {value}" for series, value in self.counts.items()]


def in_scene(bound: BoundRule) -> BoundRule:
    """The rule in the namespaces of its two workloads, where it asks often and looks back over seconds."""
    query = bound.rule.when.get(QUERY)
    assert query is not None
    assert _WINDOW in query.expr
    asked = query.model_copy(update={"expr": query.expr.replace(_WINDOW, "[3s]"), "every": 0.5})
    scope = bound.scope.model_copy(update={"namespaces": (f"{bound.ruleset}-one", f"{bound.ruleset}-three")})
    when = bound.rule.when.model_copy(update={"query": asked})
    return replace(bound, rule=bound.rule.model_copy(update={"when": when, "scope": scope}))


@contextlib.asynccontextmanager
async def exporting(every: Sequence[Peers]) -> AsyncIterator[int]:
    """What all pods count, on a free port."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="\n".join([*(line for peers in every for line in peers.lines()), ""]))

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_each_takes_the_one_pod_of_seven_that_fails_alone_and_none_where_three_of_seven_fail(tmp_path: Path) -> None:
    shipped = load_rules(QUERIES, vocabulary()).rules
    assert sorted(bound.ruleset for bound in shipped) == sorted(_COUNTERS)
    rules = [in_scene(bound) for bound in scaled(Rulebook(shipped), 1 / SPEED).rules]
    async with Lab(time_scale=0.02) as lab:
        of_rules = [tuple(Peers(lab, bound, namespace) for namespace in bound.scope.namespaces) for bound in rules]
        every = [peers for both in of_rules for peers in both]
        await asyncio.gather(*(peers.serve() for peers in every))
        await lab.wait_for(lambda _: all(len(peers.pods) == REPLICAS for peers in every), PATIENCE)
        for one, three in of_rules:
            one.bad, three.bad = set(one.pods[:1]), set(three.pods[:3])
        async with exporting(every) as port:
            job = {"job_name": "serving", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            config = {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"}, "scrape_configs": [job]}
            async with prometheus(tmp_path / "prometheus", config) as monitor:
                asks = PrometheusSettings(url=f"http://{monitor.address}")
                async with house(lab, tmp_path, rulebook=Rulebook(rules), prometheus=asks) as healer:
                    await asyncio.gather(*(taken(healer, one) for one, _ in of_rules))
                    assert [await faults(healer, one, tmp_path / "slack-token") for one, _ in of_rules] == [[]] * len(rules)
                    assert [peers.evicted for _, peers in of_rules] == [[]] * len(rules)
                    told = {incident.workload.namespace for incident in healer.told.incidents.values()}
                    assert told == {one.namespace for one, _ in of_rules}
                    for _, three in of_rules:
                        three.bad = {max(three.bad)}
                    await asyncio.gather(*(taken(healer, three) for _, three in of_rules))


async def taken(healer: House, peers: Peers) -> None:
    """Its one bad pod is evicted, no other is, and the incident is healed."""
    healed = await healer.told.until(State.HEALED, lambda incident: incident.workload.namespace == peers.namespace)
    assert healed.rule == peers.bound.name
    assert peers.evicted == [*peers.bad]


async def faults(healer: House, peers: Peers, token: Path) -> list[str]:
    """What people are not told of a pod that was taken, or wrongly."""
    while True:
        (incident,) = [each for each in healer.told.incidents.values() if each.workload.namespace == peers.namespace]
        row = (await on_page(healer.daemon.port))[incident.id]
        if healer.told.incidents[incident.id] == incident and row["changedAt"] == incident.changed_at:
            break
    rule = peers.bound.rule
    scenario = Scenario("peers", peers.namespace, "", rule.mode, rule.severity, "evict", measured())
    return list(scenario.faults(incident, await in_slack(incident, "", token), row))
