"""Query rules: which series fires for what, when it is over, and what is held while nothing is known."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from healer.model.kube import Meta, OwnerReference, Pod, ReplicaSet
from healer.model.signal import Answered, Report, Signal, Unanswered
from healer.sources.prometheus.client import Prometheus, QueryApi, Sample, Series
from healer.sources.prometheus.query import QueryProbe
from healer.sources.targets import TargetLabels
from healer.workloads.statefulset import StatefulSet
from tests.support.world import APP, NAMESPACE, World, rule, rulebook
from tests.unit.sources.conftest import Answer, Imposter, closing, remembering, saying

NOW = 1_800_000_000.0
NAMES = TargetLabels()


def series(*rows: tuple[str, object], **labels: str) -> Answer:
    """Answers with one series a row: a pod's name (or key=value) and a value."""
    result = []
    for name, value in rows:
        key, _, of = name.rpartition("=")
        result.append({"metric": {"namespace": NAMESPACE} | labels | {key or "pod": of}, "value": [NOW, str(value)]})
    return saying({"status": "success", "data": {"resultType": "vector", "result": result}})


class Bench:
    """A rule over a world of three pods, its looks, and what was said of not knowing."""

    def __init__(self, prometheus: QueryApi, **query: Any) -> None:
        self.world = World()
        self.said: list[str] = []
        (self._rule,) = rulebook(
            rule("slow", when={"query": {"expr": "latency"} | (query or {"above": 0.2})}, heal=[{"page": {}}])
        ).rules
        self.now = NOW
        self._probe = self.probe(prometheus)

    def probe(self, prometheus: QueryApi) -> QueryProbe:
        """The rule's probe, over the world of now."""
        return QueryProbe(self._rule, prometheus, self.world.view, NAMES, lambda _, why: self.said.append(why))

    async def reports(self) -> list[Report]:
        """What one more look has to say, 30 s after the last."""
        self.now += 30
        return await self._probe.ask(self.now)

    async def look(self) -> list[Signal]:
        """The signals of one more look."""
        return [report for report in await self.reports() if isinstance(report, Signal)]

    async def unknown(self) -> dict[str, str]:
        """Of one more look: why it is not known whether pods are sick still, by uid; "*" for all of the rule."""
        said: dict[str, str] = {}
        for report in await self.reports():
            if isinstance(report, Unanswered):
                said |= {key.split("/")[3]: report.why for key in report.keys} if report.keys is not None else {"*": report.why}
        return said

    async def fires(self) -> dict[str, bool]:
        """The same: by target, whether it fires."""
        return {signal.target.name: signal.firing for signal in await self.look()}


@pytest.fixture
async def prometheus(imposter: Imposter) -> AsyncIterator[Prometheus]:
    async with closing(Prometheus(imposter.url)) as client:
        yield client


async def test_a_series_above_the_threshold_is_a_signal(imposter: Imposter, prometheus: Prometheus) -> None:
    bench = Bench(prometheus)
    imposter.answer = series(("serving-1", 0.31), ("serving-2", 0.2), route="a")
    sick, well = await bench.look()
    assert sick == Signal(
        source="query",
        name="QueryPassed",
        target=bench.world.target("serving-1"),
        firing=True,
        at=NOW + 30,
        key='query/test/slow/pod-1/{namespace="production",pod="serving-1",route="a"}',
        occurrence=f'query/test/slow/pod-1/{{namespace="production",pod="serving-1",route="a"}}@{NOW + 30:.3f}',
        message="value 0.31 above 0.2",
        labels={"namespace": NAMESPACE, "pod": "serving-1", "route": "a"},
        rule="test/slow",
    )
    assert (well.firing, well.target.name, well.message) == (False, "serving-2", "value 0.2 not above 0.2")


async def test_the_value_is_told_with_its_unit(imposter: Imposter, prometheus: Prometheus) -> None:
    bench = Bench(prometheus, above=0.2, unit="ms")
    imposter.answer = series(("serving-1", 0.31))
    assert [signal.message for signal in await bench.look()] == ["value 0.31 above 0.2 ms"]


async def test_below(imposter: Imposter, prometheus: Prometheus) -> None:
    bench = Bench(prometheus, below=5)
    imposter.answer = series(("serving-1", 4), ("serving-2", 5), ("serving-3", "-Inf"))
    assert await bench.fires() == {"serving-1": True, "serving-2": False}


