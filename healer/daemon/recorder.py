"""One call becomes a journal entry, a log line, a counter and a message: where all that the engine records and decides goes."""

from collections import deque
from collections.abc import Callable

import structlog

from healer.daemon.metrics import Metrics
from healer.journal.base import Journal
from healer.model.effects import Decision, Record, Verb
from healer.model.incident import Incident

_QUIET = frozenset({Verb.IGNORE, Verb.PEND})


class Recorder:
    """Never blocks. `decisions` gets the latest, oldest first; `observers` are called with each (the demo's timeline)."""

    def __init__(
        self,
        journal: Journal,
        metrics: Metrics,
        tell: Callable[[Incident], None],
        decisions: deque[Decision],
        observers: tuple[Callable[[Decision], None], ...],
    ) -> None:
        self._journal = journal
        self._metrics = metrics
        self._tell = tell
        self._observers = observers
        self._log = structlog.get_logger("healer.decisions")
        self._decisions = decisions

    def record(self, record: Record) -> None:
        """An incident changed."""
        self._journal.note(record.incident)
        self._metrics.incident(record.incident)
        if record.entry is not None:
            self._tell(record.incident)

    def decided(self, decision: Decision, *, again: bool = False) -> None:
        """A decision was made; one that was said `again` is only counted."""
        self._metrics.decision(decision)
        if again:
            return
        self._decisions.append(decision)
        log = self._log.debug if decision.verb in _QUIET else self._log.info
        log(
            str(decision.verb),
            rule=decision.rule,
            incident=decision.incident,
            target=str(decision.target),
            namespace=decision.target.namespace,
            reason=decision.reason.code,
            text=decision.reason.text,
        )
        for observe in self._observers:
            observe(decision)
