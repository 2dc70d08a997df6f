"""What healer says of itself to Prometheus. Every label has a bounded set of values: names of rules, states, reason codes."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from healer.model.action import Outcome
from healer.model.decision import Decision
from healer.model.incident import Incident, State
from healer.model.signal import Signal

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_HEALING = (5, 10, 30, 60, 120, 300, 600, 1200, 3600)
_MOST_NAMES = 200
"""Alert names come from outside; past that many, the rest are counted as "other"."""


class Metrics:
    """All metrics of one daemon, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._signals = Counter("healer_signals", "Signals taken.", ["source", "name"], registry=registry)
        self._incidents = Gauge("healer_incidents", "Incidents by state.", ["rule", "state"], registry=registry)
        self._actions = Counter("healer_actions", "Attempts to act, by outcome.", ["action", "outcome"], registry=registry)
        self._decisions = Counter("healer_decisions", "Decisions.", ["rule", "decision", "reason"], registry=registry)
        self._reaction = Histogram("healer_reaction_seconds", "Signal seen to action sent.", registry=registry, buckets=_SECONDS)
        self._healing = Histogram("healer_time_to_heal_seconds", "Opened to healed.", registry=registry, buckets=_HEALING)
        self._verdicts = Counter("healer_verdicts", "Looks at canaries, by verdict.", ["rule", "verdict"], registry=registry)
        self._unanswered = Counter("healer_unanswered_looks", "Looks that could not tell.", ["rule"], registry=registry)
        self._age = Gauge("healer_watch_age_seconds", "Since a watch was last heard of.", ["kind"], registry=registry)
        self._queue = Gauge("healer_queue_depth", "Signals that wait to be decided.", registry=registry)
        self._names: set[tuple[str, str]] = set()
        self._states: dict[str, State] = {}

    def signal(self, signal: Signal) -> None:
        """A signal was taken."""
        name = (signal.source, signal.name)
        if name not in self._names and len(self._names) >= _MOST_NAMES:
            name = (signal.source, "other")
        self._names.add(name)
        self._signals.labels(*name).inc()

    def begin_term(self) -> None:
        """Forget the incidents counted: those of the journal are told anew."""
        self._incidents.clear()
        self._states.clear()

    def incident(self, incident: Incident) -> None:
        """An incident changed."""
        before = self._states.get(incident.id)
        if before is incident.state:
            return
        if before is not None:
            self._incidents.labels(incident.rule, before).dec()
        self._incidents.labels(incident.rule, incident.state).inc()
        self._states[incident.id] = incident.state
        if incident.state is State.HEALED:
            self._healing.observe(incident.changed_at - incident.opened_at)
        if incident.state is State.CLOSED:
            del self._states[incident.id]

    def decision(self, decision: Decision) -> None:
        """A decision was made. What no rule is about is counted under an empty rule, its reason telling so."""
        self._decisions.labels(decision.rule, decision.verb, decision.reason.code).inc()

    def outcome(self, action: str, outcome: Outcome) -> None:
        """An attempt to act came back."""
        self._actions.labels(action, outcome.kind).inc()

    def reaction(self, seconds: float) -> None:
        """An action was sent so long after its signal was seen."""
        self._reaction.observe(seconds)

    def verdict(self, rule: str, kind: str) -> None:
        """A canary was looked at."""
        self._verdicts.labels(rule, kind).inc()

    def unanswered(self, rule: str) -> None:
        """A look of a rule came to nothing: no answer, or none that says anything."""
        self._unanswered.labels(rule).inc()

    def watch(self, kind: str, age: Callable[[], float]) -> None:
        """Read a watch's age whenever metrics are asked for."""
        self._age.labels(kind).set_function(age)

    def lines_dropped(self, count: Callable[[], float]) -> None:
        """Read how many lines of the log were dropped whenever metrics are asked for."""
        Gauge("healer_log_lines_dropped", "Log lines that nobody took.", registry=self.registry).set_function(count)

    def queue(self, depth: Callable[[], float]) -> None:
        """Read the queue's depth whenever metrics are asked for."""
        self._queue.set_function(depth)
