"""What healer writes into RuleSets, when others write there too: no endless loop of writes, and nobody waits for another one."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from healer import shipped
from healer.clock import Clock
from healer.cluster.api import Api
from healer.daemon.rulefiles import vocabulary
from healer.daemon.ruleset_reading import RuleSetReader
from healer.daemon.ruleset_status import RuleSetStatuses
from healer.daemon.rulesets import JudgedRuleSet, RuleSets
from healer.lab import Lab
from healer.lab.objects import Object
from healer.model.incident import State
from healer.model.ruleset import RuleSet
from healer.model.view import View
from healer.rules.grants import Grant, RuleSetSettings
from healer.rules.schema import Mode
from healer.workloads.registry import WORKLOADS
from tests.support.incidents import bare

pytestmark = pytest.mark.slow

START = 1_800_000_000.0
HOUR = 3600.0


class Healer:
    """What reads RuleSets of a lab and writes into them, under a clock that the test sets. It grants the mode `granted`."""

    def __init__(self, lab: Lab, api: Api, granted: Mode = Mode.OBSERVE) -> None:
        self.lab = lab
        self.api = api
        self.told: list[str] = []
        self.fired: dict[str, float] = {}
        self.view = View(WORKLOADS)
        settings = RuleSetSettings(enabled=True, grants={"*": Grant(mode=granted, actions=("evict",))})
        reader = RuleSetReader(settings, vocabulary(), lambda _: [], Mode.ENFORCE, api.clock.steady)
        self.sets = RuleSets(self.view, settings, reader)
        self.statuses = RuleSetStatuses(api, self.sets, self._incidents, lambda: True, self._tell)

    def _incidents(self) -> list[Any]:
        return [
            replace(bare(State.CLOSED), id=str(number), rule=rule, opened_at=at)
            for number, (rule, at) in enumerate(self.fired.items())
        ]

    def _tell(self, judged: JudgedRuleSet, _: str) -> None:
        self.told.append(judged.object.full_name)

    async def look(self) -> None:
        """Read what the cluster has now, and write what is due."""
        for found in self.lab.objects("rulesets.healer.dev"):
            self.view.put(msgspec.json.decode(json.dumps(found), type=RuleSet))
        await self.sets.look(())
        self.sets.news.clear()
        await self.statuses.write_all()


class Cluster:
    """A lab with RuleSets, and its time."""

    def __init__(self, lab: Lab, kubeconfig: Path) -> None:
        self.lab = lab
        self.now = START
        self._kubeconfig = str(kubeconfig)

    async def api(self) -> Api:
        return await Api.connect(kubeconfig=self._kubeconfig, clock=Clock(lambda: self.now, lambda: self.now))

    @property
    def writes(self) -> list[str]:
        """The RuleSets whose statuses were written, in the order of the writes."""
        return [f"{seen.namespace}/{seen.name}" for seen in self.lab.requests if seen.permission == "rulesets/status"]


def mine(name: str = "mine", namespace: str = "pay", **more: Any) -> Object:
    rule = {"name": "r", "when": {"pod": ["CrashLoopBackOff"]}, "heal": [{"evict": {}}], "mode": "enforce"}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "healer.dev/v1alpha1", "kind": "RuleSet", "metadata": metadata, "spec": {"rules": [rule | more]}}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Lab() as lab:
        for namespace in ("pay", "web"):
            await lab.apply_yaml(f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}")
        await lab.apply_yaml(shipped.RULESETS.read_text("utf-8"))
        lab.write_kubeconfig(tmp_path / "kubeconfig")
        yield Cluster(lab, tmp_path / "kubeconfig")


@pytest.fixture
async def healer(cluster: Cluster) -> AsyncIterator[Healer]:
    async with aclosing(await cluster.api()) as api:
        yield Healer(cluster.lab, api)


def accepted(lab: Lab, name: str = "mine") -> str:
    """What the condition of a RuleSet says."""
    (found,) = (each for each in lab.objects("rulesets.healer.dev") if each["metadata"]["name"] == name)
    return str(found["status"]["conditions"][0]["reason"])


async def test_what_stays_the_same_is_written_once(cluster: Cluster, healer: Healer) -> None:
    await cluster.lab.apply(mine())
    for _ in range(20):
        await healer.look()
        cluster.now += HOUR
    assert len(cluster.writes) == 1


async def test_two_healers_that_disagree_answer_each_other_more_and_more_rarely(cluster: Cluster, healer: Healer) -> None:
    """Two installs with other grants, or two leaders: each sees what the other wrote."""
    await cluster.lab.apply(mine())
    async with aclosing(await cluster.api()) as api:
        other = Healer(cluster.lab, api, granted=Mode.ENFORCE)
        for _ in range(24 * 12):
            await healer.look()
            await other.look()
            cluster.now += HOUR / 12
    assert len(cluster.writes) < 2 * (24 + 8), "a day: once an hour each, after the first hours"
    assert (len(healer.told), len(other.told)) == (1, 1)


@pytest.mark.parametrize(
    "status",
    [{"conditions": []}, {"rules": 7}, {"mode": "enforce"}, {"observedGeneration": 9}, {"lastFired": "2020-01-01T00:00:00Z"}],
    ids=str,
)
async def test_whoever_writes_over_it_each_time_makes_no_loop(cluster: Cluster, healer: Healer, status: Object) -> None:
    """As a controller does, or a webhook that changes what is admitted."""
    await cluster.lab.apply(mine(mode="observe"))
    path = "/apis/healer.dev/v1alpha1/namespaces/pay/rulesets/mine/status"
    healer.fired["pay/mine/r"] = START
    for _ in range(180):
        await healer.look()
        before = len(cluster.writes)
        await healer.api.request("PATCH", path, body={"status": status}, content_type="application/merge-patch+json")
        assert len(cluster.writes) == before + 1
        cluster.now += 1.0
    ours = len(cluster.writes) - 180
    assert ours == 2, "at once and after a minute; then after two more, four, and so on"


async def test_an_edit_is_answered_at_once_whoever_wrote_before(cluster: Cluster, healer: Healer) -> None:
    await cluster.lab.apply(mine())
    spec = mine(mode="observe")["spec"]
    path = "/apis/healer.dev/v1alpha1/namespaces/pay/rulesets/mine/status"
    for _ in range(5):
        await healer.look()
        await healer.api.request("PATCH", path, body={"status": {"conditions": []}}, content_type="application/merge-patch+json")
    await healer.api.request("PATCH", path[:-7], body={"spec": spec}, content_type="application/merge-patch+json")
    await healer.look()
    assert accepted(cluster.lab) == "Accepted"


async def test_one_whose_status_is_refused_keeps_no_other_waiting(cluster: Cluster, healer: Healer) -> None:
    """An admission policy may refuse one; and one that an older definition let in is refused by its schema at each write."""
    await cluster.lab.apply(mine("bad"))
    await cluster.lab.apply(mine("good", namespace="web"))
    cluster.lab.faults.answer(422, resource="rulesets/status", name="bad", times=None)
    for _ in range(60):
        await healer.look()
        cluster.now += 1.0
    assert accepted(cluster.lab, "good") == "Refused"
    assert sum(name == "pay/bad" for name in cluster.writes) <= 2, "tried again after a minute"


async def test_a_namespace_with_many_new_ones_delays_no_other(cluster: Cluster, healer: Healer) -> None:
    for number in range(150):
        await cluster.lab.apply(mine(f"a{number:03}"))
    for number in range(3):
        await cluster.lab.apply(mine(f"z{number}", namespace="web"))
    await healer.look()
    assert [name[:3] for name in cluster.writes[:7]] == ["pay", "web", "pay", "web", "pay", "web", "pay"]
    assert sum(name[:3] == "pay" for name in cluster.writes) == 100, "at once; the others at one a second"
    cluster.now += 10.0
    await healer.look()
    assert sum(name[:3] == "pay" for name in cluster.writes) == 110


async def test_the_first_line_of_a_refusal_is_an_error_with_its_path(cluster: Cluster, healer: Healer) -> None:
    """The column WHY of `kubectl get rulesets -o wide` ends at the end of the line."""
    await cluster.lab.apply(mine(iff="true", mode="observe", onn=1))
    await healer.look()
    (found,) = cluster.lab.objects("rulesets.healer.dev")
    first, second, last = found["status"]["conditions"][0]["message"].split("\n")
    assert first.startswith("spec.rules[0].iff: unknown key 'iff'")
    assert first.endswith(", and 1 more")
    assert second.startswith("spec.rules[0].onn: unknown key 'onn'")
    assert last == "not accepted: none of its rules is in force"
