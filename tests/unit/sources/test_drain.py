"""A canary at weight 0 that was found bad: whether it still answers requests, by a real Prometheus; and what is signalled."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from healer.cluster.api import Api
from healer.lab import Lab
from healer.lab.canary import CANARY, ROUTE, STABLE, ingresses
from healer.model.signal import Signal, Unanswered
from healer.model.verdict import Verdict, VerdictKind
from healer.routes.base import CanaryRoute, RouteMissing
from healer.routes.note import Note
from healer.sources.canary.canary import CanaryProbe, CanarySignals
from healer.sources.canary.drain import ServedRequests
from healer.sources.canary.look import LookResult
from healer.sources.canary.route import RouteLook
from healer.sources.canary.sides import ObservedSide, Sides
from tests.support.canary import LATENCY, when
from tests.support.world import NAMESPACE, World, rule, rulebook
from tests.unit.cluster.conftest import kubeconfig
from tests.unit.sources.conftest import Points, remembering
from tests.unit.sources.test_canary import (
    BAD,
    BOTH,
    COUNTERS,
    EVERY,
    GOOD,
    INCREASES,
    INSUFFICIENT,
    START,
    STEADY,
    TARGET,
    UNKNOWN,
    Bench,
    Switch,
    found,
    latencies,
    requests,
    weigh,
)

STOPS = 3
"""The window after which nobody sends the canary anything any more."""
SOME, SURE = "some of them perhaps before it was", "open connections outlive a weight, or another rule or a client sends them"


def stopping(pod: str, each: float) -> dict[str, Points]:
    """A pod that answers so many requests a window, half of them badly, and none after STOPS."""
    counters = requests(pod, each / 2, each / 2)
    end = START + EVERY * STOPS
    return {name: {at: value if at <= end else points[end] for at, value in points.items()} for name, points in counters.items()}


async def drained(bench: Bench, looks: int) -> list[tuple[VerdictKind | None, str]]:
    """What so many looks at weight 0 say."""
    bench.share = 0.0
    return [(look.verdict.kind, look.verdict.text) if look.verdict else (None, look.why) for look in await several(bench, looks)]


async def several(bench: Bench, looks: int) -> list[LookResult]:
    return [await bench.look(wary=True) for _ in range(looks)]


@pytest.mark.parametrize("measure", [COUNTERS, INCREASES], ids=["counters", "increases"])
async def test_a_weight_of_0_is_no_end_while_requests_come(tmp_path: Path, measure: Mapping[str, Any]) -> None:
    """The first look counts from there, the first window may hold what came before; then it is BAD until they stop."""
    async with remembering(tmp_path, STEADY | stopping("v2-a", 50)) as prometheus:
        said = await drained(Bench(prometheus, [measure]), STOPS + 2)
    text = "the weight is 0, and the canary still answered 50 requests in the last 30 s, of 250 in all"
    assert said[:4] == [
        (INSUFFICIENT, "the weight is 0: the requests that the canary still answers are counted from here on"),
        (INSUFFICIENT, f"{text}, {SOME}"),
        (BAD, f"{text}: {SURE}"),
        (BAD, f"{text}: {SURE}"),
    ]
    kind, why = said[-1]
    assert (kind, why.startswith("the canary gets no traffic: the weight is 0, and it answered 0 requests in the last ")) == (
        None,
        True,
    )


async def test_a_route_that_is_gone_is_no_end_while_requests_come(tmp_path: Path) -> None:
    """Under another name it may still lead to the canary; one that is only being replaced is back at the next look."""
    async with remembering(tmp_path, STEADY | stopping("v2-a", 50)) as prometheus:
        bench = Bench(prometheus, trouble=RouteMissing("there is no httproute/web"))
        looks = await several(bench, STOPS + 2)
        said = [(look.verdict.kind, look.verdict.text) if look.verdict else (None, look.why) for look in looks]
        assert said[2] == (
            BAD,
            f"there is no httproute/web, and the canary still answered 50 requests in the last 30 s, of 250 in all: {SURE}",
        )
        assert said[-1][0] is None
        assert said[-1][1].startswith("the canary gets no traffic: there is no httproute/web, and it answered 0 requests")


async def test_a_histogram_counts_them_too(tmp_path: Path) -> None:
    series = latencies("v1-a", 99, 1) | latencies("v1-b", 99, 1) | latencies("v2-a", 40, 10)
    async with remembering(tmp_path, series) as prometheus:
        *_, (kind, text) = await drained(Bench(prometheus, [LATENCY]), 3)
    assert kind is BAD
    assert "still answered 50 requests in the last 30 s, of 250 in all" in text


async def test_of_several_measures_one_is_enough(tmp_path: Path) -> None:
    """The other may count what goes another way."""
    other = COUNTERS | {"name": "other", "total": 'nothing{pod=~"{{ pods }}"}', "bad": 'nothing{pod=~"{{ pods }}"}'}
    async with remembering(tmp_path, STEADY | requests("v2-a", 25, 25)) as prometheus:
        *_, (kind, _) = await drained(Bench(prometheus, [other, COUNTERS]), 3)
    assert kind is BAD


@pytest.mark.parametrize(
    ("served", "matters"),
    [
        (ServedRequests(412, 3020, 30, 1), True),
        (ServedRequests(10, 3000, 30, 1), False),
        (ServedRequests(5, 5, 1, 1), False),
        (ServedRequests(6, 6, 1, 1), True),
        (ServedRequests(26, 100, 30, 3), False),
        (ServedRequests(28, 100, 30, 3), True),
        (ServedRequests(30, 3000, 30, 1), False),
        (ServedRequests(31, 3000, 30, 1), True),
    ],
)
def test_what_matters(served: ServedRequests, matters: bool) -> None:
    """More than 1 % of both sides', than a handful, and than probes and scrapes come to."""
    assert served.matters is matters


