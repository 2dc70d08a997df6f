"""The files of a record: whole blocks, bounds, and what happens when the disk or the thread cannot keep up."""

import gzip
import resource
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from healer.clock import SYSTEM, Clock
from healer.daemon.recording.files import files_in
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
