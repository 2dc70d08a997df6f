"""What a real Alertmanager's API says of alerts that healer knows: they fire, people have silenced them, they are gone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from healer.model.signal import Signal
from healer.sources.alertmanager.alert import Alert, read
from healer.sources.alertmanager.api import Alertmanagers, NoAnswer
from healer.sources.alertmanager.standing import ABSENT, StandingAlerts
from healer.sources.targets import TargetLabels
from tests.support.prometheus import Monitor, alertmanager
from tests.support.world import World
from tests.unit.sources.conftest import Imposter, saying

CONFIG = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
BEGAN = datetime.now(UTC) - timedelta(minutes=1)
ABSENCE = 120.0


def labels(pod: str = "serving-1") -> dict[str, str]:
    return {"alertname": 'Is "p99" | high?', "namespace": "production", "pod": pod}


class Bench:
    """Looks at what these URLs answer, at times of the test's."""

    def __init__(self, *urls: str) -> None:
        self.world = World()
        self.now = datetime.now(UTC).timestamp()
        self.heard: list[bool] = []
        self.api = Alertmanagers(urls, timeout=5.0)
        self.standing = StandingAlerts(
            self.api,
            view=self.world.view,
            labels=TargetLabels(),
            replicas=(),
            known=list,
            report=lambda _: None,
            answered=self.heard.append,
            clock=lambda: self.now,
            every=1.0,
            absent=ABSENCE,
        )

    async def known(self, url: str, pod: str = "serving-1") -> Signal:
        """An alert as the webhook would have told it: with the fingerprint that Alertmanager gives it."""
        found = await self.api.listed(url, {labels()["alertname"]})
        keys = [key for key, each in found.items() if each.labels == labels(pod)]
        alert = Alert("firing", labels(pod), BEGAN, None, keys[0] if keys else "0123456789abcdef")
        signal = read(alert, self.world.view, TargetLabels(), (), self.now)
        assert isinstance(signal, Signal)
        return signal

    async def look(self, *known: Signal) -> list[tuple[bool, str]]:
        """What is told: whether it fires, and what holds it."""
        return [(signal.firing, signal.suppressed) for signal in await self.standing.ask(known)]


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Monitor]:
    async with alertmanager(tmp_path / "one", CONFIG) as monitor:
        yield monitor


async def post(monitor: Monitor, path: str, body: Any) -> Any:
    async with aiohttp.ClientSession() as session, session.post(f"http://{monitor.address}/api/v2/{path}", json=body) as answer:
        assert answer.ok, await answer.text()
        return await answer.json() if answer.content_type == "application/json" else None


async def fire(monitor: Monitor, pod: str = "serving-1", ends: timedelta = timedelta(minutes=5)) -> None:
    """Prometheus says that the alert fires; with `ends` in the past, that it has ended."""
    ends_at = (datetime.now(UTC) + ends).isoformat()
    await post(monitor, "alerts", [{"labels": labels(pod), "startsAt": BEGAN.isoformat(), "endsAt": ends_at}])