async def test_probes_are_no_traffic(tmp_path: Path) -> None:
    async with remembering(tmp_path, STEADY | requests("v2-a", 4, 4)) as prometheus:
        _, (kind, why) = await drained(Bench(prometheus), 2)
    assert (kind, why) == (
        None,
        "the canary gets no traffic: the weight is 0, and it answered 8 requests in the last 30 s, of 208 in all",
    )


async def test_nobody_else_is_asked_at_weight_0(tmp_path: Path) -> None:
    async with remembering(tmp_path, STEADY | requests("v2-a", 25, 25)) as prometheus:
        bench = Bench(Switch(prometheus, away=True), share=0.0)
        assert [await bench.look() for _ in range(3)] == [LookResult(None, "the canary gets no traffic")] * 3


async def test_prometheus_away_is_no_end(tmp_path: Path) -> None:
    """And what came meanwhile is counted when it is back."""
    async with remembering(tmp_path, STEADY | requests("v2-a", 25, 25)) as prometheus:
        switch = Switch(prometheus)
        bench = Bench(switch)
        await drained(bench, 1)
        switch.away = True
        text = "the weight is 0, and whether the canary still answers requests is not known: errors: Prometheus is away"
        assert await drained(bench, 2) == [(UNKNOWN, text)] * 2
        switch.away = False
        assert "still answered 150 requests in the last 1 m 30 s, of 750" in (await drained(bench, 1))[0][1]


async def test_no_series_and_no_pods_are_no_traffic(tmp_path: Path) -> None:
    async with remembering(tmp_path, STEADY) as prometheus:
        bench = Bench(prometheus)
        _, (kind, why) = await drained(bench, 2)
        assert (kind, why.partition(":")[0]) == (None, "the canary gets no traffic")
        bench.sides = Sides(ObservedSide((), 0, "7", wanted=0), BOTH.stable)
        assert await drained(bench, 1) == [(None, "the canary gets no traffic: the weight is 0, and it has no pods")]


async def test_a_counter_that_is_reset_ends_nothing(tmp_path: Path) -> None:
    """What came in between is not known; a pod that is new counts from the look after."""
    series = requests("v2-a", 25, 25)
    name = 'requests{pod="v2-a",status="bad"}'
    series[name] = {at: value if at <= START + EVERY else 0.0 for at, value in series[name].items()}
    async with remembering(tmp_path, STEADY | series) as prometheus:
        said = await drained(Bench(prometheus), 4)
    assert [kind for kind, _ in said] == [INSUFFICIENT, INSUFFICIENT, INSUFFICIENT, BAD]


