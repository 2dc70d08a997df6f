"""The order of a record in time: what runs back, what overlaps, what is missing, and what was asked for of it."""

import gzip
import io
import time
from math import inf
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from healer.daemon.recording.files import begins, files_in, name_of
from healer.daemon.recording.lines import AnyLine, EndLine, HeadLine, Line, TickLine, WholeLine
from healer.daemon.recording.plain import encoded
from healer.daemon.recording.reading import RecordError
from healer.rehearsal.replay.document import document
from healer.rehearsal.replay.replaying import Replayed, lines_of, replay
from healer.rehearsal.replay.said import moment
from healer.rehearsal.replay.show import show
from tests.support.recorded import Tape, recorded
from tests.support.world import START, Drill, rule, rulebook

RULES = rulebook(rule(when={"pod": ["CrashLoopBackOff"], "for": "10m"}))
HEAD = HeadLine(
    at=START,
    version=1,
    healer="0",
    run="aaaaaaaa",
    number=0,
    why="started",
    home="healer",
    mode="enforce",
    rules=(),
    kinds=(),
    namespaces=(),
    settings={},
)


def write(folder: Path, *lines: Line, after: float = 0.0, **head: Any) -> Path:
    """A file that begins so many seconds after START, with ticks or other lines."""
    first = msgspec.structs.replace(HEAD, at=START + after, **head)
    path = folder / name_of(first.at, first.run, first.number)
    path.write_bytes(gzip.compress(b"".join(map(encoded, (first, WholeLine(first.at, 0), *lines)))))
    return path


def ticks(*after: float) -> list[Line]:
    return [TickLine(START + each) for each in after]


def played(folder: Path, since: float = -inf, until: float = inf) -> Replayed:
    remarks: list[str] = []
    result = replay(lines_of(folder, since, remarks.append), RULES, since=since, until=until)
    result.remarks += remarks
    return result


def said(result: Replayed) -> str:
    printed = io.StringIO()
    show(result, Console(file=printed, width=1000, highlight=False))
    return printed.getvalue()


def test_two_healers_in_one_folder_are_an_error_that_names_file_and_line(tmp_path: Path) -> None:
    first = write(tmp_path, *ticks(10, 3600))
    second = write(tmp_path, *ticks(70, 3700), after=60, run="bbbbbbbb")
    with pytest.raises(RecordError) as error:
        played(tmp_path)
    assert str(error.value).startswith(
        f"{second.name}:1: begins 59 m before {first.name}:4, which is of another run: two healers"
    )


def test_runs_that_follow_each_other_are_one_record_with_a_gap(tmp_path: Path) -> None:
    """Also those of two replicas: one leads after the other."""
    write(tmp_path, *ticks(10), EndLine(START + 20))
    write(tmp_path, *ticks(330), after=320, run="bbbbbbbb")
    write(tmp_path, *ticks(1000), after=930, run="cccccccc")
    result = played(tmp_path)
    assert [(gap.began - START, gap.ended - START, gap.why) for gap in result.gaps] == [
        (20, 320, "healer had stopped, or did not lead"),
        (330, 930, "healer did not write its end: it was killed, or its last lines or files are missing"),
    ]
    assert f"gap: nothing is recorded from {moment(START + 20)} to {moment(START + 320)} (5 m)" in said(result)
    assert [gap["why"] for gap in document(result)["gaps"]] == [gap.why for gap in result.gaps]
    assert result.remarks == []


def test_an_end_that_is_written_late_is_no_overlap(tmp_path: Path) -> None:
    """A leader stood still; it ends when it finds that another one leads."""
    write(tmp_path, *ticks(10), EndLine(START + 90))
    write(tmp_path, *ticks(50), after=30, run="bbbbbbbb")
    result = played(tmp_path)
    assert (result.lines, result.remarks) == (7, [])


def test_clocks_that_differ_a_little_are_a_remark(tmp_path: Path) -> None:
    write(tmp_path, *ticks(10, 20))
    second = write(tmp_path, *ticks(30), after=17, run="bbbbbbbb")
    result = played(tmp_path)
    assert result.lines == 7
    (remark,) = result.remarks
    assert remark.startswith(f"{second.name}:1: begins 3 s before")


def test_times_that_run_back_within_a_run(tmp_path: Path) -> None:
    path = write(tmp_path, *ticks(10, 20, 17, 18, 30))
    (remark,) = played(tmp_path).remarks
    assert remark.startswith(f"{path.name}:5: its time is 3 s before that of {path.name}:4")
    write(tmp_path, *ticks(10, 20, 9))
    with pytest.raises(RecordError, match=rf"{path.name}:5: its time is 11 s before that of {path.name}:4: the file is damaged"):
        played(tmp_path)


@pytest.mark.parametrize("at", [-5.0, 1e18])
def test_no_time_at_all_is_an_error(tmp_path: Path, at: float) -> None:
    path = write(tmp_path, *ticks(1))
    path.write_bytes(gzip.compress(encoded(msgspec.structs.replace(HEAD, at=at)) + encoded(WholeLine(at, 0))))
    with pytest.raises(RecordError, match=f"{path.name}:1: .* is no time"):
        played(tmp_path)