async def silence(monitor: Monitor, pod: str = "serving-1") -> str:
    now = datetime.now(UTC)
    matchers = [{"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in labels(pod).items()]
    times = {"startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat()}
    made = await post(monitor, "silences", {"matchers": matchers, "createdBy": "ann", "comment": "I am on it", **times})
    return str(made["silenceID"])


async def until(bench: Bench, known: Signal, wanted: tuple[bool, str]) -> None:
    """Look until that is told: Alertmanager marks an alert as silenced when it next notifies of its group or is asked."""
    async with asyncio.timeout(20):
        while await bench.look(known) != [wanted]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # a foreign process tells nobody


async def test_an_alert_that_fires_is_told_as_if_it_had_been_sent_again(one: Monitor) -> None:
    url = f"http://{one.address}"
    bench = Bench(url)
    await fire(one)
    known = await bench.known(url)
    [heard] = await bench.standing.ask([known])
    assert (heard.key, heard.occurrence, heard.target) == (known.key, known.occurrence, bench.world.target("serving-1"))
    assert (heard.firing, heard.suppressed, heard.labels, heard.at) == (True, "", labels(), bench.now)
    assert bench.heard == [True]
    await bench.api.aclose()


async def test_a_silenced_alert_is_held_by_whoever_silenced_it_and_why(one: Monitor) -> None:
    url = f"http://{one.address}"
    bench = Bench(url)
    await fire(one)
    await fire(one, "serving-2")
    known, other = await bench.known(url), await bench.known(url, "serving-2")
    await silence(one)
    await until(bench, known, (True, "it is silenced by ann (I am on it)"))
    assert await bench.look(other) == [(True, "")], "the other pod's is not"
    await bench.api.aclose()


async def test_an_alert_that_is_gone_is_left_alone_and_is_over_after_a_while(one: Monitor) -> None:
    """An Alertmanager that has just started has nothing either, until Prometheus sends again."""
    url = f"http://{one.address}"
    bench = Bench(url)
    await fire(one)
    known = await bench.known(url)
    await fire(one, ends=timedelta(0))
    await until(bench, known, (True, ABSENT))
    bench.now += ABSENCE - 1
    assert await bench.look(known) == [(True, ABSENT)]
    bench.now += 1
    [over] = await bench.standing.ask([known])
    assert (over.firing, over.key, over.ended) == (False, known.key, None)
    await bench.api.aclose()


async def test_one_of_a_pair_that_has_it_silenced_is_enough_and_one_that_is_away_leaves_it_unknown(
    one: Monitor, tmp_path: Path
) -> None:
    async with alertmanager(tmp_path / "two", CONFIG) as two:
        urls = [f"http://{each.address}" for each in (one, two)]
        bench, away = Bench(*urls), Bench(urls[0], "http://127.0.0.1:1")
        await fire(one)
        await fire(two)
        known = await bench.known(urls[0])
        assert await bench.look(known) == [(True, "")]
        await silence(two)
        await until(bench, known, (True, "it is silenced by ann (I am on it)"))
        assert await away.look(known) == [(True, "")], "who answers says that it fires"
        unheard = await away.known(urls[0], "serving-3")
        away.now += 2 * ABSENCE
        assert await away.look(unheard) == [], "the other one may have it"
        assert away.heard == [False, False]
        await bench.api.aclose()
        await away.api.aclose()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (saying({"status": "success"}), "is not one of Alertmanager's API"),
        (saying({}, status=503), "answers 503"),
        (saying({}, status=302), "answers 302"),
        (saying([{"labels": {}, "pad": "x" * (9 << 20)}]), "more than 8 MiB"),
    ],
)
async def test_an_answer_that_says_nothing_says_why(imposter: Imposter, answer: Any, says: str) -> None:
    imposter.answer = answer
    api = Alertmanagers([imposter.url], timeout=5.0)
    with pytest.raises(NoAnswer, match=says):
        await api.listed(imposter.url, {"A"})
    await api.aclose()


async def test_a_password_in_the_url_is_not_told() -> None:
    api = Alertmanagers(["http://ann:hunter2@127.0.0.1:1"])
    with pytest.raises(NoAnswer) as unanswered:
        await api.listed(api.urls[0], {"A"})
    assert "hunter2" not in str(unanswered.value)
    await api.aclose()


async def test_it_asks_for_as_long_as_there_are_alerts(imposter: Imposter) -> None:
    """Nothing known: nothing asked. What is heard is told."""
    imposter.answer = saying([])
    bench = Bench(imposter.url)
    alerts: Sequence[Signal] = ()
    looks: asyncio.Queue[None] = asyncio.Queue()
    told: asyncio.Queue[list[Signal]] = asyncio.Queue()

    def known() -> Sequence[Signal]:
        looks.put_nowait(None)
        return alerts

    bench.standing = StandingAlerts(
        bench.api,
        view=bench.world.view,
        labels=TargetLabels(),
        replicas=(),
        known=known,
        report=told.put_nowait,
        answered=bench.heard.append,
        clock=lambda: bench.now,
        every=0.01,
        absent=ABSENCE,
    )
    running = asyncio.create_task(bench.standing.run())
    async with asyncio.timeout(20):
        for _ in range(3):
            await looks.get()
    assert bench.heard == []
    signal = read(Alert("firing", labels(), BEGAN), bench.world.view, TargetLabels(), (), bench.now)
    assert isinstance(signal, Signal)
    alerts = (signal,)
    async with asyncio.timeout(20):
        [heard] = await told.get()
    assert heard.suppressed == ABSENT
    running.cancel()
    await asyncio.wait((running,))
