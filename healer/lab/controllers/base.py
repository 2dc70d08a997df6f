"""The base of the controllers. Changes of the store put keys in a queue, and the controller reconciles one key at a time.

A key whose reconciliation the API refuses is retried with a back-off that doubles, as in Kubernetes' work queues.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from healer.lab.apiserver.api import ObjectApi
from healer.lab.apiserver.status import ApiRefusal
from healer.lab.apiserver.store import Key, StoreEvent

_FIRST_BACKOFF = 0.005
_LONGEST_BACKOFF = 5.0
"""The longest back-off in seconds. (Kubernetes' work queues start at the same value and go up to 1,000 s.)"""
_BURST = 100
"""Keys that are reconciled before the controller yields to the event loop."""


class Controller(ABC):
    """A queue of keys, and the timers that add keys later. A key is queued once, so the number of objects bounds the queue."""

    def __init__(self, api: ObjectApi) -> None:
        self.api = api
        self._queue: dict[Key, None] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self.refused: ApiRefusal | None = None
        """The last refusal of the API, so that a failed test can show it."""
        self._woken = asyncio.Event()
        api.store.listeners.append(self.observe)

    @abstractmethod
    def observe(self, collection: str, change: StoreEvent) -> None:
        """Take a change of the store, and `enqueue` the keys that it concerns."""

    @abstractmethod
    def reconcile(self, key: Key) -> float | None:
        """Bring the objects of this key to their desired state. Returns the seconds until the next reconciliation, None for none.

        The key is retried later if this raises ApiRefusal.
        """

    def enqueue(self, key: Key) -> None:
        """Queue the key for reconciliation."""
        self._queue[key] = None
        self._woken.set()

    async def run(self) -> None:
        """Reconcile queued keys until cancelled."""
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
        """Reconcile a key. Returns the seconds until the next reconciliation, which after a refusal is the back-off."""
        try:
            seconds = self.reconcile(key)
        except ApiRefusal as error:
            self.refused = error
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            return float(min(_FIRST_BACKOFF * 2 ** min(failures - 1, 16), _LONGEST_BACKOFF))
        self._failures.pop(key, None)
        return seconds
