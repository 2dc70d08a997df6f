"""The A/B report: against a lab, and a real Prometheus that remembers an hour whose figures are known."""

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from healer.cluster.api import Api
from healer.daemon.rulefiles import vocabulary
from healer.lab import Lab
from healer.lab.canary import CANARY, ROUTE, STABLE, ingresses, versions
from healer.model.verdict import Verdict, VerdictKind
from healer.operate.canary.compare import _any_pod, compare
from healer.operate.canary.figures import Quantile
from healer.operate.canary.report import Report, plain_report, show_report, span
from healer.operate.objects import OperateError, object_ref
from healer.rules.loading import load
from healer.rules.named_workload import NamedWorkload
from healer.rules.rulebook import BoundRule
from healer.sources.prometheus.client import Prometheus, QueryApi, QueryFailed, Sample, Series
from tests.integration.world import rule, ruleset, serves
from tests.support.canary import ERRORS, LATENCY, when
from tests.support.processes import PATIENCE
from tests.unit.sources.conftest import remembering

pytestmark = pytest.mark.slow

SPACE = "production"
EVERY = 30
NOW = 1_790_000_010.0
"""At the end of a window, which may not be stored yet: the last one is that before."""
END = 1_790_000_000 // EVERY * EVERY
WINDOWS = 20
SINCE = WINDOWS * EVERY
EDGES = ("100000", "200000", "400000", "+Inf")
"""Microseconds."""


