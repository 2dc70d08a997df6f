"""What is kept of a shift of traffic beside its incident, so that a crash, a later rung and `healer undo` know what was there."""

from collections.abc import Mapping
from typing import Self

import msgspec

from healer.routes.route import Aim, CanaryRoute, Weights

MOST_BYTES = 1024
"""The longest text that may be kept (deploy/healer/crd.yaml)."""


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one route: the weights before healer first touched them in this incident, and those that it set last.

    `rung` is the step that set them and `aim` the canary's percent that it was to come to (of each split its own, where they
    differ): it comes to that however often it is tried, also where the rule says how much to take away. `back`: how often
    somebody has put back what was set.
    """

    before: str
    after: str
    rung: str
    aim: Aim
    back: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """A note that was kept. Raises ValueError, also for figures that healer does not write."""
        note = msgspec.json.decode(text, type=cls)
        aims = (note.aim,) if isinstance(note.aim, int) else note.aim
        if not all(0 <= aim <= 100 for aim in aims) or note.back < 0:
            raise ValueError(f"aim {note.aim} and back {note.back} are not what healer notes: percents, and a count")
        Weights.parse(note.before)
        Weights.parse(note.after)
        return note

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()


def notes(kept: Mapping[str, str]) -> dict[CanaryRoute, Note]:
    """What is kept, by route. Raises ValueError for what healer did not write."""
    return {CanaryRoute.parse(key): Note.parse(text) for key, text in kept.items()}
