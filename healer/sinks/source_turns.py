"""Whose message is next: a namespace whose RuleSets make many incidents keeps no message of others waiting."""

import itertools
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


class SourceTurns:
    """Takes the messages of each source in turn: of the RuleSets of each namespace, and of all others together ("")."""

    def __init__(self) -> None:
        self._count = itertools.count(1)
        self._last: dict[str, int] = {}

    def next(self, waiting: Iterable[T], source_of: Callable[[T], str]) -> T | None:
        """The first of the source whose last turn was longest ago; None where nothing waits."""
        found = min(waiting, key=lambda each: self._last.get(source_of(each), 0), default=None)
        if found is not None:
            self._last[source_of(found)] = next(self._count)
        return found
