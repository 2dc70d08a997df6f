"""What healer says of itself to Prometheus. Every label has a bounded set of values: names of rules, states, reason codes."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import version
from itertools import islice
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from healer.actions.base import Temporary
from healer.actions.registry import ACTIONS
from healer.cluster.contact import Contact
from healer.daemon.rules_in_force import RulesInForce
from healer.engine.safety.wide import BREAKERS, NODE_STORM, SET_ASIDE
from healer.journal.base import JournalCounts
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Decision
from healer.model.incident import Incident, State
from healer.model.signal import Signal
from healer.model.temporary import End
from healer.model.verdict import VerdictKind
from healer.rules.rulebook import BoundRule
from healer.rules.schema import Mode
from healer.rules.triggers import QUERY, TRIGGERS

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_HEALING = (5, 10, 30, 60, 120, 300, 600, 1200, 3600)
_WIDE = (NODE_STORM, *BREAKERS, SET_ASIDE)
_MOST_RULES = 20_000
"""Names of rules that metrics tell apart, over the life of the process."""
_DRY_RUN = "dry-run"
_OTHER = "other"
"""The name of all alerts that no rule is about: a sender can call them what he likes."""


def _untraced(_: Incident) -> None:
    """No exemplar."""


class Metrics:
    """All metrics of one daemon, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self._exemplar: Callable[[Incident], dict[str, str] | None] = _untraced
        self._signals = counter("healer_signals", "Signals that the engine took.", ["source", "name"])
        self._incidents = gauge("healer_incidents", "Incidents, by state.", ["rule", "mode", "state"])
        self._of_actions(counter)
        self._decisions = counter(
            "healer_decisions", "Decisions of the engine, refusals included.", ["rule", "decision", "reason"]
        )
        self._reaction = histogram(
            "healer_reaction_seconds",
            "Seconds from the moment that a signal was seen to the moment that its action was sent.",
            buckets=_SECONDS,
        )
        self._healing = histogram(
            "healer_time_to_heal_seconds", "Seconds from the opening of an incident to its healing.", buckets=_HEALING
        )
        self._verdicts = counter("healer_verdicts", "Judgements of canaries, by verdict.", ["rule", "verdict"])
        self._unanswered = counter("healer_unanswered_looks", "Looks that gave no usable answer.", ["rule"])
        self._alertmanager = counter(
            "healer_alertmanager_looks", "Requests to Alertmanager for the alerts that fire.", ["outcome"]
        )
        for outcome in ("answered", "unanswered"):
            self._alertmanager.labels(outcome)
        self._late = counter("healer_looks_late", "Looks that were skipped because the one before still ran.", ["rule"])
        self._age = gauge("healer_watch_age_seconds", "Seconds since a watch last received anything.", ["kind"])
        self._queue = gauge("healer_queue_depth", "Signals that wait for the engine.")
        self._leader = gauge(
            "healer_leader", "1 while this replica leads and may act. The sum over all replicas is 0 when nobody leads."
        )
        gauge("healer_build_info", "Always 1; the label is the version that runs.", ["version"]).labels(version("healer")).set(1)
        self._loaded = gauge(
            "healer_rules_last_reload_successful", "0 while the rule files have errors and the last good rules are in force."
        )
        self._loaded.set(1)
        self._loaded_at = gauge(
            "healer_rules_last_reload_success_timestamp_seconds", "When the rules in force were read, in seconds since the epoch."
        )
        self._loaded_at.set_to_current_time()
        self._rulesets = gauge("healer_rulesets", "RuleSets in the cluster, by whether they are accepted.", ["accepted"])
        self._rules: dict[str, Mode | None] | None = None
        self._aside = gauge(
            "healer_journal_set_aside",
            "Incident objects that healer set aside because it does not trust them, by reason.",
            ["reason"],
        )
        self._states: dict[str, State] = {}

    def _of_actions(self, counter: Callable[..., Counter]) -> None:
        """What becomes of actions and of the changes that they made."""
        self._actions = counter(
            "healer_actions", "Actions that were attempted, by outcome; a dry run is `dry-run`.", ["action", "outcome"]
        )
        for action in ACTIONS:
            for outcome in (*OutcomeKind, _DRY_RUN):
                self._actions.labels(action, outcome)
        self._taken_back = counter(
            "healer_taken_back",
            "Temporary changes that healer took back or left alone, and tries that failed.",
            ["action", "result"],
        )
        for action in (name for name, each in ACTIONS.items() if isinstance(each, Temporary)):
            for result in (*End, "failed"):
                self._taken_back.labels(action, result)
        self._object_events = counter(
            "healer_object_events",
            "Events about its actions that healer posted on objects, could not post, or dropped because there were too many.",
            ["outcome"],
        )
        for outcome in ("posted", "failed", "dropped"):
            self._object_events.labels(outcome)

    def cap(self, most: Mode) -> None:
        """No rule goes further than this mode."""
        mode = Gauge(
            "healer_mode",
            "Always 1; the label is the most that any rule may do (the setting `mode`).",
            ["mode"],
            registry=self.registry,
        )
        mode.labels(most).set(1)

    def use(self, rules: Mapping[str, BoundRule]) -> None:
        """These rules, by name, are in force. What is of none that ever was (somebody else wrote it) is counted as "other".

        All that may be counted of them stands at 0 from now on: what is born at 1 has no rate, and the first is missed. Thousands
        of rules take some time: it may be called in a thread. Names beyond `_MOST_RULES`, which only tenants can think of, are
        counted as "other".
        """
        before = self._rules or {}
        room = max(0, _MOST_RULES - len(before))
        fresh = {name: bound for name, bound in rules.items() if before.get(name, "") != bound.rule.mode}
        fresh = {name: bound for name, bound in fresh.items() if name in before} | dict(
            islice(((name, bound) for name, bound in fresh.items() if name not in before), room)
        )
        modes: dict[str, Mode | None] = {name: bound.rule.mode for name, bound in fresh.items()}
        self._rules = (before or dict.fromkeys(("", *_WIDE))) | modes
        self._at_zero(modes)
        for name, bound in fresh.items():
            if bound.rule.when.trigger.asked:
                self._late.labels(name)
            if bound.rule.when.trigger is QUERY:
                self._unanswered.labels(name)
            if bound.rule.when.trigger.judged:
                for kind in VerdictKind:
                    self._verdicts.labels(name, kind)

    def _at_zero(self, modes: Mapping[str, Mode | None]) -> None:
        for rule, mode in modes.items():
            for state in State if mode is not None else ():
                self._incidents.labels(rule, mode, state)

    def _rule(self, name: str) -> str:
        return name if self._rules is None or name in self._rules else _OTHER

    def signal(self, signal: Signal, known: bool = True) -> None:
        """A signal was taken; `known`: some rule in force looks for its name."""
        name = signal.name if known or not TRIGGERS[signal.source].pushed else _OTHER
        self._signals.labels(signal.source, name).inc()

    def traced(self, exemplar: Callable[[Incident], dict[str, str] | None]) -> None:
        """Give the histograms exemplars: the trace of an incident, where there is one."""
        self._exemplar = exemplar

    def begin_leadership(self) -> None:
        """Forget the incidents counted: those of the journal are told anew."""
        self._incidents.clear()
        self._states.clear()
        self._at_zero(self._rules or {})

    def set_aside(self, reasons: Iterable[str]) -> None:
        """The objects of the journal that are not believed, by reason; in place of what was said before."""
        self._aside.clear()
        for reason in reasons:
            self._aside.labels(reason).inc()

    def incident(self, incident: Incident) -> None:
        """An incident changed."""
        before = self._states.get(incident.id)
        if before is incident.state:
            return
        if before is not None:
            self._incidents.labels(self._rule(incident.rule), _mode(incident), before).dec()
        self._incidents.labels(self._rule(incident.rule), _mode(incident), incident.state).inc()
        self._states[incident.id] = incident.state
        if incident.state is State.HEALED and before is not None:  # else an earlier term has counted it
            self._healing.observe(incident.changed_at - incident.opened_at, self._exemplar(incident))
        if incident.state is State.CLOSED:
            del self._states[incident.id]

    def decision(self, decision: Decision) -> None:
        """A decision was made. What no rule is about is counted under an empty rule, its reason telling so."""
        self._decisions.labels(self._rule(decision.rule), decision.verb, decision.reason.code).inc()

    def outcome(self, action: str, outcome: Outcome, *, dry_run: bool = False) -> None:
        """An attempt to act came back; what was tried on nothing is neither done nor refused."""
        self._actions.labels(action, _DRY_RUN if dry_run else outcome.kind).inc()

    def taken_back(self, action: str, result: End | Literal["failed"]) -> None:
        """A temporary change was taken back or left alone, or that failed."""
        self._taken_back.labels(action, result).inc()

    def object_event(self, outcome: Literal["posted", "failed", "dropped"]) -> None:
        """An Event about an action was posted, was refused, or was one too many."""
        self._object_events.labels(outcome).inc()

    def reaction(self, seconds: float, incident: Incident) -> None:
        """An action for an incident was sent so long after its signal was seen."""
        self._reaction.observe(seconds, self._exemplar(incident))

    def alertmanager(self, answered: bool) -> None:
        """Alertmanager was asked what fires; where there are several, all of them answered or not."""
        self._alertmanager.labels("answered" if answered else "unanswered").inc()

    def verdict(self, rule: str, kind: str) -> None:
        """A canary was looked at."""
        self._verdicts.labels(rule, kind).inc()

    def unanswered(self, rule: str) -> None:
        """A look of a rule came to nothing: no answer, or none that says anything."""
        self._unanswered.labels(rule).inc()

    def late(self, rule: str) -> None:
        """A look of a rule was left out, because the one before was still under way."""
        self._late.labels(rule).inc()

    def watch(self, kind: str, age: Callable[[], float]) -> None:
        """Read a watch's age whenever metrics are asked for."""
        self._age.labels(kind).set_function(age)

    def lines_dropped(self, count: Callable[[], float]) -> None:
        """Read how many lines of the log were dropped whenever metrics are asked for."""
        Gauge(
            "healer_log_lines_dropped",
            "Log lines that were dropped because standard error was full or closed.",
            registry=self.registry,
        ).set_function(count)

    def leads(self, leads: Callable[[], bool]) -> None:
        """Ask whether this replica leads whenever metrics are asked for."""
        self._leader.set_function(leads)

    def contact(self, contact: Contact) -> None:
        """Read how the API server answers whenever metrics are asked for."""
        self.registry.register(_Answers(contact))

    def journal(self, counts: JournalCounts, objects: Callable[[], int]) -> None:
        """Read what the journal has done, and how many incidents it keeps, whenever metrics are asked for."""
        self.registry.register(_JournalCollector(counts, objects))

    def breakers(self, open_: Callable[[], Mapping[str, bool]]) -> None:
        """Ask whenever metrics are asked for whether the breaker of each rule in force is open."""
        self.registry.register(_RuleBreakerCollector(open_))

    def rules(self, rules: RulesInForce) -> None:
        """Ask how the rules are whenever metrics are asked for."""
        self._loaded.set_function(lambda: not rules.problems)
        self._loaded_at.set_function(lambda: rules.loaded_at)
        self.registry.register(_RulesInfo(lambda: rules.digest))
        self._rulesets.labels("true").set_function(lambda: sum(not each.reason for each in rules.judged))
        self._rulesets.labels("false").set_function(lambda: sum(bool(each.reason) for each in rules.judged))

    def queue(self, depth: Callable[[], float]) -> None:
        """Read the queue's depth whenever metrics are asked for."""
        self._queue.set_function(depth)


