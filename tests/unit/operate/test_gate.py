"""The gate, look by look: what it waits for, what it goes on in spite of, what ends it; and which rule is meant."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.daemon.rulefiles import vocabulary
from healer.lab import Lab
from healer.lab.canary import CANARY, ROUTE, STABLE, ingresses, versions
from healer.lab.objects import is_ready
from healer.model.verdict import VerdictKind
from healer.operate.canary.chosen import choose_rule
from healer.operate.canary.gate import Gated, GateProgress, gate, plain_gated, show_gated
from healer.operate.objects import OperateError, object_ref
from healer.rules.loading import load_all
from healer.rules.rulebook import BoundRule
from healer.sources.prometheus.client import Sample, Series
from tests.integration.world import pods, rule, ruleset, serves
from tests.support.canary import ERRORS, when
from tests.support.processes import PATIENCE

pytestmark = pytest.mark.slow

SPACE = "production"
PLACE = object_ref("Deployment", SPACE, CANARY)
GOOD, INSUFFICIENT, UNKNOWN = VerdictKind.GOOD, VerdictKind.INSUFFICIENT, VerdictKind.UNKNOWN


class Counting:
    """In Prometheus' place: both sides count `rate` requests a second, none of them bad."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    async def query(self, expr: str, at: float) -> list[Sample]:
        return [Sample({"pod": "all"}, 0.0 if "status!~" in expr else self.rate * (at - 1_790_000_000))]

    async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        return []


def judging(*names: str, deployment: str = CANARY, space: str = SPACE, file: str = "test") -> str:
    """A rule file with a rule of each of these names."""
    trigger = when("Ingress", ERRORS)
    trigger["canary"]["canary"] = {"deployment": deployment}
    if deployment == STABLE:
        trigger["canary"]["stable"] = {"deployment": CANARY}
    each = [rule(name, when=trigger, heal=[{"page": {}}], mode="observe", scope={"namespaces": [space]}) for name in names]
    return ruleset(*each, name=file)


def rules(*files: str) -> list[BoundRule]:
    bound, problems = load_all({f"{number}.yaml": text for number, text in enumerate(files)}, vocabulary())
    assert not problems
    return bound


@dataclass
class Gate:
    """A gate under way; what it tells is `said`."""

    counting: Counting
    running: "asyncio.Task[Gated]"
    said: list[GateProgress] = field(default_factory=list)
    news: "asyncio.Condition" = field(default_factory=asyncio.Condition)

    async def until(self, holds: Callable[[GateProgress], bool]) -> GateProgress:
        """The first thing told, past or to come, that this holds for."""
        async with self.news, asyncio.timeout(PATIENCE):
            await self.news.wait_for(lambda: any(map(holds, self.said)))
        return next(filter(holds, self.said))


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(time_scale=0.02) as lab:
        await lab.apply([*versions(SPACE, replicas=(2, 2)), *ingresses(SPACE, weight=20)])
        await lab.wait_for(serves(4), PATIENCE)
        yield lab


@asynccontextmanager
async def going(lab: Lab, home: Path, rate: float = 0, within: float = PATIENCE) -> AsyncIterator[Gate]:
    """A gate that looks each second, ended with the test. Without requests it goes on and on."""
    lab.write_kubeconfig(home / "kubeconfig")
    async with aclosing(await Api.connect(kubeconfig=str(home / "kubeconfig"))) as api, asyncio.TaskGroup() as group:
        loud = asyncio.Queue[GateProgress]()
        (judged,) = rules(judging("bad-canary"))
        counting = Counting(rate)
        work = gate(api, counting, judged, PLACE, within=within, tell=loud.put_nowait)
        under_way = Gate(counting, asyncio.create_task(work))

        async def listen() -> None:
            while True:
                progress = await loud.get()
                async with under_way.news:
                    under_way.said.append(progress)
                    under_way.news.notify_all()

        listening = group.create_task(listen())
        try:
            yield under_way
        finally:
            under_way.running.cancel()
            await asyncio.wait([under_way.running])
            listening.cancel()


async def test_a_canary_passes_only_at_full_strength(lab: Lab, tmp_path: Path) -> None:
    name = next(name for name in pods(lab) if name.startswith(CANARY))
    async with going(lab, tmp_path) as under_way:
        await under_way.until(lambda progress: progress.kind is not None)
        await lab.behave(SPACE, name, "hang")
        await lab.wait_for(lambda lab: not is_ready(pods(lab)[name]), PATIENCE)
        under_way.counting.rate = 20_000
        held = await under_way.until(lambda progress: "it is GOOD by its requests" in progress.text)
        assert held.kind is INSUFFICIENT
        assert held.text.endswith("But 1 of 2 replicas are ready")
        await lab.behave(SPACE, name, "ok")
        gated = await under_way.running
    assert (gated.kind, gated.timed_out) == (GOOD, False)
    assert gated.looks >= 2


async def test_a_cluster_that_is_away_for_a_moment_is_waited_for(lab: Lab, tmp_path: Path) -> None:
    async with going(lab, tmp_path) as under_way:
        await under_way.until(lambda progress: progress.kind is not None)
        lab.faults.answer(503, verb="get", resource="deployments")
        doubt = await under_way.until(lambda progress: progress.kind is UNKNOWN)
        assert doubt.text.startswith("the cluster cannot be read: ")
        under_way.counting.rate = 20_000
        assert (await under_way.running).kind is GOOD


async def test_what_waiting_does_not_mend_ends_it(lab: Lab, tmp_path: Path) -> None:
    async with going(lab, tmp_path) as under_way:
        await under_way.until(lambda progress: progress.kind is not None)
        lab.forbid("list", "replicasets")
        with pytest.raises(ApiError, match="403"):
            await under_way.running


