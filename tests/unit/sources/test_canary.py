"""Canaries judged from a real Prometheus that remembers their traffic; and what becomes a signal of it."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as replace_struct

from healer.cluster.api import Api
from healer.cluster.errors import ApiUnavailable
from healer.lab import Lab
from healer.lab.canary import CANARY, ROUTE, STABLE, ingresses
from healer.lab.objects import Object
from healer.model.kube import Meta, OwnerReference, Pod, ReplicaSet
from healer.model.signal import Report, Signal, Unanswered
from healer.model.target import Target
from healer.model.verdict import Counts, Verdict, VerdictKind
from healer.model.view import View
from healer.routes.base import BackendMissing, RouteMissing
from healer.rules.probe import BAD_CANARY, UNKNOWN_VERDICT, Canary
from healer.rules.triggers import TRIGGERS
from healer.sources.base import Judgement
from healer.sources.canary.canary import CanaryProbe, CanarySignals, sides_of
from healer.sources.canary.doubt import _speaks_of_failure
from healer.sources.canary.look import CanaryLook, LookResult
from healer.sources.canary.route import RouteLook
from healer.sources.canary.sides import ObservedSide, Sides, filled
from healer.sources.prometheus.client import Prometheus, QueryApi, QueryFailed, Sample, Series
from healer.workloads.deployment import Deployment
from healer.workloads.registry import WORKLOADS
from healer.workloads.statefulset import StatefulSet, StatefulSetSpec, StatefulSetStatus
from tests.support.canary import LATENCY, when
from tests.support.world import NAMESPACE, World, rule, rulebook
from tests.unit.cluster.conftest import kubeconfig
from tests.unit.sources.conftest import Points, remembering

pytestmark = pytest.mark.slow

EVERY = 30.0
START = math.floor((time.time() - 2400) / EVERY) * EVERY
"""The first look's time: on a line of the grid, in seconds since the epoch."""
WINDOWS = 20
"""So many windows of traffic follow; there is as much before."""
GOOD, BAD, INSUFFICIENT, UNKNOWN = VerdictKind.GOOD, VerdictKind.BAD, VerdictKind.INSUFFICIENT, VerdictKind.UNKNOWN
INCREASES = {
    "name": "errors",
    "total": 'sum(increase(requests{pod=~"{{ pods }}"}[{{ window }}]))',
    "bad": 'sum(increase(requests{pod=~"{{ pods }}",status="bad"}[{{ window }}]))',
}
COUNTERS = {
    "name": "errors",
    "total": 'requests{pod=~"{{ pods }}"}',
    "bad": 'requests{pod=~"{{ pods }}",status="bad"}',
}


def requests(pod: str, good: float, bad: float, *, windows: Sequence[int] = range(-WINDOWS, WINDOWS + 1)) -> dict[str, Points]:
    """The counters of a pod that was scraped twice a window, with so many requests in each."""
    times = [START + EVERY * number + half for number in windows for half in (-EVERY / 2, 0.0)]
    return {
        f'requests{{pod="{pod}",status="{status}"}}': {at: math.floor(number * each / 2) for number, at in enumerate(times)}
        for status, each in (("good", good), ("bad", bad))
        if each
    }


def latencies(pod: str, fast: int, slow: int) -> dict[str, Points]:
    """TensorFlow Serving's histogram of a pod, in microseconds."""
    edges = {"121480": fast, "218600": fast, "393500": fast, "+Inf": fast + slow}
    times = [START + EVERY * number for number in range(-WINDOWS, WINDOWS + 1)]
    name = ":tensorflow:serving:request_latency_bucket"
    return {
        f'{name}{{namespace="{NAMESPACE}",pod="{pod}",le="{le}"}}': {at: float(number * each) for number, at in enumerate(times)}
        for le, each in edges.items()
    }


BOTH = Sides(ObservedSide(("v2-a",), 1, "7"), ObservedSide(("v1-a", "v1-b"), 2, "3"))


@dataclass
class Switch:
    """A Prometheus that may be away."""

    prometheus: Prometheus
    away: bool = False

    async def query(self, expr: str, at: float) -> list[Sample]:
        self._check()
        return await self.prometheus.query(expr, at)

    async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        self._check()
        return await self.prometheus.range(expr, start, end, step)

    def _check(self) -> None:
        if self.away:
            raise QueryFailed("Prometheus is away")


@dataclass
class Bench:
    """A canary's looks, a window apart, with what is known of the cluster."""

    prometheus: QueryApi
    measures: Sequence[Mapping[str, Any]] = (COUNTERS,)
    share: float = 0.25
    hold: str = "30m"
    trouble: Exception | None = None
    sides: Sides = BOTH
    history: int = WINDOWS
    besides: Sequence[str] = ()
    number: int = -1
    look_at: CanaryLook = field(init=False)

    def __post_init__(self) -> None:
        asked = when("Ingress", *self.measures, every="30s", hold=self.hold)
        (bound,) = rulebook(rule("bad-canary", when=asked, heal=[{"page": {}}])).rules
        canary = bound.rule.when.get(TRIGGERS["canary"])
        assert isinstance(canary, Canary)
        self.look_at = CanaryLook(
            canary,
            NAMESPACE,
            self.prometheus,
            share=self._share,
            sides=lambda: self.sides,
            besides=lambda: self.besides,
            history=self.history,
        )

    async def _share(self) -> float:
        if self.trouble is not None:
            raise self.trouble
        return self.share

    async def look(self, windows: int = 1, *, wary: bool = False) -> LookResult:
        """So many windows on."""
        self.number += windows
        return await self.look_at.look(START + EVERY * self.number + 7, wary=wary)

    async def verdict(self, windows: int = 1) -> tuple[VerdictKind, str]:
        look = await self.look(windows)
        assert look.verdict is not None
        return look.verdict.kind, look.verdict.text

    async def until(self, kind: VerdictKind) -> Verdict:
        """Look until that is the verdict. Fails the test when it never is."""
        while self.number < WINDOWS - 1:
            look = await self.look()
            if look.verdict is not None and look.verdict.kind is kind:
                return look.verdict
        pytest.fail(f"never {kind}: {look.verdict}")


