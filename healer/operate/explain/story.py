"""Derives from the facts a verdict in one line, the last decision of each rule, and what happens next. No I/O, no clock."""

from collections.abc import Iterable
from dataclasses import dataclass

from healer.engine.incidents.needed import is_held
from healer.engine.incidents.observing import uncalled
from healer.engine.safety.wide import is_breaker
from healer.model.duration import about
from healer.model.effects import Decision, Verb
from healer.model.incident import Incident, State
from healer.operate.explain.facts import SubjectFacts
from healer.operate.explain.words import next_step, step, step_done, takes_approval, waits_for_approval, when
from healer.rules.schema import Mode

LATE = 60.0
"""Seconds by which a recheck may be overdue before the explanation asks whether healer runs."""

_URGENCY = (State.ACTING, State.VERIFYING, State.WAITING, State.OPEN, State.ESCALATED, State.HEALED)
"""Of several open incidents, the verdict is about the one whose state comes first here."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict. `code` is one of unknown, well, seen, healed, escalated, open, approval, waiting, healing, observed.

    `text` says the same for people.
    """

    code: str
    text: str


def verdict(facts: SubjectFacts) -> Explanation:
    """Return the verdict on the subject."""
    if not facts.known:
        if facts.found or _unread(facts):
            return Explanation("unknown", f"nothing is known about {facts.subject}")
        near = f"; {facts.near}" if facts.near else ""
        return Explanation("unknown", f"there is no {facts.subject} in {facts.subject.namespace}{near}")
    of_the_workload = [incident for incident in facts.incidents if incident.state is not State.CLOSED]
    if of_the_workload:
        explanation = _open_verdict(min(of_the_workload, key=lambda incident: _URGENCY.index(incident.state)), facts.at)
    else:
        explanation = _closed_verdict(facts)
    gone = "" if facts.found else f"{facts.subject} is gone; "
    paused = f"paused on {facts.pauses[0]}; " if facts.pauses else ""
    return Explanation(explanation.code, gone + paused + explanation.text)


def _unread(facts: SubjectFacts) -> bool:
    """Whether it is not known that the subject does not exist: incidents are in the journal alone."""
    return facts.subject.kind == "Incident" and not facts.journal


def _open_verdict(incident: Incident, now: float) -> Explanation:
    """Return the verdict on an incident that is not closed."""
    observed = "; mode observe: nothing is changed" if incident.mode == Mode.OBSERVE else ""
    why = incident.reason.text
    match incident.state:
        case State.WAITING if waits_for_approval(incident):
            return Explanation("approval", f"waiting for a human to approve {step(incident)}: {why}")
        case State.WAITING if is_held(incident):
            return Explanation("waiting", f"a human is needed: {uncalled(why)}")
        case State.WAITING:
            until = f"until {when(incident.wake_at, now)}, " if incident.wake_at is not None and incident.wake_at > now else ""
            return Explanation("waiting", f"waiting: {why}; {until}then {step(incident)}{observed}")
        case State.ACTING:
            return Explanation("healing", f"healing: {step(incident)}: {why}{observed}")
        case State.VERIFYING if incident.mode == Mode.OBSERVE:
            return Explanation("observed", f"observed: {why}{observed}")
        case State.VERIFYING:
            by = f" until {when(incident.deadline, now)}" if incident.deadline is not None else ""
            return Explanation("healing", f"healing: {step(incident)}: looking{by} whether it helped{observed}")
        case State.ESCALATED:
            return Explanation("escalated", f"a human is needed: {why}")
        case State.HEALED:
            return Explanation("healed", f"healed: {why}")
        case _:
            return Explanation("open", f"open: {why}{observed}")


def _closed_verdict(facts: SubjectFacts) -> Explanation:
    """Return the verdict if no incident is open: on the last ignored or pending signal, or on the last incident."""
    news = [last for last in last_by_rule(facts.decisions or ()) if last.verb in (Verb.PEND, Verb.IGNORE)]
    closed = facts.incidents[-1] if facts.incidents else None
    if news and (closed is None or news[-1].at > closed.changed_at):
        last = news[-1]
        which = f"{last.rule}: " if last.rule else ""
        return Explanation("seen", f"no incident is open; last seen, {when(last.at, facts.at)}: {which}{last.reason.text}")
    caveat = "" if facts.decisions is not None else " (as far as the journal tells)"
    if closed is not None:
        text = f"no incident is open{caveat}; the last one, {closed.id}, closed {when(closed.changed_at, facts.at)}"
        return Explanation("well", f"{text}: {closed.reason.text}")
    return Explanation("well", f"no rule finds anything wrong{caveat}")