async def test_a_deployment_that_is_deleted_ends_it(lab: Lab, tmp_path: Path) -> None:
    async with going(lab, tmp_path) as under_way:
        await under_way.until(lambda progress: progress.kind is not None)
        async with aclosing(await Api.connect(kubeconfig=str(tmp_path / "kubeconfig"))) as api:
            await api.request("DELETE", PLACE.path)
        with pytest.raises(OperateError, match=f"there is no deployment/{CANARY}"):
            await under_way.running


@pytest.mark.parametrize(
    ("rate", "text", "advice"),
    [
        (0, "errors: no requests yet", "See that there is traffic, and that the rule's measures count it"),
        (
            3,
            "errors: canary 0 of ",
            "Give the canary more traffic, or wait longer (--timeout): at its traffic so far GOOD takes about",
        ),
    ],
)
async def test_too_little_traffic_is_told_as_that(lab: Lab, tmp_path: Path, rate: float, text: str, advice: str) -> None:
    async with going(lab, tmp_path, rate) as under_way:
        progress = await under_way.until(lambda progress: progress.text.startswith(text))
    assert progress.kind is INSUFFICIENT
    assert progress.advice.startswith(advice)
    assert str(under_way.said[0]) == "INSUFFICIENT: first look: requests are counted from here on"


async def test_what_reaches_a_canary_at_weight_0_is_named(lab: Lab, tmp_path: Path) -> None:
    """People see those requests."""
    nginx = "nginx.ingress.kubernetes.io"
    annotations = {f"{nginx}/canary-weight": "0", f"{nginx}/canary-by-header": "x-canary"}
    kind = lab.api.kinds.named("ingresses")
    lab.api.modify(kind, SPACE, ROUTE, lambda obj: obj["metadata"]["annotations"].update(annotations))
    async with going(lab, tmp_path) as under_way:
        progress = await under_way.until(lambda progress: "no traffic" in progress.text)
    by_weight = "the canary gets no traffic by weight, and what no weight controls is not judged: "
    assert progress.text == f"{by_weight}requests with the header x-canary: always go to the canary"


async def test_a_gate_that_runs_out_of_time_says_what_good_would_have_taken(lab: Lab, tmp_path: Path) -> None:
    async with going(lab, tmp_path, rate=10, within=3.5) as under_way:
        gated = await under_way.running
    assert (gated.kind, gated.timed_out) == (INSUFFICIENT, True)
    assert gated.text.startswith("timed out after 4 s: errors: canary 0 of ")
    assert "; so far no sign of harm; GOOD takes about 11,000 more requests. Give the canary more traffic" in gated.text
    assert ": at its traffic so far GOOD takes about " in gated.text


def test_the_result_in_words_and_for_programs() -> None:
    gated = Gated(PLACE, "test/bad-canary", GOOD, "errors: canary 0 of 310 bad", (), 1, 12.3456, timed_out=False)
    screen = Console(file=StringIO(), width=200)
    show_gated(gated, screen)
    assert isinstance(screen.file, StringIO)
    assert screen.file.getvalue().splitlines() == [
        f"GOOD: deployment/{CANARY} in {SPACE}, after 1 look in 12 s",
        "  errors: canary 0 of 310 bad",
    ]
    found: Mapping[str, Any] = plain_gated(gated)
    assert (found["verdict"], found["seconds"], found["rule"]) == ("GOOD", 12.346, "test/bad-canary")


def test_the_only_rule_on_that_deployment_is_meant() -> None:
    found = rules(judging("bad-canary"), judging("other", deployment=STABLE, file="else"))
    assert choose_rule(found, PLACE, None).name == "test/bad-canary"
    assert choose_rule(found, object_ref("Deployment", SPACE, STABLE), None).name == "else/other"


def test_a_rule_is_named_in_full_or_without_its_rule_set() -> None:
    found = rules(judging("one", "two"))
    assert choose_rule(found, PLACE, "two").name == choose_rule(found, PLACE, "test/two").name == "test/two"


def test_a_rule_for_that_namespace_goes_before_one_for_another() -> None:
    found = rules(judging("here"), judging("there", space="staging", file="else"))
    assert choose_rule(found, PLACE, None).name == "test/here"
    assert choose_rule(found, object_ref("Deployment", "staging", CANARY), None).name == "else/there"
    with pytest.raises(OperateError, match="several rules judge"):
        choose_rule(found, object_ref("Deployment", "testing", CANARY), None)
    assert choose_rule(rules(judging("there", space="staging")), PLACE, None).name == "test/there", "it was asked for here"


@pytest.mark.parametrize(
    ("files", "deployment", "name", "said"),
    [
        ([judging("one", "two")], CANARY, None, "choose one by --rule: test/one judges .*; test/two judges"),
        (
            [judging("one")],
            STABLE,
            None,
            f"deployment/{STABLE} is not the canary of any rule .*: test/one judges deployment/{CANARY}",
        ),
        ([judging("one")], CANARY, "three", "no rule on a canary is called 'three': test/one"),
        ([judging("one")], STABLE, "one", f"deployment/{STABLE} is not the canary of rule one"),
        ([ruleset(rule("pods", when={"pod": ["NotReady"]}))], CANARY, None, "no rule of the file is on a canary"),
    ],
)
def test_what_cannot_be_meant_is_told(files: list[str], deployment: str, name: str | None, said: str) -> None:
    with pytest.raises(OperateError, match=said):
        choose_rule(rules(*files), object_ref("Deployment", SPACE, deployment), name)
