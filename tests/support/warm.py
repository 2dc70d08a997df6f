"""Warm starts: healers forked from a process that has imported everything, instead of started from nothing.

Importing takes a healer most of a second of processor time, and the crash matrix alone starts hundreds. What is forked is a
process of its own, with its own loop, files and signals: a warm start differs from a cold one in nothing but the imports. That
the command itself starts is what every test of a verb shows.
"""

import asyncio
import gc
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import NamedTuple

_MOST = 1 << 17
"""Bytes of arguments and environment."""
_PATIENCE = 60.0
"""Seconds within which a verb ends."""


# the side of the tests


class WarmProcess:
    """What a test needs of `asyncio.subprocess.Process`, for a healer that this process did not start itself."""

    def __init__(self, pid: int, output: asyncio.StreamReader, connection: socket.socket) -> None:
        self.pid = pid
        self.stdout = output
        self.returncode: int | None = None
        self._end = asyncio.create_task(self._ends(connection), name=f"end of {pid}")

    async def wait(self) -> int:
        """The exit code, once it has ended; below 0 the signal that ended it. Several may wait."""
        return await asyncio.shield(self._end)

    def send_signal(self, number: int) -> None:
        """As os.kill; nothing once it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def _ends(self, connection: socket.socket) -> int:
        with connection:
            answer = await asyncio.get_running_loop().sock_recv(connection, 64)
        if not answer:
            raise RuntimeError("the process that healers are forked from has ended")
        self.returncode = int(answer)
        return self.returncode


class WarmStarts:
    """The process that healers are forked from, started with the first of them."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="healer-warm-")
        self._path = str(Path(self._folder.name) / "socket")
        self._process: Popen[bytes] | None = None

    async def start(self, arguments: Sequence[str], environ: Mapping[str, str], limit: int) -> WarmProcess:
        """A healer with these arguments, the first being its name; `limit`: bytes of a line of its output."""
        ours, theirs = os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY)
        pid, connection = await self._fork(arguments, environ, (nothing, theirs, theirs))
        os.close(theirs)
        os.close(nothing)
        output = asyncio.StreamReader(limit=limit)
        reading = asyncio.get_running_loop().connect_read_pipe
        await reading(lambda: asyncio.StreamReaderProtocol(output), os.fdopen(ours, "rb", 0))
        return WarmProcess(pid, output, connection)

    async def run(self, arguments: Sequence[str], environ: Mapping[str, str], given: str = "") -> tuple[int, str, str]:
        """Run one to its end; returns its exit code, its standard output and its standard error.

        `given` comes through a pipe: no more than that holds at once.
        """
        theirs, ours = os.pipe()
        os.write(ours, given.encode())
        os.close(ours)
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            pid, connection = await self._fork(arguments, environ, (theirs, output.fileno(), errors.fileno()))
            os.close(theirs)
            process = WarmProcess(pid, asyncio.StreamReader(), connection)
            try:
                async with asyncio.timeout(_PATIENCE):
                    code = await process.wait()
            finally:
                process.kill()
            output.seek(0)
            errors.seek(0)
            return code, output.read(), errors.read()

    async def _fork(
        self, arguments: Sequence[str], environ: Mapping[str, str], files: tuple[int, int, int]
    ) -> tuple[int, socket.socket]:
        """Its process id, and where its exit code will come from; `files` are its standard ones."""
        self._begin()
        loop = asyncio.get_running_loop()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.setblocking(False)
        await loop.sock_connect(connection, self._path)
        socket.send_fds(connection, [json.dumps([list(arguments), dict(environ)]).encode()], files)
        return int(await loop.sock_recv(connection, 64)), connection

    def _begin(self) -> None:
        """Start it, with a socket that listens already: what is asked for while it imports waits there."""
        if self._process is not None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            listening.bind(self._path)
            listening.listen(64)
            number = listening.fileno()
            self._process = Popen([sys.executable, "-m", "tests.support.warm", str(number)], stdin=DEVNULL, pass_fds=[number])

    def close(self) -> None:
        """End it. The healers end by themselves, or with their tests."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._folder.cleanup()


# the process that is forked


class _Start(NamedTuple):
    arguments: list[str]
    environ: dict[str, str]
    files: list[int]
    """Standard input, output and error."""


def _serve(number: int) -> _Start | None:
    """Fork at each connection to the socket of that file number.

    Returns in the new process what it is to be, and in this one when its parent is gone.
    A request is one packet, with its standard files. The answers are the process id, and in the end the exit code.
    """
    parent = os.getppid()
    with socket.socket(fileno=number) as listening, selectors.DefaultSelector() as ready:
        ready.register(listening, selectors.EVENT_READ)
        while os.getppid() == parent:
            for key, _ in ready.select(timeout=5):
                if key.fileobj is not listening:
                    _reap(ready, key)
                    continue
                connection, _ = listening.accept()
                packet, files, _, _ = socket.recv_fds(connection, _MOST, 3)
                if not (child := os.fork()):
                    arguments, environ = json.loads(packet)
                    return _Start(arguments, environ, files)
                for number in files:
                    os.close(number)
                connection.send(str(child).encode())
                ready.register(os.pidfd_open(child), selectors.EVENT_READ, (child, connection))
    return None


def _reap(ready: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    child, connection = key.data
    ready.unregister(key.fileobj)
    os.close(key.fd)
    _, status = os.waitpid(child, 0)
    with suppress(OSError), connection:  # whoever has started it need not wait for its end
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(start: _Start) -> None:
    """Have the process look as if the command had been started anew."""
    for number, file in enumerate(start.files):
        os.dup2(file, number)
    os.closerange(3, 1024)
    os.environ.clear()
    os.environ.update(start.environ)
    sys.argv = start.arguments
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


if __name__ == "__main__":
    import healer.daemon.daemon  # noqa: F401 - a verb imports it when it runs
    from healer.cli import main

    gc.collect()
    gc.freeze()  # each healer would look through all that was imported, copy its pages by that, and do so again at its end
    if (start := _serve(int(sys.argv[1]))) is not None:
        _become(start)
        main()
