"""The machine: which core does what, child processes, and their memory."""

import contextlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


class Unmeasurable(Exception):
    """The benchmark cannot be run, and why."""


@dataclass(frozen=True, slots=True)
class Cores:
    """A core for the measured process alone, one for the API server, one for the load; the same one where there are fewer."""

    measured: int
    server: int
    load: int

    @classmethod
    def choose(cls) -> "Cores":
        """The last ones, for interrupts mostly go to the first. Raises Unmeasurable where processes cannot be pinned."""
        if not hasattr(os, "sched_getaffinity"):
            raise Unmeasurable("the benchmarks pin processes to cores and read /proc: they run on Linux only")
        cores = sorted(os.sched_getaffinity(0), reverse=True)
        return cls(cores[0], cores[min(1, len(cores) - 1)], cores[min(2, len(cores) - 1)])


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """This process, and what it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def process(core: int, *command: str, environment: Mapping[str, str] | None = None) -> Iterator["Child"]:
    """A Python process on a core, with what it logs kept in a file. It ends with the context."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as file, pinned(core):
            begun = time.monotonic()
            running = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env={**os.environ, **(environment or {})},
                text=True,
            )
        child = Child(running, log, begun)
        try:
            yield child
        finally:
            child.end()


@dataclass(frozen=True, slots=True)
class Child:
    """A process that was started; `begun` by the monotonic clock."""

    running: subprocess.Popen[str]
    log: Path
    begun: float

    def said(self) -> str:
        """Its next line on standard output. Raises Unmeasurable when it has ended."""
        assert self.running.stdout is not None  # a pipe, see process()
        line = self.running.stdout.readline()
        if not line:
            raise Unmeasurable(f"{self.running.args!r} ended: {self.tail()}")
        return line

    def tail(self) -> str:
        """The end of what it logged."""
        return self.log.read_text("utf-8", "replace")[-2000:]

    def memory(self, field: str = "VmRSS") -> float:
        """MB (10^6 bytes) as /proc/PID/status has them."""
        status = Path(f"/proc/{self.running.pid}/status").read_text("utf-8")
        kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith(f"{field}:"))
        return int(kibibytes) * 1024 / 1e6

    def cpu(self) -> float:
        """Seconds of CPU it has used, user and system."""
        fields = Path(f"/proc/{self.running.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def waited(self) -> float:
        """Seconds for which its main thread could have run and another process had the core."""
        return int(Path(f"/proc/{self.running.pid}/schedstat").read_text("utf-8").split()[1]) / 1e9

    def end(self) -> None:
        """Ask it to end, and see that it does."""
        self.running.terminate()
        try:
            self.running.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.communicate()


def describe() -> str:
    """The machine in one line, and how busy it is already: others' work falsifies figures."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        info = Path("/proc/cpuinfo").read_text("utf-8")
        cpu = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), cpu)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    python = f"{platform.python_implementation()} {platform.python_version()}"
    busy = f"load average {os.getloadavg()[0]:.1f} before the first run"
    return f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GiB, {platform.system()}, {python}; {busy}"
