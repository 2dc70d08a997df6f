"""A controller: changes of the store put keys in its queue, and it makes the world right for one key at a time.

What the API refuses is tried again, with a back-off that doubles, as the work queues of Kubernetes' controllers do.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from healer.lab.apiserver.api import ObjectApi
from healer.lab.apiserver.status import ApiRefusal
from healer.lab.apiserver.store import Key, StoreEvent

_FIRST_BACKOFF = 0.005
_LONGEST_BACKOFF = 5.0
"""Seconds between two tries of a key that the API refuses (workqueue's default begins alike, and goes up to 1,000 s)."""
_BURST = 100
"""Keys worked off before the event loop may serve others."""


class Controller(ABC):
    """A queue of keys without duplicates, hence never longer than there are objects, and timers that refill it."""

    def __init__(self, api: ObjectApi) -> None:
        self.api = api
        self._queue: dict[Key, None] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self.refused: ApiRefusal | None = None
        """The last refusal that it met, for tests that look why nothing happens."""
        self._woken = asyncio.Event()
        api.store.listeners.append(self.observe)

    @abstractmethod
    def observe(self, collection: str, change: StoreEvent) -> None:
        """Look at a change and `enqueue` the keys that it concerns."""

    @abstractmethod
    def reconcile(self, key: Key) -> float | None:
        """Make the world right for this key. Returns the seconds after which to look again, if at all.

        An ApiError that it raises has the key tried again later.
        """

    def enqueue(self, key: Key) -> None:
        """Have the key reconciled soon."""
        self._queue[key] = None
        self._woken.set()

    async def run(self) -> None:
        """Work for ever."""
        try:
            while True:
                await self._woken.wait()
                self._woken.clear()
                self._work()
                await asyncio.sleep(0)
        finally:
            for timer in self._timers.values():
                timer.cancel()

    def _work(self) -> None:
        for _ in range(min(len(self._queue), _BURST)):
            key = next(iter(self._queue))
            del self._queue[key]
            if timer := self._timers.pop(key, None):
                timer.cancel()
            seconds = self._reconciled(key)
            if seconds is not None:
                self._timers[key] = asyncio.get_running_loop().call_later(seconds, self.enqueue, key)
        if self._queue:
            self._woken.set()

    def _reconciled(self, key: Key) -> float | None:
        """Reconcile a key; returns when to look again, after a refusal too."""
        try:
            seconds = self.reconcile(key)
        except ApiRefusal as error:
            self.refused = error
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            return float(min(_FIRST_BACKOFF * 2 ** min(failures - 1, 16), _LONGEST_BACKOFF))
        self._failures.pop(key, None)
        return seconds
