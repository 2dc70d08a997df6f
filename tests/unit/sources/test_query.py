"""Query rules: which series fires for what, when it is over, and what is held while nothing is known."""

import math
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from healer.model.signal import Signal
from healer.sources.prometheus import Prometheus
from healer.sources.query import QueryLook
from healer.sources.targets import TargetLabels
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

    def __init__(self, prometheus: Prometheus, **query: Any) -> None:
        self.world = World()
        self.said: list[str] = []
        (bound,) = rulebook(
            rule("slow", when={"query": {"expr": "latency"} | (query or {"above": 0.2})}, heal=[{"page": {}}])
        ).rules
        self.now = NOW
        self._look = QueryLook(bound, prometheus, self.world.view, NAMES, lambda _, why: self.said.append(why))

    async def look(self) -> list[Signal]:
        """The signals of one more look, 30 s after the last."""
        self.now += 30
        return await self._look.look(self.now)

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


async def test_below(imposter: Imposter, prometheus: Prometheus) -> None:
    bench = Bench(prometheus, below=5)
    imposter.answer = series(("serving-1", 4), ("serving-2", 5), ("serving-3", "-Inf"))
    assert await bench.fires() == {"serving-1": True, "serving-2": False, "serving-3": True}


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


@pytest.mark.parametrize(
    "nothing",
    [saying("", 500), series(), series(("serving-1", "NaN")), series(("serving-2", 0.1))],
    ids=["no answer", "no series", "NaN", "only another"],
)
async def test_what_is_not_known_ends_nothing_and_is_said_once(
    imposter: Imposter, prometheus: Prometheus, nothing: Answer
) -> None:
    bench = Bench(prometheus)
    imposter.answer = series(("serving-1", 0.3))
    assert await bench.fires() == {"serving-1": True}
    imposter.answer = nothing
    for _ in range(3):
        assert "serving-1" not in await bench.fires()
    assert len(bench.said) == 1
    imposter.answer = series(("serving-1", 0.1))
    assert await bench.fires() == {"serving-1": False}, "it was kept in mind"
    assert bench.said[1:] == [""]


async def test_no_answer_says_why(imposter: Imposter, prometheus: Prometheus) -> None:
    bench = Bench(prometheus)
    imposter.answer = saying({"status": "error", "error": "too many samples"}, 422)
    assert await bench.look() == []
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


async def test_the_exporters_pod_beside_a_deployment_is_not_what_a_series_is_about(
    imposter: Imposter, prometheus: Prometheus
) -> None:
    """kube-state-metrics' series under honor_labels: `deployment` is the object's, `pod` the exporter's."""
    bench = Bench(prometheus)
    bench.world.other("kube-state-metrics")
    imposter.answer = series(("kube-state-metrics-1", 9), deployment=APP)
    assert await bench.fires() == {APP: True}


@pytest.mark.parametrize(
    "strange",
    [
        series(("other-1", 9), namespace="elsewhere"),
        series(("stranger", 9)),
        series(("job=serving", 9)),
        series(("serving-1", 9), exported_pod="serving-2"),
    ],
    ids=["another namespace", "not in the cluster", "no target", "of an exporter"],
)
async def test_what_is_about_nothing_of_the_rule_is_no_signal(
    imposter: Imposter, prometheus: Prometheus, strange: Answer
) -> None:
    bench = Bench(prometheus)
    bench.world.other("other", namespace="elsewhere")
    imposter.answer = strange
    assert await bench.look() == []
    assert bench.said == ["no series of the query has a value for anything in the rule's scope"]


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
