"""What a sink keeps in the journal counts for the incident that healer kept it for, and for no other."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from healer.daemon.memory import SinkMemory
from healer.journal.memory import MemoryJournal
from healer.secret import SecretFile
from healer.sinks.memory import NotKept
from tests.unit.sinks.incidents import incident

SINK = "slack #ml-oncall"
STATE = {"channel": "C1", "ts": "17.1", "told": "1"}


class Kept(MemoryJournal):
    """A journal whose objects have uids, some of them not yet."""

    def __init__(self, **uids: str) -> None:
        super().__init__()
        self.uids = uids
        self.waiting: dict[str, str] = {}
        for name in uids:
            self.note(replace(incident(), id=name))

    def uid_of(self, incident_id: str) -> str | None:
        return self.uids.get(incident_id)

    async def durable(self, ids: object) -> None:
        self.uids |= self.waiting

    def written(self, name: str) -> Mapping[str, str]:
        return self.recall(name)[SINK]


def memory(journal: MemoryJournal, folder: Path, secret: str = "xoxb-secret") -> SinkMemory:
    path = folder / f"token-{secret}"
    path.write_text(secret)
    return SinkMemory(lambda: journal, lambda: True, SecretFile(path))


async def test_what_healer_kept_is_recalled_as_it_was_by_another_process(tmp_path: Path) -> None:
    journal = Kept(mine="uid-1")
    await memory(journal, tmp_path).remember("mine", SINK, STATE)
    assert memory(journal, tmp_path).recall("mine", SINK) == STATE
    assert "xoxb" not in str(journal.written("mine"))


@pytest.mark.parametrize(
    ("name", "sink", "changed"),
    [
        ("theirs", SINK, {}),
        ("mine", "slack #board", {}),
        ("mine", SINK, {"channel": "C2"}),
        ("mine", SINK, {"ts": "16.1"}),
        ("mine", SINK, {"told": "9"}),
        ("mine", SINK, {"more": "x"}),
        ("mine", SINK, {"seal": ""}),
        ("mine", SINK, {"seal": "ä"}),
    ],
)
async def test_what_somebody_copied_or_changed_is_not_believed(
    tmp_path: Path, name: str, sink: str, changed: dict[str, str]
) -> None:
    journal = Kept(mine="uid-1", theirs="uid-2")
    await memory(journal, tmp_path).remember("mine", SINK, STATE)
    journal.remember(name, sink, {**journal.written("mine"), **changed})
    with capture_logs() as logs:
        assert memory(journal, tmp_path).recall(name, sink) == {}
    assert [line["log_level"] for line in logs] == ["warning"]


async def test_an_object_that_was_made_anew_under_the_name_has_no_thread(tmp_path: Path) -> None:
    journal = Kept(mine="uid-1")
    await memory(journal, tmp_path).remember("mine", SINK, STATE)
    journal.uids["mine"] = "uid-9"
    assert memory(journal, tmp_path).recall("mine", SINK) == {}


async def test_what_an_older_healer_kept_without_a_seal_is_told_anew_and_said_once(tmp_path: Path) -> None:
    journal = Kept(**{f"old-{number}": f"uid-{number}" for number in range(10)})
    ours = memory(journal, tmp_path)
    with capture_logs() as logs:
        for name in journal.uids:
            journal.remember(name, SINK, STATE)
            assert ours.recall(name, SINK) == {}
    assert [line["log_level"] for line in logs].count("warning") == 1


async def test_another_token_knows_no_thread_of_the_one_before(tmp_path: Path) -> None:
    journal = Kept(mine="uid-1")
    await memory(journal, tmp_path).remember("mine", SINK, STATE)
    other = memory(journal, tmp_path, "xoxb-other")
    assert other.recall("mine", SINK) == {}
    assert other.claimed("mine", SINK) == STATE, "a sink for which a claim is enough has it"


async def test_before_its_object_is_made_an_incident_is_waited_for(tmp_path: Path) -> None:
    journal = Kept()
    journal.note(replace(incident(), id="new"))
    journal.waiting["new"] = "uid-3"
    await memory(journal, tmp_path).remember("new", SINK, STATE)
    assert memory(journal, tmp_path).recall("new", SINK) == STATE


async def test_without_its_secret_nothing_is_kept_and_nothing_believed(tmp_path: Path) -> None:
    journal = Kept(mine="uid-1")
    await memory(journal, tmp_path).remember("mine", SINK, STATE)
    blind = SinkMemory(lambda: journal, lambda: True, SecretFile(tmp_path / "missing"))
    with pytest.raises(NotKept, match="cannot be read"):
        await blind.remember("mine", SINK, STATE)
    assert blind.recall("mine", SINK) == {}


async def test_nothing_is_kept_for_who_leads_no_more(tmp_path: Path) -> None:
    journal = Kept(mine="uid-1")
    ours = SinkMemory(lambda: journal, lambda: False, None)
    with pytest.raises(NotKept, match="the lease is lost"):
        await ours.remember("mine", SINK, STATE)
