"""Prints a replay for people."""

from collections.abc import Sequence
from math import inf

from rich.console import Console
from rich.text import Text

from healer.model.duration import about
from healer.operate.explain.show import clean
from healer.rehearsal.replay.diff import Difference, Differs, differences
from healer.rehearsal.replay.replaying import Replayed
from healer.rehearsal.replay.said import moment, times
from healer.rehearsal.replay.story import Hold, Story, ToldAct
from healer.rehearsal.timeline import TimelineLine

OPEN_LOOP = (
    "The recorded cluster does not answer to what these rules would have done: a pod that they would have evicted stays sick "
    "in it. An act that really happened has its real outcome. Any other counts as done, and what follows is judged by what "
    "really happened."
)
_MOST_GAPS = 20
_STYLES = {
    "act": "bold blue",
    "dry run": "blue",
    "refused": "yellow",
    "needless": "dim",
    "further": "dim",
    "held": "cyan",
    Differs.MORE: "bold yellow",
    Differs.LESS: "bold magenta",
    Differs.MOVED: "bold blue",
    Differs.RULE: "blue",
    Differs.HELD: "cyan",
    Differs.FREE: "cyan",
}


def show(result: Replayed, screen: Console, compared_with: str = "") -> None:
    """Print what the rules would have done; with `compared_with`, only what differs from that."""
    _head(result, screen)
    if result.other is None:
        _timeline(result.story, screen)
        _totals(result.story, screen)
    else:
        _differences(differences(result.story, result.other), screen, compared_with)
        screen.print(clean(f"these rules: {_acts(result.story)}"))
        screen.print(clean(f"{compared_with}: {_acts(result.other)}"))
    for each in result.unjudged:
        part = "not judged" if each.whole else "not judged in a part of the record"
        screen.print(clean(f"{part}: {each.rule}: {each.why}"), style="yellow")
    for remark in result.remarks:
        screen.print(clean(f"remark: {remark}"), style="yellow")
    screen.print(OPEN_LOOP, style="dim")


def _head(result: Replayed, screen: Console) -> None:
    story = result.story
    began, ended = max(result.began, story.since), story.until if result.goes_on else result.ended
    took = about(max(0.0, ended - began))
    screen.print(clean(f"{moment(began)} to {moment(ended)} ({took}), {times(result.lines, 'line')}"), style="bold")
    if story.since > -inf or story.until < inf:
        asked = " and ".join(
            f"{name} {moment(at)}" for name, at in (("--since", story.since), ("--until", story.until)) if abs(at) < inf
        )
        more = ", and goes on" if result.goes_on else ""
        screen.print(
            clean(f"asked for: {asked}; the record was read from {moment(result.began)} to {moment(result.ended)}{more}")
        )
    for gap in result.gaps[:_MOST_GAPS]:
        screen.print(clean(f"gap: {gap}"), style="yellow")
    if len(result.gaps) > _MOST_GAPS:
        left = result.gaps[_MOST_GAPS:]
        took = about(sum(gap.ended - gap.began for gap in left))
        screen.print(f"{times(len(left), 'further gap')} of {took} together (-o json has each)", style="yellow")
    if result.mode and result.mode != "enforce":
        screen.print(
            f"the recorded healer went no further than the mode {result.mode}; these rules are played in their own modes"
        )


def _timeline(story: Story, screen: Console) -> None:
    lines = [_act(deed, _kind(deed)) for deed in story.told]
    lines += [_held(hold, "held") for hold in story.holds.values()]
    for line in sorted(lines, key=lambda line: (line.at, line.kind, line.said)):
        _print(screen, line)
    if story.more_holds:
        screen.print(f"{times(story.more_holds, 'further reason')} not to act are left out", style="dim")


def _print(screen: Console, line: TimelineLine) -> None:
    at, kind, said = line.columns(moment)
    screen.print(Text.assemble((f"{at}  ", "dim"), (f"{kind}  ", _STYLES[line.kind]), clean(said)))


def _kind(deed: ToldAct) -> str:
    if deed.echo:
        return "further"
    if deed.undone:
        return "refused" if deed.refused else "needless"
    return "dry run" if deed.dry_run else "act"


