"""Apprise: its library posts to a local server, as to any service of its hundred."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from healer.model.incident import Incident, State
from healer.sinks.apprise import AppriseSettings
from healer.sinks.delivery import MessageRefused, TryAgain
from healer.sinks.memory import ProcessMemory
from tests.support.receiver import Receiver, Reply
from tests.unit.sinks.benches import SinkBench, bad_canary, crash_loop, escalated, storm
from tests.unit.sinks.incidents import then


@pytest.fixture
async def there() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


def line(server: Receiver, tag: str = "ml", path: str = "hook") -> str:
    """A line of Apprise's configuration: its service of plain JSON."""
    return f"{tag}={server.url.replace('http', 'json')}{path}\n"


def bench(folder: Path, lines: str, memory: Any = None, **settings: Any) -> SinkBench:
    (folder / "urls").write_text(lines)
    options: dict[str, Any] = {"urls_file": folder / "urls", "tags": ["ml", "sre"]}
    return SinkBench("apprise", memory, **options | settings)


async def test_a_service_hears_of_milestones(there: Receiver, tmp_path: Path) -> None:
    told = bench(tmp_path, line(there))
    async with told.running():
        await told.told(*crash_loop("ml"))
    assert [posting.json["type"] for posting in there.taken] == ["warning", "success", "success"]
    opened, healed, closed = (posting.json for posting in there.taken)
    assert opened["title"] == (
        "🟠 deployment/tensorflow-serving in production (prod-eu-1): CrashLoopBackOff: back-off 5m0s on "
        "pod/tensorflow-serving-7b5b8c9d4-xyz12: healer is on it"
    )
    said = dict(line.split(": ", 1) for line in healed["message"].splitlines())
    assert said["Why"] == "3 of 3 ready for 1 min"
    assert said["Done"].endswith("evict: evicted; waiting for 3 of 3 ready")
    assert said["Next"] == "healer explain incident/crash-loop-1 -n production"
    assert said["Runbook"] == "https://example.com/runbooks/crash-loop"
    assert closed["title"].endswith(": over")


@pytest.mark.parametrize(
    ("incident", "kind", "parts"),
    [
        (storm("ml"), "failure", ("40 of 50 pods are sick", "a human is needed", "healer has changed nothing")),
        (escalated("ml"), "failure", ("no step is left after evict", "a human is needed")),
        (bad_canary("ml")[3], "warning", ("taken off, the release failed", "canary weight 20 to 0", "tolerance 1.5")),
    ],
    ids=["storm", "escalated", "bad canary"],
)
async def test_what_a_message_says(
    incident: Incident, kind: str, parts: tuple[str, ...], there: Receiver, tmp_path: Path
) -> None:
    told = bench(tmp_path, line(there))
    async with told.running():
        await told.told(incident)
    (posting,) = there.taken
    assert posting.json["type"] == kind
    for part in parts:
        assert part in posting.json["title"] + posting.json["message"]


async def test_only_the_services_of_the_tag_are_told(there: Receiver, tmp_path: Path) -> None:
    told = bench(tmp_path, line(there, "ml", "one") + line(there, "ml", "two") + line(there, "sre", "three"))
    async with told.running():
        await told.told(escalated("ml"))
    assert sorted(posting.path for posting in there.taken) == ["/one", "/two"]


async def test_of_two_services_only_the_one_that_failed_hears_it_again(there: Receiver, tmp_path: Path) -> None:
    told = bench(tmp_path, line(there, "ml", "one") + line(there, "ml", "two"))
    there.next(Reply(), Reply(500, "broken"), Reply(503, "busy"))
    async with told.running():
        await told.told(escalated("ml"))
    assert sorted(posting.path for posting in there.taken) == ["/one", "/two"]
    assert (len(there.came), told.count("retried"), told.count("sent")) == (4, 2, 1)


async def test_a_service_that_does_not_answer_is_given_up_in_time_and_tried_again(there: Receiver, tmp_path: Path) -> None:
    told = bench(tmp_path, line(there), timeout=0.5)
    there.next(Reply(hangs=True))
    async with told.running():
        await told.told(escalated("ml"))
    assert (len(there.taken), told.count("retried")) == (1, 1)


async def test_the_loop_goes_on_while_a_service_is_slow(there: Receiver, tmp_path: Path) -> None:
    told = bench(tmp_path, line(there))
    there.next(Reply(hangs=True))
    async with told.running():
        told.sink.tell(escalated("ml"))
        await there.wait_for(lambda there: len(there.came) == 1)  # this loop serves it, while Apprise waits in its thread
        there._freed.set()
    assert {thread.name.partition("_")[0] for thread in threading.enumerate()} >= {"apprise"}