def test_a_leap_within_a_run_is_an_error_and_not_years_of_ticks(tmp_path: Path) -> None:
    path = write(tmp_path, *ticks(10), TickLine(1e300))
    with pytest.raises(RecordError, match=f"{path.name}:4: its time is .* it is damaged"):
        played(tmp_path)


def test_files_that_are_missing_are_a_gap_and_not_a_restart(tmp_path: Path) -> None:
    write(tmp_path, *ticks(10))
    write(tmp_path, *ticks(200), after=100, number=3, why="continued")
    (gap,) = played(tmp_path).gaps
    assert (gap.began - START, gap.ended - START, gap.why) == (10, 100, "2 files of it cannot be found or read")


def test_a_rule_waits_on_over_a_file_that_is_missing(tmp_path: Path) -> None:
    """healer did not begin anew there: what it waited for holds."""
    drill = Drill(rulebook(rule("nobody", when={"alert": ["Never"]})))
    tape = Tape(drill, tmp_path, file_size=4096, total_size=1024 * 1024)
    drill.world.crash("serving-2")
    while drill.now < START + 1200:
        drill.world.relabel("serving-3", app="serving", n=str(drill.now))
        drill.wait(1)
        while tape.writer.waiting:
            time.sleep(0)
    tape.stop()
    _, *between, _ = [path for path in files_in(tmp_path) if begins(path) < START + 590]
    assert between
    for path in between:
        path.unlink()
    assert [deed.at - START for deed in played(tmp_path).story.counted] == [600.0]


def test_after_a_damaged_file_the_next_begins_with_its_own_state(tmp_path: Path) -> None:
    """What the first would have said of the time before is not taken for known."""
    drill = Drill(rulebook(rule("nobody", when={"alert": ["Never"]})))
    tape = Tape(drill, tmp_path, file_size=4096, total_size=1024 * 1024)
    while len(files_in(tmp_path)) < 2:
        drill.world.relabel("serving-3", app="serving", n=str(drill.now))
        drill.wait(15)
    drill.wait(5)
    first = files_in(tmp_path)[0]
    drill.world.crash("serving-2")
    while len(files_in(tmp_path)) < 3:
        drill.world.relabel("serving-3", app="serving", n=str(drill.now))
        drill.wait(15)
    drill.wait(1200)
    tape.stop()
    second = files_in(tmp_path)[1]
    second.write_bytes((whole := second.read_bytes())[: len(whole) // 2])
    result = played(tmp_path)
    assert first != second
    assert [deed.target.name for deed in result.story.counted] == ["serving-2"]
    assert any(second.name in each for each in result.remarks)
    (gap,) = result.gaps
    assert gap.why == "the file before cannot be read to its end"


def test_what_is_asked_for_is_shown_beside_what_there_is(tmp_path: Path) -> None:
    write(tmp_path, *ticks(10, 20, 30, 40))
    result = played(tmp_path, START + 15, START + 35)
    assert result.lines == 2
    text = said(result)
    assert text.startswith(f"{moment(START + 15)} to {moment(START + 35)} (20 s), 2 lines\n")
    asked = f"asked for: --since {moment(START + 15)} and --until {moment(START + 35)}"
    assert f"{asked}; the record was read from {moment(START)} to {moment(START + 30)}, and goes on\n" in text
    made = document(result)
    assert (made["from"], made["to"], made["record"]["goesOn"]) == ("2027-01-15T08:00:15Z", "2027-01-15T08:00:35Z", True)


def test_a_time_outside_of_the_record_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, *ticks(10, 40))
    with pytest.raises(RecordError, match=f"nothing after --since, {moment(START + 41)}: it was read from {moment(START)} to"):
        played(tmp_path, START + 41)
    with pytest.raises(RecordError, match=f"the record begins after --until, {moment(START - 1)}"):
        played(tmp_path, until=START - 1)


def test_a_time_within_a_gap_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, *ticks(10), EndLine(START + 20))
    write(tmp_path, *ticks(330), after=320, run="bbbbbbbb")
    with pytest.raises(
        RecordError, match=r"nothing is between --since and --until: nothing is recorded from .*: healer had stopped"
    ):
        played(tmp_path, START + 100, START + 200)
    assert played(tmp_path, START + 100).lines == 3


def test_what_falls_due_before_the_end_that_is_asked_for_is_told() -> None:
    """Nothing is recorded in between."""
    drill = Drill(rulebook(rule("nobody", when={"alert": ["Never"]})))
    with recorded(drill) as tape:
        drill.world.crash("serving-2")
        drill.now += 3600
        drill.world.relabel("serving-1", app="serving")
        lines: list[AnyLine] = tape.stop()
    assert [deed.at - START for deed in replay(lines, RULES, until=START + 1000).story.counted] == [600.0]
    assert replay(lines, RULES, until=START + 599).story.counted == []