STEADY = requests("v1-a", 99, 1) | requests("v1-b", 99, 1)


# verdicts


@pytest.mark.parametrize("measure", [COUNTERS, INCREASES], ids=["counters", "increases"])
async def test_a_canary_that_fails(tmp_path: Path, measure: Mapping[str, Any]) -> None:
    async with remembering(tmp_path, STEADY | requests("v2-a", 40, 10)) as prometheus:
        bench = Bench(prometheus, [measure])
        verdict = await bench.until(BAD)
        looks = bench.number + (1 if measure is INCREASES else 0)
        assert f"canary {10 * looks} of {50 * looks} bad (20 %), stable {2 * looks} of {200 * looks} (1 %);" in verdict.text
        assert looks <= 4


async def test_a_good_canary(tmp_path: Path) -> None:
    async with remembering(tmp_path, STEADY | requests("v2-a", 1980, 20)) as prometheus:
        bench = Bench(prometheus, [COUNTERS | {"slo": "5%"}])
        assert (await bench.until(GOOD)).text.startswith("errors: canary ")
        while bench.number < WINDOWS - 1:
            assert (await bench.verdict())[0] in (GOOD, INSUFFICIENT)


async def test_a_slow_canary(tmp_path: Path) -> None:
    series = latencies("v1-a", 99, 1) | latencies("v1-b", 99, 1) | latencies("v2-a", 40, 10)
    async with remembering(tmp_path, series) as prometheus:
        bench = Bench(prometheus, [LATENCY])
        verdict = await bench.until(BAD)
        judged = bench.number - 2
        assert f"canary {10 * judged} of {50 * judged} slower than 218.6 ms (20 %), stable" in verdict.text
        assert verdict.text.endswith("(its first 100 requests do not count: warm-up, 1 m and 20 requests a server)")


@pytest.mark.parametrize("warmup", [None, "90s"], ids=["by default", "as the rule says"])
async def test_the_first_requests_of_a_cold_server_are_no_evidence(tmp_path: Path, warmup: str | None) -> None:
    """Twenty slow ones within the first minute, none afterwards; and of a pod that comes later the same."""
    series = latencies("v1-a", 99, 1) | latencies("v1-b", 99, 1)
    for pod, begins in (("v2-a", 0), ("v2-b", 6)):
        for le in ("218600", "+Inf"):
            looks = {number: number - begins for number in range(begins, WINDOWS)}
            slow = {number: 0 if le == "+Inf" else 10 * min(since, 2) for number, since in looks.items()}
            name = f':tensorflow:serving:request_latency_bucket{{namespace="{NAMESPACE}",pod="{pod}",le="{le}"}}'
            series[name] = {START + EVERY * number: 50.0 * since - slow[number] for number, since in looks.items()}
    async with remembering(tmp_path, series) as prometheus:
        bench = Bench(prometheus, [LATENCY | ({} if warmup is None else {"warmup": warmup})])
        bench.sides = Sides(ObservedSide(("v2-a", "v2-b"), 2, "7"), BOTH.stable)
        assert (await bench.verdict())[0] is INSUFFICIENT
        assert (await bench.verdict())[1].startswith("latency: no requests yet (its first 50 requests do not count: warm-up")
        while bench.number < WINDOWS - 2:
            kind, text = await bench.verdict()
            assert kind in (GOOD, INSUFFICIENT), text
        assert "canary 0 of " in text


async def test_what_is_slow_after_the_warm_up_is_evidence(tmp_path: Path) -> None:
    series = latencies("v1-a", 99, 1) | latencies("v1-b", 99, 1) | latencies("v2-a", 40, 10)
    async with remembering(tmp_path, series) as prometheus:
        cold, warm = Bench(prometheus, [LATENCY]), Bench(prometheus, [LATENCY | {"warmup": "0s"}])
        await cold.until(BAD)
        await warm.until(BAD)
        assert cold.number == warm.number + 2


async def test_a_weight_does_not_make_servers_cold(tmp_path: Path) -> None:
    series = latencies("v1-a", 99, 1) | latencies("v2-a", 40, 10)
    async with remembering(tmp_path, series) as prometheus:
        bench = Bench(prometheus, [LATENCY])
        await bench.until(BAD)
        bench.share = 0.5
        await bench.look()
        assert "canary 10 of 50 slower" in (await bench.verdict())[1]


def status(pod: str, code: str, each: float) -> dict[str, Points]:
    """The counter of a pod's answers with a code."""
    return {f'requests{{pod="{pod}",code="{code}"}}': {START + EVERY * n: each * (n + WINDOWS) for n in range(-WINDOWS, WINDOWS)}}