async def test_traffic_again_is_evidence_again(tmp_path: Path) -> None:
    async with remembering(tmp_path, STEADY | requests("v2-a", 25, 25)) as prometheus:
        bench = Bench(prometheus)
        await drained(bench, 3)
        bench.share = 0.2
        assert await bench.verdict() == (INSUFFICIENT, "first look: requests are counted from here on")
        assert (await drained(bench, 1))[0][0] is INSUFFICIENT, "and the next weight of 0 is looked at afresh"


def until(end: int, series: Mapping[str, Points]) -> dict[str, Points]:
    """What was scraped up to a window; after it there is no sample."""
    return {name: {at: value for at, value in points.items() if at <= START + EVERY * end} for name, points in series.items()}


def idle(series: Mapping[str, Points], at: float) -> dict[str, Points]:
    """Scraped on and on, and without a request from a time on."""
    return {name: {t: value if t <= at else points[at] for t, value in points.items()} for name, points in series.items()}


@pytest.mark.parametrize("measure", [COUNTERS, INCREASES], ids=["counters", "increases"])
async def test_counters_that_nobody_scrapes_end_nothing(tmp_path: Path, measure: Mapping[str, Any]) -> None:
    """Prometheus answers with its last samples, or with nothing, and stable serves."""
    async with remembering(tmp_path, until(STOPS, STEADY | requests("v2-a", 25, 25))) as prometheus:
        said = await drained(Bench(prometheus, [measure]), STOPS + 3)
    why = "neither side's counters moved, and Prometheus has no new sample of stable's"
    text = f"the weight is 0, and whether the canary still answers requests is not known: {why}"
    assert said[-2:] == [(UNKNOWN, text)] * 2


@pytest.mark.parametrize("measure", [COUNTERS, INCREASES], ids=["counters", "increases"])
async def test_a_night_without_traffic_is_an_end(tmp_path: Path, measure: Mapping[str, Any]) -> None:
    """Counters that stand still are known to stand still when they are scraped."""
    series = idle(STEADY | requests("v2-a", 25, 25), START + EVERY * STOPS)
    async with remembering(tmp_path, series) as prometheus:
        *_, (kind, why) = await drained(Bench(prometheus, [measure]), STOPS + 2)
    assert (kind, why.partition(":")[0]) == (None, "the canary gets no traffic")


async def test_what_no_weight_rules_is_named_as_the_sender(tmp_path: Path) -> None:
    rule = "requests with the header x-canary: always go to the canary"
    async with remembering(tmp_path, STEADY | requests("v2-a", 25, 25)) as prometheus:
        *_, (kind, text) = await drained(Bench(prometheus, besides=(rule,)), 3)
    assert kind is BAD
    assert text.endswith(f": most likely they are requests that no weight controls: {rule}. Else {SURE}")


# what is signalled


def bad(signals: CanarySignals, look: LookResult, put_back: str = "") -> list[tuple[bool, str, bool]]:
    """What is said of BadCanary: whether it fires, the message, and whether that is news."""
    reports = [report for report in signals.after(look, 5.0, put_back) if isinstance(report, Signal)]
    return [(report.firing, report.message, report.changed) for report in reports if report.name == "BadCanary"]


SERVED = LookResult(Verdict(BAD, "still answered"), revision="7", judged=True)


def test_that_requests_still_come_is_news_once() -> None:
    signals = CanarySignals("test/bad-canary", TARGET)
    assert bad(signals, found(BAD)) == [(True, "it is BAD", False)]
    assert bad(signals, SERVED) == [(True, "still answered", True)]
    assert bad(signals, SERVED) == [(True, "still answered", False)]
    assert bad(signals, found(None)) == [(False, "no traffic", False)]
    assert not signals.bad


def test_a_weight_that_is_put_back_is_news_once_and_what_fires_fires_on() -> None:
    signals = CanarySignals("test/bad-canary", TARGET)
    bad(signals, found(BAD))
    again = "set to 0 %, now 20 % again"
    assert bad(signals, found(INSUFFICIENT), again) == [(True, again, True)]
    assert bad(signals, found(BAD), again) == [(True, again, False)]
    assert bad(signals, found(GOOD), again) == [(False, "it is GOOD", False)]
    assert bad(signals, found(INSUFFICIENT), again) == [], "what is over does not begin by that"


