"""What differs between two stories of one record."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from healer.rehearsal.replay.story import Hold, Story, ToldAct

_SAME_TIME = 2.0
"""Seconds within which two deeds are at the same time."""
_SAME_DEED = 3600.0
"""Seconds within which the same action on the same target is the same deed at another time."""


class Differs(StrEnum):
    """How."""

    MORE = "more"
    """Only these rules act."""
    LESS = "less"
    """Only what they are compared with acts."""
    MOVED = "moved"
    """Both act, at another time."""
    RULE = "rule"
    """Both act, by another rule."""
    HELD = "held"
    """Only these rules hold back for that reason."""
    FREE = "free"
    """Only what they are compared with holds back for that reason."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. `deed` and `hold` are of these rules where they have them, `before` is of the others."""

    how: Differs
    at: float
    deed: ToldAct | None = None
    before: ToldAct | None = None
    hold: Hold | None = None

    @property
    def why(self) -> str:
        """Why the one that does not act, or acts later or only as a dry run, does not do as the other; "" where not known."""
        deed, before = self.deed, self.before
        if deed is None or before is None:
            only = deed or before
            return "" if only is None else only.opposed
        if self.how is Differs.MOVED:
            return min(deed, before, key=lambda each: each.at).opposed
        return deed.mode or before.mode or before.opposed


def differences(story: Story, other: Story) -> list[Difference]:
    """The differences by time. What follows only because the record does not answer is in neither."""
    mine, theirs = ([deed for deed in of.told if not deed.echo] for of in (story, other))
    found = [*_deeds(mine, theirs), *_holds(story, other)]
    return sorted(found, key=lambda each: each.at)


def _deeds(deeds: Iterable[ToldAct], others: Iterable[ToldAct]) -> Iterable[Difference]:
    left: dict[tuple[str, str, str], list[ToldAct]] = defaultdict(list)
    for each in others:
        left[each.what].append(each)
    for deed in deeds:
        same = left[deed.what]
        before = min(same, key=lambda each: abs(each.at - deed.at), default=None)
        if before is None or abs(before.at - deed.at) > _SAME_DEED:
            yield Difference(Differs.MORE, deed.at, deed)
            continue
        same.remove(before)
        if abs(before.at - deed.at) > _SAME_TIME:
            yield Difference(Differs.MOVED, deed.at, deed, before)
        elif (before.rule, before.dry_run) != (deed.rule, deed.dry_run):
            yield Difference(Differs.RULE, deed.at, deed, before)
    yield from (Difference(Differs.LESS, each.at, None, each) for same in left.values() for each in same)


def _holds(story: Story, other: Story) -> Iterable[Difference]:
    mine, theirs = _held(story), _held(other)
    yield from (Difference(Differs.HELD, hold.at, hold=hold) for key, hold in mine.items() if key not in theirs)
    yield from (Difference(Differs.FREE, hold.at, hold=hold) for key, hold in theirs.items() if key not in mine)


def _held(story: Story) -> dict[tuple[str, str, str], Hold]:
    """The first hold of each rule on each target for each reason: incidents have other names in another story."""
    found: dict[tuple[str, str, str], Hold] = {}
    for hold in story.holds.values():
        found.setdefault((hold.rule, hold.target.uid, hold.code), hold)
    return found