async def test_the_first_sight_is_told_either_way_then_only_what_fires_and_its_end(
    imposter: Imposter, prometheus: Prometheus
) -> None:
    bench = Bench(prometheus)
    imposter.answer = series(("serving-1", 0.1), ("serving-2", 0.3))
    assert await bench.fires() == {"serving-1": False, "serving-2": True}
    first = [signal.occurrence for signal in await bench.look()]
    assert first == [signal.occurrence for signal in await bench.look()], "it is still the same time that it fires"
    imposter.answer = series(("serving-1", 0.1), ("serving-2", 0.1))
    assert await bench.fires() == {"serving-2": False}
    assert await bench.fires() == {}
    imposter.answer = series(("serving-1", 0.1), ("serving-2", 0.3))
    again = await bench.look()
    assert [signal.occurrence for signal in again] != first


async def test_two_series_of_one_pod_are_two_signals(imposter: Imposter, prometheus: Prometheus) -> None:
    bench = Bench(prometheus)
    result = [
        {"metric": {"namespace": NAMESPACE, "pod": "serving-1", "api": api}, "value": [NOW, value]}
        for api, value in (("rest", "0.3"), ("grpc", "0.1"))
    ]
    imposter.answer = saying({"data": {"result": result}})
    assert [signal.firing for signal in await bench.look()] == [True, False]


# unknown


@pytest.mark.parametrize("nothing", ["NaN", "+Inf", "-Inf"])
@pytest.mark.parametrize("query", [{"above": 0.2}, {"below": 0.2}])
async def test_a_value_that_is_no_number_is_not_known(
    imposter: Imposter, prometheus: Prometheus, nothing: str, query: dict[str, float]
) -> None:
    """usage / limit is +Inf where there is no limit: that passes no threshold, and ends nothing."""
    bench = Bench(prometheus, **query)
    imposter.answer = series(("serving-1", nothing))
    assert await bench.fires() == {}
    fires = 0.3 if "above" in query else 0.1
    imposter.answer = series(("serving-1", fires), ("serving-2", 0.2))
    assert await bench.fires() == {"serving-1": True, "serving-2": False}
    imposter.answer = series(("serving-1", nothing), ("serving-2", 0.2))
    assert list(await bench.unknown()) == ["pod-1"]
    imposter.answer = series(("serving-1", 0.2), ("serving-2", 0.2))
    assert await bench.fires() == {"serving-1": False}, "it was kept in mind"


@pytest.mark.parametrize(
    "nothing",
    [
        saying("", 500),
        saying({"status": "success", "warnings": ["store-1 is away"], "data": {"resultType": "vector", "result": []}}),
        saying({"status": "success", "isPartial": True, "data": {"resultType": "vector", "result": []}}),
        saying({"status": "success", "data": {"resultType": "vector", "result": None}}),
        series(("job=serving", 9)),
    ],
    ids=["no answer", "thanos in part", "victoriametrics in part", "no result", "no target"],
)
async def test_what_is_not_known_ends_nothing_and_each_look_is_told(
    imposter: Imposter, prometheus: Prometheus, nothing: Answer
) -> None:
    bench = Bench(prometheus)
    imposter.answer = series(("serving-1", 0.3))
    assert await bench.fires() == {"serving-1": True}
    imposter.answer = nothing
    for _ in range(3):
        reports = await bench.reports()
        assert not any(isinstance(report, Signal | Answered) for report in reports)
        assert any(isinstance(report, Unanswered) for report in reports)
    assert all(bench.said[1:])
    assert len(bench.said) == 4
    imposter.answer = series(("serving-1", 0.1))
    assert await bench.fires() == {"serving-1": False}, "it was kept in mind"
    assert bench.said[4:] == [""]


@pytest.mark.parametrize("rest", [series(), series(("serving-2", 0.1)), series(("serving-1", 0.1), route="b")])
async def test_a_whole_answer_without_the_series_ends_it(imposter: Imposter, prometheus: Prometheus, rest: Answer) -> None:
    """`expr > 0.05` has no series when all is well, and a series that names a revision goes with it."""
    bench = Bench(prometheus)
    imposter.answer = series(("serving-1", 0.3), route="a")
    [before] = await bench.look()
    imposter.answer = rest
    [over] = [signal for signal in await bench.look() if signal.key == before.key]
    assert (over.firing, over.message) == (False, "the query has no such series any more")
    assert bench.said == ["", ""]


