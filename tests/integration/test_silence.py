"""healer silences what it treats, with a real Alertmanager: for that long and no longer, and without going deaf itself."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.test_alertmanager import post
from tests.integration.test_scale import history, says
from tests.integration.world import NAMESPACE, patch, rule, ruleset, serve, serves, told
from tests.support.healer import Healer, verb
from tests.support.processes import PATIENCE
from tests.support.prometheus import Monitor, alertmanager
from tests.support.slack import FakeSlack

ABOUT = {"alertname": "HighLatency", "namespace": NAMESPACE, "deployment": "tensorflow-serving", "severity": "page"}
SCALE = {"scale": {"by": 1, "max": 4, "keepFor": "0s"}, "verify": {"within": "30s", "stable": "300ms"}}
LATE = {"page": {}, "verify": {"within": "200ms", "stable": "100ms"}}


def quietly(*steps: dict[str, Any], within: str = "300ms") -> str:
    """A rule that silences first, then takes these steps."""
    silence = {"silence": {"for": "10m"}, "verify": {"within": within, "stable": "100ms"}}
    return ruleset(rule("slow", when={"alert": ["HighLatency"]}, heal=[silence, *steps]))


@asynccontextmanager
async def pair(run: Run, folder: Path, rules: str) -> AsyncIterator[tuple[Healer, Monitor]]:
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
            rules,
            HEALER_HTTP__PORT=str(port),
            HEALER_ALERTS__URL=f"http://{monitor.address}",
            HEALER_ALERTS__FRESHNESS="1",
            HEALER_ALERTS__ABSENT="500ms",
        )
        yield healer, monitor


async def fire(monitor: Monitor, began: datetime, *, over: bool = False, **more: str) -> None:
    """Prometheus says that the alert fires, or that it is over."""
    ends = datetime.now(UTC) if over else began + timedelta(minutes=5)
    sent = {"labels": ABOUT | more, "startsAt": began.isoformat(), "endsAt": ends.isoformat()}
    await post(monitor, "alerts", [sent])


async def silences(monitor: Monitor) -> list[dict[str, Any]]:
    """Those that are in force."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{monitor.address}/api/v2/silences") as answer:
        found: list[dict[str, Any]] = await answer.json()
    return [each for each in found if each["status"]["state"] != "expired"]


async def until(monitor: Monitor, holds: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """The silences in force once that holds of them."""
    async with asyncio.timeout(PATIENCE):
        while not holds(found := await silences(monitor)):  # noqa: ASYNC110 - a foreign process tells nobody
            await asyncio.sleep(0.05)
    return found


async def test_the_incident_goes_on_under_its_own_silence_hears_the_end_and_ends_it(
    lab: Lab, run: Run, slack: FakeSlack, tmp_path: Path
) -> None:
    """Alertmanager tells nobody that the silenced alert ends: healer asks, heals, and then the silence is gone."""
    await serve(lab)
    async with pair(run, tmp_path, quietly(SCALE)) as (_, monitor):
        began = datetime.now(UTC)
        await fire(monitor, began)
        (made,) = await until(monitor, bool)
        await lab.wait_for(serves(4), PATIENCE)  # the alert is silenced, and healer acts all the same
        (incident,) = lab.objects("incidents.healer.dev", NAMESPACE)
        matchers = {(each["name"], each["value"], each["isRegex"], each["isEqual"]) for each in made["matchers"]}
        assert matchers == {(name, value, False, True) for name, value in ABOUT.items()}
        assert made["createdBy"] == "healer"
        assert made["comment"].startswith(f"healer incident {NAMESPACE}/{incident['metadata']['name']}: ")
        lasts = datetime.fromisoformat(made["endsAt"]) - datetime.fromisoformat(made["startsAt"])
        assert timedelta(minutes=9) < lasts <= timedelta(minutes=10), "Alertmanager begins it when it is asked to"

        await fire(monitor, began, over=True)
        await slack.wait_for(told("healed"), PATIENCE)
        await until(monitor, lambda found: not found)
        await slack.wait_for(says("*Taken back*: alert/"), PATIENCE)
        await lab.wait_for(serves(3), PATIENCE)
        assert "Suppressed" not in history(lab)


async def test_a_silence_of_somebody_else_stops_healer_besides_its_own(
    lab: Lab, run: Run, slack: FakeSlack, tmp_path: Path
) -> None:
    """People have silenced the alert, too: healer leaves it to them."""
    await serve(lab)
    async with pair(run, tmp_path, quietly(SCALE, within="2s")) as (healer, monitor):
        await fire(monitor, datetime.now(UTC))
        (made,) = await until(monitor, bool)
        now = datetime.now(UTC)
        times = {"startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat()}
        await post(monitor, "silences", {"matchers": made["matchers"], "createdBy": "ann", "comment": "I am on it", **times})
        waiting = await healer.says("incident waiting", reason="Suppressed")
        assert "it is silenced by ann (I am on it)" in waiting["text"]
        assert serves(3)(lab)


async def test_a_human_hears_of_it_as_soon_as_healer_gives_up(lab: Lab, run: Run, slack: FakeSlack, tmp_path: Path) -> None:
    """The alert still fires, and is silenced no longer: Alertmanager's own receivers are told again."""
    await serve(lab)
    async with pair(run, tmp_path, quietly(LATE)) as (_, monitor):
        await fire(monitor, datetime.now(UTC))
        await until(monitor, bool)
        await slack.wait_for(told("escalated"), PATIENCE)
        await until(monitor, lambda found: not found)
        await slack.wait_for(says("*Taken back*: alert/"), PATIENCE)
        assert history(lab)[-1] == "TakenBack"


async def test_a_pause_ends_the_silence(lab: Lab, run: Run, slack: FakeSlack, tmp_path: Path) -> None:
    """Nobody works at the incident then: the alert must reach people."""
    await serve(lab)
    async with pair(run, tmp_path, quietly(SCALE, within="10m")) as (_, monitor):
        await fire(monitor, datetime.now(UTC))
        await until(monitor, bool)
        await patch(lab, f"/api/v1/namespaces/{NAMESPACE}", {"metadata": {"annotations": {"healer.dev/paused": "true"}}})
        await until(monitor, lambda found: not found)
        await slack.wait_for(says("*Taken back*: alert/"), PATIENCE)
        assert serves(3)(lab)


async def test_without_alertmanager_the_rule_is_an_error_that_names_the_setting(
    settings: dict[str, str | Path], rules_folder: Path, tmp_path: Path
) -> None:
    """healer does not start with a step that it cannot take."""
    (rules_folder / "0.yaml").write_text(quietly(), "utf-8")
    code, said = await verb("run", "--rules", rules_folder, home=tmp_path, **settings)
    assert code == 2
    assert "rule test/slow uses the action silence, which needs the setting HEALER_ALERTS__URL" in said