@pytest.mark.parametrize(
    ("bad", "canary", "why"),
    [
        ('status=~"5.."', "500", "no series of requests has the label status"),
        ('code="5xx"', "500", 'the canary has requests with code="500", which stable has not'),
        ('status=~"5.."} or vector(0) or requests{pod=~"{{ pods }}", status="x"', "200", "has the label status"),
    ],
)
async def test_what_has_never_matched_proves_nothing(tmp_path: Path, bad: str, canary: str, why: str) -> None:
    """The canary may fail all of its requests, and `bad` sees none of them."""
    measure = COUNTERS | {"bad": f'requests{{pod=~"{{{{ pods }}}}", {bad}}}'}
    series = status("v1-a", "200", 900) | status("v1-b", "200", 900) | status("v2-a", canary, 900)
    async with remembering(tmp_path, series) as prometheus:
        bench = Bench(prometheus, [measure])
        await bench.look()
        while bench.number < WINDOWS - 2:
            kind, text = await bench.verdict()
            assert kind is INSUFFICIENT
            assert "has never matched a series, and " in text
            assert why in text


@pytest.mark.parametrize(
    ("bad", "failure", "known"),
    [
        ('code="5xx"', "503", False),
        ('code="500"', "503", False),
        ('code=~"5.."', "503 Service Unavailable", False),
        ('code="ERROR"', "error", False),
        ('code=~"error"', "request_errors", False),
        ('code="ERROR"', "DEADLINE_EXCEEDED", False),
        ('code=~"5.."', "HTTP 503", False),
        ('code="error"', "client_error", True),
        ('code="error"', "no_error", True),
        ('code=~"5..", code!="503"', "503", True),
        ('code=~"5.."', "404", True),
        ('code=~"5.."', "200", True),
    ],
)
async def test_failures_of_both_sides_that_bad_does_not_select_prove_nothing(
    tmp_path: Path, bad: str, failure: str, known: bool
) -> None:
    """Stable fails as the canary does, and `bad` sees it on neither side; what it leaves out by name is its business."""
    measure = COUNTERS | {"bad": f'requests{{pod=~"{{{{ pods }}}}", {bad}}}'}
    series = {key: value for pod in ("v1-a", "v1-b", "v2-a") for key, value in status(pod, "200", 20_000).items()}
    series |= {key: value for pod in ("v1-a", "v2-a") for key, value in status(pod, failure, 9000).items()}
    async with remembering(tmp_path, series) as prometheus:
        bench = Bench(prometheus, [measure])
        await bench.look()
        kind, text = await bench.verdict()
        assert (f'series of requests with code="{failure}" are there, which it does not select' in text) == (not known), text
        assert known or kind is INSUFFICIENT


async def test_failures_that_another_measure_counts_are_no_doubt(tmp_path: Path) -> None:
    """One measure for time-outs, one for all errors: without a time-out, the errors say nothing against the first."""
    every = 'requests{pod=~"{{ pods }}"}'
    timeouts = {"name": "timeouts", "total": every, "bad": 'requests{pod=~"{{ pods }}", code="504"}'}
    errors = {"name": "errors", "total": every, "bad": 'requests{pod=~"{{ pods }}", code=~"5.."}'}
    series: dict[str, Points] = {}
    for pod in ("v1-a", "v1-b", "v2-a"):
        series |= status(pod, "200", 20_000) | status(pod, "503", 20)
    doubted = []
    for measures in ([timeouts], [timeouts, errors]):
        folder = tmp_path / str(len(measures))
        folder.mkdir()
        async with remembering(folder, series) as prometheus:
            bench = Bench(prometheus, measures)
            await bench.look()
            doubted.append("has never matched a series" in (await bench.verdict())[1])
    assert doubted == [True, False]


@pytest.mark.parametrize(("bad", "known"), [('code="error"', False), ('code="false"', True), ('code!="true"', True)])
async def test_a_label_of_true_and_false_has_no_other_value(tmp_path: Path, bad: str, known: bool) -> None:
    measure = COUNTERS | {"bad": f'requests{{pod=~"{{{{ pods }}}}", {bad}}}'}
    series = {key: value for pod in ("v1-a", "v1-b", "v2-a") for key, value in status(pod, "true", 9000).items()}
    async with remembering(tmp_path, series) as prometheus:
        bench = Bench(prometheus, [measure])
        await bench.look()
        text = (await bench.verdict())[1]
        assert ('requests with code="true" are there, which it does not select' in text) == (not known), text


@pytest.mark.parametrize(
    ("label", "value", "fails"),
    [
        ("success", "false", True),
        ("is_ok", "0", True),
        ("cached", "false", False),
        ("code", "INTERNAL", True),
        ("code", "OK", False),
        ("code", "DeadlineExceeded", True),
        ("code", "NoError", False),
        ("code", "server_error", True),
        ("code", "invalid user error", False),
        ("code", "5XX", True),
        ("grpc_code", "14", True),
        ("grpc_code", "5", False),
        ("code", "14", False),
        ("code", "Service Unavailable", True),
        ("code", "INTERNAL: disk full", True),
        ("code", "I/O error", True),
        ("code", "server-error", True),
        ("code", "http503", True),
        ("result", "crashed", True),
        ("handler", "/internal/health", False),
        ("path", "/v1/items/500", False),
        ("path", "v1/error", False),
        ("model", "unknown-intent", False),
        ("model", "error-correction", False),
        ("model", "top500", False),
        ("grpc_method", "InternalState", False),
    ],
)
def test_what_speaks_of_failure(label: str, value: str, fails: bool) -> None:
    assert _speaks_of_failure(label, value) == fails


