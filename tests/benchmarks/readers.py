"""Readers of GET /state/stream that take nothing, of a large state: `python -m tests.benchmarks.readers CHANGED` serves it.

CHANGED of its workloads change from look to look. It prints its port.
"""

import asyncio
import contextlib
import socket
import sys
import time
import urllib.request

from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from healer.http.health import Health
from healer.http.server import Server
from healer.http.state import StateBody, StateRoutes, UnitRow, WorkloadRow
from healer.http.stream import STREAM_PATH
from healer.model.target import Target
from healer.settings.http import HttpSettings
from tests.benchmarks.machine import Child, Cores, Unmeasurable, pinned, process
from tests.benchmarks.report import Figure

WORKLOADS, UNITS = 1_000, 100
READERS = 32
"""As many as HEALER_HTTP__STREAMS lets in, one of them quick."""
_WATCHED = 12.0
"""Seconds for which the memory is watched: less than a reader may take for an event."""
_CHANGED = {"nothing changes": 0, "every workload changes with each look": WORKLOADS}


def readers(cores: Cores, runs: int) -> list[Figure]:
    """What readers that take nothing cost beside one that takes all."""
    grown = {name: tuple(_grown(cores, changed) for _ in range(runs)) for name, changed in _CHANGED.items()}
    return [
        Figure(f"memory grown by {READERS - 1} readers that take nothing; {name}", "MB", each) for name, each in grown.items()
    ]


def _grown(cores: Cores, changed: int) -> float:
    with process(cores.measured, "-m", "tests.benchmarks.readers", str(changed)) as server, pinned(cores.load):
        port = int(server.said())
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{STREAM_PATH}", timeout=60) as quick:
            _take(quick, 3.0)
            before = _most(server)
            with contextlib.ExitStack() as stack:
                for _ in range(READERS - 1):
                    stack.enter_context(_idle(port))
                _take(quick, _WATCHED)
                return _most(server) - before


def _take(quick: "urllib.request._UrlopenRet", seconds: float) -> None:
    """Read for a while; the stream says something at least every ten seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not quick.readline():
            raise Unmeasurable("the stream of the reader that takes all has ended")


def _idle(port: int) -> socket.socket:
    """A reader that asks and takes nothing."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", port))
    reader.sendall(f"GET {STREAM_PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return reader


def _most(server: Child) -> float:
    """The most memory that it had so far."""
    return server.memory("VmHWM")


class _State:
    """A state of which some workloads change with each look."""

    def __init__(self, changed: int) -> None:
        self._changed = changed
        self._looks = 0
        units = [UnitRow(f"tensorflow-serving-7b5b8c9d4-{number:05}", number % 10 > 0, "") for number in range(UNITS)]
        self._rows = [
            WorkloadRow(Target("Deployment", "production", f"tfs-{number}", f"uid-{number}"), UNITS, 0, "", "", units)
            for number in range(WORKLOADS)
        ]

    async def whole(self) -> StateBody:
        """The state of the next look."""
        self._looks += 1
        rows = [replace(row, ready=self._looks % UNITS) if index < self._changed else row for index, row in enumerate(self._rows)]
        return StateBody(
            at=float(self._looks), version="1", cluster="", mode="enforce", leads=True, leader="a", paused="", control=False,
            checks=[], incidents=[], workloads=rows, canaries=[], limits=[], rules=[], activity=[],
        )  # fmt: skip


async def _serve(changed: int) -> None:
    settings = HttpSettings(host="127.0.0.1", port=0, streams=READERS)
    routes = StateRoutes(_State(changed).whole, lambda namespace, name: None)
    async with Server(settings=settings, webhooks={}, health=Health, registry=CollectorRegistry(), state=routes) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
