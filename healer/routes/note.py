"""The note of a shift of traffic, journaled with its incident for a restart, later steps and `healer undo`."""

from collections.abc import Mapping
from typing import Self

import msgspec

from healer.routes.route import Aim, CanaryRoute, Weights

MOST_BYTES = 1024
"""The longest note (deploy/healer/crd.yaml)."""


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """The note of one route: the weights before healer first changed them in this incident, and those that it set last.

    `rung` is the step that set them, and `aim` the canary's percent that it was to reach (of each split its own, where they
    differ); it stays the same however often the step is tried, also where the rule says how much to take away. `back` counts how
    often somebody has put the weights back.
    """

    before: str
    after: str
    rung: str
    aim: Aim
    back: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """A note from its text. Raises ValueError, also for figures that healer does not write."""
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
    """The notes, by route. Raises ValueError for a text that healer did not write."""
    return {CanaryRoute.parse(key): Note.parse(text) for key, text in kept.items()}
