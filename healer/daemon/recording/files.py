"""The files of a record on disk: gzip blocks that are whole in themselves, a new file in time, the oldest ones deleted.

A block is one member of a gzip file, written at once. A process that is killed loses what it has not written yet. A torn block is
read up to the tear. `zcat` reads the files too.
"""

import errno
import gzip
import os
import re
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

NAME = re.compile(r"healer-\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}-\d{6}\.jsonl\.gz")
"""The names of the files, which sort by the time at which they begin."""
_STAMP = "%Y%m%dT%H%M%S.%fZ"
_LEVEL = 6


def name_of(at: float, run: str, number: int) -> str:
    """The name of a file that begins at that time, in seconds since the epoch."""
    stamp = datetime.fromtimestamp(at, UTC).strftime(_STAMP)
    return f"healer-{stamp}-{run}-{number:06}.jsonl.gz"


def begins(path: Path) -> float:
    """When a file begins, by its name, in seconds since the epoch; 0 for one of another name."""
    if not NAME.fullmatch(path.name):
        return 0.0
    try:
        return datetime.strptime(path.name.split("-")[1], _STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:  # somebody has named it: month 13
        return 0.0


def files_in(folder: Path) -> list[Path]:
    """The files of a record, the oldest first. Raises OSError."""
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name) and path.is_file())


def make(folder: Path) -> None:
    """Make the folder where there is none, for its owner alone. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def prepare(folder: Path) -> None:
    """Make the folder where there is none, and try to write there. Raises OSError."""
    make(folder)
    probe = folder / f".healer-{os.getpid()}"
    os.close(os.open(probe, os.O_WRONLY | os.O_CREAT, 0o600))
    probe.unlink(missing_ok=True)  # another replica may have the same number


@dataclass(slots=True)
class RecordFile:
    """The file that is written now."""

    path: Path
    began: float
    size: int = 0
    """Bytes of whole blocks."""
    _fd: int = field(default=-1)

    @classmethod
    def create(cls, folder: Path, at: float, run: str, number: int) -> "RecordFile":
        """A new file, which its owner alone may read. Raises OSError."""
        path = folder / name_of(at, run, number)
        return cls(path, at, 0, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600))

    def write(self, lines: bytes) -> int:
        """Write a block; returns its size. Raises OSError, and then nothing of the block is left in the file."""
        block = gzip.compress(lines, _LEVEL, mtime=0)
        found = os.fstat(self._fd)
        if not found.st_nlink:  # else what is written now would be lost without a word
            raise FileNotFoundError(errno.ENOENT, "somebody has deleted the file that is written")
        try:
            rest = memoryview(block)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            os.ftruncate(self._fd, found.st_size)
            raise
        self.size += len(block)
        return len(block)

    def close(self) -> None:
        """Close it; without a whole block it is deleted. Raises OSError."""
        os.close(self._fd)
        if not self.size:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What is left after the oldest files were deleted."""

    size: int
    """Bytes."""
    kept: str = ""
    """Why a file could not be deleted that was to be; "" when each could."""


def trim(folder: Path, most: int, but: Path | None = None) -> Trimmed:
    """Delete the oldest files, but not `but`, until all have at most so many bytes. Raises OSError.

    A file that is gone meanwhile, or cannot be deleted, keeps no other. What is no plain file is nobody's of ours.
    """
    sizes = {
        path: size for path in sorted(folder.iterdir()) if NAME.fullmatch(path.name) and (size := _plain_size(path)) is not None
    }
    left, kept = sum(sizes.values()), ""
    for path, size in sizes.items():
        if left <= most:
            break
        if path == but:
            continue
        try:
            path.unlink(missing_ok=True)
            left -= size
        except OSError as error:
            kept = f"{path}: {error.strerror}"
    return Trimmed(left, kept)


def _plain_size(path: Path) -> int | None:
    """The bytes of a plain file; None for anything else, a symbolic link too, and for one that is gone."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
