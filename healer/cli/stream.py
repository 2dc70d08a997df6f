"""A log stream on standard error that never blocks the writer, even when it is closed, full, or a pipe that nobody reads."""

import os
import select
import threading
from collections import deque

_MAX_WAITING = 4 * 1024 * 1024
"""The most bytes that wait for a slow reader. Further lines are dropped and counted."""
_CHUNK = 4096
"""The bytes that a ready pipe accepts without blocking (POSIX: PIPE_BUF is at least 512, on Linux 4,096)."""


class LogStream:
    """A file-like object for loggers. It writes at once while the descriptor accepts data; otherwise a thread writes later.

    Data that the descriptor refuses (EPIPE, ENOSPC) is dropped; `dropped` counts the lines.
    """

    def __init__(self, fd: int | None, max_waiting: int = _MAX_WAITING) -> None:
        """`fd` is None when there is no such stream. Then everything is dropped."""
        self.dropped = 0
        self._fd = fd
        self._max_waiting = max_waiting
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._condition = threading.Condition()
        self._drainer: threading.Thread | None = None
        self._ready = select.poll()
        if fd is not None:
            self._ready.register(fd, select.POLLOUT)

    def write(self, text: str) -> int:
        """Write a text of whole lines, now or later. Never blocks, never raises OSError."""
        data = text.encode("utf-8", "backslashreplace")
        with self._condition:
            if not self._waiting and self._fd is not None:
                data = self._write_ready(data, self._fd)
            if data:
                self._enqueue(data)
        return len(text)

    def flush(self) -> None:
        """Does nothing: the stream holds back no data that can be written now."""

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._fd is not None and os.isatty(self._fd)

    def drain(self, within: float) -> bool:
        """Wait at most `within` seconds until all waiting data is written. Returns whether it is."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._waiting, within)

    def _write_ready(self, data: bytes, fd: int) -> bytes:
        """Write as much as is possible without blocking. Returns the rest."""
        while data and self._is_ready():
            try:
                data = data[os.write(fd, data[:_CHUNK]) :]
            except BlockingIOError:
                break
            except OSError:
                self.dropped += data.count(b"\n")
                return b""
        return data

    def _is_ready(self) -> bool:
        """Whether a write would return at once, also with an error."""
        return bool(self._ready.poll(0))

    def _enqueue(self, data: bytes) -> None:
        if self._fd is None or self._size + len(data) > self._max_waiting:
            self.dropped += data.count(b"\n")
            return
        self._waiting.append(data)
        self._size += len(data)
        self._condition.notify_all()
        if self._drainer is None:
            # A thread, because a log has no event loop. A daemon thread, so that a slow reader cannot keep the process alive.
            self._drainer = threading.Thread(target=self._drain, name="log", daemon=True)
            self._drainer.start()

    def _drain(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting)
                data = self._waiting[0]
            self._ready.poll()  # until it is ready or broken
            with self._condition:
                rest = self._write_ready(data, self._fd if self._fd is not None else -1)
                self._size -= len(data) - len(rest)
                if rest:
                    self._waiting[0] = rest
                else:
                    self._waiting.popleft()
                self._condition.notify_all()
