"""Writes into each RuleSet what became of it: the condition Accepted, how many of its rules are in force, when one fired last.

Only a leader writes, and only what differs from what the object has. A write names the resourceVersion that it is made from, so
that one of somebody else's in between is not lost. Should somebody else write another status over and over - a second healer, a
controller, an admission webhook - healer answers more and more rarely. The statuses of a namespace delay those of no other.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Never

import structlog

from healer.cluster.api import Api
from healer.cluster.errors import ApiError, ClusterError, is_servers
from healer.cluster.resources import RULESETS
from healer.daemon.fair_turns import FairTurns
from healer.daemon.rulesets import JudgedRuleSet, RuleSets, in_words
from healer.engine.matching.coverage import counted
from healer.http.rate import Rates
from healer.model.incident import Incident
from healer.model.ruleset import ACCEPTED, RuleSetCondition
from healer.rules.schema import Mode
from healer.turns import in_turns

_EVERY = 5.0
"""Seconds between two looks, where nothing is judged anew."""
_AGAIN, _RARELY = 60.0, 3600.0
"""Seconds until a status is written again that says nothing new of the RuleSet: another time at which a rule fired, or what
somebody else has written over. While the latter goes on, the time doubles up to an hour."""
_PER_MINUTE, _BURST = 60, 100
"""How often the statuses of one namespace are written."""
_AT_ONCE = 50
"""RuleSets that are compared before the loop is yielded: about a millisecond."""
_LONGEST = 20_000
"""Characters of a message; the definition allows 32,768."""


@dataclass(frozen=True, slots=True)
class _Acceptance:
    """What a status says, but for times."""

    generation: int
    accepted: bool
    reason: str
    message: str
    rules: int
    mode: str


@dataclass(frozen=True, slots=True)
class _WrittenAcceptance:
    """What was written last into an object, or could not be, and when by the monotonic clock."""

    verdict: _Acceptance
    fired: datetime | None
    at: float
    again: float = _AGAIN
    """Seconds until it is written again, when it says nothing new."""


class RuleSetStatuses:
    """`is_leader` is asked right before each write. `told` is told each verdict that is written, but for one that only repeats.

    `incidents` gives those that are kept.
    """

    def __init__(
        self,
        api: Api,
        rulesets: RuleSets,
        incidents: Callable[[], Sequence[Incident]],
        is_leader: Callable[[], bool],
        told: Callable[[JudgedRuleSet, str], None],
    ) -> None:
        self._api = api
        self._rulesets = rulesets
        self._incidents = incidents
        self._is_leader = is_leader
        self._told = told
        self._written: dict[str, _WrittenAcceptance] = {}
        self._turns = FairTurns[JudgedRuleSet](lambda each: each.object.metadata.namespace)
        self._rates = Rates(_PER_MINUTE, _BURST, api.clock.steady)
        self._said = ""
        self._log = structlog.get_logger("healer.rules")

    async def run(self) -> Never:
        """Write what is to be written, until cancelled."""
        while True:
            self._rulesets.news.clear()
            try:
                await self.write_all()
            except ClusterError as error:
                if str(error) != self._said:
                    self._log.warning("the status of RuleSets cannot be written: healer tries again", error=str(error))
                self._said = str(error)
                await asyncio.sleep(_EVERY)
                continue
            try:
                async with asyncio.timeout(_EVERY):
                    await self._rulesets.news.wait()
            except TimeoutError:
                continue

    async def write_all(self) -> None:
        """Write those that are due, until they are judged anew: who writes by what is out of date writes twice."""
        judged, fired = self._rulesets.judged, last_fired(self._incidents())
        there = {each.object.metadata.uid for each in judged}
        self._written = {uid: last for uid, last in self._written.items() if uid in there}
        due = [each async for each in in_turns(judged, _AT_ONCE) if self._is_due(each, _verdict(each), _later(each, fired))]
        async for each in in_turns(self._turns.of(due), _AT_ONCE):
            if self._rulesets.news.is_set():
                return
            if not self._rates.wait(each.object.metadata.namespace):
                await self._write(each, _verdict(each), _later(each, fired))

    def _is_due(self, each: JudgedRuleSet, verdict: _Acceptance, fired: datetime | None) -> bool:
        status = each.object.status
        if _found(each) == verdict and status.last_fired == fired:
            return False
        last = self._written.get(each.object.metadata.uid)
        if last is None or last.verdict != verdict or (last.fired is None and fired is not None):
            return True
        return self._api.clock.steady() - last.at >= last.again

    async def _write(self, each: JudgedRuleSet, verdict: _Acceptance, fired: datetime | None) -> None:
        if not self._is_leader():
            return
        meta = each.object.metadata
        body = {"metadata": {"resourceVersion": meta.resource_version}, "status": _status(each, verdict, fired, self._now())}
        path = f"{RULESETS.path(meta.namespace, meta.name)}/status"
        last = self._written.get(meta.uid)
        written = _WrittenAcceptance(verdict, fired, self._api.clock.steady(), self._again(each, verdict, fired))
        try:
            await self._api.request("PATCH", path, body=body, content_type="application/merge-patch+json")
        except ApiError as error:
            if error.is_conflict or error.is_not_found:
                return  # it has changed, or is gone: the watch tells, and it is judged again
            if is_servers(error) or error.is_missing_permission or error.is_throttled:
                raise
            self._log.warning("the status of a RuleSet is refused", ruleset=each.object.full_name, error=str(error))
            self._written[meta.uid] = written
            return
        self._written[meta.uid] = written
        if _found(each) != verdict and (last is None or last.verdict != verdict):
            self._told(each, verdict.message)

    def _again(self, each: JudgedRuleSet, verdict: _Acceptance, fired: datetime | None) -> float:
        """Seconds until the same is written again: longer each time that somebody has written over it, or that it was refused."""
        last = self._written.get(each.object.metadata.uid)
        if last is None or (last.verdict, last.fired) != (verdict, fired):
            return _AGAIN
        if last.again == _AGAIN:
            name = each.object.full_name
            self._log.warning("somebody else writes the status of a RuleSet: healer answers now and then", ruleset=name)
        return min(_RARELY, 2 * last.again)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._api.clock.wall(), UTC)


def last_fired(incidents: Iterable[Incident]) -> dict[str, float]:
    """When an incident of each rule set opened last, by the full name of the rule set."""
    found: dict[str, float] = {}
    for incident in incidents:
        ruleset = incident.rule.rpartition("/")[0]
        found[ruleset] = max(incident.opened_at, found.get(ruleset, 0.0))
    return found


def _later(each: JudgedRuleSet, fired: Mapping[str, float]) -> datetime | None:
    """When a rule of it fired last: what the object says stays after the incident is forgotten."""
    at, known = fired.get(each.object.full_name), each.object.status.last_fired
    now = None if at is None else datetime.fromtimestamp(int(at), UTC)
    return known if now is None or (known is not None and known > now) else now


def _verdict(each: JudgedRuleSet) -> _Acceptance:
    return _Acceptance(
        generation=each.generation,
        accepted=not each.reason,
        reason=each.reason or ACCEPTED,
        message=_message(each),
        rules=len(each.rules),
        mode=each.mode,
    )


def _found(each: JudgedRuleSet) -> _Acceptance | None:
    """What the object says now; None where it says nothing."""
    status, condition = each.object.status, each.object.status.accepted
    if condition is None or condition.observed_generation != status.observed_generation:
        return None
    accepted = condition.status == "True"
    return _Acceptance(status.observed_generation, accepted, condition.reason, condition.message, status.rules, status.mode)


def _message(each: JudgedRuleSet) -> str:
    """Every problem with its path, a line each; and what is in force instead. Tables of kubectl show the first line alone."""
    if not each.reason:
        rules = counted(len(each.rules), "rule")
        if each.mode == Mode.OBSERVE:
            return f"{rules} in force: healer observes, and changes nothing"
        return f"{rules} in force, in the mode {each.mode} at most"
    kept = f"healer goes on with the rules of generation {each.in_force}" if each.rules else "none of its rules is in force"
    lines: list[str] = []
    left = _LONGEST
    for number, problem in enumerate(each.problems):
        line = in_words(problem)
        if len(line) > left:
            lines.append(f"and {len(each.problems) - number} more")
            break
        lines.append(line)
        left -= len(line)
    if len(each.problems) > 1:
        lines[0] += f", and {len(each.problems) - 1} more"
    return "\n".join([*lines, f"not accepted: {kept}"])


def _status(each: JudgedRuleSet, verdict: _Acceptance, fired: datetime | None, now: datetime) -> dict[str, Any]:
    """The status to write: conditions of other types stay as they are."""
    before = each.object.status.accepted
    status = "True" if verdict.accepted else "False"
    since = now if before is None or before.status != status else before.last_transition_time
    accepted = RuleSetCondition(ACCEPTED, status, verdict.reason, verdict.message, verdict.generation, since)
    others = [condition for condition in each.object.status.conditions if condition.type != ACCEPTED]
    return {
        "observedGeneration": verdict.generation,
        "rules": verdict.rules,
        "mode": verdict.mode,
        "lastFired": None if fired is None else _time(fired),
        "conditions": [_plain(condition) for condition in (*others, accepted)],
    }


def _plain(condition: RuleSetCondition) -> dict[str, Any]:
    since = condition.last_transition_time
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "observedGeneration": condition.observed_generation,
        "lastTransitionTime": None if since is None else _time(since),
    }


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
