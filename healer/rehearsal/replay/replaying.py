"""One replay: a source of lines, the rules that are played, and what they are compared with."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from healer.daemon.recording.files import begins
from healer.daemon.recording.lines import AnyLine, HeadLine
from healer.daemon.recording.reading import found, read
from healer.rehearsal.replay.known import RecordKnowledge, Unjudged
from healer.rehearsal.replay.player import Player
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
    ended: float = -inf
    lines: int = 0
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
) -> Replayed:
    """Play lines to rules, and to `other` rules beside them, or beside what was `recorded`. Raises RecordError.

    Everything up to `since` is played as well, but not told.
    """
    known = RecordKnowledge(rules)
    result = Replayed(Story(since, until), [], known.same)
    players: list[Player] = [Player(rules, result.story, known, settings)]
    if other is not None:
        result.other = Story(since, until)
        players.append(Player(other, result.other, RecordKnowledge(other), settings))
    truth = RecordedStory(since, until)
    if recorded:
        result.other = truth.story
    for line in lines:
        if line.at > until:
            break
        if isinstance(line, HeadLine):
            result.mode = line.mode
            if line.lost:
                result.remarks.append(
                    f"{line.lost} lines of the record were lost before {moment(line.at)}: what happened then is not known"
                )
        result.began, result.ended = min(result.began, line.at), max(result.ended, line.at)
        result.lines += 1
        for player in players:
            player.play(line)
        truth.play(line)
    for player in players:
        player.finish()
    result.unjudged = known.unjudged
    return result


def lines_of(
    path: Path, since: float, remark: Callable[[str], None], progress: Callable[[int], None] = lambda _: None
) -> Iterator[AnyLine]:
    """The lines of a record, from the last file that begins before `since`. Raises RecordError."""
    for file in _needed(found(path), since):
        yield from read(file, remark, progress)


def _needed(files: list[Path], since: float) -> list[Path]:
    """The files, without those that end before a time: what a file begins with is the whole state."""
    first = max((number for number, file in enumerate(files) if begins(file) <= since), default=0)
    return files[first:]
