"""The files of a record: whole blocks, bounds, and what happens when the disk or the thread cannot keep up."""

import gzip
import os
import resource
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from healer.clock import SYSTEM, Clock
from healer.daemon.recording import running
from healer.daemon.recording.files import files_in, name_of
from healer.daemon.recording.lines import AnyLine, HeadLine, PausedLine, TickLine
from healer.daemon.recording.reading import RecordError, found, read
from healer.daemon.recording.running import record_writer, writing
from healer.daemon.recording.writer import Beginning, RecordWriter
from healer.settings import SettingsError
from healer.settings.sections import RecordSettings
from tests.unit.daemon.recording.test_plain import a_pod

SMALL = {"file_size": 4096, "total_size": 16_384, "flush": 0.05}


def beginning(number: int = 0, why: Any = "started", at: float = 1_800_000_000.0) -> Beginning:
    head = HeadLine(
        at=at + number,
        version=1,
        healer="0",
        run="0123abcd",
        number=number,
        why=why,
        home="healer",
        mode="enforce",
        rules=(),
        kinds=(),
        namespaces=(),
        settings={},
    )
    return Beginning(head, [a_pod()], [], [], "")


@contextmanager
def writer(folder: Path, clock: Clock = SYSTEM, **settings: Any) -> Iterator[RecordWriter]:
    """A writer whose thread has ended when this ends."""
    made = RecordWriter(folder, RecordSettings(**(SMALL | settings)), clock)
    made.start()
    yield made
    assert made.stop(20)


def lines(folder: Path, remarks: list[str] | None = None) -> list[AnyLine]:
    said = [] if remarks is None else remarks
    return [line for path in files_in(folder) for line in read(path, said.append)]


def unheard(remark: str) -> None:
    """What is not listened to."""


def noise(number: int) -> PausedLine:
    """A line that hardly packs."""
    return PausedLine(float(number), " ".join(f"{hash((number, each)) & 0xFFFFFF:x}" for each in range(40)))


