"""Checks nodes: a storm on one takes over the incidents that have done nothing for its pods, until it passes."""

from collections.abc import Callable, Iterable

from healer.engine.matching.firing import Firing
from healer.engine.matching.matcher import Match
from healer.engine.parts import Parts
from healer.engine.safety.node_storms import node_storm, with_targets
from healer.engine.safety.wide import close_wide, open_wide
from healer.engine.turn import Turn
from healer.model.effects import Verb
from healer.model.incident import Incident, Reason


class Nodes:
    """`ask_again` asks the rules about signals."""

    def __init__(self, parts: Parts, ask_again: Callable[[Iterable[Firing], Turn], None]) -> None:
        self._parts = parts
        self._matcher = parts.matcher
        self._progress = parts.progress
        self._storms = parts.guard_state.node_storms
        self._ask_again = ask_again

    def check_changed(self, turn: Turn) -> None:
        """Check the nodes whose number of sick pods has changed, once all that fires is known."""
        if not self._progress.paused:
            self.check(self._matcher.sick_counts.changed_nodes(), turn)

    def check(self, nodes: Iterable[str], turn: Turn) -> None:
        """Check nodes; an incident is left to its nodes when all of them are known, for its pods may be on many."""
        storms: dict[str, Incident] = {}  # incident -> the storm that has the last of its pods
        for node in nodes:
            self._check(node, storms, turn)
        for incident_id, storm in storms.items():
            case = self._parts.cases.get(incident_id)
            # a rule that only tells people goes on
            if case is not None and self._parts.changes(case.rule.rule) and self._storms.absorbs(case.incident, turn.view):
                self._progress.absorb(case, storm, turn)

    def _check(self, node: str, storms: dict[str, Incident], turn: Turn) -> None:
        """Whether there is a storm on a node now; one that has passed leaves its pods to the rules again.

        `storms` takes the incidents that have pods in a new one.
        """
        sick_counts, fewest = self._matcher.sick_counts, self._parts.tuning.limits.node_storm_pods
        sick, incident = sick_counts.sick_on(node), self._storms.on(node)
        firings = [firing for key in sick_counts.keys_on(node) if (firing := self._matcher.get(key)) is not None]
        if incident is None:
            if sick >= fewest and 2 * sick >= turn.view.count_on(node):
                storm = self._open(node, firings, turn)
                storms |= {each: storm for firing in firings for each in firing.incidents if each != storm.id}
        elif sick >= fewest:
            if (after := with_targets(incident, firings, turn.now)) is not incident:
                self._storms.put(after)
                turn.record(after, line=False)
        else:
            self._storms.drop(node)
            text = f"{sick} pods on {incident.workload} count as sick, fewer than {fewest}"
            close_wide(incident, Reason("Recovered", text), turn)
            for firing in firings:
                firing.ask_anew()
            self._ask_again(firings, turn)

    def _open(self, node: str, firings: list[Firing], turn: Turn) -> Incident:
        home = self._parts.tuning.home
        storm = node_storm(node, firings, self._matcher.rulebook, turn.view, home, turn.now, self._parts.number())
        self._storms.put(storm)
        open_wide(storm, turn)
        self._parts.guard_state.cluster_breaker.count_opening(turn)
        for firing in firings:
            firing.join(storm.id)
        return storm

    def takes(self, match: Match, known: Incident | None, turn: Turn) -> bool:
        """Whether a match is of a pod on a node with a storm: that incident has it, unless the one `known` of its rule has it.

        A rule that only tells people goes on: it takes none of the pods.
        """
        signal = match.firing.signal
        storm = self._storms.storm_of(signal.target.uid, turn.view) if self._parts.changes(match.rule.rule) else None
        if storm is None or (known is not None and signal.target.uid in known.targets):
            return False
        if storm.id not in match.firing.incidents:
            match.firing.join(storm.id)
            reason = Reason("NodeStorm", f"{signal.target} is on {storm.workload}: one of many sick pods there")
            turn.decide(Verb.JOIN, reason, signal.target, match.rule.name, storm.id)
        return True