@pytest.mark.parametrize(
    ("nameless", "ends"), [(0, True), (0.1, True), (9, False), ("NaN", False)], ids=["zero", "well", "sick", "no number"]
)
async def test_a_nameless_series_that_is_well_hides_no_end(
    imposter: Imposter, prometheus: Prometheus, nameless: object, ends: bool
) -> None:
    """`expr or vector(0)` keeps one without labels when all is well. One that passes may be the same series without labels."""
    bench = Bench(prometheus)
    imposter.answer = series(("serving-1", 0.3))
    await bench.look()
    imposter.answer = series(("job=serving", nameless))
    reports = await bench.reports()
    assert [each.firing for each in reports if isinstance(each, Signal)] == ([False] if ends else [])
    assert any(isinstance(each, Answered) for each in reports) is ends, "what fired before a restart ends with it"


async def test_an_answer_says_which_signals_can_still_fire(imposter: Imposter, prometheus: Prometheus) -> None:
    """So that what fired before a restart, and is in no answer after it, is over."""
    imposter.answer = series(("serving-1", 0.3), ("serving-2", "NaN"), ("stranger", 9))
    [answered] = [report for report in await Bench(prometheus).reports() if isinstance(report, Answered)]
    assert answered.rule == "test/slow"
    assert sorted(key.split("/")[3] for key in answered.keys) == ["pod-1", "pod-2"]


async def test_one_odd_series_harms_only_itself(imposter: Imposter, prometheus: Prometheus) -> None:
    """One without labels may be anything: what is missing besides is not over then."""
    bench = Bench(prometheus)
    imposter.answer = series(("serving-1", 0.3), ("serving-2", 0.3))
    await bench.look()
    odd = {"metric": {"namespace": NAMESPACE, "pod": "serving-1"}, "histogram": [NOW, {}]}
    well = {"metric": {"namespace": NAMESPACE, "pod": "serving-2"}, "value": [NOW, "0.1"]}
    imposter.answer = saying({"data": {"result": [odd, well]}})
    reports = await bench.reports()
    assert [(report.target.name, report.firing) for report in reports if isinstance(report, Signal)] == [("serving-2", False)]
    assert [report.why for report in reports if isinstance(report, Unanswered)] != []
    imposter.answer = saying({"data": {"result": [{"metric": None, "value": [NOW, "9"]}, well]}})
    reports = await bench.reports()
    assert not any(isinstance(report, Signal | Answered) for report in reports)


async def test_labels_without_end_make_no_key_without_end(imposter: Imposter, prometheus: Prometheus) -> None:
    """Keys are journaled."""
    imposter.answer = series(("serving-1", 0.3), query="x" * 100_000)
    [signal] = await Bench(prometheus).look()
    assert len(signal.key) < 200


async def test_no_answer_says_why(imposter: Imposter, prometheus: Prometheus) -> None:
    bench = Bench(prometheus)
    imposter.answer = saying({"status": "error", "error": "too many samples"}, 422)
    assert await bench.unknown() == {"*": "Prometheus: HTTP 422: too many samples"}
    assert bench.said == ["Prometheus: HTTP 422: too many samples"]


async def test_a_pod_that_is_gone_is_over_even_without_an_answer(imposter: Imposter, prometheus: Prometheus) -> None:
    bench = Bench(prometheus)
    imposter.answer = series(("serving-1", 0.3), ("serving-2", 0.3))
    await bench.look()
    bench.world.remove("serving-1")
    imposter.answer = saying("", 500)
    [over] = await bench.look()
    assert (over.firing, over.key.split("/")[3], over.message) == (False, "pod-1", "pod/serving-1 is gone")
    bench.world.remove("serving-2")
    imposter.answer = series(("serving-2", 0.3))  # Prometheus still remembers it
    [over] = await bench.look()
    assert (over.firing, over.target.uid) == (False, "pod-2")
    assert await bench.look() == []


# targets