@pytest.mark.parametrize("failing", [["v2-a"], ["v2-a", "v2-b"]])
async def test_a_difference_without_its_right_side_is_no_zero(tmp_path: Path, failing: list[str]) -> None:
    """A pod that has answered nothing well has no series of good answers: what is bad would be nothing, and all of it is bad."""
    series = status("v1-a", "200", 900) | status("v1-a", "500", 9)
    for pod in ("v2-a", "v2-b"):
        series |= status(pod, "500" if pod in failing else "200", 900)
    every, good = 'sum by (pod) (requests{pod=~"{{ pods }}"})', 'sum by (pod) (requests{pod=~"{{ pods }}", code="200"})'
    async with remembering(tmp_path, series) as prometheus:
        bench = Bench(prometheus, [{"name": "errors", "total": every, "bad": f"{every} - {good}"}])
        bench.sides = Sides(ObservedSide(("v2-a", "v2-b"), 2), ObservedSide(("v1-a",), 1))
        kind, text = await bench.verdict(3)
        assert kind is UNKNOWN
        assert "what it subtracts has no series where requests are" in text


@pytest.mark.parametrize(
    "bad",
    ["ALL - OK - CLIENT", "-(OK - ALL)", "-1 * (OK - ALL)", "ALL * (1 - OK / ALL)", "ALL + -OK", "CLIENT * 0 + (ALL - OK)"],
)
async def test_an_absent_operand_anywhere_is_no_zero(tmp_path: Path, bad: str) -> None:
    """All that the canary answers fails, so that an inner difference is empty, and so is the whole."""
    series = status("v1-a", "200", 900) | status("v1-a", "500", 9) | status("v1-a", "404", 9)
    series |= status("v2-a", "500", 900) | status("v2-a", "404", 9)
    for name, labels in (("ALL", ""), ("OK", r', code=~"2\\d\\d"'), ("CLIENT", ', code=~"4.."')):
        bad = bad.replace(name, f'sum(requests{{pod=~"{{{{ pods }}}}"{labels}}})')
    async with remembering(tmp_path, series) as prometheus:
        bench = Bench(prometheus, [{"name": "errors", "total": 'sum(requests{pod=~"{{ pods }}"})', "bad": bad}])
        kind, text = await bench.verdict(3)
        assert kind is UNKNOWN
        assert "what it subtracts has no series where requests are" in text


async def test_a_metric_that_neither_side_has_proves_nothing(tmp_path: Path) -> None:
    async with remembering(tmp_path, STEADY | requests("v2-a", 99, 1)) as prometheus:
        bench = Bench(prometheus, [COUNTERS | {"bad": 'failures{pod=~"{{ pods }}"}'}])
        await bench.look()
        kind, text = await bench.verdict(5)
        assert (kind, text.partition(", and ")[2]) == (
            INSUFFICIENT,
            "neither side has a series of failures: check it, because nothing can be bad by it",
        )


async def test_a_healthy_service_has_no_series_of_errors(tmp_path: Path) -> None:
    series = status("v1-a", "200", 900) | status("v1-b", "200", 900) | status("v2-a", "200", 900)
    async with remembering(tmp_path, series) as prometheus:
        bench = Bench(prometheus, [COUNTERS | {"bad": 'requests{pod=~"{{ pods }}", code=~"5.."}'}])
        await bench.until(GOOD)


async def test_an_slo_beyond_the_last_edge(tmp_path: Path) -> None:
    series = latencies("v1-a", 99, 1) | latencies("v2-a", 40, 10)
    async with remembering(tmp_path, series) as prometheus:
        bench = Bench(prometheus, [LATENCY | {"slowerThan": "400ms"}])
        assert await bench.verdict() == (
            UNKNOWN,
            "latency: no data of the canary: the histogram has no edge for slower than 400 ms",
        )


async def test_the_first_look_counts_from_there(tmp_path: Path) -> None:
    async with remembering(tmp_path, STEADY | requests("v2-a", 40, 10)) as prometheus:
        bench = Bench(prometheus)
        first = await bench.look()
        assert first.verdict == Verdict(INSUFFICIENT, "first look: requests are counted from here on")
        assert not first.judged
        second = await bench.look()
        assert second.judged
        assert second.verdict is not None
        assert [finding.canary for finding in second.verdict.findings] == [Counts(50, 10)]


async def test_two_looks_in_one_window_are_one(tmp_path: Path) -> None:
    async with remembering(tmp_path, STEADY | requests("v2-a", 40, 10)) as prometheus:
        bench = Bench(prometheus)
        await bench.look(2)
        look = await bench.look()
        again = await bench.look_at.look(START + EVERY * bench.number + 29)
        assert again == replace(look, fresh=False)
        nearly = await bench.look_at.look(START + EVERY * (bench.number + 1) + 0.9)
        assert not nearly.fresh, "what was scraped a moment ago may not be stored yet"
        assert (await bench.look_at.look(START + EVERY * (bench.number + 1) + 1.1)).fresh


