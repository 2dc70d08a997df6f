"""When incidents go on that wait until all that fires is known.

They wait while parts of a delivery are to come, while rules are asked about many signals, and until the first Tick after a
restart; then a part goes on at each Tick.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from healer.engine.incidents.cases import Case
from healer.engine.incidents.nodes import Nodes
from healer.engine.matching.firing import Firing
from healer.engine.parts import Parts
from healer.engine.turn import Turn

_NODES_AT_ONCE = 3
CASES_AT_ONCE = 25
SIGNALS_AT_ONCE = 100
"""What one input takes up of each: about 10 ms of work."""


class Resumption:
    """`ask_again` asks the rules about signals. Times in seconds since the epoch."""

    def __init__(self, parts: Parts, nodes: Nodes, ask_again: Callable[[Iterable[Firing], Turn], None]) -> None:
        self._matcher = parts.matcher
        self._progress = parts.progress
        self._node_storms = parts.guard_state.node_storms
        self._nodes = nodes
        self._ask_again = ask_again
        self._to_ask: dict[str, None] = {}  # keys of signals about which rules are asked before the incidents go on
        self._parts_to_come = False
        self._restored_at: float | None = None
        self._since: float | None = None  # since when those that waited go on; None when nothing does
        self._nodes_left: dict[str, None] = {}  # nodes to look at before the incidents go on

    @property
    def parts_to_come(self) -> bool:
        """Whether of signals that arrive together some are still to come."""
        return self._parts_to_come

    @property
    def goes_on(self) -> bool:
        """Whether not all that waited has gone on yet."""
        return self._since is not None

    @property
    def due(self) -> float | None:
        """When the next part is due; None when there is none."""
        return self._restored_at if self._restored_at is not None or self._parts_to_come else self._since

    def arriving(self, *, whole: bool) -> None:
        """Signals arrive; not `whole`: of a delivery of which further parts are to come."""
        self._parts_to_come = not whole
        if not whole:
            self._progress.pause()

    def arrived(self, turn: Turn) -> None:
        """They are known: when these were the last, all that waits goes on."""
        if self._progress.paused and not self._parts_to_come and self._restored_at is None:
            self.go_on(turn)

    def ask(self, firings: Sequence[Firing], turn: Turn) -> None:
        """Ask the rules about signals; of many a part at a time, and no incident goes on before the last."""
        if len(firings) <= SIGNALS_AT_ONCE:
            self._ask_again(firings, turn)
            return
        self._to_ask |= dict.fromkeys(firing.signal.key for firing in firings)
        self._begin(turn)

    def advance(self, cases: Sequence[Case], turn: Turn) -> None:
        """Let incidents go on; of many a part at a time."""
        if len(cases) > CASES_AT_ONCE:
            self._begin(turn)
        for case in cases:
            self._progress.advance(case.incident.id, turn)

    def _begin(self, turn: Turn) -> None:
        """Let the incidents wait; the first part goes on at the next Tick, which is due at once."""
        if not self._progress.paused:
            self._progress.pause()
            self._start(turn)

    def _start(self, turn: Turn) -> None:
        if self._since is None:
            self._since = turn.now
            self._nodes_left = dict.fromkeys(storm.workload.name for storm in self._node_storms.all())

    def restored(self, now: float) -> None:
        """What a journal holds is known; what fires now is not."""
        self._restored_at = now
        self._progress.pause()

    def tick(self, turn: Turn) -> None:
        """Time has passed."""
        due = self.goes_on or self._restored_at is not None
        self._restored_at = None
        if due and not self._parts_to_come:
            self.go_on(turn)

    def go_on(self, turn: Turn) -> None:
        """All that fires is known: let a part go on."""
        self._start(turn)
        asked = list(islice(self._to_ask, SIGNALS_AT_ONCE))
        for key in asked:
            del self._to_ask[key]
        self._ask_again([firing for key in asked if (firing := self._matcher.get(key)) is not None], turn)
        if self._to_ask:
            return
        self._nodes_left |= dict.fromkeys(self._matcher.sick_counts.changed_nodes())
        part = list(self._nodes_left)[:_NODES_AT_ONCE]
        for node in part:
            del self._nodes_left[node]
        self._nodes.check(part, turn)
        if not self._nodes_left and self._progress.resume(turn, most=CASES_AT_ONCE):
            self._since = None
