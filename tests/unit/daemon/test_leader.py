"""Terms of leadership that end: they leave nothing behind."""

import asyncio
import gc
import weakref
from contextlib import aclosing
from pathlib import Path

import pytest

from healer.cluster.api import Api
from healer.daemon import Daemon
from healer.lab import Lab
from healer.settings import Settings
from healer.settings.sections import JournalSettings, LeaderSettings
from tests.support.world import rule, rulebook

pytestmark = pytest.mark.slow


async def test_what_a_term_was_made_of_is_gone_with_it(tmp_path: Path) -> None:
    """A term is a web of references that only the collector unravels, and that comes rarely: 7 MB stayed of each."""
    collected = asyncio.Event()

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == 2:
            collected.set()

    gc.disable()
    gc.callbacks.append(note)
    try:
        async with Lab() as lab:
            lab.write_kubeconfig(tmp_path / "kubeconfig")
            settings = Settings(journal=JournalSettings(kind="memory"), leader=LeaderSettings(enabled=False))
            daemon = Daemon(settings, rulebook(rule()))
            async with aclosing(await Api.connect(kubeconfig=str(tmp_path / "kubeconfig"))) as api:
                serving = asyncio.create_task(daemon._lead(api, lambda: True))
                await asyncio.sleep(0)  # it is built
                assert daemon._leader is not None
                async with asyncio.timeout(60):
                    await daemon._leader.event_loop.accepting.wait()
                left = weakref.ref(daemon._leader), weakref.ref(daemon._leader.event_loop)
                serving.cancel()
                await asyncio.wait((serving,))
                del serving
                async with asyncio.timeout(60):
                    await collected.wait()
                assert [each() for each in left] == [None, None]
    finally:
        gc.callbacks.remove(note)
        gc.enable()
