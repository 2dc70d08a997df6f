"""When incidents go on that wait until all that fires is known.

They wait while parts of a delivery are to come, and until the first Tick after a restart; then a part goes on at each Tick.
"""

from healer.engine.incidents.nodes import Nodes
from healer.engine.parts import Parts
from healer.engine.turn import Turn

_NODES_AT_ONCE = 10
CASES_AT_ONCE = 25
"""What one input takes up of each: about 10 ms of work."""


class Resumption:
    """Times in seconds since the epoch."""

    def __init__(self, parts: Parts, nodes: Nodes) -> None:
        self._matcher = parts.matcher
        self._progress = parts.progress
        self._node_storms = parts.guard_state.node_storms
        self._nodes = nodes
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
        if self._since is None:
            self._since = turn.now
            self._nodes_left = dict.fromkeys(storm.workload.name for storm in self._node_storms.all())
        self._nodes_left |= dict.fromkeys(self._matcher.sick_counts.changed_nodes())
        part = list(self._nodes_left)[:_NODES_AT_ONCE]
        for node in part:
            del self._nodes_left[node]
        self._nodes.check(part, turn)
        if not self._nodes_left and self._progress.resume(turn, most=CASES_AT_ONCE):
            self._since = None