def _act(deed: ToldAct, kind: str, after: str = "") -> TimelineLine:
    """An act as a line: what was done to what, why, and what is to be said after it."""
    said = f"{deed.action} {_place(deed)} (step {deed.step + 1}): {deed.why}{after or _really(deed)}"
    return TimelineLine(deed.at, kind, said, deed.workload.name, deed.rule)


def _really(deed: ToldAct) -> str:
    outcome = deed.outcome
    if outcome is None:
        return ""
    if deed.undone:
        return f"; nothing was done{_often(deed)}: {outcome.reason}: {outcome.text}"
    return f"; really done too: {outcome.reason}{_often(deed)}" if deed.recorded else ""


def _often(deed: ToldAct) -> str:
    return f" ({times(deed.times, 'time')})" if deed.times > 1 else ""


def _place(deed: ToldAct) -> str:
    namespace = deed.target.namespace
    return f"{deed.target} in {namespace}" if namespace else str(deed.target)


def _held(hold: Hold, kind: str, before: str = "") -> TimelineLine:
    often = f" ({times(hold.times, 'time')})" if hold.times > 1 else ""
    return TimelineLine(hold.at, kind, f"{hold.text}{often}", rule=f"{before}{hold.rule} on {hold.target}", code=hold.code)


def _totals(story: Story, screen: Console) -> None:
    screen.print(f"these rules would have {_acts(story)}", style="bold")
    echoes = sum(deed.echo for deed in story.told)
    if echoes:
        text = (
            f"{times(echoes, 'further act')} not counted: each follows only because the record does not answer to the first one"
        )
        screen.print(text, style="dim")
    states = story.by_state
    if states:
        ended = ", ".join(f"{count} {state}" for state, count in states.most_common())
        screen.print(f"{times(len(story.troubles), 'incident')}, at the end: {ended}")


def _acts(story: Story) -> str:
    refused: dict[str, int] = {}
    for deed in story.told:
        if deed.refused and not deed.echo and deed.outcome is not None:
            what = f"{deed.action}: {deed.outcome.reason}"
            refused[what] = refused.get(what, 0) + deed.times
    attempts = f"; {times(sum(refused.values()), 'attempt')} refused, and not counted: " if refused else ""
    return _counted(story.counted) + attempts + ", ".join(f"{what} {count}" for what, count in sorted(refused.items()))


def _counted(deeds: Sequence[ToldAct]) -> str:
    troubles = {deed.incident for deed in deeds}
    if not deeds:
        return "acted on nothing"
    actions: dict[str, int] = {}
    for deed in deeds:
        name = f"{deed.action} (dry run)" if deed.dry_run else deed.action
        actions[name] = actions.get(name, 0) + 1
    which = ", ".join(f"{name} {count}" for name, count in sorted(actions.items()))
    return f"acted {times(len(deeds), 'time')} on {times(len(troubles), 'incident')}: {which}"


def _differences(found: Sequence[Difference], screen: Console, compared_with: str) -> None:
    for each in found:
        _print(screen, _said(each, compared_with))
    if not found:
        screen.print(clean(f"nothing changes: these rules would have done the same as {compared_with}"), style="bold green")


def _said(each: Difference, compared_with: str) -> TimelineLine:
    deed, before, how = each.deed, each.before, each.how
    why = f": {each.why}" if each.why else ""
    if deed is not None and before is not None:
        if how is Differs.MOVED:
            way = "earlier" if deed.at < before.at else "later"
            after = f"{about(abs(deed.at - before.at))} {way} than {compared_with} ({moment(before.at)})"
        else:
            after = f"{compared_with}: by {before.rule}{' as a dry run' if before.dry_run else ''}"
        return _act(deed, how, f"{_really(deed)}; {after}{why}")
    if deed is not None:
        return _act(deed, how, f"{_really(deed)}; not so {compared_with}{why}")
    if before is not None:
        ended = (
            "" if before.outcome is None else f" ({before.outcome.reason}{f', {before.times} times' if before.times > 1 else ''})"
        )
        return _act(before, how, f"; only {compared_with}{ended}, and not with these rules{why}")
    only = "" if how is Differs.HELD else f"only {compared_with}: "
    return TimelineLine(each.at, how, "") if each.hold is None else _held(each.hold, how, only)