def last_by_rule(decisions: Iterable[Decision]) -> list[Decision]:
    """Return the last decision of each rule, oldest first. Decisions without a rule form one group."""
    return sorted({decision.rule: decision for decision in decisions}.values(), key=lambda decision: decision.at)


def next_steps(facts: SubjectFacts) -> list[str]:
    """Return what happens next: first for pauses, then for the incidents that are not closed, then for the daemon.

    Nothing is said of an object that is not there and of which nothing is known.
    """
    if not facts.known and not facts.found:
        return []
    lines = [f"nothing, until healer goes on: it is paused on {pause}" for pause in facts.pauses]
    lines += [line for incident in facts.incidents if (line := next_of(incident, facts.at))]
    overdue = max((_overdue(incident, facts.at) for incident in facts.incidents), default=0.0)
    if overdue > LATE and not _running(facts):
        leads = f"{facts.leader.holder} held the Lease" if facts.leader and facts.leader.holder else "no leader is known"
        lines.append(f"a look is overdue by {about(overdue)}: is healer running? {leads}")
    return lines or _pending(facts) or ["nothing, until a signal fires"]


def _pending(facts: SubjectFacts) -> list[str]:
    """Return which rules wait with a signal for the time or the count that they ask for, as far as nothing closed since."""
    closed = max((incident.changed_at for incident in facts.incidents), default=0.0)
    waiting = [last for last in last_by_rule(facts.decisions or ()) if last.verb is Verb.PEND and last.at > closed]
    return [
        f"{last.rule} waits: {last.reason.text} at {when(last.at, facts.at)}; it opens an incident when that is whole, and not "
        "when the signal ends before"
        for last in waiting
    ]


def _running(facts: SubjectFacts) -> bool:
    """Whether healer runs: it answered, or it renewed the Lease lately. The journal does not record every recheck."""
    if facts.decisions is not None:
        return True
    if facts.leader is None or not facts.leader.holder:
        return False
    age = facts.leader.age(facts.at)
    return age is not None and age < LATE


def next_of(incident: Incident, now: float) -> str:
    """Return what happens next to one incident; "" if it is closed."""
    otherwise = next_step(incident)
    would = "would" if incident.mode == Mode.OBSERVE else "will"
    ask = f"healer approve incident/{incident.id} -n {incident.workload.namespace}"
    match incident.state:
        case State.ESCALATED if is_breaker(incident):
            return f"{incident.id}: healer acts again after a quiet time, or when somebody says so: {ask}"
        case State.WAITING if takes_approval(incident):
            expiry = f", before it expires {_when_next(incident.wake_at, now)}" if waits_for_approval(incident) else ""
            return f"{incident.id}: somebody approves to {step_done(incident)}{expiry}: {ask}"
        case State.WAITING if is_held(incident):
            return f"{incident.id}: a human acts; when the storm has passed, healer goes on with {step(incident)}"
        case State.OPEN | State.WAITING:
            asked = f"{_when_next(incident.wake_at, now)} the guards are asked again"
            return f"{incident.id}: {asked}; if none objects, healer {would} {step_done(incident)}"
        case State.ACTING:
            return f"{incident.id}: the answer to {step_done(incident)}, then whether it helped; if not, {otherwise}"
        case State.VERIFYING if incident.mode == Mode.OBSERVE:
            return f"{incident.id}: closed once all is well for long enough; healer only observes, and asks nobody"
        case State.VERIFYING:
            well = f" (well since {when(incident.stable_since, now)})" if incident.stable_since is not None else ""
            by = _when_next(incident.deadline, now)
            return f"{incident.id}: healed once all is well for long enough{well}; if not, {otherwise} {by}"
        case State.ESCALATED:
            return f"{incident.id}: a human acts; healer does no more, and closes it when its signals are gone"
        case State.HEALED:
            return f"{incident.id}: closed when its cooldown ends {_when_next(incident.wake_at, now)}"
        case _:
            return ""


def _when_next(at: float | None, now: float) -> str:
    return "at its next look" if at is None or at <= now else when(at, now)


def _overdue(incident: Incident, now: float) -> float:
    """Return the seconds since the recheck of the incident was due; negative before it, 0 if none is due."""
    if incident.wake_at is None or incident.state not in (State.WAITING, State.VERIFYING):
        return 0.0
    return now - incident.wake_at
