"""Real processes: started, listened to, ended; what they printed is shown when a test fails."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import NoReturn, Self

import pytest

from tests.support.warm import WarmProcess

PATIENCE = 60.0
"""Seconds after which what a test waits for counts as never coming; a deadline, not an expectation of speed."""
_GOING = 15.0
_LINE = 16 * 1024 * 1024
_SHOWN = 200


class Process:
    """A process from entry to exit, where it gets SIGTERM if it still runs. Output and errors are one stream of `lines`."""

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.lines: list[str] = []
        self._command = command
        self._environ = environ
        self._news = asyncio.Event()
        self._process: asyncio.subprocess.Process | WarmProcess | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._process = await self._start(self._command, self._environ, _LINE)
        self._reading = asyncio.create_task(self._read(self._process), name=f"output of {self.name}")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._running.returncode is None:
                self.send(signal.SIGTERM)
                await self.ended(_GOING)
        finally:
            if self._running.returncode is None:
                self._running.kill()
                await self._running.wait()
            if self._reading is not None:
                await self._reading
            sys.stdout.write(f"\n{self.printed}\n")  # pytest shows it with a test that failed, and only then

    async def _start(
        self, command: Sequence[str], environ: Mapping[str, str] | None, limit: int
    ) -> asyncio.subprocess.Process | WarmProcess:
        """Start it, its output a pipe with lines of so many bytes at most."""
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environ,
            limit=limit,
        )

    @property
    def printed(self) -> str:
        """The last lines, under the name."""
        return "\n".join([f"--- {self.name} printed:", *self.lines[-_SHOWN:]])

    def heard(self, line: str) -> None:
        """A line was printed; subclasses read it."""
        self.lines.append(line)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._running.send_signal(number)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet, as far as was noticed."""
        return self._running.returncode is None

    async def ended(self, within: float = PATIENCE) -> int:
        """Its exit code, once it has ended and all that it printed is read. Fails the test when it goes on."""
        try:
            async with asyncio.timeout(within):
                code = await self._running.wait()
        except TimeoutError:
            self._fail(f"{self.name} still runs after {within:g} s")
        if self._reading is not None:
            await self._reading
        return code

    async def until(self, holds: Callable[[], bool], what: str, within: float = PATIENCE) -> None:
        """Wait until a condition on what was printed holds. Fails the test when it never does, or the process ends first."""
        try:
            async with asyncio.timeout(within):
                while not holds():
                    if self._reading is None or self._reading.done():
                        self._fail(f"{self.name} has ended, and {what} never came")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            self._fail(f"{what} did not come within {within:g} s")

    @property
    def _running(self) -> asyncio.subprocess.Process | WarmProcess:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    async def _read(self, process: asyncio.subprocess.Process | WarmProcess) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.heard(line.decode("utf-8", "replace").rstrip("\n"))
            self._news.set()
        await process.wait()
        self._news.set()

    def _fail(self, why: str) -> NoReturn:
        pytest.fail(f"{why}\n{self.printed}")


def program(package: str, *names: str) -> str:
    """The path of the first of these programs that is installed. Without any the test skips; with CI=true it fails."""
    for name in names:
        if (path := shutil.which(name)) is not None:
            return path
    missing = f"{' or '.join(names)} is not installed: as root on Debian, `make setup` (or apt-get install {package})"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{missing}; with CI=true nothing may skip")
    pytest.skip(missing)