@pytest.mark.parametrize("change", ["revision", "weight"])
async def test_evidence_starts_afresh(tmp_path: Path, change: str) -> None:
    async with remembering(tmp_path, STEADY | requests("v2-a", 40, 10)) as prometheus:
        bench = Bench(prometheus)
        await bench.until(BAD)
        if change == "weight":
            bench.share = 0.1
        else:
            bench.sides = Sides(ObservedSide(("v2-a",), 1, "8"), bench.sides.stable)
        look = await bench.look()
        assert (look.judged, look.share, look.revision) == (
            False,
            bench.share,
            bench.sides.canary and bench.sides.canary.revision,
        )
        look = await bench.look()
        assert look.verdict is not None
        assert [finding.canary for finding in look.verdict.findings] == [Counts(50, 10)]


async def test_it_is_not_judged_while_it_is_rolled_out(tmp_path: Path) -> None:
    async with remembering(tmp_path, STEADY | requests("v2-a", 40, 10)) as prometheus:
        bench = Bench(prometheus)
        await bench.until(BAD)
        steady = bench.sides
        bench.sides = Sides(ObservedSide(("v2-a",), 1, "8", rolling=True), steady.stable)
        assert (await bench.verdict())[0] is INSUFFICIENT
        bench.sides = Sides(ObservedSide(("v2-a",), 1, "8"), steady.stable)
        assert await bench.verdict() == (INSUFFICIENT, "first look: requests are counted from here on")


