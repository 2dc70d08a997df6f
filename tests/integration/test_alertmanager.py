"""A real Alertmanager and the real daemon: silences, ends that never come, a pair that says the same twice."""

import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import NAMESPACE, evictions, rule, ruleset, serve
from tests.support.healer import Healer, alert
from tests.support.prometheus import Monitor, alertmanager
from tests.support.slack import FakeSlack

_AFTER = timedelta(minutes=5)
HELD = rule("slow", when={"alert": ["HighLatency"], "for": "3s"})
"""The alert waits for so long that there is time to silence it."""


@asynccontextmanager
async def pair(run: Run, folder: Path) -> AsyncIterator[tuple[Healer, Monitor]]:
    """A daemon, and an Alertmanager that sends to it, in a hurry, and repeats nothing while the test runs."""
    with socket.create_server(("127.0.0.1", 0)) as place:  # each must know the other's address
        port = place.getsockname()[1]
    hurry = {"group_wait": "100ms", "group_interval": "500ms", "repeat_interval": "4h"}
    webhook = {"url": f"http://127.0.0.1:{port}/webhooks/alertmanager", "send_resolved": True}
    config = {
        "route": {"receiver": "healer", "group_by": ["..."], **hurry},
        "receivers": [{"name": "healer", "webhook_configs": [webhook]}],
    }
    async with alertmanager(folder / "alertmanager", config) as monitor:
        healer = await run(
            ruleset(HELD),
            HEALER_HTTP__PORT=str(port),
            HEALER_ALERTS__URL=f"http://{monitor.address}",
            HEALER_ALERTS__FRESHNESS="1",
            HEALER_ALERTS__ABSENT="500ms",
        )
        yield healer, monitor


async def post(monitor: Monitor, path: str, body: Any) -> Any:
    async with aiohttp.ClientSession() as session, session.post(f"http://{monitor.address}/api/v2/{path}", json=body) as answer:
        assert answer.ok, await answer.text()
        return await answer.json() if answer.content_type == "application/json" else None


def about(pod: str) -> dict[str, str]:
    return {"alertname": "HighLatency", "namespace": NAMESPACE, "pod": pod}


async def fire(monitor: Monitor, pod: str, began: datetime, *, over: bool = False) -> None:
    ends = datetime.now(UTC) if over else began + _AFTER
    await post(monitor, "alerts", [{"labels": about(pod), "startsAt": began.isoformat(), "endsAt": ends.isoformat()}])


