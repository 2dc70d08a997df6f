"""Why rules did not do, at a moment, what others did then: by their incidents and their last decisions about the workload."""

from collections.abc import Iterable, Sequence

from healer.model.effects import Decision, Verb
from healer.model.incident import Incident
from healer.model.target import Target
from healer.rehearsal.replay.said import moment
from healer.rehearsal.replay.story import ToldAct
from healer.rules.rulebook import Rulebook
from healer.rules.schema import Mode

_MOST = 50_000
"""Decisions that are kept; the oldest go."""
_SHOWN = 4
_SAYS = {Verb.PEND: "waits", Verb.IGNORE: "does not match", Verb.DEFER: "is held back", Verb.REFUSE: "is held back"}


class LastDecisions:
    """The last decision of each rule on each target, by the workload (uid); what no rule is about, each by itself."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str, str, str], Decision] = {}  # workload, rule, target, what no rule is about
        self._by_workload: dict[str, dict[tuple[str, str, str, str], None]] = {}

    def note(self, decision: Decision, workload: str) -> None:
        """A decision was made."""
        key = (workload, decision.rule, decision.target.uid, "" if decision.rule else decision.reason.text)
        self._of.pop(key, None)
        self._of[key] = decision
        self._by_workload.setdefault(workload, {})[key] = None
        if len(self._of) > _MOST:
            oldest = next(iter(self._of))
            del self._of[oldest]
            self._by_workload[oldest[0]].pop(oldest)

    def about(self, workload: Target, target: Target) -> Sequence[Decision]:
        """Those about a workload: the ones on the target first, then by time, the newest first."""
        found = [self._of[key] for key in self._by_workload.get(workload.uid, ())]
        return sorted(found, key=lambda each: (each.target.uid == target.uid, each.at), reverse=True)


def why_not(
    deed: ToldAct, rules: Rulebook, incidents: Iterable[Incident], decisions: Sequence[Decision], unjudged: Sequence[str]
) -> str:
    """Why rules did not do at that moment what others did, in words.

    `incidents` are the open ones of the workload, `decisions` the last ones about it, `unjudged` why the record says nothing of
    the rule that did it.
    """
    rule = rules.get(deed.rule)
    missing = "" if rule is not None else f"there is no rule {deed.rule} among these; "
    incidents = list(incidents)
    for incident in incidents:
        if incident.rule == deed.rule:
            return _of_incident(incident)
    if rule is not None and unjudged:
        return f"{deed.rule} cannot be judged: {'; '.join(unjudged)}"
    for decision in decisions:
        if decision.rule == deed.rule:
            return _of_decision(decision)
    for incident in incidents:
        return missing + _of_incident(incident)
    for decision in decisions:
        if decision.rule and decision.verb in _SAYS:
            return missing + _of_decision(decision)
    if nobodys := [decision.reason.text for decision in decisions if not decision.rule]:
        return missing + ", ".join(nobodys[:_SHOWN])
    if rule is None:
        return f"{missing}and none of them asks for it"
    return f"nothing that {deed.rule} looks for as it is written in these rules was seen on {deed.workload}"


def mode_of(deed: ToldAct, rules: Rulebook) -> str:
    """Why a deed is a dry run: the mode of its rule; "" when it is none."""
    rule = rules.get(deed.rule)
    if not deed.dry_run or rule is None:
        return ""
    if rule.rule.mode is Mode.OBSERVE:
        return f"{deed.rule} has the mode observe"
    return "the settings let no rule go further than the mode observe"


def _of_incident(incident: Incident) -> str:
    reason = incident.reason
    return f"{incident.rule} is {incident.state} since {moment(incident.changed_at)}: {reason.code}: {reason.text}"


def _of_decision(decision: Decision) -> str:
    says = _SAYS.get(decision.verb, f"has decided ({decision.verb})")
    reason = decision.reason
    return f"{decision.rule} {says}, as of {moment(decision.at)}: {reason.code}: {reason.text}"