async def test_a_deployment_by_its_label(imposter: Imposter, prometheus: Prometheus) -> None:
    imposter.answer = series((f"deployment={APP}", 0.3))
    [signal] = await Bench(prometheus).look()
    assert (signal.target.kind, signal.target.name) == ("Deployment", APP)


async def test_a_series_without_labels_is_about_the_deployment_of_the_rule(imposter: Imposter, prometheus: Prometheus) -> None:
    imposter.answer = saying({"data": {"result": [NOW, "0.3"]}})
    [signal] = await Bench(prometheus, above=0.2, deployment=APP).look()
    assert (signal.target.kind, signal.target.name, signal.firing) == ("Deployment", APP, True)


async def test_a_series_is_about_the_stateful_set_that_it_or_the_rule_names(imposter: Imposter, prometheus: Prometheus) -> None:
    """Each kind has the label and the key that are its own word."""
    bench = Bench(prometheus, above=0.2, statefulset="store")
    bench.world.view.put(StatefulSet(Meta(name="store", uid="uid-store", namespace=NAMESPACE)))
    for answer in (saying({"data": {"result": [NOW, "0.3"]}}), series(("statefulset=store", 0.3))):
        imposter.answer = answer
        [signal] = [each for each in await bench.look() if each.firing]
        assert (signal.target.kind, signal.target.uid) == ("StatefulSet", "uid-store")


async def test_a_pod_that_gets_the_name_of_a_sick_one_is_not_sick_for_it(imposter: Imposter, prometheus: Prometheus) -> None:
    """Pods of a StatefulSet keep their names, and rate() looks back: what it tells is about the pod that is gone."""
    bench = Bench(prometheus)
    view, owner = bench.world.view, (OwnerReference("StatefulSet", "store", "sts", controller=True),)
    view.put(Pod(Meta(name="store-0", uid="first", namespace=NAMESPACE, owner_references=owner)))
    imposter.answer = series(("store-0", 0.3))
    assert await bench.fires() == {"store-0": True}
    view.drop(Pod, "first")
    view.put(Pod(Meta(name="store-0", uid="second", namespace=NAMESPACE, owner_references=owner)))
    assert await bench.fires() == {"store-0": False}
    for _ in range(28):
        assert await bench.look() == []
    bench.now += 60
    [late] = await bench.look()
    assert (late.firing, late.target.uid) == (True, "second"), "what fires for so long is about the one that has the name now"


async def test_the_exporters_pod_beside_a_deployment_is_not_what_a_series_is_about(
    imposter: Imposter, prometheus: Prometheus
) -> None:
    """kube-state-metrics' series under honor_labels: `deployment` is the object's, `pod` the exporter's."""
    bench = Bench(prometheus)
    bench.world.other("kube-state-metrics")
    imposter.answer = series(("kube-state-metrics-1", 9), deployment=APP)
    assert await bench.fires() == {APP: True}


@pytest.mark.parametrize(
    ("strange", "said"),
    [
        (series(("other-1", 9), namespace="elsewhere"), ""),
        (series(("stranger", 9)), ""),
        (series(("job=serving", 9)), "no series of the query names a target: it has no label 'pod' or 'deployment'"),
        (series(("serving-1", 9), exported_pod="serving-2"), "no series of the query names a target: labels 'pod' and"),
    ],
    ids=["another namespace", "not in the cluster", "no target", "of an exporter"],
)
async def test_what_is_about_nothing_of_the_rule_is_no_signal(
    imposter: Imposter, prometheus: Prometheus, strange: Answer, said: str
) -> None:
    """What names a target elsewhere is an answer; what names none says nothing about anything."""
    bench = Bench(prometheus)
    bench.world.other("other", namespace="elsewhere")
    imposter.answer = strange
    assert await bench.look() == []
    [why] = bench.said
    assert why.startswith(said)
    assert bool(why) is bool(said)


async def test_a_series_without_the_labels_says_what_to_write(imposter: Imposter, prometheus: Prometheus) -> None:
    """Once, with the labels that are missing."""
    bench = Bench(prometheus)
    imposter.answer = series(("job=serving", 9))
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            await bench.look()
    [line] = [line for line in logs if line["event"] == "a series of the query names no target"]
    assert "'pod' or 'deployment'" in line["reason"]
    assert "sum by (namespace, pod)" in line["hint"]