@dataclass
class Pod:
    """What a pod counts in each window; from `first` to `last`, counted in windows from the beginning."""

    name: str
    ok: int
    bad: int
    slower: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Requests a bucket."""
    first: int = -5
    last: int = WINDOWS
    reset: int | None = None
    """The window in which it starts anew."""

    def series(self) -> Mapping[str, Mapping[float, float]]:
        """As Prometheus has scraped it, in the middle and at the end of each window."""
        labels = f'namespace="{SPACE}",pod="{self.name}"'
        found: dict[str, dict[float, float]] = {name: {} for name, _ in self._counters(labels)}
        for half in range(2 * self.first, 2 * self.last + 1):
            anew = self.reset is not None and half >= 2 * self.reset - 1
            start, begun = (0.0, 2 * (self.reset or 0) - 1) if anew else (1000.0 * (self.first < 0), 2 * self.first)
            for name, each in self._counters(labels):
                found[name][_end(half / 2)] = start + each * (half - begun) / 2
        return found

    def _counters(self, labels: str) -> list[tuple[str, int]]:
        count = ":tensorflow:serving:request_count"
        bucket = ":tensorflow:serving:request_latency_bucket"
        buckets = [(f'{bucket}{{{labels},le="{edge}"}}', sum(self.slower[: n + 1])) for n, edge in enumerate(EDGES)]
        return [(f'{count}{{{labels},status="OK"}}', self.ok), (f'{count}{{{labels},status="INTERNAL"}}', self.bad), *buckets]


def _end(window: float) -> float:
    """Of a window; that of 0 is the beginning of the report."""
    return float(END - SINCE + EVERY * window)


class Listening:
    """Prometheus, and what it was asked."""

    def __init__(self, prometheus: QueryApi) -> None:
        self._prometheus = prometheus
        self.asked: list[tuple[str, float, float]] = []

    async def query(self, expr: str, at: float) -> list[Sample]:
        raise AssertionError(f"asked for a moment: {expr} at {at}")

    async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        self.asked.append((expr, start, end))
        return await self._prometheus.range(expr, start, end, step)


@dataclass
class Site:
    """A canary in a lab, and the names that its pods have or may have had."""

    lab: Lab
    api: Api
    home: Path
    replica_sets: Mapping[str, str] = field(default_factory=dict)

    def pod(self, deployment: str, suffix: str) -> str:
        """A pod of the present revision."""
        return f"{self.replica_sets[deployment]}-{suffix}"

    async def report(self, *pods: Pod, measures: tuple[Mapping[str, Any], ...] = (ERRORS,), since: float = SINCE) -> Report:
        """On what these pods have counted."""
        series = {name: points for pod in pods for name, points in pod.series().items()}
        async with remembering(self.home / "prometheus", series) as prometheus:
            listening = Listening(prometheus)
            report = await compare(self.api, listening, judging(*measures), PLACE, since=since, now=NOW)
        assert len(listening.asked) == len(set(listening.asked)), "nothing is asked twice"
        return report


PLACE = object_ref("Deployment", SPACE, CANARY)


def judging(*measures: Mapping[str, Any]) -> BoundRule:
    """The rule."""
    text = ruleset(rule("bad-canary", when=when("Ingress", *measures, every=f"{EVERY}s"), heal=[{"page": {}}]))
    (bound,), problems = load(text, "canary.yaml", vocabulary())
    assert not problems
    return bound


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with Lab(time_scale=0.02) as lab:
        await lab.apply([*versions(SPACE, replicas=(2, 2)), *ingresses(SPACE, weight=20)])
        await lab.wait_for(serves(4), PATIENCE)
        lab.write_kubeconfig(tmp_path / "kubeconfig")
        sets = {s["metadata"]["ownerReferences"][0]["name"]: s["metadata"]["name"] for s in lab.objects("replicasets", SPACE)}
        async with aclosing(await Api.connect(kubeconfig=str(tmp_path / "kubeconfig"))) as api:
            yield Site(lab, api, tmp_path, sets)


async def test_what_was_counted_in_the_time_is_told_side_by_side(site: Site) -> None:
    report = await site.report(
        Pod(site.pod(STABLE, "aaaaa"), 297, 3),
        Pod(f"{STABLE}-0ldhash-bbbbb", 99, 1, last=9),  # an earlier revision: stable all the same
        Pod(site.pod(CANARY, "ccccc"), 24, 6),
        Pod(site.pod(CANARY, "ddddd"), 24, 6, last=14),  # gone by now
        Pod(f"{CANARY}-0ldhash-eeeee", 0, 1000, last=5),  # another canary
        Pod("tensorflow-serving-v2-b-0ldhash-fffff", 0, 1000),  # another Deployment
    )
    assert (report.since, report.until, report.step) == (END - SINCE, END, EVERY)
    (row,) = report.rows
    assert row.stable is not None
    assert (row.stable.counts.requests, row.stable.counts.bad) == (300 * 20 + 100 * 9, 3 * 20 + 9)
    assert (row.canary.counts.requests, row.canary.counts.bad) == (30 * 20 + 30 * 14, 6 * 20 + 6 * 14)
    assert (row.read, row.unread, row.bad, row.canary.times) == (20, 0, "bad", {})
    assert report.verdict.kind is VerdictKind.BAD
    assert report.verdict_at is not None
    assert END - SINCE < report.verdict_at <= END - SINCE + 5 * EVERY, "BAD stays, and was so early"
    assert report.share == 0.2


async def test_times_are_those_of_the_buckets(site: Site) -> None:
    report = await site.report(
        Pod(site.pod(STABLE, "aaaaa"), 100, 0, (50, 48, 2, 0)),
        Pod(site.pod(CANARY, "ccccc"), 100, 0, (50, 40, 4, 6)),
        measures=(LATENCY,),
    )
    (row,) = report.rows
    assert row.bad == "slower than 200 ms"
    assert row.stable is not None
    assert (row.canary.counts.requests, row.canary.counts.bad) == (2000, 200)
    assert (row.stable.counts.requests, row.stable.counts.bad) == (2000, 40)
    assert _seconds(row.stable.times) == pytest.approx({"p50": 0.1, "p95": 0.1 + 0.1 * 45 / 48, "p99": 0.3})
    assert _seconds(row.canary.times)["p50"] == pytest.approx(0.1)
    assert row.canary.times["p95"] == Quantile(0.4, beyond=True)


def _seconds(times: Mapping[str, Quantile | None]) -> dict[str, float]:
    return {name: quantile.seconds for name, quantile in times.items() if quantile is not None}


async def test_a_window_with_a_restart_in_it_counts_for_neither_side(site: Site) -> None:
    report = await site.report(
        Pod(site.pod(STABLE, "aaaaa"), 100, 0, (50, 48, 2, 0)),
        Pod(site.pod(CANARY, "ccccc"), 100, 0, (50, 40, 4, 6), reset=8),
        measures=(ERRORS, LATENCY),
    )
    for row in report.rows:
        assert row.stable is not None
        assert row.stable.counts.requests == row.canary.counts.requests == 1900
        assert (row.read, row.unread) == (19, 1)
        assert row.why == "a counter of canary was reset"
    assert _seconds(report.rows[1].canary.times)["p50"] == pytest.approx(0.1)
    assert "errors: 1 of 20 windows could not be read, at last: a counter of canary was reset" in report.notes


async def test_before_there_was_a_canary_nothing_is_compared(site: Site) -> None:
    report = await site.report(
        Pod(site.pod(STABLE, "aaaaa"), 99, 1), Pod(site.pod(CANARY, "ccccc"), 99, 1, first=10), measures=(ERRORS,)
    )
    (row,) = report.rows
    assert row.stable is not None
    assert row.stable.counts.requests == row.canary.counts.requests == 1000
    assert (row.read, row.unread) == (10, 0)


async def test_increases_are_taken_as_they_are(site: Site) -> None:
    windowed = {
        "name": "errors",
        "total": 'increase(:tensorflow:serving:request_count{pod=~"{{ pods }}"}[{{ window }}])',
        "bad": 'increase(:tensorflow:serving:request_count{pod=~"{{ pods }}",status="INTERNAL"}[{{ window }}])',
    }
    pods = [Pod(site.pod(STABLE, "aaaaa"), 100, 0), Pod(site.pod(CANARY, "ccccc"), 80, 20)]
    report = await site.report(*pods, measures=(windowed,))
    (row,) = report.rows
    assert row.stable is not None
    assert (row.canary.counts.requests, row.canary.counts.bad) == pytest.approx((2000, 400))
    assert (row.stable.counts.requests, row.stable.counts.bad) == pytest.approx((2000, 0))
    assert report.verdict.kind is VerdictKind.BAD


async def test_without_any_data_it_is_unknown(site: Site) -> None:
    report = await site.report(Pod(site.pod(STABLE, "aaaaa"), 100, 0))
    (row,) = report.rows
    assert report.verdict.kind is VerdictKind.UNKNOWN
    assert report.verdict_at is None
    assert row.stable is None
    assert (row.read, row.why) == (0, "no data of the canary: `total` has no series")


async def test_a_long_time_is_told_by_longer_windows_and_asked_for_in_pieces(site: Site) -> None:
    pods = [Pod(site.pod(STABLE, "aaaaa"), 100, 0, last=WINDOWS), Pod(site.pod(CANARY, "ccccc"), 100, 0)]
    series = {name: points for pod in pods for name, points in pod.series().items()}
    async with remembering(site.home / "prometheus", series) as prometheus:
        listening = Listening(prometheus)
        report = await compare(site.api, listening, judging(ERRORS), PLACE, since=7 * 86400.0, now=NOW)
    windows = round((report.until - report.since) / report.step)
    assert report.step % EVERY == 0
    assert 200 < windows <= 240
    assert max((end - start) / report.step for _, start, end in listening.asked if start >= report.since) < 60
    assert len(listening.asked) == len(set(listening.asked))


async def test_what_was_asked_for_in_pieces_is_counted_whole(site: Site) -> None:
    pods = [Pod(site.pod(STABLE, "aaaaa"), 100, 0, first=-90), Pod(site.pod(CANARY, "ccccc"), 9, 1, first=-90)]
    (row,) = (await site.report(*pods, since=100 * EVERY)).rows
    assert (row.read, row.unread) == (100, 0)
    assert (row.canary.counts.requests, row.canary.counts.bad) == (1000, 100)


async def test_it_is_told_since_when_the_verdict_is_what_it_is(site: Site) -> None:
    report = await site.report(
        Pod(site.pod(STABLE, "aaaaa"), 100, 0),
        Pod(site.pod(CANARY, "ccccc"), 100, 0),
        Pod(site.pod(CANARY, "ddddd"), 0, 100, first=10),
    )
    assert report.verdict.kind is VerdictKind.BAD
    assert report.verdict_at is not None
    assert END - SINCE + 10 * EVERY < report.verdict_at < END


async def test_without_an_answer_there_is_no_report_and_no_second_question(site: Site) -> None:
    class Broken(Listening):
        async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
            self.asked.append((expr, start, end))
            raise QueryFailed("Prometheus: HTTP 503: no")

    client = Prometheus("http://127.0.0.1:1")
    broken = Broken(client)
    try:
        with pytest.raises(OperateError, match="HTTP 503: no"):
            await compare(site.api, broken, judging(ERRORS), PLACE, since=SINCE, now=NOW)
    finally:
        await client.aclose()
    assert len(broken.asked) == 1


async def test_a_time_without_two_looks_is_too_short(site: Site) -> None:
    with pytest.raises(OperateError, match="59 s is too short: the rule looks every 30 s"):
        await site.report(since=59)


async def test_people_and_programs_get_the_same_figures(site: Site) -> None:
    report = await site.report(
        Pod(site.pod(STABLE, "aaaaa"), 297, 3, (150, 140, 10, 0)),
        Pod(site.pod(CANARY, "ccccc"), 24, 6, (4, 10, 14, 2)),
        measures=(ERRORS, LATENCY),
    )
    screen = Console(file=io.StringIO(), width=200)
    show_report(report, screen)
    assert isinstance(screen.file, io.StringIO)
    printed = [" ".join(line.split()) for line in screen.file.getvalue().splitlines()]
    for line in (
        "requests 6,000 600",
        "bad 60 120",
        "share, 95 % interval 1.00 % (0.78 to 1.28) 20.0 % (17.0 to 23.4)",
        "slower than 200 ms 200 320",
        "p50 100 ms 214 ms",
        "p99 340 ms above 400 ms, the last edge",
    ):
        assert line in printed
    assert printed[0].startswith(f"deployment/{CANARY} in {SPACE} beside deployment/{STABLE}, ")
    assert printed[0].endswith(f", {span(report)}")
    assert any(line.startswith("BAD since ") for line in printed)
    assert any("the weights of that time are not known" in line for line in printed)

    told = json.loads(msgspec.json.encode(plain_report(report)))
    assert (told["verdict"], told["window"], told["shareNow"]) == ("BAD", 30, 0.2)
    errors, latency = told["measures"]
    assert errors["canary"] == {
        "requests": 600,
        "bad": 120,
        "share": 0.2,
        "interval95": [pytest.approx(0.17, abs=0.001), pytest.approx(0.234, abs=0.001)],
    }
    assert latency["canary"]["p99"] == {"seconds": 0.4, "beyond": True}
    assert latency["stable"]["p50"] == {"seconds": pytest.approx(0.1), "beyond": False}
    assert errors["finding"]["verdict"] == "BAD"
    assert errors["finding"]["evidence"] >= errors["finding"]["needed"] == 200
    assert errors["windows"] == {"read": 20, "unread": 0, "why": ""}


def test_pods_that_are_gone_are_found_by_the_form_of_their_kinds_names() -> None:
    """Those of a Deployment have the hash of their template, those of a StatefulSet a number, which recurs."""
    patterns = [_any_pod(NamedWorkload("m", kind)) for kind in ("Deployment", "StatefulSet", "DaemonSet")]
    assert patterns == ["m-[a-z0-9]{1,10}-[a-z0-9]{5}", "m-[0-9]+", "m-[a-z0-9]{5}"]


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (90.0, "2026-08-01 08:58:30Z to 09:00:00Z (1 m 30 s: 4 looks, windows of 30 s)"),
        (3600.0, "2026-08-01 08:00:00Z to 09:00:00Z (1 h: 121 looks, windows of 30 s)"),
        (36_000.0, "2026-07-31 23:00:00Z to 2026-08-01 09:00:00Z (10 h: 1201 looks, windows of 30 s)"),
    ],
)
async def test_the_whole_time_is_named_from_the_first_look_to_the_last(ago: float, said: str) -> None:
    """In words with its date, and for programs."""
    until = datetime(2026, 8, 1, 9, tzinfo=UTC).timestamp()
    verdict = Verdict(VerdictKind.INSUFFICIENT, "too few requests")
    report = Report(PLACE, NamedWorkload(STABLE), "test/bad-canary", until - ago, until, 30.0, None, (), verdict, None, ())
    assert span(report) == said
    told = plain_report(report)
    first, last = (datetime.fromisoformat(str(told[name])) for name in ("since", "until"))
    assert (last - first).total_seconds() == told["spanSeconds"] == ago
    assert told["looks"] == ago / 30 + 1


async def test_the_looks_that_are_named_are_those_that_were_made(site: Site) -> None:
    """As many as asked for: of a time that is no multiple of the window, as many as fit, and the span says which."""
    report = await site.report(Pod(site.pod(STABLE, "aaaaa"), 99, 1), Pod(site.pod(CANARY, "ccccc"), 99, 1), since=SINCE + 10)
    told = plain_report(report)
    (row,) = report.rows
    assert (told["spanSeconds"], told["looks"]) == (SINCE, row.read + row.unread + 1)


async def test_a_route_that_is_gone_is_no_hindrance(site: Site) -> None:
    async with aclosing(await Api.connect(kubeconfig=str(site.home / "kubeconfig"))) as api:
        await api.request("DELETE", f"/apis/networking.k8s.io/v1/namespaces/{SPACE}/ingresses/{ROUTE}")
    report = await site.report(Pod(site.pod(STABLE, "aaaaa"), 99, 1), Pod(site.pod(CANARY, "ccccc"), 99, 1))
    assert report.share is None
    assert f"the present weights are not known: there is no ingress/{ROUTE} in {SPACE}" in report.notes
