"""Judges healer's life in a scenario by what the scenario expects: healed, rightly held, or harmed."""

from collections.abc import Iterator
from dataclasses import dataclass

from healer.actions.registry import ACTIONS
from healer.model.duration import about
from healer.model.incident import State
from healer.rehearsal.simulate.life import Life
from healer.rehearsal.simulate.scenario import ANY, Deed, Expectation, Told
from healer.rehearsal.timeline import ACT, TimelineLine

HARM = 0.001
"""A share of the requests: so many more that fail than without healer are harm."""
PAGE = "page"
_GRACE = 1800.0
"""Seconds before the end: a fault that strikes later need not be healed."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """The verdict: `healed`, `held`, `harmed`, `unhealed` (something is still broken), `acted` (where nothing was to be done), or
    `missed` (something else is not as the scenario expects).

    `met`: it is what the scenario expects; `faults` says what is not, a sentence each.
    """

    verdict: str
    met: bool
    faults: tuple[str, ...] = ()


def judge(expect: Expectation, healed: Life, without: Life | None) -> Ruling:
    """Judge a life with healer. `without` is the same scenario with nobody who heals, if it was played."""
    harms = [*_harms(expect, healed, without)]
    failings = [*_failings(expect, healed)]
    unhealed = [strike.id for strike in healed.strikes if strike.healed is None and strike.began < healed.lasts - _GRACE]
    acted = [each.text for each in changes(healed) if not any(_is(each, deed) for deed in expect.should)]
    if harms:
        verdict = "harmed"
    elif expect.verdict == "held":
        verdict = "acted" if acted else "held"
    else:
        verdict = "unhealed" if unhealed else "healed"
    if verdict == expect.verdict and failings:
        verdict = "missed"
    if verdict == "acted":
        failings.append(f"healer changed something that it should have left alone: {'; '.join(acted[:3])}")
    if verdict == "unhealed":
        failings.append(f"not healed: {', '.join(unhealed[:10])}")
    faults = (*harms, *failings)
    return Ruling(verdict, verdict == expect.verdict, faults)


def _harms(expect: Expectation, healed: Life, without: Life | None) -> Iterator[str]:
    for deed in expect.must_not:
        times = len(done(healed, deed))
        if times > deed.more_than:
            yield f"it must not {_said(deed)}, and did {_often(times)}" + (f": {deed.why}" if deed.why else "")
    if without is not None:
        more, allowed = healed.failed - without.failed, max(1.0, HARM * without.requests)
        if more > allowed:
            yield f"{more:,.0f} more requests failed than without healer"


def _failings(expect: Expectation, healed: Life) -> Iterator[str]:
    for deed in expect.should:
        times = len(done(healed, deed))
        if times < deed.at_least:
            yield f"it should {_said(deed)} at least {_often(deed.at_least)}, and did {_often(times)}"
        elif deed.at_most is not None and times > deed.at_most:
            yield f"it should {_said(deed)} at most {_often(deed.at_most)}, and did {_often(times)}"
    for news in expect.told:
        if not any(_tells(each, news) for each in healed.timeline):
            yield f"people should {_heard(news)}, and were not" + (f": {news.why}" if news.why else "")
    if expect.availability is not None and healed.availability < expect.availability:
        yield f"availability is {100 * healed.availability:.4f} %, below {100 * expect.availability:.4f} %"
    if expect.heals_within is not None:
        for strike in healed.strikes:
            if strike.healed is not None and strike.healed - strike.began > expect.heals_within:
                took = about(strike.healed - strike.began)
                yield f"{strike.id} took {took} to heal, longer than {about(expect.heals_within)}"


def done(life: Life, deed: Deed) -> list[TimelineLine]:
    """The actions of a life that a deed names."""
    return [each for each in life.timeline if each.kind == ACT and _is(each, deed)]


def changes(life: Life) -> list[TimelineLine]:
    """The actions that changed something in the cluster."""
    return [each for each in life.timeline if each.kind == ACT and _changes(each.code)]


def _changes(action: str) -> bool:
    return action not in ACTIONS or ACTIONS[action].spec.changes


def _is(action: TimelineLine, deed: Deed) -> bool:
    named = _changes(action.code) if deed.action == ANY else action.code == deed.action
    return named and _concerns(action, deed)


def _tells(line: TimelineLine, news: Told) -> bool:
    """Whether people were told so by what a line says."""
    called = line.kind == State.ESCALATED or (line.kind == ACT and line.code == PAGE)
    return (called if news.approve is None else line.asks == news.approve) and _concerns(line, news)


def _concerns(line: TimelineLine, what: Deed | Told) -> bool:
    """Whether it is about that workload, in that time."""
    there = what.workload is None or line.workload == what.workload
    return there and what.after <= line.at and (what.before is None or line.at <= what.before)


def _often(times: int) -> str:
    """So many times, after "did" and "at least"."""
    return {0: "not", 1: "once", 2: "twice"}.get(times, f"{times:,} times")


def _said(deed: Deed) -> str:
    what = "change anything" if deed.action == ANY else deed.action
    return what + (f" on {deed.workload}" if deed.workload else "") + _when(deed)


def _heard(news: Told) -> str:
    what = "be called" if news.approve is None else f"be asked to approve {news.approve}"
    return what + (f" for {news.workload}" if news.workload else "") + _when(news)


def _when(what: Deed | Told) -> str:
    since = f" after {about(what.after)}" if what.after else ""
    until = f" before {about(what.before)}" if what.before is not None else ""
    return f"{since}{until}"
