"""The order of a record in time: times that run back are an error or a remark with file and line, times without lines are gaps.

Within a run of healer time never runs back. Two runs overlap when a clock was set back between them, or when the files of two
healers lie in one folder; what they saw would be mixed up.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path

import msgspec

from healer.daemon.recording.lines import AnyLine, EndLine, HeadLine
from healer.daemon.recording.reading import RecordError, read
from healer.model.duration import about
from healer.rehearsal.replay.said import moment, times

_SKEW = 10.0
"""Seconds by which the clocks of two replicas may differ."""
_YEAR = 366 * 86_400.0
_LATEST = 253_402_300_800.0
"""The year 10000: whatever is later is no time."""
HISTORY = "prometheus"
"""The run of the history that Prometheus has, which names its gaps itself."""


@dataclass(frozen=True, slots=True)
class RecordGap:
    """A time of which nothing is recorded. Seconds since the epoch."""

    began: float
    ended: float
    why: str

    def __str__(self) -> str:
        span = f"{moment(self.began)} to {moment(self.ended)} ({about(self.ended - self.began)})"
        return f"nothing is recorded from {span}: {self.why}"

    def touches(self, since: float, until: float) -> bool:
        """Whether a part of it lies between two times."""
        return self.began < until and self.ended > since


class GapFinder:
    """Follows lines in their order, and finds the gaps between files."""

    def __init__(self) -> None:
        self._head: HeadLine | None = None
        self._last: AnyLine | None = None

    def take(self, line: AnyLine) -> RecordGap | None:
        """The gap that ends with this line; None when none does."""
        last, self._last = self._last, line
        if not isinstance(line, HeadLine):
            return None
        before, self._head = self._head, line
        if before is None or last is None or line.at <= last.at:
            return None
        why = _why(before, last, line)
        return RecordGap(last.at, line.at, why) if why else None


def _why(before: HeadLine, last: AnyLine, head: HeadLine) -> str:
    """Why lines are missing before a file; "" when none is."""
    if head.run != before.run:
        if isinstance(last, EndLine):
            return "healer had stopped, or did not lead"
        return "healer did not write its end: it was killed, or its last lines or files are missing"
    if (missing := head.number - before.number - 1) > 0:
        return f"{times(missing, 'file')} of it cannot be found or read"
    if head.why == "lost" and head.run != HISTORY:
        return f"{times(head.lost, 'line')} could not be written" if head.lost else "the file before cannot be read to its end"
    return ""


def in_order(files: Iterable[Path], remark: Callable[[str], None], progress: Callable[[int], None]) -> Iterator[AnyLine]:
    """The lines of the files. After a file that cannot be read to its end, the next begins anew with its own state.

    Raises RecordError where times run back too far, or leap.
    """
    last, run, where = -inf, "", ""
    torn: list[str] = []

    def note(text: str) -> None:
        torn.append(text)
        remark(text)

    for file in files:
        was_torn, warned = bool(torn), False
        torn.clear()
        for number, line in enumerate(read(file, note, progress), 1):
            here = f"{file.name}:{number}"
            if isinstance(line, HeadLine):
                _check_time(line.at, here)
                other, run = line.run != run, line.run
                if was_torn and not other and line.why == "continued":
                    line = msgspec.structs.replace(line, why="lost")
            else:
                other = False
            if line.at < last:
                text = _back(here, where, last - line.at, other_run=other)
                if last - line.at > _SKEW:
                    raise RecordError(text)
                if not warned:
                    remark(text)
                    warned = True
            elif not other and last > 0 and line.at - last > _YEAR:
                raise RecordError(f"{here}: its time is {moment(line.at)}, {about(line.at - last)} after {where}: it is damaged")
            if not isinstance(line, EndLine):  # one that stood still writes its end when another leads already
                last, where = max(last, line.at) if not other else line.at, here
            yield line


def _check_time(at: float, here: str) -> None:
    if not 0 <= at < _LATEST:
        raise RecordError(f"{here}: {at:g} is no time: the file is damaged")


def _back(here: str, where: str, by: float, *, other_run: bool) -> str:
    if other_run:
        return (
            f"{here}: begins {about(by)} before {where}, which is of another run: two healers have recorded into one folder, or "
            "a clock was set back. Replay the files of each alone: the eight characters before the number of a file name its run"
        )
    return f"{here}: its time is {about(by)} before that of {where}: the file is damaged, or was put together by hand"