def test_while_it_is_not_known_nothing_is_said_of_the_weight() -> None:
    signals = CanarySignals("test/bad-canary", TARGET)
    bad(signals, found(BAD))
    reports = signals.after(found(UNKNOWN), 5.0, "now 20 % again")
    assert [type(report) for report in reports] == [Unanswered]


def test_an_incident_of_before_a_restart_is_as_good_as_a_verdict() -> None:
    """It fires on, at whatever revision it was, until it is known to be over."""
    signals = CanarySignals("test/bad-canary", TARGET)
    signals.resume()
    assert signals.bad
    assert bad(signals, LookResult(Verdict(INSUFFICIENT, "counted from here on"), revision="7")) == []
    assert bad(signals, SERVED) == [(True, "still answered", True)]
    assert bad(signals, found(INSUFFICIENT, revision="8"))[0][0] is False


def test_an_incident_of_before_a_restart_says_of_which_revision_it_is() -> None:
    """Another one was rolled out while healer was away: that one was never found bad."""
    signals = CanarySignals("test/bad-canary", TARGET)
    signals.resume("7/20")
    assert bad(signals, found(INSUFFICIENT, revision="8"), "now 20 % again")[0][0] is False
    assert not signals.bad


def test_what_only_an_incident_says_is_no_reason_to_shift_again() -> None:
    """Anybody may have written it: the weight that was put back is said, and nothing fires before a look has found it bad."""
    signals = CanarySignals("test/bad-canary", TARGET)
    signals.resume("7/20")
    reports = signals.after(found(INSUFFICIENT, revision="7"), 5.0, "now 20 % again")
    (report,) = [each for each in reports if isinstance(each, Unanswered)]
    assert not any(isinstance(each, Signal) and each.firing for each in reports)
    assert report.why.startswith("now 20 % again; no look has found it bad")
    assert bad(signals, found(BAD, revision="7"), "now 20 % again")[0][0] is True


# with what an incident knows


async def test_after_a_restart_the_incident_is_what_is_known(tmp_path: Path) -> None:
    """A healer that begins anew has seen no verdict: the weight of 0 alone ends nothing that an incident is open for."""
    world = World()
    series: dict[str, Points] = {}
    for pod in [*world.other(STABLE), *world.other(CANARY)]:
        series |= requests(pod.name, 10, 10)
    asked = when("Ingress", COUNTERS, every="30s")
    (bound,) = rulebook(rule("bad-canary", when=asked, heal=[{"page": {}}])).rules
    place = CanaryRoute(NAMESPACE, "Ingress", ROUTE, STABLE, CANARY)
    note = Note("80:20", "100:0", "0", 0)
    kept: dict[str, str] | None = {}
    async with remembering(tmp_path / "prometheus", series) as prometheus, Lab(controllers=False) as lab:
        api = await Api.connect(kubeconfig=kubeconfig(tmp_path, lab.url))
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        await lab.apply([namespace, *ingresses(NAMESPACE, weight=0)])

        async def looks(*numbers: int) -> list[str]:
            probe = CanaryProbe(bound, prometheus, partial(RouteLook, api), world.view, lambda *_: None, shifts=lambda key: kept)
            reports = [report for number in numbers for report in await probe.ask(START + EVERY * number + 7)]
            return [
                f"{'+' if each.firing else '-'}{each.name}: {each.message}" if isinstance(each, Signal) else f"?{each.why}"
                for each in reports
                if isinstance(each, Signal | Unanswered)
            ]

        (said, _) = await looks(1, 2, 3)
        assert said.startswith("+BadCanary: the weight is 0, and the canary still answered 60 requests in the last 30 s")
        kept = None
        assert (await looks(1, 2))[0] == "-BadCanary: the canary gets no traffic", "no incident: nothing is asked"
        kept = {place.key: str(note)}
        weigh(lab, "20")
        (said,) = await looks(1)
        assert said == (
            "?the weight of ingress/model-ab-testing was set to 0 %, now 20 % again: something else sets it; "
            "no look has found it bad since healer began anew"
        )
        kept = {place.key: str(replace(note, after="80:20"))}
        assert await looks(1) == [], "that is what was set"
        kept = {"what": "healer did not write"}
        assert await looks(1) == []
        await api.aclose()
