"""One replay: a source of lines, the rules that are played, and what they are compared with."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from healer.daemon.recording.files import begins
from healer.daemon.recording.lines import AnyLine, HeadLine
from healer.daemon.recording.reading import RecordError, found
from healer.rehearsal.replay.chronology import GapFinder, RecordGap, in_order
from healer.rehearsal.replay.known import RecordKnowledge, Unjudged
from healer.rehearsal.replay.player import LATE, Player
from healer.rehearsal.replay.said import moment
from healer.rehearsal.replay.story import RecordedStory, Story
from healer.rules.rulebook import Rulebook
from healer.settings import Settings

RECORDED = "recorded"
"""What `--diff` takes in place of rules: what was really done."""


@dataclass(slots=True)
class Replayed:
    """What came out. Times are in seconds since the epoch."""

    story: Story
    unjudged: list[Unjudged]
    same: set[str]
    """The rules that were in force as they are, when the record was made."""
    other: Story | None = None
    """What the rules are compared with."""
    remarks: list[str] = field(default_factory=list)
    began: float = inf
    """The first line that was read; it may be before `since`."""
    ended: float = -inf
    """The last one."""
    lines: int = 0
    """Those between `since` and `until`."""
    goes_on: bool = False
    """Whether the record has more after `until`."""
    gaps: list[RecordGap] = field(default_factory=list)
    """Those between `since` and `until`."""
    mode: str = ""
    """The most that any rule might do when the record was made."""


def replay(
    lines: Iterable[AnyLine],
    rules: Rulebook,
    *,
    other: Rulebook | None = None,
    recorded: bool = False,
    since: float = -inf,
    until: float = inf,
    settings: Settings | None = None,
    lacks: Mapping[str, str] | None = None,
) -> Replayed:
    """Play lines to rules, and to `other` rules beside them, or beside what was `recorded`. Raises RecordError. `lacks` see
    `RecordKnowledge`.

    Everything up to `since` is played as well, but not told.
    """
    known = RecordKnowledge(rules, lacks)
    result = Replayed(Story(since, until), [], known.same)
    mine = Player(rules, result.story, known, settings)
    players = [mine]
    truth = RecordedStory(since, until)
    if other is not None:
        result.other = Story(since, until)
        theirs = Player(other, result.other, RecordKnowledge(other, lacks), settings)
        players.append(theirs)
        mine.opposed, theirs.opposed = theirs.why_not, mine.why_not
    elif recorded:
        result.other = truth.story
        mine.opposed, truth.opposed = truth.why_not, mine.why_not
    finder = GapFinder()
    for line in lines:
        gap = finder.take(line)
        if gap is not None and gap.touches(since, until):
            result.gaps.append(gap)
        if line.at > until:
            result.goes_on = True
            if gap is None:
                for player in players:
                    player.pass_until(until)
            break
        if isinstance(line, HeadLine):
            result.mode = line.mode
        result.began, result.ended = min(result.began, line.at), max(result.ended, line.at)
        result.lines += line.at >= since
        if len(players) > 1 and not isinstance(line, HeadLine):
            _in_step(players, line.at)
        for player in players:
            player.play(line)
        truth.play(line)
    _check_window(result)
    for player in players:
        player.finish()
    result.unjudged = known.unjudged
    return result


def _in_step(players: Sequence[Player], at: float) -> None:
    """Let time pass for all together, so that each can say why it does not act when another does."""
    while first := min((due for player in players if (due := player.next_due()) is not None), default=None):
        if first + LATE > at:
            return
        for player in players:
            player.pass_until(first + LATE)


def _check_window(result: Replayed) -> None:
    """Raises RecordError when nothing of the record is between `since` and `until`."""
    since, until = result.story.since, result.story.until
    if result.ended == -inf:
        if result.goes_on:
            raise RecordError(f"the record begins after --until, {moment(until)}: name a later time")
        raise RecordError("the record holds no line: its files are empty")
    if result.ended < since and not result.goes_on:
        has = f"{moment(result.began)} to {moment(result.ended)}"
        raise RecordError(f"the record has nothing after --since, {moment(since)}: it was read from {has}")
    for gap in result.gaps:
        if gap.began < since and until < gap.ended:
            raise RecordError(f"nothing is between --since and --until: {gap}")


def lines_of(
    path: Path, since: float, remark: Callable[[str], None], progress: Callable[[int], None] = lambda _: None
) -> Iterator[AnyLine]:
    """The lines of a record, from the last file that begins before `since`. Raises RecordError."""
    return in_order(_needed(found(path), since), remark, progress)


def _needed(files: list[Path], since: float) -> list[Path]:
    """The files, without those that end before a time: what a file begins with is the whole state."""
    first = max((number for number, file in enumerate(files) if begins(file) <= since), default=0)
    return files[first:]
