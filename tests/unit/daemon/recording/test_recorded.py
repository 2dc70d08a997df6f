"""The engine and the sources that record: when a file begins, and what is left out."""

import time
from pathlib import Path

from healer.daemon.recording.lines import ChangedLine, HeadLine
from tests.support.recorded import Tape
from tests.support.world import Drill, rule, rulebook


def test_a_new_file_begins_also_when_the_engine_is_told_of_nothing(tmp_path: Path) -> None:
    """Most changes of a cluster are of no concern to it: no file must grow until one is."""
    drill = Drill(rulebook(rule()))
    tape = Tape(drill, tmp_path, file_size=4096, total_size=1024 * 1024)
    told: list[object] = []
    drill.watchers.append(lambda event, effects: told.append(event))
    for step in range(3000):
        drill.now += 1
        drill.world.relabel("serving-3", app="serving", n=str(step))
        while tape.writer.waiting:
            time.sleep(0)
    assert told == []
    lines = tape.stop()
    numbers = [line.number for line in lines if isinstance(line, HeadLine)]
    assert len(numbers) > 2
    assert numbers == [*range(len(numbers))]


def test_what_changes_while_it_does_not_lead_is_neither_recorded_nor_counted_as_lost(tmp_path: Path) -> None:
    drill = Drill(rulebook(rule()))
    tape = Tape(drill, tmp_path)
    tape.stop()
    drill.world.relabel("serving-3", app="serving", n="1")
    assert tape.writer.counts.lost == 0
    assert tape.writer.waiting == 0
    assert not any(isinstance(line, ChangedLine) for line in tape.lines())
