"""Reading an incident of very many targets does not hold up the loop, on which the lease is renewed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from healer.journal import codec
from healer.journal.codec import MOST_TARGETS
from healer.journal.reading import AT_ONCE, off_loop
from healer.model.incident import Incident, SickTarget, State
from healer.model.target import Target
from tests.unit.journal.conftest import PATIENCE, Cluster, durable
from tests.unit.journal.incidents import incident, then


def of_many(kept: Incident) -> Incident:
    """As many targets as an object holds."""
    sick = next(iter(kept.targets.values()))
    uids = [f"{number:08d}-0000-4000-8000-000000000000" for number in range(MOST_TARGETS)]
    namespace = kept.workload.namespace
    targets = {uid: SickTarget(Target("Pod", namespace, f"pod-{uid}", uid), sick.signals, sick.since, "x" * 100) for uid in uids}
    return replace(kept, targets=targets)


class Watched:
    """Reads as the journal does, and notes where; while it reads in a thread, it waits until the loop has gone on."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.here = threading.current_thread()
        self.threads: dict[int, threading.Thread] = {}

    def __call__(self, raw: bytes | Mapping[str, Any], closed_lines: int = codec.MOST_LINES) -> Incident:
        assert isinstance(raw, bytes)
        self.threads[len(raw)] = threading.current_thread()
        if threading.current_thread() is not self.here:
            goes_on = threading.Event()
            self.loop.call_soon_threadsafe(goes_on.set)
            assert goes_on.wait(PATIENCE), "the loop stands still"
        return _decode(raw, closed_lines)


_decode = codec.decode


def beside(watched: Watched) -> list[bool]:
    """For each object, by size: whether it was read beside the loop."""
    return [thread is not watched.here for _, thread in sorted(watched.threads.items())]


async def test_the_loop_goes_on_while_a_large_incident_is_read(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """And small ones, of which there are many, cost no thread."""
    journal = await cluster.journal()
    large, small = of_many(incident("large", cluster.client.namespace)), incident("small", cluster.client.namespace)
    for each in (large, small):
        journal.note(each)
        await durable(journal, each.id)
    watched = Watched()
    monkeypatch.setattr(codec, "decode", watched)
    successor = await cluster.journal(running=False)
    found = {each.id: each for each in await successor.load()}
    assert found == {"large": large, "small": small}
    assert beside(watched) == [False, True]


async def test_a_large_incident_that_is_read_again_does_not_hold_it_up_either(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed one, of which not all lines were kept, and which somebody has something to add to."""
    journal = await cluster.journal()
    closed = of_many(incident("large", cluster.client.namespace))
    for _ in range(30):
        closed = then(closed, State.WAITING)
    closed = then(closed, State.CLOSED)
    journal.note(closed)
    await durable(journal, "large")
    successor = await cluster.journal()
    await successor.load()
    watched = Watched()
    monkeypatch.setattr(codec, "decode", watched)
    successor.remember("large", "log", {"told": "1"})
    await durable(successor, "large")
    assert beside(watched) == [True]
    assert successor.incidents() == [closed]


@pytest.mark.parametrize("size", [0, AT_ONCE, AT_ONCE + 1])
async def test_what_is_read_beside_the_loop_is_what_is_large(size: int) -> None:
    here = threading.current_thread()
    read = await off_loop(lambda raw: (len(raw), threading.current_thread() is here), b"x" * size, size)
    assert read == (size, size <= AT_ONCE)