def test_what_is_put_is_read_in_its_order(tmp_path: Path) -> None:
    with writer(tmp_path / "new" / "record") as made:
        made.begin(beginning())
        for number in range(1000):
            made.put(TickLine(float(number)))
    read_ = lines(tmp_path / "new" / "record")
    assert [type(line).__name__ for line in read_[:3]] == ["HeadLine", "HeldLine", "WholeLine"]
    assert [line.at for line in read_[3:]] == [float(number) for number in range(1000)]
    assert made.counts.written == len(read_)
    assert made.counts.lost == 0


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "record"
    with writer(folder) as made:
        made.begin(beginning())
    (file,) = files_in(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_files_are_changed_and_the_oldest_go(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x" * 100_000)
    with writer(tmp_path) as made:
        made.begin(beginning())
        number = 0
        for step in range(2000):
            made.put(noise(step))
            while made.waiting:
                time.sleep(0)
            if made.wants == "continued":
                number += 1
                made.begin(beginning(number, "continued"))
    files = files_in(tmp_path)
    assert 3 <= len(files) < number
    assert sum(file.stat().st_size for file in files) <= 16_384 + 4096  # a block beyond
    assert (tmp_path / "mine.txt").exists()
    heads = [line for line in lines(tmp_path) if isinstance(line, HeadLine)]
    assert [head.number for head in heads] == list(range(number + 1))[-len(files) :]


def test_an_old_file_is_left_for_a_new_one(tmp_path: Path) -> None:
    began = 1_800_000_000.0
    now = [began]
    with writer(tmp_path, Clock(lambda: now[0], SYSTEM.steady), file_age=60.0) as made:
        made.begin(beginning())
        made.put(TickLine(1.0))
        now[0] += 61
        while made.wants is None:
            time.sleep(0)
        assert made.wants == "continued"


def test_a_torn_tail_is_read_up_to_the_tear(tmp_path: Path) -> None:
    with writer(tmp_path) as made:
        made.begin(beginning())
        for number in range(3000):
            made.put(noise(number))
    (file, *_) = files_in(tmp_path)
    whole = file.read_bytes()
    ends = []
    for cut in range(len(whole) - 2000, len(whole), 97):
        file.write_bytes(whole[:cut])
        remarks: list[str] = []
        ends.append(len(list(read(file, remarks.append))))
        assert len(remarks) <= 1
    assert ends == sorted(ends)
    assert ends[-1] > ends[0] > 100
    assert remarks == [f"{file.name}: its last block is torn, as by a kill: it is read up to the tear"]


def test_a_damaged_block_ends_the_file_with_a_remark(tmp_path: Path) -> None:
    with writer(tmp_path) as made:
        made.begin(beginning())
    (file,) = files_in(tmp_path)
    file.write_bytes(file.read_bytes() + b"\x1f\x8b\x08not gzip at all")
    remarks: list[str] = []
    assert len(list(read(file, remarks.append))) == 3
    (remark,) = remarks
    assert "a block is damaged" in remark


def test_zcat_reads_it(tmp_path: Path) -> None:
    with writer(tmp_path) as made:
        made.begin(beginning())
    (file,) = files_in(tmp_path)
    assert gzip.decompress(file.read_bytes()).count(b"\n") == 3


def test_what_finds_no_place_is_dropped_and_counted_and_a_new_file_begins(tmp_path: Path) -> None:
    made = RecordWriter(tmp_path, RecordSettings(**SMALL, queue=100), SYSTEM)
    made.begin(beginning())
    for number in range(150):
        made.put(TickLine(float(number)))
    assert made.counts.overtaken == 51
    assert made.wants is None  # the queue is still full
    made.start()
    while made.wants is None:
        time.sleep(0)
    assert made.wants == "lost"
    made.put(TickLine(777.0))  # before the state is written it would say something wrong
    made.begin(beginning(1, "lost"))
    made.put(TickLine(9.0))
    assert made.stop(20)
    assert 777.0 not in [line.at for line in lines(tmp_path)]
    heads = [line.why for line in lines(tmp_path) if isinstance(line, HeadLine)]
    assert heads == ["started", "lost"]
    assert made.counts.overtaken == 52


def test_a_full_disk_is_counted_and_leaves_whole_blocks(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with writer(tmp_path, file_size=1024 * 1024, total_size=4 * 1024 * 1024) as made:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        try:
            made.begin(beginning())
            number = 0
            while not made.counts.refused:
                made.put(noise(number := number + 1))
            made.put(TickLine(1.0))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    remarks: list[str] = []
    kept = lines(tmp_path, remarks)
    assert remarks == []
    assert len(kept) == made.counts.written
    assert made.counts.lost >= 1


def test_all_files_are_bounded_also_while_no_new_one_begins(tmp_path: Path) -> None:
    """Nobody asks whether one is to begin: the oldest go as the last one grows."""
    for number in range(6):
        (tmp_path / name_of(1_700_000_000.0 + number, "0123abcd", number)).write_bytes(b"x" * 2000)
    with writer(tmp_path, file_size=4096, total_size=16_384) as made:
        made.begin(beginning())
        last = files_in(tmp_path)
        number = 0
        while made.counts.size <= 16_384 and len(files_in(tmp_path)) >= len(last):
            made.put(noise(number := number + 1))
            while made.waiting:
                time.sleep(0)
    assert sum(file.stat().st_size for file in files_in(tmp_path)) <= 16_384 + 4096
    assert len(files_in(tmp_path)) < 7


def test_replicas_may_share_a_folder_and_its_bound(tmp_path: Path) -> None:
    """They lead one after the other, and each deletes what is oldest, whoever wrote it."""
    for replica in range(3):
        with writer(tmp_path) as made:
            for number in range(replica * 3, replica * 3 + 3):
                made.begin(beginning(number))
                while made.wants is None:
                    made.put(noise(number))
                    while made.waiting:
                        time.sleep(0)
    files = files_in(tmp_path)
    assert sum(file.stat().st_size for file in files) <= 16_384 + 4096
    heads = [line.number for line in lines(tmp_path) if isinstance(line, HeadLine)]
    assert heads == [*range(9)][-len(files) :]


def test_what_only_has_the_name_of_a_record_stops_nothing(tmp_path: Path) -> None:
    """A folder, links, one into nowhere: none is read, counted or deleted, and old files are."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"x" * 100_000)
    folder = tmp_path / "record"
    (folder / name_of(1.0, "0123abcd", 0)).mkdir(parents=True)
    (folder / name_of(2.0, "0123abcd", 0)).symlink_to(elsewhere)
    (folder / name_of(3.0, "0123abcd", 0)).symlink_to(tmp_path / "nowhere")
    old = folder / name_of(4.0, "0123abcd", 0)
    old.write_bytes(b"x" * 20_000)
    with capture_logs() as logs, writer(folder) as made:
        made.begin(beginning())
    assert [each["event"] for each in logs] == ["the record begins"]
    assert made.counts.lost == 0
    assert not old.exists()
    assert elsewhere.stat().st_size == 100_000
    assert len([*folder.iterdir()]) == 4
    assert made.counts.size == files_in(folder)[-1].stat().st_size


def test_a_file_that_cannot_be_deleted_keeps_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (tmp_path / name_of(float(number), "0123abcd", 0) for number in (1, 2))
    for each in (first, second):
        each.write_bytes(b"x" * 20_000)
    unlink = Path.unlink

    def refused(path: Path, missing_ok: bool = False) -> None:
        if path == first:
            raise PermissionError(1, "Operation not permitted")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    with capture_logs() as logs, writer(tmp_path) as made:
        for number in range(3):
            made.begin(beginning(number))
    assert [each.exists() for each in (first, second)] == [True, False]
    said = [each["file"] for each in logs if each["log_level"] == "warning"]
    assert said == [f"{first}: Operation not permitted"]
    assert made.counts.lost == 0


def test_a_file_deleted_beneath_is_a_fault_and_a_new_one_begins(tmp_path: Path) -> None:
    folder = tmp_path / "record"
    with capture_logs() as logs, writer(folder, flush=0.01) as made:
        made.begin(beginning())
        made.put(TickLine(1.0))
        while made.counts.written < 4:
            time.sleep(0)
        shutil.rmtree(folder)
        number = 1
        while made.wants is None:
            made.put(TickLine(float(number := number + 1)))
            time.sleep(0)
        refused = made.counts.refused
        made.begin(beginning(1, "lost"))
    assert refused
    assert [line.why for line in lines(folder) if isinstance(line, HeadLine)] == ["lost"]
    assert [each["event"] for each in logs] == [
        "the record begins",
        "the record cannot be written: healing goes on without it, and it is tried again",
        "the record is written again",
    ]


def test_a_disk_that_stays_full_leaves_no_empty_files_and_is_said_once(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with capture_logs() as logs, writer(tmp_path, flush=0.005) as made:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            for number in range(3):
                while made.wants is None:
                    time.sleep(0)
                lost = made.counts.refused
                made.begin(beginning(number, "lost"))
                while made.counts.refused == lost:
                    time.sleep(0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files_in(tmp_path) == []
    assert [each["event"] for each in logs if each["log_level"] == "error"] == [
        "the record cannot be written: healing goes on without it, and it is tried again"
    ]


def test_a_folder_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"HEALER_RECORD__FOLDER: nothing can be written in .*file"):
        record_writer(RecordSettings(folder=tmp_path / "file"), SYSTEM, CollectorRegistry())


async def test_its_metrics_say_what_became_of_the_lines(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    made = record_writer(RecordSettings(folder=tmp_path), SYSTEM, registry)
    assert made is not None
    async with writing(made):
        made.begin(beginning())
    assert registry.get_sample_value("healer_record_lines_total", {"outcome": "written"}) == 3
    assert registry.get_sample_value("healer_record_lines_total", {"outcome": "refused"}) == 0
    assert registry.get_sample_value("healer_record_bytes") == files_in(tmp_path)[0].stat().st_size


async def test_a_disk_that_does_not_answer_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are dropped and counted, it is said once, and the daemon ends although the thread does not."""
    made = record_writer(RecordSettings(folder=tmp_path, queue=100, flush=0.01), SYSTEM, CollectorRegistry())
    assert made is not None
    answers, asked = threading.Event(), threading.Event()
    write = os.write

    def slow(fd: int, data: bytes) -> int:
        asked.set()
        answers.wait()
        return write(fd, data)

    monkeypatch.setattr(os, "write", slow)
    monkeypatch.setattr(running, "_END", 0.05)
    with capture_logs() as logs:
        async with writing(made):
            made.begin(beginning())
            assert asked.wait(20)
            for number in range(150):
                made.put(TickLine(float(number)))
        assert made.counts.overtaken == 50
        answers.set()
        assert made.stop(20)
    assert [each["event"] for each in logs if each["log_level"] == "warning"] == [
        "the record cannot keep up: lines are dropped until a new file can begin",
        "the end of the record is not written: the disk does not answer",
    ]


def test_nothing_is_recorded_without_a_folder() -> None:
    assert record_writer(RecordSettings(), SYSTEM, CollectorRegistry()) is None


def test_what_is_no_record_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="does not exist: name a file of a record"):
        found(tmp_path / "none")
    with pytest.raises(RecordError, match="holds no files of a record"):
        found(tmp_path)
    other = tmp_path / "other.gz"
    other.write_bytes(gzip.compress(b'{"a": 1}\n'))
    with pytest.raises(RecordError, match="is no record of healer"):
        list(read(other, unheard))
    other.write_bytes(gzip.compress(b'{"line": "tick", "at": 1.0}\n'))
    with pytest.raises(RecordError, match="does not begin as a record does"):
        list(read(other, unheard))


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.gz"
    with writer(tmp_path) as made:
        made.begin(beginning())
    (written,) = files_in(tmp_path)
    file.write_bytes(gzip.compress(gzip.decompress(written.read_bytes()).replace(b'"version":1', b'"version":2')))
    with pytest.raises(RecordError, match="in version 2 of the format, and this healer reads 1"):
        list(read(file, unheard))
