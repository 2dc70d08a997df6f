"""Reads a record: the lines of its files in their order, up to a tear in one, and without keeping more than a block."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from healer.daemon.recording.files import files_in
from healer.daemon.recording.lines import DECODER, VERSION, AnyLine, HeadLine

_CHUNK = 64 * 1024
_LONGEST = 16 * 1024 * 1024
"""Bytes of a line: an object of Kubernetes has at most one and a half million."""
_GZIP = 16 + zlib.MAX_WBITS
_SHOWN = 200
"""Characters of a line that a message shows."""


class RecordError(Exception):
    """A record that cannot be read: what, where, and what to do."""


def found(path: Path) -> list[Path]:
    """The files at a path, the oldest first: itself, or those in a folder. Raises RecordError when there are none."""
    try:
        files = files_in(path) if path.is_dir() else [path]
        if path.exists() and files:
            return files
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    if path.exists():
        hint = "name the folder that `healer run --record` was given; only the leader records"
        raise RecordError(f"{path}: holds no files of a record: {hint}")
    raise RecordError(f"{path}: does not exist: name a file of a record, or the folder of it")


def read(path: Path, remark: Callable[[str], None], progress: Callable[[int], None] = lambda _: None) -> Iterator[AnyLine]:
    """The lines of a file. A tear ends it, and `remark` is told; `progress` is told how many bytes were read.

    Raises RecordError for a file that is no record, or that a later version wrote.
    """
    for number, text in enumerate(_lines(path, remark, progress)):
        try:
            line = DECODER.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if not number:
                raise RecordError(f"{path}: is no record of healer: {error}") from error
            remark(f"{path.name}: line {number + 1} cannot be read ({error}); the rest of the file is passed over")
            return
        if not number:
            _check(path, text, line)
        yield line


def _check(path: Path, text: bytes, line: AnyLine) -> None:
    if not isinstance(line, HeadLine):
        raise RecordError(f"{path}: does not begin as a record does: {text[:_SHOWN]!r}")
    if line.version > VERSION:
        raise RecordError(
            f"{path}: was written by healer {line.healer} in version {line.version} of the format, and this healer reads "
            f"{VERSION}: use that healer"
        )


def _lines(path: Path, remark: Callable[[str], None], progress: Callable[[int], None]) -> Iterator[bytes]:
    """The whole lines of a file of gzip members; a piece of a line at a tear is left out."""
    rest = b""
    for text in _unpacked(path, remark, progress):
        *lines, rest = (rest + text).split(b"\n")
        yield from filter(None, lines)
        if len(rest) > _LONGEST:
            raise RecordError(f"{path}: has a line of more than {_LONGEST // 2**20} MiB: healer writes none")


def _unpacked(path: Path, remark: Callable[[str], None], progress: Callable[[int], None]) -> Iterator[bytes]:
    """The text of the members, up to a tear."""
    unpack, inside = zlib.decompressobj(_GZIP), False
    try:
        with path.open("rb") as file:
            while left := file.read(_CHUNK):
                progress(len(left))
                while left:
                    yield unpack.decompress(left)
                    left, inside = unpack.unused_data, not unpack.eof
                    if unpack.eof:
                        unpack = zlib.decompressobj(_GZIP)
    except zlib.error as error:
        remark(f"{path.name}: a block is damaged ({error}): it is read up to there, and the rest is passed over")
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    else:
        if inside:
            remark(f"{path.name}: its last block is torn, as by a kill: it is read up to the tear")
