"""What time alone changes: signals that may match by now, and, every so often, what is asked again and what is forgotten."""

import heapq

from healer.engine.matching.matcher import Match
from healer.engine.parts import Parts
from healer.engine.turn import Turn


class WaitingSignals:
    """When to look again, apart from what incidents ask for. Times in seconds since the epoch."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._matches: list[tuple[float, str]] = []  # when, key of a signal that may match by then
        self._all_at: float | None = None

    @property
    def due(self) -> float | None:
        """When the next look is due."""
        return min((at for at in (self.match_due, self._all_at) if at is not None), default=None)

    @property
    def match_due(self) -> float | None:
        """When the next signal may match."""
        return self._matches[0][0] if self._matches else None

    def await_match(self, match: Match) -> None:
        """Look again at a signal that has not matched when time alone may change that."""
        if match.news and match.wake_at is not None:
            heapq.heappush(self._matches, (match.wake_at, match.firing.signal.key))

    def take_match(self) -> str:
        """The key of the signal that is due."""
        return heapq.heappop(self._matches)[1]

    def schedule(self, now: float) -> None:
        """Look at all some time after now."""
        if self._all_at is None:
            self._all_at = now + self._parts.tuning.engine.recheck

    def take_all(self, now: float) -> bool:
        """Whether a look at all is due; it is scheduled no more."""
        due = self._all_at is not None and now >= self._all_at
        if due:
            self._all_at = None
        return due

    def take_all_again(self, now: float) -> None:
        """Look at all once more at the next Tick, which is due at once: only a part was looked at."""
        self._all_at = now

    def forget(self, turn: Turn) -> None:
        """Forget what no limit looks back at."""
        matcher, ledger = self._parts.matcher, self._parts.guard_state.ledger
        limits = [rule.rule.limits for rule in matcher.rulebook.rules]
        looks_back = max((max(each.cooldown, each.budget.per) for each in limits), default=0.0)
        matcher.forget(turn.now)
        ledger.forget(turn.now - looks_back - self._parts.tuning.limits.budget_per, turn.view)
        if matcher.waits() or ledger.remembers():
            self.schedule(turn.now)