class _Answers(Collector):
    """The API server's answers: counted where they come in, and read here, so that every series stands from the beginning."""

    def __init__(self, contact: Contact) -> None:
        self._contact = contact

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "healer_api_requests", "Requests to the API server, by verb and status code.", labels=["verb", "code"]
        )
        for verb, code, count in self._contact.numbers():
            requests.add_metric([verb, code], count)
        yield requests
        reachable = not self._contact.trouble and self._contact.heard
        yield GaugeMetricFamily("healer_api_reachable", "0 while the API server gives no good answer.", value=reachable)
        yield GaugeMetricFamily(
            "healer_api_silence_seconds", "Seconds since the API server's last good answer.", value=self._contact.silence()
        )
        missing = len(self._contact.missing)
        yield GaugeMetricFamily(
            "healer_missing_permissions", "Permissions that the API server refused and has not granted since.", value=missing
        )


class _JournalCollector(Collector):
    """What the journals of all terms have done."""

    def __init__(self, counts: JournalCounts, objects: Callable[[], int]) -> None:
        self._counts = counts
        self._objects = objects

    def collect(self) -> Iterable[Metric]:
        counts = self._counts
        yield CounterMetricFamily("healer_journal_writes", "Writes of incidents to the API server.", value=counts.written)
        yield CounterMetricFamily(
            "healer_journal_failures", "Writes of incidents that the API server refused.", value=counts.refused
        )
        yield CounterMetricFamily(
            "healer_journal_conflicts", "Writes of incidents that another writer forestalled.", value=counts.lost
        )
        yield CounterMetricFamily(
            "healer_journal_unreadable", "Objects that cannot be read as incidents.", value=counts.undecodable
        )
        yield GaugeMetricFamily("healer_journal_objects", "Incident objects in the journal.", value=self._objects())


class _RulesInfo(Collector):
    """The digest of the rules in force."""

    def __init__(self, digest: Callable[[], str]) -> None:
        self._digest = digest

    def collect(self) -> Iterable[Metric]:
        info = GaugeMetricFamily(
            "healer_rules_info",
            "Always 1; the label is the digest of the rules in force: replicas with the same rules show the same one.",
            labels=["digest"],
        )
        info.add_metric([self._digest()], 1.0)
        yield info


class _RuleBreakerCollector(Collector):
    """The breakers of the rules in force."""

    def __init__(self, open_: Callable[[], Mapping[str, bool]]) -> None:
        self._open = open_

    def collect(self) -> Iterable[Metric]:
        breakers = GaugeMetricFamily(
            "healer_rule_breaker_open",
            "1 while a rule does not act, because too many of its incidents in a row needed a human in the end.",
            labels=["rule"],
        )
        for rule, is_open in self._open().items():
            breakers.add_metric([rule], float(is_open))
        yield breakers


def _mode(incident: Incident) -> str:
    """Of an incident; one that somebody else wrote may have anything there."""
    return incident.mode if incident.mode in list(Mode) else _OTHER