async def test_a_restart_tells_nothing_twice_and_what_came_meanwhile(there: Receiver, tmp_path: Path) -> None:
    memory, life = ProcessMemory(), crash_loop("ml")
    for resumed in (life[0], life[1], life[-1], life[-1]):
        told = bench(tmp_path, line(there), memory)
        told.sink.resume(resumed)
        async with told.running():
            assert await told.sink.flush(10)
    assert [posting.json["title"].rpartition(": ")[2] for posting in there.taken] == ["healer is on it", "over"]


async def test_what_others_wrote_is_neutral(there: Receiver, tmp_path: Path) -> None:
    told = bench(tmp_path, line(there))
    async with told.running():
        await told.told(then(escalated("ml"), State.ESCALATED, "<script>@all [x](http://y)</script>"))
    assert "‹script›＠all ［x］(http://y)‹/script›" in there.taken[0].json["message"]


async def test_by_severity_and_by_default(there: Receiver, tmp_path: Path) -> None:
    told = bench(tmp_path, line(there), default="ml", severities=["warning"])
    async with told.running():
        await told.told(escalated(name="loud"), replace(escalated(name="quiet"), severity="warning"))
    assert ["quiet" in posting.json["message"] for posting in there.taken] == [True]


# what is wrong


async def test_a_refusal_says_which_service_and_why_and_no_secret(there: Receiver, tmp_path: Path) -> None:
    told = bench(tmp_path, f"ml={there.url.replace('http', 'json')}very-secret-path?-token=hush\n")
    there.next(Reply(403, "no"))
    with pytest.raises(TryAgain, match=r"JSON: .*403") as refused:
        await told.sink.try_out("ml", escalated("ml"))
    assert "secret" not in str(refused.value)
    assert "hush" not in str(refused.value)


async def test_trying_it_out_says_who_took_it(there: Receiver, tmp_path: Path) -> None:
    assert await bench(tmp_path, line(there)).sink.try_out("ml", escalated("ml")) == "JSON: taken by 1"


async def test_a_tag_without_a_url_and_a_file_that_is_not_there_are_said(there: Receiver, tmp_path: Path) -> None:
    told = bench(tmp_path, line(there) + "sre=nonsense\n")
    assert await told.sink.check({"ml"}) == []
    (said,) = await told.sink.check({"sre"})
    assert said.startswith("nobody is told by apprise:sre: no usable URL has the tag sre: give one the tag in ")
    (said,) = await told.sink.check({"gone"})
    assert said == "apprise:gone is not set up: nobody is told by it; there are ml, sre; set HEALER_APPRISE__TAGS"
    with pytest.raises(MessageRefused, match="no usable URL has the tag sre"):
        await told.sink.try_out("sre", escalated("sre"))
    (tmp_path / "urls").unlink()
    (said,) = await told.sink.check({"ml"})
    assert "cannot be read: FileNotFoundError" in said


async def test_a_file_that_was_mended_is_read_again(there: Receiver, tmp_path: Path) -> None:
    told = bench(tmp_path, "ml=nonsense\n")
    async with told.running():
        with capture_logs() as logs:
            told.sink.tell(escalated("ml"))
            await told.sink.flush(10)
            await asyncio.to_thread((tmp_path / "urls").write_text, line(there))
            await told.settled()
    assert len(there.taken) == 1
    assert any("no usable URL" in line.get("problem", "") for line in logs)


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ValueError, match=r"the library apprise is not installed: pip install 'healer\[apprise\]'"):
        bench(tmp_path, "")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tags": ["A"]}, "HEALER_APPRISE__TAGS: 'A' is no name"),
        ({"tags": ["a"], "default": "b"}, "HEALER_APPRISE__DEFAULT: 'b' is none of the tags a"),
    ],
)
def test_wrong_settings_are_errors(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        AppriseSettings.model_validate(settings)


def test_half_of_the_settings_tell_nobody_and_it_is_said() -> None:
    assert AppriseSettings(tags=("ml",)).incomplete.startswith("HEALER_APPRISE__URLS_FILE is not set")
    assert AppriseSettings(urls_file=Path("/u")).incomplete.startswith("HEALER_APPRISE__TAGS is not set")
    assert not AppriseSettings().incomplete
