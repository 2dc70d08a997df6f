"""PagerDuty: whom an incident pages, when, once, and with which words; against a server that answers as PagerDuty does."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from healer.daemon.memory import SinkMemory
from healer.journal.memory import MemoryJournal
from healer.model.incident import Incident, State
from healer.secret import SecretFile
from healer.sinks.delivery import MessageRefused
from healer.sinks.memory import NotKept, ProcessMemory
from healer.sinks.pagerduty import PagerDutySettings
from tests.support.certificates import Authority
from tests.support.pagerduty import INVALID_KEY, KEY, THROTTLED, FakePagerDuty
from tests.support.receiver import Reply
from tests.unit.sinks.benches import (
    SinkBench,
    approved,
    bad_canary,
    crash_loop,
    escalated,
    storm,
    waiting_for_approval,
)
from tests.unit.sinks.incidents import then

ALERT = "healer/prod-eu-1/production/crash-loop-1"


@pytest.fixture
async def pager() -> AsyncIterator[FakePagerDuty]:
    async with FakePagerDuty() as server:
        yield server


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    return file


def bench(pager: FakePagerDuty, key: Path, memory: Any = None, **settings: Any) -> SinkBench:
    return SinkBench("pagerduty", memory, **{"services": {"ml": key}, "url": pager.enqueue} | settings)


async def test_nobody_is_paged_for_what_healer_heals(pager: FakePagerDuty, key: Path) -> None:
    paging = bench(pager, key)
    async with paging.running():
        await paging.told(*crash_loop("ml"))
    assert pager.came == []


async def test_an_escalated_incident_pages_once_and_is_resolved_when_it_has_passed(pager: FakePagerDuty, key: Path) -> None:
    paging, spent = bench(pager, key), escalated("ml")
    async with paging.running():
        await paging.told(*crash_loop("ml")[:3], spent, spent, then(spent, State.ESCALATED, "another pod is sick"))
        assert {name: alert.pages for name, alert in pager.alerts.items()} == {ALERT: 1}
        await paging.told(then(spent, State.CLOSED, "all signals are gone after the escalation"))
    assert pager.events == [("trigger", ALERT), ("resolve", ALERT)]
    assert pager.alerts[ALERT].status == "resolved"
    assert (paging.count("sent"), paging.usable("ml")) == (2, 1)


async def test_the_alert_of_a_crash_loop_says_what_broke_what_was_done_why_and_what_to_type(
    pager: FakePagerDuty, key: Path
) -> None:
    paging = bench(pager, key)
    async with paging.running():
        await paging.told(escalated("ml"))
    event = pager.alerts[ALERT].event
    payload = event["payload"]
    assert payload["summary"] == (
        "deployment/tensorflow-serving in production (prod-eu-1): CrashLoopBackOff: back-off 5m0s on "
        "pod/tensorflow-serving-7b5b8c9d4-xyz12: a human is needed"
    )
    assert (payload["source"], payload["severity"], payload["component"]) == (
        "prod-eu-1",
        "critical",
        "deployment/tensorflow-serving",
    )
    assert (payload["group"], payload["class"]) == ("production", "tensorflow-serving/crash-loop")
    assert payload["timestamp"] == "1970-01-01T00:16:40.000+00:00"
    details = payload["custom_details"]
    assert details["why"] == "no step is left after evict"
    assert details["done"] == "00:16:42Z evict: evicted; waiting for 3 of 3 ready"
    assert details["next"] == "healer explain incident/crash-loop-1 -n production"
    assert details["description"].startswith("A container that crashes")
    assert details["history"][0] == "00:16:40Z open: CrashLoopBackOff for 2 min"
    assert {link["text"]: link["href"] for link in event["links"]} == {
        "runbook": "https://example.com/runbooks/crash-loop",
        "page": "https://healer.example.com/#/incidents/production/crash-loop-1",
    }
    assert event["client_url"] == "https://healer.example.com/#/incidents/production/crash-loop-1"


async def test_a_storm_of_forty_pods_is_one_alert(pager: FakePagerDuty, key: Path) -> None:
    paging = bench(pager, key)
    async with paging.running():
        await paging.told(storm("ml"))
    ((_, alert),) = pager.alerts.items()
    assert alert.pages == 1
    assert "40 of 50 pods are sick" in alert.event["payload"]["summary"]
    assert len(alert.event["payload"]["custom_details"]["sick"]) == 10


async def test_at_once_an_alert_is_acknowledged_while_healer_acts_and_another_pages_when_it_could_not_help(
    pager: FakePagerDuty, key: Path
) -> None:
    paging, life = bench(pager, key, trigger="opened"), crash_loop("ml")
    async with paging.running():
        await paging.told(*life[:3])
        assert pager.alerts[ALERT].status == "acknowledged"
        await paging.told(escalated("ml"))
        second = pager.alerts[f"{ALERT}/2"]
        assert (second.status, pager.alerts[ALERT].status) == ("triggered", "resolved")
        await paging.told(then(escalated("ml"), State.CLOSED, "over"))
    assert pager.events == [
        ("trigger", ALERT),
        ("acknowledge", ALERT),
        ("resolve", ALERT),
        ("trigger", f"{ALERT}/2"),
        ("resolve", f"{ALERT}/2"),
    ]


async def test_at_once_a_bad_canary_is_resolved_when_its_traffic_is_off(pager: FakePagerDuty, key: Path) -> None:
    paging, life = bench(pager, key, trigger="opened"), bad_canary("ml")
    async with paging.running():
        await paging.told(*life)
    ((_, alert),) = pager.alerts.items()
    assert [action for action, _ in pager.events] == ["trigger", "acknowledge", "resolve"]
    assert alert.event["payload"]["custom_details"]["asked"] == "errors: sum(rate(errors[1m])), tolerance 1.5"


async def test_a_question_pages_and_is_acknowledged_when_a_human_has_answered(pager: FakePagerDuty, key: Path) -> None:
    paging, asked = bench(pager, key), waiting_for_approval("ml")
    async with paging.running():
        await paging.told(asked)
        details = pager.alerts[ALERT].event["payload"]["custom_details"]
        assert details["next"] == "healer approve incident/crash-loop-1 -n production"
        await paging.told(approved(asked))
    assert pager.alerts[ALERT].status == "acknowledged"


async def test_the_action_page_pages(pager: FakePagerDuty, key: Path) -> None:
    paging = bench(pager, key)
    async with paging.running():
        await paging.told(replace(crash_loop("ml")[1], paged=("pagerduty:ml",)))
    assert pager.events == [("trigger", ALERT)]


@pytest.mark.parametrize(
    ("rule", "needed", "event"),
    [("critical", True, "critical"), ("warning", True, "error"), ("warning", False, "warning"), ("info", True, "info")],
)
async def test_severities(rule: str, needed: bool, event: str, pager: FakePagerDuty, key: Path) -> None:
    paging = bench(pager, key, trigger="opened")
    told = escalated("ml") if needed else crash_loop("ml")[0]
    async with paging.running():
        await paging.told(replace(told, severity=rule))
    assert pager.alerts[ALERT].event["payload"]["severity"] == event


@pytest.mark.parametrize(
    ("severity", "notify", "pages"),
    [("critical", (), 1), ("warning", (), 0), ("warning", ("ml",), 1), ("critical", ("gone",), 1)],
)
async def test_who_names_nobody_pages_by_severity_and_who_names_an_unknown_service_pages_the_default_one(
    severity: str, notify: tuple[str, ...], pages: int, pager: FakePagerDuty, key: Path
) -> None:
    paging = bench(pager, key, default="ml")
    async with paging.running():
        with capture_logs() as logs:
            await paging.told(replace(escalated(*notify), severity=severity))
    assert len(pager.alerts) == pages
    assert [line["problem"].startswith("pagerduty:gone is not set up") for line in logs] == [True] * ("gone" in notify)


# restarts


async def restarted(pager: FakePagerDuty, key: Path, memory: ProcessMemory, first: Incident, second: Incident) -> SinkBench:
    """Tell `first`, end, and resume with `second` in another process."""
    before = bench(pager, key, memory)
    async with before.running():
        await before.told(first)
    after = bench(pager, key, memory)
    after.sink.resume(second)
    async with after.running():
        assert await after.sink.flush(10)
    return after


async def test_a_restart_triggers_nothing_twice_and_loses_no_resolve(pager: FakePagerDuty, key: Path) -> None:
    memory, spent = ProcessMemory(), escalated("ml")
    await restarted(pager, key, memory, spent, spent)
    assert pager.events == [("trigger", ALERT)]
    closed = then(spent, State.CLOSED, "over while healer was away")
    await restarted(pager, key, memory, spent, closed)
    assert pager.events == [("trigger", ALERT), ("resolve", ALERT)]
    after = bench(pager, key, memory)
    after.sink.resume(closed)
    assert not after.sink._queues["ml"].known, "nothing is left to tell"


class Objects(MemoryJournal):
    """A journal in which each incident has an object."""

    def uid_of(self, incident_id: str) -> str:
        return f"uid-of-{incident_id}"


class Rotated:
    """The memory of a healer whose first secret is rotated, so that what it sealed before is not recalled."""

    def __init__(self, secret: Path) -> None:
        self.secret = secret
        self.journal = Objects()
        self.rotations = 0

    async def restarted(self, paging: SinkBench, incident: Incident) -> SinkBench:
        """What `paging` says of an incident that it finds in the journal after a start."""
        self.journal.note(incident)
        paging.sink.resume(incident)
        async with paging.running():
            assert await paging.sink.flush(10)
        return paging

    async def rotate(self) -> None:
        self.rotations += 1
        await asyncio.to_thread(self.secret.write_text, f"another-{self.rotations}")

    @property
    def memory(self) -> SinkMemory:
        return SinkMemory(lambda: self.journal, lambda: True, SecretFile(self.secret))


@pytest.fixture
def rotated(tmp_path: Path) -> Rotated:
    secret = tmp_path / "first-secret"
    secret.write_text("one")
    return Rotated(secret)


async def test_an_alert_is_resolved_after_the_secret_was_rotated_by_which_it_was_remembered(
    pager: FakePagerDuty, key: Path, rotated: Rotated
) -> None:
    spent = escalated("ml")
    await rotated.restarted(bench(pager, key, rotated.memory), spent)
    await rotated.rotate()
    assert rotated.memory.recall(spent.id, "pagerduty ml") == {}
    closed = then(spent, State.CLOSED, "over while healer was away")
    await rotated.restarted(bench(pager, key, rotated.memory), closed)
    assert pager.events == [("trigger", ALERT), ("resolve", ALERT)]
    await rotated.rotate()
    await rotated.restarted(bench(pager, key, rotated.memory), closed)
    assert len(pager.events) == 2, "what is resolved stays so"


async def test_an_alert_of_a_later_round_is_found_again_after_the_secret_was_rotated(
    pager: FakePagerDuty, key: Path, rotated: Rotated
) -> None:
    again = escalated("ml")
    before = bench(pager, key, rotated.memory, trigger="opened")
    async with before.running():
        for snapshot in (*crash_loop("ml")[:3], again):
            rotated.journal.note(snapshot)
            await before.told(snapshot)
    assert pager.alerts[f"{ALERT}/2"].status == "triggered"
    await rotated.rotate()
    after = await rotated.restarted(bench(pager, key, rotated.memory, trigger="opened"), again)
    assert {name: alert.pages for name, alert in pager.alerts.items()} == {ALERT: 1, f"{ALERT}/2": 1}, "nobody is paged twice"
    async with after.running():
        await after.told(then(again, State.CLOSED, "over"))
    assert {alert.status for alert in pager.alerts.values()} == {"resolved"}


@pytest.mark.parametrize("claimed", [{"action": "trigger", "round": "1"}, {"action": "trigger", "round": "7" * 5000}])
async def test_whoever_writes_that_people_were_paged_silences_no_page(
    claimed: dict[str, str], pager: FakePagerDuty, key: Path, rotated: Rotated
) -> None:
    spent = escalated("ml")
    rotated.journal.note(spent)
    rotated.journal.remember(spent.id, "pagerduty ml", claimed)
    await rotated.restarted(bench(pager, key, rotated.memory), spent)
    assert pager.events == [("trigger", ALERT)]


async def test_of_a_closed_incident_that_nobody_was_paged_about_nobody_hears(pager: FakePagerDuty, key: Path) -> None:
    paging = bench(pager, key)
    paging.sink.resume(then(escalated("ml"), State.CLOSED, "over"))
    async with paging.running():
        assert await paging.sink.flush(10)
    assert pager.came == []


class Lame(ProcessMemory):
    """A memory that keeps nothing at first."""

    def __init__(self, fails: int) -> None:
        super().__init__()
        self.fails = fails
        self.kept_at_last = asyncio.Event()

    async def remember(self, incident: str, sink: str, state: Mapping[str, str]) -> None:
        if self.fails > 0:
            self.fails -= 1
            raise NotKept("the journal is away")
        await super().remember(incident, sink, state)
        self.kept_at_last.set()


async def test_what_was_sent_is_kept_in_the_end_and_not_sent_again(
    pager: FakePagerDuty, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("healer.sinks.delivery._PAUSE", 0.001)
    memory = Lame(3)
    paging = bench(pager, key, memory)
    async with paging.running():
        await paging.told(escalated("ml"))
        assert memory.recall("crash-loop-1", "pagerduty ml") == {"action": "trigger", "round": "1"}
    assert pager.events == [("trigger", ALERT)]


async def test_a_memory_that_somebody_spoilt_pages_anew(pager: FakePagerDuty, key: Path) -> None:
    memory = ProcessMemory()
    await memory.remember("crash-loop-1", "pagerduty ml", {"action": "dance", "round": "x"})
    paging = bench(pager, key, memory)
    async with paging.running():
        await paging.told(escalated("ml"))
    assert pager.events == [("trigger", ALERT)]


async def test_an_answer_that_is_lost_is_one_alert(pager: FakePagerDuty, key: Path) -> None:
    """Taken, and the connection broke: the event is sent again, and its key says that it is the same."""
    paging = bench(pager, key)
    pager.next(Reply(202, cuts=True))
    async with paging.running():
        await paging.told(escalated("ml"))
    assert pager.events == [("trigger", ALERT)] * 2
    assert len(pager.alerts) == 1


async def test_who_leads_no_more_sends_nothing_more(pager: FakePagerDuty, key: Path) -> None:
    memory, paging = ProcessMemory(), None
    paging = bench(pager, key, memory)
    pager.next(Reply(hangs=True))
    async with paging.running():
        paging.sink.tell(escalated("ml"))
        await pager.wait_for(lambda pager: len(pager.came) == 1)
        paging.sink.reset()
        assert await paging.sink.flush(10)
        assert memory.recall("crash-loop-1", "pagerduty ml") == {}
        await paging.told(escalated("ml", name="another"))
    assert [key.rpartition("/")[2] for _, key in pager.events] == ["another"]


# refusals


async def test_a_wrong_key_is_said_once_counted_and_told_by_the_default_service(
    pager: FakePagerDuty, key: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    await asyncio.to_thread(wrong.write_text, "not-a-key")
    paging = bench(pager, key, services={"ml": key, "sre": wrong}, default="ml")
    async with paging.running():
        with capture_logs() as logs:
            paging.sink.tell(escalated("sre"))
            await pager.wait_for(lambda pager: len(pager.came) >= 4)
    assert pager.events == [("trigger", ALERT)], "the default service stands in, once"
    assert paging.usable("sre") == 0
    assert paging.count("failed") >= 2
    (said,) = [line for line in logs if line["event"] == "a message is not taken"]
    assert "Invalid routing key" in said["problem"]
    assert "put the integration key" in said["problem"]
    assert "not-a-key" not in str(logs)


async def test_a_key_that_was_mended_pages_after_all(pager: FakePagerDuty, key: Path) -> None:
    paging = bench(pager, key)
    await asyncio.to_thread(key.write_text, "wrong")
    async with paging.running():
        paging.sink.tell(escalated("ml"))
        await pager.wait_for(lambda pager: len(pager.came) >= 1)
        await asyncio.to_thread(key.write_text, KEY)
        await paging.settled()
    assert pager.events == [("trigger", ALERT)]
    assert paging.usable("ml") == 1


@pytest.mark.parametrize(
    "trouble",
    [
        (THROTTLED,),
        (Reply(429, "slow down"),),
        (Reply(500, "<html>oops</html>"), Reply(503, "busy", {"Retry-After": "0"})),
        (Reply(503, "busy", {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),),
        (Reply(status=0, cuts=True), Reply(status=0, cuts=True)),
        (Reply(hangs=True),),
    ],
    ids=["throttled", "limited", "broken", "dated", "cut", "hangs"],
)
async def test_trouble_that_passes_is_tried_again_until_it_is_taken(
    trouble: tuple[Reply, ...], pager: FakePagerDuty, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("healer.sinks.post._LIMIT", 0.001)
    paging = bench(pager, key, timeout=0.3 if trouble[0].hangs else 10)
    pager.next(*trouble)
    async with paging.running():
        await paging.told(escalated("ml"))
    assert pager.events == [("trigger", ALERT)]
    assert paging.count("retried") == len(trouble)
    assert paging.count("failed") == 0


async def test_after_an_hour_away_each_incident_has_its_last_state_and_no_replay(pager: FakePagerDuty, key: Path) -> None:
    paging = bench(pager, key)
    pager.down = True
    async with paging.running():
        for number in range(30):
            name = f"case-{number}"
            for snapshot in crash_loop("ml", name=name)[:3]:
                paging.sink.tell(snapshot)
            paging.sink.tell(escalated("ml", name=name))
            if number % 2:
                paging.sink.tell(then(escalated("ml", name=name), State.CLOSED, "over"))
        await pager.wait_for(lambda pager: len(pager.came) >= 1)
        pager.down = False
        assert await paging.sink.flush(20)
    told = [key.rpartition("-")[2] for action, key in pager.events if action == "trigger"]
    assert sorted(told, key=int) == [str(number) for number in range(0, 30, 2)], "those that have passed meanwhile page nobody"


async def test_no_more_incidents_are_held_than_the_capacity(pager: FakePagerDuty, key: Path) -> None:
    paging = bench(pager, key, capacity=10)
    with capture_logs():
        for number in range(25):
            paging.sink.tell(escalated("ml", name=f"case-{number}"))
    assert len(paging.sink._queues["ml"].known) == 10
    assert paging.count("dropped") == 15


# TLS


@pytest.mark.parametrize(("trusted", "events"), [(True, 1), (False, 0)])
async def test_only_a_trusted_server_hears_the_key(trusted: bool, events: int, key: Path, tmp_path: Path) -> None:
    authority = await asyncio.to_thread(Authority.make, tmp_path / "own")
    other = await asyncio.to_thread(Authority.make, tmp_path / "other")
    pair = await asyncio.to_thread(authority.pair_for, "server")
    async with FakePagerDuty(pair) as pager:
        paging = bench(pager, key, ca_file=(authority if trusted else other).file)
        async with paging.running():
            with capture_logs() as logs:
                paging.sink.tell(escalated("ml"))
                await paging.sink.flush(10)
        assert len(pager.events) == events
    if not trusted:
        assert any("name the authority of its certificate in ca_file" in line.get("problem", "") for line in logs)


# before the first incident


async def test_what_is_missing_is_said_by_the_check(pager: FakePagerDuty, key: Path, tmp_path: Path) -> None:
    assert await bench(pager, key).sink.check({"ml"}) == []
    (absent,) = await bench(pager, key).sink.check({"sre"})
    assert absent == "pagerduty:sre is not set up: nobody is told by it; there are ml; set HEALER_PAGERDUTY__SERVICES"
    unread = bench(pager, tmp_path / "nowhere", ca_file=tmp_path / "no-ca")
    said = await unread.sink.check({"ml"})
    assert said[0].startswith("nobody is told by pagerduty:ml: the secret file")
    (said,) = [await bench(pager, key, ca_file=tmp_path / "no-ca").sink.check({"ml"})]
    assert "no-ca (ca_file)" in said[0]


async def test_trying_it_out_says_what_pagerduty_answers(pager: FakePagerDuty, key: Path) -> None:
    said = await bench(pager, key).sink.try_out("ml", escalated("ml"))
    assert said.startswith('HTTP 202 {"status": "success", "message": "Event processed"')
    pager.next(INVALID_KEY)
    with pytest.raises(MessageRefused, match=r"HTTP 400 .*Invalid routing key"):
        await bench(pager, key).sink.try_out("ml", escalated("ml"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"services": {"ML Team": "/k"}}, "HEALER_PAGERDUTY__SERVICES: 'ML Team' is no name"),
        ({"services": {"ml": "/k"}, "default": "sre"}, "HEALER_PAGERDUTY__DEFAULT: 'sre' is none of the services ml"),
        ({"severities": ["loud"]}, "Input should be 'critical', 'warning' or 'info'"),
        ({"url": "events.pagerduty.com"}, "String should match pattern"),
    ],
)
def test_wrong_settings_are_errors(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PagerDutySettings.model_validate(settings)


def test_a_default_service_alone_is_said_to_page_nobody() -> None:
    assert PagerDutySettings(default="ml").incomplete.startswith("HEALER_PAGERDUTY__DEFAULT is ml, and there is no service")
    assert not PagerDutySettings().enabled
