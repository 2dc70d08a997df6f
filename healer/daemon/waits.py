"""What the daemon waits for while it runs: caches, events, and its HTTP server while it listens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Never

from healer.cluster.api import Api
from healer.daemon.health import DefinitionCheck
from healer.daemon.watchers import Watching
from healer.http.server import Server
from healer.section import PREFIX
from healer.settings import SettingsError


def always() -> bool:
    return True


async def for_ever(forever: Awaitable[Never]) -> None:
    await forever


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[None]:
    """The server from entry to exit; where it listens is a matter of the settings."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            raise SettingsError(f"{PREFIX}HTTP__HOST, {PREFIX}HTTP__PORT: {error.strerror or error}") from error
        yield


async def until_whole(api: Api, watching: Watching, definition: DefinitionCheck) -> None:
    """Return when the view is whole and incidents can be kept."""
    await watching.synced()
    await definition.wait(api)


async def wait(event: asyncio.Event) -> None:
    await event.wait()