class Table:
    """Answers at once, with what it holds."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    async def query(self, expr: str, at: float) -> list[Sample]:
        """What it holds."""
        return self.samples

    async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """Nothing: a probe asks for no range."""
        raise AssertionError("no range is asked for")


@pytest.mark.parametrize(("after", "passes"), [([], 2), ([math.nan], 4), ([0.1], 5)], ids=["gone", "no number", "well"])
async def test_a_large_answer_leaves_the_loop_to_others_on_the_way(after: list[float], passes: int) -> None:
    """Each of the passes over what fired and over what the answer has is made in parts of 200."""
    table = Table()
    bench = Bench(table)

    def holds(*values: float) -> list[Sample]:
        return [
            Sample({"namespace": NAMESPACE, "pod": "serving-1", "n": str(number)}, value)
            for value in values
            for number in range(2000)
        ]

    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    table.samples = holds(0.3)
    assert len(await bench.look()) == 2000
    table.samples = holds(*after)
    running = asyncio.create_task(other())
    reports = await bench.reports()
    running.cancel()
    assert any(isinstance(report, Answered) for report in reports)
    assert turns >= passes * 2000 // 200


async def test_with_a_real_prometheus(tmp_path: Path) -> None:
    when = math.floor(time.time()) - 600.0
    errors = {
        f'errors_total{{namespace="{NAMESPACE}",pod="serving-{n}"}}': {when + 15 * i: float(i * n * 3) for i in range(9)}
        for n in (1, 2)
    }
    async with remembering(tmp_path, errors) as prometheus:
        bench = Bench(prometheus, above=0.3, expr="sum by (namespace, pod) (rate(errors_total[1m]))")
        bench.now = when + 90
        found = await bench.look()
    assert [(signal.target.name, signal.firing, signal.message) for signal in sorted(found, key=lambda each: each.key)] == [
        ("serving-1", False, "value 0.2 not above 0.3"),
        ("serving-2", True, "value 0.4 above 0.3"),
    ]


# outliers


OUTLIERS = {"above": 0.2, "outliers": {"difference": 0.1, "peers": 4}}


class Peers(Bench):
    """A rule that compares the pods of a workload, over so many of them."""

    def __init__(self, prometheus: Prometheus, replicas: int = 6) -> None:
        super().__init__(prometheus, **OUTLIERS)
        self.world = World(replicas)
        self._probe = self.probe(prometheus)

    async def said_of(self, imposter: Imposter, *rows: tuple[str, object]) -> dict[str, object]:
        """Of one look: whether pods fire, or in words why that is not known, by the pod's name."""
        imposter.answer = series(*rows)
        found: dict[str, object] = {}
        for report in await self.reports():
            if isinstance(report, Signal):
                found[report.target.name] = report.firing
            elif isinstance(report, Unanswered):
                found |= {key.split("/")[3].replace("pod", "serving"): report.why for key in report.keys or ()}
        return found


def alike(count: int, value: float = 0.01) -> list[tuple[str, object]]:
    return [(f"serving-{number}", value) for number in range(1, count + 1)]


async def test_only_an_outlier_fires_and_it_ends_when_it_is_near(imposter: Imposter, prometheus: Prometheus) -> None:
    bench = Peers(prometheus)
    first = await bench.said_of(imposter, *alike(5), ("serving-6", 0.9))
    assert first == {f"serving-{number}": number == 6 for number in range(1, 7)}
    imposter.answer = series(*alike(5), ("serving-6", 0.9))
    (signal,) = await bench.look()
    assert signal.message == "value 0.9 above 0.2, far from the median 0.01 of 6 pods (more than 0.1 is far)"
    assert await bench.said_of(imposter, *alike(6)) == {"serving-6": False}


async def test_what_is_bad_and_not_alone_is_neither_sick_nor_healed(imposter: Imposter, prometheus: Prometheus) -> None:
    bench = Peers(prometheus)
    await bench.said_of(imposter, *alike(5), ("serving-6", 0.9))
    found = await bench.said_of(imposter, *alike(6, 0.9))
    assert "it passes the threshold, but is near the median 0.9 of 6 pods" in str(found["serving-6"])
    assert True not in found.values()
    assert False not in found.values()