async def silence(monitor: Monitor, pod: str) -> str:
    now = datetime.now(UTC)
    matchers = [{"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in about(pod).items()]
    times = {"startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat()}
    made = await post(monitor, "silences", {"matchers": matchers, "createdBy": "ann", "comment": "I am on it", **times})
    return str(made["silenceID"])


async def test_a_silenced_alert_that_ends_is_not_acted_on_and_says_who_silenced_it(lab: Lab, run: Run, tmp_path: Path) -> None:
    """Alertmanager tells nobody that it has ended. Asked, it says that it is silenced, and then that it is gone."""
    sick, *_ = await serve(lab, min_available=None)
    async with pair(run, tmp_path) as (healer, monitor):
        began = datetime.now(UTC)
        await fire(monitor, sick, began)
        await healer.says("pend", reason="NotLongEnough")
        await silence(monitor, sick)
        waiting = await healer.says("incident waiting", reason="Suppressed")
        assert "silenced by ann (I am on it)" in waiting["text"]
        await fire(monitor, sick, began, over=True)
        closed = await healer.says("incident closed", incident=waiting["incident"])
        assert closed["reason"] == "Recovered"
        assert evictions(lab) == []
        assert (await healer.metrics())["healer_alertmanager_looks_total{outcome=answered}"] > 0


async def test_what_still_fires_after_a_wait_is_acted_on_without_a_repeat(lab: Lab, run: Run, tmp_path: Path) -> None:
    sick, *_ = await serve(lab, min_available=None)
    async with pair(run, tmp_path) as (healer, monitor):
        await fire(monitor, sick, datetime.now(UTC))
        await healer.says("incident verifying")
        assert evictions(lab) == [sick]


async def test_without_an_answer_an_alert_that_waited_is_left_alone(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab, min_available=None)
    healer = await run(ruleset(HELD), HEALER_ALERTS__FRESHNESS="1", HEALER_ALERTS__URL="http://127.0.0.1:1")
    await healer.post(alert("HighLatency", pod=sick))
    await healer.says("incident waiting", reason="NotRepeated")
    await healer.says("Alertmanager cannot be asked: nothing is done about alerts that it does not repeat")
    assert evictions(lab) == []
    assert (await healer.metrics())["healer_alertmanager_looks_total{outcome=unanswered}"] > 0


async def test_what_a_slower_alertmanager_says_of_an_end_is_no_news(lab: Lab, run: Run) -> None:
    """A pair sends firing, resolved, firing with the same startsAt, resolved."""
    sick, *_ = await serve(lab, min_available=None)
    healer = await run(ruleset(HELD))
    firing = alert("HighLatency", pod=sick)
    resolved = firing | {"status": "resolved", "endsAt": datetime.now(UTC).isoformat()}
    for sent in (firing, resolved, firing):
        await healer.post(sent)
    ignored = await healer.says("ignore", reason="EndedBefore")
    assert ignored["target"] == f"pod/{sick}"
    assert evictions(lab) == []


async def test_an_end_that_was_taken_is_known_to_the_next_healer(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """Two Alertmanagers: the slower one says that an alert fires after the other has said that it ended; a restart between."""
    sick, *_ = await serve(lab)
    began = datetime.now(UTC)
    rules = ruleset(rule("slow", when={"alert": ["HighLatency"]}))
    healer = await run(rules)
    assert (await healer.post(alert("HighLatency", pod=sick, starts_at=began, resolved=True)))[0] == 200
    (kept,) = lab.objects("incidents.healer.dev")
    assert (kept["spec"]["rule"], kept["status"]["state"]) == ("healer/ended-alerts", "closed")
    healer.send(signal.SIGTERM)
    assert await healer.ended() == 0

    successor = await run(rules)
    assert (await successor.post(alert("HighLatency", pod=sick, starts_at=began)))[0] == 200
    await successor.says("ignore", reason="EndedBefore")
    assert (await successor.post(alert("HighLatency", pod=sick)))[0] == 200
    await successor.says("incident verifying")
    assert evictions(lab) == [sick]
    ours = [each for each in successor.events if each["event"] == "open"]
    assert [each["rule"] for each in ours] == ["test/slow"], "the first firing opened nothing"
    assert "ended while no incident had them" not in str(slack.messages)


async def test_a_group_that_is_too_large_is_sent_again_until_a_healer_takes_it(lab: Lab, run: Run, tmp_path: Path) -> None:
    """Alertmanager repeats after 413 as well, at its group_interval: meanwhile healer says what it does not see."""
    pods = await serve(lab, min_available=None)
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = str(place.getsockname()[1])
    hurry = {"group_wait": "100ms", "group_interval": "500ms", "repeat_interval": "4h"}
    webhook = {"url": f"http://127.0.0.1:{port}/webhooks/alertmanager"}
    route = {"receiver": "healer", "group_by": ["alertname"], **hurry}
    config = {"route": route, "receivers": [{"name": "healer", "webhook_configs": [webhook]}]}
    healer = await run(ruleset(HELD), HEALER_HTTP__PORT=port, HEALER_ALERTS__MAX_ALERTS="1")
    async with alertmanager(tmp_path / "alertmanager", config) as monitor:
        began = datetime.now(UTC)
        times = {"startsAt": began.isoformat(), "endsAt": (began + _AFTER).isoformat()}
        await post(monitor, "alerts", [{"labels": about(pod), **times} for pod in pods[:2]])
        refused = await healer.says("a request was refused", status=413)
        assert "there are 2 alerts" in refused["error"]
        while (await healer.metrics())["healer_http_refused_total{status=413}"] < 2:
            pass
        code, told = await healer.get("/healthz")
        assert (code, told["checks"]["alerts"]["ok"]) == (200, False)
        assert "HEALER_ALERTS__MAX_ALERTS" in told["checks"]["alerts"]["reason"]
        healer.send(signal.SIGTERM)
        assert await healer.ended() == 0
        successor = await run(ruleset(HELD), HEALER_HTTP__PORT=port)
        for pod in pods[:2]:
            await successor.says("pend", target=f"pod/{pod}")
        assert (await successor.get("/healthz"))[1]["checks"]["alerts"]["ok"]
