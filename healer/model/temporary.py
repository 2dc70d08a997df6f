"""A change that an action makes for a time: what was before it, and until when it stays. It is kept beside its incident."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

import msgspec

MOST_BYTES = 1024
"""The longest note of a change (deploy/healer/crd.yaml)."""
_MARK = '{"change":"temporary"'


class End(StrEnum):
    """How a temporary change ended."""

    TAKEN_BACK = "TakenBack"
    """The cluster is as it was before, by healer or by somebody else."""
    LEFT_ALONE = "LeftAlone"
    """Somebody has changed it since, or it cannot be taken back: healer has said so, and leaves it."""


class TemporaryChange(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="change", tag="temporary"):
    """One change of one object. `before` and `after` are in the action's own words; times are seconds since the epoch.

    It is taken back `lasts` seconds after its incident is healed or closed (`with_incident`), or at `until`: what comes first.
    """

    before: str
    after: str
    step: str
    """The step of the incident that made it (`healer.actions.shared.rolling.rung`)."""
    base: str = ""
    """What it was when the last step of the incident changed it, where an earlier step had changed it already."""
    until: float | None = None
    with_incident: bool = True
    lasts: float = 0.0
    while_acting: bool = False
    """It is also taken back as soon as healer does not go on with it by itself: when it is left to a human, waits without a
    limit (an approval, a storm, a breaker), or while healer is paused."""
    begun: bool = False
    """Whether healer has begun to take it back: the intent is journaled before the request."""
    ended: End | None = None

    def is_on_top_of(self, other: "TemporaryChange") -> bool:
        """Whether this change of the same thing began where the other one had left it."""
        return self.before in {other.after, other.base} - {""}

    @classmethod
    def parse(cls, text: str) -> Self:
        """A note from its text. Raises ValueError for a text that healer did not write."""
        return msgspec.json.decode(text, type=cls)

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()


def changes(kept: Mapping[str, str]) -> dict[str, TemporaryChange]:
    """The changes of an action's notes, by what was changed. Raises ValueError for a text that healer did not write."""
    return {key: TemporaryChange.parse(text) for key, text in kept.items()}


def any_standing(notices: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether an incident with these notes has a temporary change that has not ended. What cannot be read is none."""
    return any(_stands(text) for kept in notices.values() for text in kept.values() if text.startswith(_MARK))


def _stands(text: str) -> bool:
    try:
        return TemporaryChange.parse(text).ended is None
    except ValueError:
        return False
