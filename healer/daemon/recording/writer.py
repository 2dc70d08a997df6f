"""Writes a record in a thread of its own, so that a slow or full disk never delays the event loop.

Lines wait in a bounded queue. What finds no place in it, and what cannot be written, is dropped and counted. Afterwards a new
file begins with the whole state, because changes are missing.
"""

import errno
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from healer.clock import Clock
from healer.daemon.recording.files import RecordFile, make, prepare, trim
from healer.daemon.recording.lines import FiringLine, HeadLine, HeldLine, IncidentLine, Line, WholeLine, Why
from healer.daemon.recording.plain import encoded
from healer.model.incident import Incident
from healer.model.kube import KubeObject
from healer.model.signal import Signal
from healer.section import PREFIX
from healer.settings.sections import RecordSettings

_BLOCK = 64 * 1024
"""The most bytes of lines in a block, before they are packed."""
_AGAIN = 6
"""After so many times `flush` a folder that could not be written is tried again."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class RecordCounts:
    """What became of the lines."""

    written: int = 0
    overtaken: int = 0
    """Dropped, because the queue was full."""
    refused: int = 0
    """Dropped, because the disk refused them."""
    size: int = 0
    """The bytes of all files."""

    @property
    def lost(self) -> int:
        """All that were dropped."""
        return self.overtaken + self.refused


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a file begins with: the state at a moment. The objects are immutable, so that another thread may write them."""

    head: HeadLine
    objects: Sequence[KubeObject]
    firing: Sequence[Signal]
    incidents: Sequence[Incident]
    paused: str

    def lines(self) -> Iterator[Line]:
        """The lines of it."""
        at = self.head.at
        yield self.head
        yield from (HeldLine(at, type(obj).__name__, obj) for obj in self.objects)
        yield from (FiringLine(at, signal) for signal in self.firing)
        yield from (IncidentLine(at, incident) for incident in self.incidents)
        yield WholeLine(at, len(self.objects), self.paused)


class RecordWriter:
    """`begin` and `put` are called on the event loop and never block. The rest runs in the thread."""

    def __init__(self, folder: Path, settings: RecordSettings, clock: Clock) -> None:
        """Raises OSError when nothing can be written in the folder."""
        prepare(folder)
        self.folder = folder
        self.counts = RecordCounts()
        self._settings = settings
        self._clock = clock
        self._queue: queue.Queue[Line | Beginning | None] = queue.Queue(settings.queue)
        self._gap = True  # lines are missing: what follows says nothing before the next Beginning
        self._full = False
        self._file: RecordFile | None = None
        self._lines: list[bytes] = []
        self._bytes = 0
        self._since = 0.0  # when the first of these lines came, by the steady clock
        self._again_at: float | None = None  # after a fault of the disk
        self._block = min(_BLOCK, settings.file_size)
        self._failing = False
        self._kept = ""  # why a file could not be deleted
        self._log = structlog.get_logger("healer.record")
        self._thread = threading.Thread(target=self._work, name="record", daemon=True)  # a dead disk must not keep the process

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, within: float) -> bool:
        """Write what waits, at most so many seconds; returns whether all was written. Blocks: not for the event loop."""
        try:
            self._queue.put(None, timeout=within)
        except queue.Full:
            return False
        self._thread.join(within)
        return not self._thread.is_alive()

    # on the event loop

    @property
    def wants(self) -> Why | None:
        """Why a new file is to begin; None when none is."""
        if self._gap and self._again_at is None and self.waiting <= self._settings.queue // 2:
            return "lost"
        return "continued" if self._full and not self._gap else None

    @property
    def waiting(self) -> int:
        """The lines that wait for the thread."""
        return self._queue.qsize()

    def begin(self, beginning: Beginning) -> None:
        """Have a new file begin."""
        self._gap = self._full = False
        self._put(beginning)

    def put(self, line: Line) -> None:
        """Have a line written; it is dropped and counted when there is no place for it."""
        if not self._gap:
            self._put(line)
        elif self._again_at is None:
            self.counts.overtaken += 1
        else:
            self.counts.refused += 1

    def _put(self, item: Line | Beginning) -> None:
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._gap = True
            self.counts.overtaken += 1
            self._log.warning(
                "the record cannot keep up: lines are dropped until a new file can begin", waiting=self._queue.qsize()
            )

    # in the thread

    def _work(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=self._settings.flush)
            except queue.Empty:
                self._flush()
                continue
            if item is None:
                self._flush()
                self._close()
                return
            if isinstance(item, Beginning):
                self._flush()
                self._open(item.head)
            for line in item.lines() if isinstance(item, Beginning) else (item,):
                self._take(line)

    def _take(self, line: Line) -> None:
        if self._file is None:
            self.counts.refused += 1
            return
        if not self._lines:
            self._since = self._clock.steady()
        try:
            text = encoded(line)
        except (TypeError, ValueError, RecursionError) as error:  # one line harms no other
            self.counts.refused += 1
            self._log.error("a line cannot be recorded", kind=type(line).__name__, error=str(error))
            return
        self._lines.append(text)
        self._bytes += len(text)
        if self._bytes >= self._block or self._clock.steady() - self._since >= self._settings.flush:
            self._flush()

    def _open(self, head: HeadLine) -> None:
        self._close()
        self._full = False  # it was the file before
        try:
            make(self.folder)  # somebody may have deleted it
            self._trim(self._settings.total_size - self._settings.file_size)
            self._file = RecordFile.create(self.folder, head.at, head.run, head.number)
        except OSError as error:
            self._failed(error)
            return
        if head.why == "started":
            self._log.info("the record begins", file=str(self._file.path))

    def _trim(self, most: int) -> None:
        """Delete the oldest files beyond so many bytes; say it when one cannot be. Raises OSError."""
        trimmed = trim(self.folder, most, None if self._file is None else self._file.path)
        self.counts.size = trimmed.size
        if trimmed.kept and not self._kept:
            self._log.warning("an old file of the record cannot be deleted: later ones go instead", file=trimmed.kept)
        self._kept = trimmed.kept

    def _flush(self) -> None:
        """Write the lines as a block. After a fault of the disk, nothing is written for a while."""
        if self._again_at is not None and self._clock.steady() >= self._again_at:
            self._again_at = None
            self._gap = True
        lines, self._lines, self._bytes = self._lines, [], 0
        file = self._file
        if file is None:
            return
        try:
            if lines:
                self.counts.size += file.write(b"".join(lines))
                self.counts.written += len(lines)
                if self.counts.size > self._settings.total_size:
                    self._trim(self._settings.total_size)
        except OSError as error:
            self.counts.refused += len(lines)
            self._failed(error)
            return
        if lines and self._failing:
            self._failing = False
            self._log.info("the record is written again", folder=str(self.folder), lost=self.counts.lost)
        old = self._clock.wall() - file.began >= self._settings.file_age
        if file.size >= self._settings.file_size or (old and file.size):
            self._full = True

    def _failed(self, error: OSError) -> None:
        """Nothing can be written now: say it once until it is written again, and try again later."""
        self._close()
        self._gap = True
        again_in = _AGAIN * self._settings.flush
        self._again_at = self._clock.steady() + again_in
        if self._failing:
            return
        self._failing = True
        hint = {"hint": f"free space, or lower {PREFIX}RECORD__TOTAL_SIZE"} if error.errno in _FULL else {}
        self._log.error(
            "the record cannot be written: healing goes on without it, and it is tried again",
            folder=str(self.folder),
            error=error.strerror or str(error),
            again_in=again_in,
            **hint,
        )

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                self._log.warning("a file of the record could not be closed", file=str(file.path), error=error.strerror)
