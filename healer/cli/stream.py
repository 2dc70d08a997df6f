"""Standard error as a place for log lines that never stops who writes: it may be closed, full, or a pipe that nobody reads."""

import os
import select
import threading
from collections import deque

_MOST = 4 * 1024 * 1024
"""Bytes that wait for a slow reader; lines beyond are dropped and counted."""
_PIECE = 4096
"""Bytes that a pipe which is ready takes without waiting (POSIX: PIPE_BUF is at least 512, 4,096 on Linux)."""


class LogStream:
    """Text goes to a file descriptor at once while that takes it; else it waits, and a thread writes it.

    A file-like object for loggers. What the descriptor refuses (EPIPE, ENOSPC) is dropped; `dropped` counts the lines.
    """

    def __init__(self, fd: int | None, most: int = _MOST) -> None:
        """fd: None where there is no such stream: everything is dropped."""
        self.dropped = 0
        self._fd = fd
        self._most = most
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._some = threading.Condition()
        self._drainer: threading.Thread | None = None
        self._ready = select.poll()
        if fd is not None:
            self._ready.register(fd, select.POLLOUT)

    def write(self, text: str) -> int:
        """Write, or have written, a text of whole lines; never blocks, never raises OSError."""
        data = text.encode("utf-8", "backslashreplace")
        with self._some:
            if not self._waiting and self._fd is not None:
                data = self._write_ready(data, self._fd)
            if data:
                self._enqueue(data)
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered that could be written now."""

    def isatty(self) -> bool:
        """Whether people read it on a terminal."""
        return self._fd is not None and os.isatty(self._fd)

    def drain(self, within: float) -> bool:
        """Wait until what waits is written, at most `within` seconds; returns whether it is."""
        with self._some:
            return self._some.wait_for(lambda: not self._waiting, within)

    def _write_ready(self, data: bytes, fd: int) -> bytes:
        """Write as much as can be written without waiting; returns the rest."""
        while data and self._is_ready():
            try:
                data = data[os.write(fd, data[:_PIECE]) :]
            except BlockingIOError:
                break
            except OSError:
                self.dropped += data.count(b"\n")
                return b""
        return data

    def _is_ready(self) -> bool:
        """Whether a write would end at once, be it with an error."""
        return bool(self._ready.poll(0))

    def _enqueue(self, data: bytes) -> None:
        if self._fd is None or self._size + len(data) > self._most:
            self.dropped += data.count(b"\n")
            return
        self._waiting.append(data)
        self._size += len(data)
        self._some.notify_all()
        if self._drainer is None:
            # No task: a log has no loop of its own. A daemon's: whoever reads the pipe must not keep the process from ending.
            self._drainer = threading.Thread(target=self._drain, name="log", daemon=True)
            self._drainer.start()

    def _drain(self) -> None:
        while True:
            with self._some:
                self._some.wait_for(lambda: self._waiting)
                data = self._waiting[0]
            self._ready.poll()  # until it is ready, or broken
            with self._some:
                rest = self._write_ready(data, self._fd if self._fd is not None else -1)
                self._size -= len(data) - len(rest)
                if rest:
                    self._waiting[0] = rest
                else:
                    self._waiting.popleft()
                self._some.notify_all()
