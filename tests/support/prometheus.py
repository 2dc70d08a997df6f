"""A real Prometheus and a real Alertmanager, each on a free port with a configuration of the test's."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import yaml

from tests.support.processes import PATIENCE, Process, program

_LISTENING = re.compile(r'msg="Listening on".* address=(\S+)')
_LOOK = 0.05
"""Seconds between two looks at /-/ready: the readiness of a foreign process can only be asked for."""
ANY = "127.0.0.1:0"
"""Listen on a free port."""


@dataclass(frozen=True, slots=True)
class Monitor:
    """One of the two, ready; `address` is host:port."""

    process: Process
    address: str

    async def get(self, path: str) -> Any:
        """The JSON of an API path."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.address}{path}") as answer:
            assert answer.ok, await answer.text()
            return await answer.json()

    async def until(self, expression: str) -> list[Any]:
        """The result of a PromQL expression, once it has one. Prometheus tells nobody when it has scraped: it is asked."""
        async with asyncio.timeout(PATIENCE):
            while not (found := (await self.get(f"/api/v1/query?query={quote(expression)}"))["data"]["result"]):  # noqa: ASYNC110
                await asyncio.sleep(_LOOK)
        return list(found)


@asynccontextmanager
async def prometheus(folder: Path, config: Mapping[str, Any], address: str = ANY, *flags: str) -> AsyncIterator[Monitor]:
    """Prometheus with this configuration and further flags; its file and data are in `folder`. Skips the test where it is not
    installed."""
    path = program("prometheus", "prometheus")
    command = [path, f"--config.file={_written(folder, config)}", f"--storage.tsdb.path={folder / 'data'}", *flags]
    async with _monitor("prometheus", command, address) as monitor:
        yield monitor


@asynccontextmanager
async def alertmanager(folder: Path, config: Mapping[str, Any]) -> AsyncIterator[Monitor]:
    """Alertmanager, likewise."""
    path = program("prometheus-alertmanager", "alertmanager", "prometheus-alertmanager")
    command = [path, f"--config.file={_written(folder, config)}", f"--storage.path={folder / 'data'}"]
    async with _monitor("alertmanager", [*command, "--cluster.listen-address="]) as monitor:
        yield monitor


def _written(folder: Path, config: Mapping[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(dict(config)), "utf-8")
    return path


@asynccontextmanager
async def _monitor(name: str, command: Sequence[str], address: str = ANY) -> AsyncIterator[Monitor]:
    async with Process(name, [*command, f"--web.listen-address={address}"]) as process:
        found: list[str] = []

        def listens() -> bool:
            found.extend(match[1] for line in process.lines if (match := _LISTENING.search(line)))
            return bool(found)

        await process.until(listens, "its address")
        await _ready(process, found[0])
        yield Monitor(process, found[0])


async def _ready(process: Process, address: str) -> None:
    async with aiohttp.ClientSession() as session:
        try:
            async with asyncio.timeout(PATIENCE):
                while not await _is_ready(session, address):  # noqa: ASYNC110 - a foreign process tells nobody when it is ready
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            pytest.fail(f"{process.name} is not ready after {PATIENCE:g} s\n{process.printed}")


async def _is_ready(session: aiohttp.ClientSession, address: str) -> bool:
    try:
        async with session.get(f"http://{address}/-/ready") as answer:
            return answer.ok
    except aiohttp.ClientConnectionError:
        return False