async def test_the_past_tells_how_bursty_stable_is(tmp_path: Path) -> None:
    times = [START + EVERY * number for number in range(-WINDOWS, WINDOWS + 1)]
    bursts = {'requests{pod="v1-b",status="bad"}': {at: 30.0 * ((number + 2) // 5) for number, at in enumerate(times)}}
    async with remembering(tmp_path, STEADY | requests("v2-a", 40, 10) | bursts) as prometheus:
        phis = {}
        for history in (0, WINDOWS):
            bench = Bench(prometheus, history=history)
            await bench.look()
            look = await bench.look()
            assert look.verdict is not None
            [phis[history]] = [finding.phi for finding in look.verdict.findings]
        assert phis[WINDOWS] > 2 * phis[0]


async def test_a_past_in_which_a_difference_leaves_requests_out_teaches_nothing(tmp_path: Path) -> None:
    """One of stable's pods had answered nothing well, and there was no series to subtract: what was bad then is not known."""
    every, good = 'sum by (pod) (requests{pod=~"{{ pods }}"})', 'sum by (pod) (requests{pod=~"{{ pods }}",status="good"})'
    whole = STEADY | requests("v2-a", 40, 10)
    late = {at: n for at, n in whole['requests{pod="v1-a",status="good"}'].items() if at >= START - EVERY}
    texts: list[str] = []
    for series in (whole, whole | {'requests{pod="v1-a",status="good"}': late}):
        folder = tmp_path / str(len(texts))
        folder.mkdir()
        async with remembering(folder, series) as prometheus:
            bench = Bench(prometheus, [{"name": "errors", "total": every, "bad": f"{every} - {good}"}])
            await bench.look()
            texts.append((await bench.verdict())[1])
    assert ["with too little earlier traffic to learn from" in text for text in texts] == [False, True], texts


# nothing to compare


async def test_stable_is_gone_and_the_slo_judges(tmp_path: Path) -> None:
    async with remembering(tmp_path, requests("v2-a", 40, 10)) as prometheus:
        for stable in (None, ObservedSide(("v1-a",), 0)):
            bench = Bench(prometheus, [COUNTERS | {"slo": "5%"}], sides=Sides(ObservedSide(("v2-a",), 1), stable))
            verdict = await bench.until(BAD)
            assert "5 % are allowed" in verdict.text


async def test_no_data_is_unknown_and_says_whose(tmp_path: Path) -> None:
    nobody = {'requests{status="bad"}': {START + EVERY * number: 9.0 * number for number in range(WINDOWS)}}
    async with remembering(tmp_path, requests("v1-a", 99, 1) | nobody) as prometheus:
        bench = Bench(prometheus)
        assert await bench.verdict() == (UNKNOWN, "errors: no data of the canary: `total` has no series")
        bench.sides = Sides(ObservedSide((), 0), bench.sides.stable)
        text = "errors: no data of the canary: `total` has no series"
        assert await bench.verdict() == (UNKNOWN, text), "no pod is not a series without one"
        bench.sides = Sides(ObservedSide(("v1-a",), 1), ObservedSide(("v1-b",), 1))
        assert await bench.verdict() == (UNKNOWN, "errors: no data of stable: `total` has no series")


async def test_prometheus_away_is_unknown_and_no_request_is_lost(tmp_path: Path) -> None:
    async with remembering(tmp_path, STEADY | requests("v2-a", 99, 1)) as prometheus:
        switch = Switch(prometheus)
        bench = Bench(switch)
        await bench.look(2)
        switch.away = True
        assert [await bench.verdict() for _ in range(3)] == [(UNKNOWN, "errors: Prometheus is away")] * 3
        switch.away = False
        look = await bench.look()
        assert look.verdict is not None
        assert [(finding.canary, finding.stable) for finding in look.verdict.findings] == [(Counts(400, 4), Counts(800, 8))]


async def test_old_samples_that_nobody_renews_are_stale(tmp_path: Path) -> None:
    series = STEADY | requests("v2-a", 99, 1)
    ended = {name: {at: value for at, value in points.items() if at <= START + EVERY} for name, points in series.items()}
    async with remembering(tmp_path, ended) as prometheus:
        bench = Bench(prometheus)
        for _ in range(2):
            await bench.look()
        # Prometheus before 2.43 goes on answering for five minutes; later ones stop after two.
        said = [await bench.verdict() for _ in range(14)]
        assert UNKNOWN not in [kind for kind, _ in said[:3]]
        assert said[-3:] == [(UNKNOWN, "errors: no data of the canary: `total` has no series")] * 3


async def test_what_no_weight_rules_is_no_absence_of_traffic(tmp_path: Path) -> None:
    """A rule of its own, a mirror, a header: people see requests on the canary, and must not read that there are none."""
    async with remembering(tmp_path, STEADY) as prometheus:
        bench = Bench(prometheus, besides=("rule 1 sends to web-canary", "rule 2 mirrors to web-canary"))
        bench.share = 0.0
        assert (await bench.look()) == LookResult(
            None,
            "the canary gets no traffic by weight, and what no weight controls is not judged: "
            "rule 1 sends to web-canary; rule 2 mirrors to web-canary",
        )


async def test_no_traffic_is_nothing_to_judge(tmp_path: Path) -> None:
    async with remembering(tmp_path, STEADY | requests("v2-a", 40, 10)) as prometheus:
        bench = Bench(prometheus)
        await bench.until(BAD)
        bench.share = 0.0
        assert (await bench.look()) == LookResult(None, "the canary gets no traffic")
        bench.sides = Sides(None, bench.sides.stable)
        assert (await bench.look()) == LookResult(None, f"deployment/{CANARY} does not exist")


async def test_a_canary_without_a_route_is_not_guarded_and_that_is_no_silence(tmp_path: Path) -> None:
    """After `hold`: until then it may be that the canary is being set up."""
    async with remembering(tmp_path, STEADY | requests("v2-a", 40, 10)) as prometheus:
        why = "there is no ingress/model-ab-testing in production"
        bench = Bench(prometheus, trouble=RouteMissing(why), hold="90s")
        assert [await bench.look() for _ in range(3)] == [LookResult(None, why)] * 3
        unguarded = LookResult(Verdict(UNKNOWN, f"{why}: deployment/{CANARY} is not guarded"), revision="7", routed=False)
        assert await bench.look() == unguarded
        bench.trouble = None
        assert (await bench.verdict())[0] is INSUFFICIENT
        bench.trouble = RouteMissing(why)
        assert await bench.verdict() == (UNKNOWN, why), "it may come back at once"
        assert [await bench.look() for _ in range(2)] == [LookResult(None, why)] * 2, "the time is counted anew"
        bench.sides = Sides(ObservedSide((), 0, "7", wanted=0), bench.sides.stable)
        assert [await bench.look() for _ in range(3)] == [LookResult(None, why)] * 3, "nobody is there to be guarded"
        bench.sides = BOTH
        assert await bench.look() == unguarded


async def test_one_look_without_the_route_costs_no_evidence(tmp_path: Path) -> None:
    """A tool deletes it and makes it anew, say."""
    async with remembering(tmp_path, STEADY | requests("v2-a", 40, 10)) as prometheus:
        bench = Bench(prometheus)
        await bench.look()
        first = await bench.look()
        bench.trouble = RouteMissing("there is no ingress")
        assert await bench.verdict() == (UNKNOWN, "there is no ingress")
        bench.trouble = None
        last = await bench.look()
        assert first.verdict is not None
        assert last.verdict is not None
        [before], [after] = first.verdict.findings, last.verdict.findings
        assert after.canary.requests > 2 * before.canary.requests, "it is counted on from what was there"


@pytest.mark.parametrize("trouble", [BackendMissing("it has no backend v2"), ApiUnavailable("GET /apis: timed out")])
async def test_a_route_that_cannot_be_read_is_unknown_and_loses_no_evidence(tmp_path: Path, trouble: Exception) -> None:
    async with remembering(tmp_path, STEADY | requests("v2-a", 99, 1)) as prometheus:
        bench = Bench(prometheus)
        await bench.look(2)
        bench.trouble = trouble
        assert await bench.verdict() == (UNKNOWN, f"the route cannot be read: {trouble}")
        bench.trouble = None
        look = await bench.look()
        assert look.verdict is not None
        assert [finding.canary for finding in look.verdict.findings] == [Counts(200, 2)]


# signals

TARGET = Target("Deployment", NAMESPACE, CANARY, "uid-2")


def found(
    kind: VerdictKind | None, *, revision: str = "7", share: float = 0.2, judged: bool = True, routed: bool = True
) -> LookResult:
    verdict = None if kind is None else Verdict(kind, f"it is {kind}")
    return LookResult(verdict, "no traffic", share, revision, judged=judged, routed=routed)


class Told:
    """What the signals of a canary say, look after look: "+bad" fires, "-bad" is over, "?bad" is not known."""

    def __init__(self) -> None:
        self.signals = CanarySignals("test/bad-canary", TARGET)

    def __call__(self, *looks: LookResult) -> list[str]:
        return [self._word(report) for look in looks for report in self.signals.after(look, 5.0)]

    def _word(self, report: Report) -> str:
        if isinstance(report, Unanswered):
            return "?" + ",".join(key.rpartition("/")[2] for key in report.keys or ())
        assert isinstance(report, Signal)
        signal = report
        return ("+" if signal.firing else "-") + signal.key.rpartition("/")[2]


def test_what_a_signal_says() -> None:
    signals = CanarySignals("test/bad-canary", TARGET)
    assert signals.after(found(BAD, share=1 / 3), 5.0) == [
        Signal(
            source="canary",
            name=BAD_CANARY,
            target=TARGET,
            firing=True,
            at=5.0,
            key="canary/test/bad-canary/uid-2/bad",
            occurrence="7/33.33",
            message="it is BAD",
            rule="test/bad-canary",
        ),
        Signal(
            source="canary",
            name=UNKNOWN_VERDICT,
            target=TARGET,
            firing=False,
            at=5.0,
            key="canary/test/bad-canary/uid-2/unknown",
            message="it is BAD",
            rule="test/bad-canary",
        ),
    ]


def test_bad_stays_until_it_is_known_to_be_over() -> None:
    told = Told()
    told(found(BAD))
    assert told(found(BAD)) == ["+bad"]
    assert told(found(INSUFFICIENT), found(UNKNOWN), found(INSUFFICIENT, judged=False)) == ["?bad"]
    assert told(found(INSUFFICIENT, share=0.1)) == [], "less traffic is no proof"
    assert told(found(GOOD)) == ["-bad"]
    assert told(found(GOOD), found(None)) == []


@pytest.mark.parametrize("look", [found(None), found(INSUFFICIENT, revision="8", judged=False)], ids=["no traffic", "revision"])
def test_bad_is_over(look: LookResult) -> None:
    told = Told()
    told(found(BAD))
    assert told(look) == ["-bad"]


def test_one_doubt_is_none() -> None:
    told = Told()
    told(found(GOOD))
    assert told(found(UNKNOWN), found(GOOD), found(UNKNOWN)) == []
    assert told(found(UNKNOWN)) == ["+unknown"]
    assert told(found(UNKNOWN)) == ["+unknown"]
    assert told(found(INSUFFICIENT, judged=False)) == [], "nothing was compared yet"
    assert told(found(INSUFFICIENT)) == ["-unknown"]


def test_a_route_that_is_gone_ends_what_is_bad_and_is_a_doubt() -> None:
    told = Told()
    gone = found(UNKNOWN, judged=False, routed=False)
    told(found(BAD))
    assert told(gone) == ["-bad"]
    assert told(gone, gone) == ["+unknown", "+unknown"]
    assert told(found(None)) == ["-unknown"]


def test_doubt_is_over_without_traffic() -> None:
    told = Told()
    told(found(GOOD), found(UNKNOWN), found(UNKNOWN))
    assert told(found(None)) == ["-unknown"]


def test_what_an_earlier_healer_signalled_is_ended_by_what_can_end_it() -> None:
    assert Told()(found(None)) == ["-bad", "-unknown"]
    assert Told()(found(GOOD)) == ["-bad", "-unknown"]
    assert Told()(found(INSUFFICIENT, judged=False)) == []
    assert Told()(found(INSUFFICIENT)) == ["-unknown"], "too little evidence does not acquit"
    assert Told()(found(UNKNOWN)) == ["?bad"]


# in a cluster


def revised(world: World, revision: str) -> None:
    """The canary of the world is rolled out anew: its earlier pods terminate."""
    named = world.view.workload_named("Deployment", NAMESPACE, CANARY)
    assert named is not None
    deployment = world.view.drop(Deployment, named.target.uid)
    assert isinstance(deployment, Deployment)
    marks = replace_struct(deployment.metadata.annotations, revision=revision)
    world.view.put(replace_struct(deployment, metadata=replace_struct(deployment.metadata, annotations=marks)))
    owner = OwnerReference("Deployment", CANARY, deployment.metadata.uid, controller=True)
    owned = Meta(f"{CANARY}-new", "new-uid", NAMESPACE, annotations=marks, owner_references=(owner,))
    world.view.put(ReplicaSet(owned))
    owner = OwnerReference("ReplicaSet", f"{CANARY}-new", "new-uid", controller=True)
    world.view.put(Pod(Meta(f"{CANARY}-new-1", "new-pod", NAMESPACE, owner_references=(owner,))))


def test_pods_of_an_earlier_revision_are_not_the_canary_however_long_they_terminate() -> None:
    world = World()
    world.other(STABLE)
    earlier = {pod.name for pod in world.other(CANARY)}
    (bound,) = rulebook(rule("bad-canary", when=when("Ingress", COUNTERS), heal=[{"page": {}}])).rules
    canary = bound.rule.when.get(TRIGGERS["canary"])
    assert isinstance(canary, Canary)
    before = sides_of(world.view, canary, NAMESPACE).canary
    assert before is not None
    assert set(before.pods) == earlier
    revised(world, "8")
    after = sides_of(world.view, canary, NAMESPACE).canary
    assert after is not None
    assert (after.pods, after.revision, after.rolling) == ((f"{CANARY}-new-1",), "8", False)
    world.view.drop(ReplicaSet, "new-uid")
    blind = sides_of(world.view, canary, NAMESPACE).canary
    assert blind is not None
    assert blind.rolling, "the watch has not brought the ReplicaSet yet: whose pods are on trial is not known"


def test_a_canary_of_another_kind_has_the_pods_that_its_controller_says_are_of_the_newest_revision() -> None:
    """A StatefulSet has no ReplicaSets: a label of its pods tells their revision."""
    view, sides = View(WORKLOADS), {"stable": {"deployment": STABLE}, "canary": {"statefulset": CANARY}}
    asked = rule("bad-canary", when={"canary": when("Ingress", COUNTERS)["canary"] | sides}, heal=[{"page": {}}])
    canary = rulebook(asked).rules[0].rule.when.get(TRIGGERS["canary"])
    assert isinstance(canary, Canary)
    status = StatefulSetStatus(observed_generation=1, replicas=2, updated_replicas=2, update_revision="v2-b")
    meta = Meta(name=CANARY, uid="sts", namespace=NAMESPACE, generation=1)
    view.put(StatefulSet(meta, StatefulSetSpec(2), status))
    owner = (OwnerReference("StatefulSet", CANARY, "sts", controller=True),)
    for number, revision in enumerate(("v2-a", "v2-b")):
        labels = {"controller-revision-hash": revision}
        name = f"{CANARY}-{number}"
        view.put(Pod(Meta(name=name, uid=name, namespace=NAMESPACE, labels=labels, owner_references=owner)))
    seen = sides_of(view, canary, NAMESPACE)
    assert seen.stable is None
    assert seen.canary is not None
    assert (seen.canary.pods, seen.canary.revision, seen.canary.rolling) == ((f"{CANARY}-1",), "v2-b", False)
    assert filled('x{sts="{{ workload }}",pod=~"{{ pods }}"}', NAMESPACE, CANARY, seen.canary, EVERY) == (
        f'x{{sts="{CANARY}",pod=~"{CANARY}-1"}}'
    )


async def test_canaries_of_all_namespaces_are_asked_in_the_order_of_their_uids(tmp_path: Path) -> None:
    """Not in that of the watch: every replica decides in the same order."""
    world, judged = World(), list[str]()
    for space in ("zulu", "alpha", "mike"):
        world.view.put(Deployment(Meta(name=CANARY, uid=f"uid-{space}", namespace=space)))
    asked = rule("bad-canary", when=when("Ingress", COUNTERS), heal=[{"page": {}}], scope={"namespaces": ["*"]})
    (bound,) = rulebook(asked).rules
    async with remembering(tmp_path / "prometheus", {}) as prometheus, Lab(controllers=False) as lab:
        api = await Api.connect(kubeconfig=kubeconfig(tmp_path, lab.url))
        probe = CanaryProbe(bound, prometheus, partial(RouteLook, api), world.view, lambda *_: None)
        for report in await probe.ask(START):
            if isinstance(report, Signal) and report.target.namespace not in judged:
                judged.append(report.target.namespace)
        await api.aclose()
    assert judged == ["alpha", "mike", "zulu"]


async def test_a_rule_looks_at_the_canary_that_its_route_sends_traffic_to(tmp_path: Path) -> None:
    """The weights come from a real route, the pods from the view, the counters from Prometheus."""
    world = World()
    world.other(STABLE)
    pods = [pod.name for pod in world.other(CANARY)]
    series: dict[str, Points] = {}
    for pod in pods:
        series |= requests(pod, 10, 10)
    for number in (1, 2, 3):
        series |= requests(f"{STABLE}-{number}", 99, 1)
    asked = when("Ingress", COUNTERS, every="30s", hold="30s")
    (bound,) = rulebook(rule("bad-canary", when=asked, heal=[{"page": {}}])).rules
    told: list[VerdictKind] = []

    def tell(judgement: Judgement) -> None:
        assert (judgement.rule, judgement.target.name) == ("test/bad-canary", CANARY)
        assert judgement.route == "ingress/model-ab-testing"
        if judgement.news:
            told.append(judgement.verdict.kind)

    async with remembering(tmp_path / "prometheus", series) as prometheus, Lab(controllers=False) as lab:
        api = await Api.connect(kubeconfig=kubeconfig(tmp_path, lab.url))
        probe = CanaryProbe(bound, prometheus, partial(RouteLook, api), world.view, tell)

        async def look(number: int) -> list[str]:
            reports = await probe.ask(START + EVERY * number + 7)
            signals = [report for report in reports if isinstance(report, Signal)]
            assert {signal.target.name for signal in signals} <= {CANARY}
            return [("+" if signal.firing else "-") + signal.name for signal in signals]

        assert await look(-3) == ["-BadCanary", "-UnknownVerdict"], "there is no route yet"
        assert await look(-2) == []
        assert await look(-1) == ["+UnknownVerdict"], "it has not come"
        await lab.apply(
            [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, *ingresses(NAMESPACE, weight=20)]
        )
        assert await look(1) == [], "nothing is compared yet"
        assert await look(2) == ["+BadCanary", "-UnknownVerdict"]
        assert await look(2) == [], "the same window"
        assert await look(3) == ["+BadCanary"]
        weigh(lab, "0")
        assert await look(4) == [], "it may get requests all the same"
        weigh(lab, "50")
        assert await look(5) == []
        assert await look(6) == ["+BadCanary"]
        weigh(lab, "0")
        assert [await look(7), await look(8)] == [[], []]
        assert await look(9) == ["+BadCanary"], "it gets requests all the same"
        world.view.drop(Deployment, f"{CANARY}-uid")
        assert await look(10) == ["-BadCanary"]
        assert await look(11) == []
        await api.aclose()
    assert told == [UNKNOWN, INSUFFICIENT, BAD, INSUFFICIENT, BAD, INSUFFICIENT, BAD]


def weigh(lab: Lab, weight: str) -> None:
    """Give the canary so many percent, as whoever made the route would."""

    def change(obj: Object) -> None:
        obj["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"] = weight

    lab.api.modify(lab.api.kinds.named("ingresses"), NAMESPACE, ROUTE, change)