@pytest.mark.parametrize(
    ("rows", "of", "why"),
    [
        ([*alike(3), ("serving-4", 0.9)], "serving-4", "other pods with a value: 3; 4 are needed"),
        ([*alike(3), ("serving-4", 0.9), ("serving-5", 0.9)], "serving-5", "2 of 6 pods are far from the others and 1 have no"),
        ([*alike(4), ("serving-5", "NaN"), ("serving-6", 0.9)], "serving-5", "the value is +nan, which is no number"),
        ([*alike(5), ("deployment=serving", 0.9)], "", "only pods can be outliers"),
    ],
)
async def test_what_cannot_be_compared_is_unknown(
    imposter: Imposter, prometheus: Prometheus, rows: list[tuple[str, object]], of: str, why: str
) -> None:
    bench = Peers(prometheus)
    found = await bench.said_of(imposter, *rows)
    assert why in str(found.get(of, found)), found
    assert of or why in bench.said[-1], "else nobody would know"


async def test_pods_with_several_series_cannot_be_compared(imposter: Imposter, prometheus: Prometheus) -> None:
    bench = Peers(prometheus)
    result = [
        {"metric": {"namespace": NAMESPACE, "pod": f"serving-{number}", "api": api}, "value": [NOW, "0.9"]}
        for number, api in [(1, "rest"), (1, "grpc"), *((number, "rest") for number in range(2, 7))]
    ]
    imposter.answer = saying({"data": {"result": result}})
    doubts = [report.why for report in await bench.reports() if isinstance(report, Unanswered)]
    assert any("several series each (2)" in why for why in doubts), doubts


async def test_an_outlier_that_has_no_value_any_more_is_unknown(imposter: Imposter, prometheus: Prometheus) -> None:
    bench = Peers(prometheus)
    await bench.said_of(imposter, *alike(5), ("serving-6", 0.9))
    assert "has no value of it" in str((await bench.said_of(imposter, *alike(5)))["serving-6"])
    assert "is no number" in str((await bench.said_of(imposter, *alike(5), ("serving-6", "NaN")))["serving-6"])
    assert await bench.said_of(imposter, *alike(6)) == {"serving-6": False}


async def test_a_pod_that_is_not_ready_is_no_outlier_and_no_peer(imposter: Imposter, prometheus: Prometheus) -> None:
    bench = Peers(prometheus)
    bench.world.unready("serving-6")
    assert "not ready" in str((await bench.said_of(imposter, *alike(5), ("serving-6", 0.9)))["serving-6"])
    bench.world.unready("serving-5")
    held = await bench.said_of(imposter, *alike(3), ("serving-4", 0.9), ("serving-5", 0.01))
    assert held["serving-4"] == "other pods with a value: 3; 4 are needed"


async def test_pods_of_another_revision_are_no_peers(imposter: Imposter, prometheus: Prometheus) -> None:
    """A new revision may be slower: that is for its rollout, or a canary, to judge."""
    bench = Peers(prometheus)
    of = OwnerReference("Deployment", APP, bench.world.workload.uid, controller=True)
    bench.world.view.put(ReplicaSet(Meta("serving-9", "rs-9", NAMESPACE, owner_references=(of,))))
    other = OwnerReference("ReplicaSet", "serving-9", "rs-9", controller=True)
    for name in ("serving-5", "serving-6"):
        bench.world.own(name, other)
    found = await bench.said_of(imposter, *alike(5), ("serving-6", 0.9))
    assert found["serving-6"] == "other pods with a value: 1; 4 are needed"


async def test_the_revision_of_a_controller_with_several_is_that_of_the_label(imposter: Imposter, prometheus: Prometheus) -> None:
    """The pods of a StatefulSet have one controller."""
    bench = Peers(prometheus)
    bench.world.relabel("serving-6", **{"controller-revision-hash": "serving-2"})
    found = await bench.said_of(imposter, *alike(5), ("serving-6", 0.9))
    assert found["serving-6"] == "other pods with a value: 0; 4 are needed"


async def test_that_it_is_held_is_said(imposter: Imposter, prometheus: Prometheus) -> None:
    bench = Peers(prometheus)
    with structlog.testing.capture_logs() as logged:
        await bench.said_of(imposter, *alike(3), ("serving-5", 0.9), ("serving-6", 0.9))
    assert "2 of 6 pods are far from the others" in bench.said[-1]
    assert [line["log_level"] for line in logged] == ["warning"]
