"""A terminal that a program writes on, and that a test reads."""

import asyncio
import os

from tests.support.processes import PATIENCE


class PseudoTerminal:
    """What a program has written on it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.text = ""

    async def until(self, words: str) -> None:
        """Wait until these words were written."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            while words not in self.text:
                ready = asyncio.Event()
                loop.add_reader(self._fd, ready.set)
                try:
                    await ready.wait()
                finally:
                    loop.remove_reader(self._fd)
                self.text += os.read(self._fd, 65536).decode(errors="replace")
