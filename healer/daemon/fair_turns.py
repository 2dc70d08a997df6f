"""Takes the objects of many namespaces in turns, so that one namespace with much to do delays no other."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairTurns(Generic[T]):
    """It remembers who had a turn when: who begins anew, before all is done, goes on with the next namespace."""

    def __init__(self, namespace_of: Callable[[T], str]) -> None:
        self._namespace_of = namespace_of
        self._count = itertools.count(1)
        self._last: dict[str, int] = {}

    def of(self, things: Iterable[T]) -> Iterator[T]:
        """Each thing once: one of each namespace in a round, first of that whose last turn was longest ago.

        The thing after which nobody asks for another one has had no turn.
        """
        queues: dict[str, deque[T]] = {}
        for thing in things:
            queues.setdefault(self._namespace_of(thing), deque()).append(thing)
        self._last = {namespace: self._last.get(namespace, 0) for namespace in queues}
        while queues:
            for namespace in sorted(queues, key=self._last.__getitem__):
                yield queues[namespace].popleft()
                self._last[namespace] = next(self._count)
                if not queues[namespace]:
                    del queues[namespace]
