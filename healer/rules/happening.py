"""What rules write about the Events of Kubernetes."""

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from healer.rules.form import Listed, Model, Text
from healer.section import Seconds, Section

NORMAL = "Normal"
"""The type of an event that is no warning."""
_REASON = re.compile(r"[A-Za-z0-9_.\-]{1,128}")


class EventsSettings(Section):
    """How long Events of Kubernetes count, and whether healer posts its own."""

    post: bool = True
    """Post an Event on the target and on its workload for what healer did (`kubectl describe`)."""
    fade: Seconds = Field(300.0, gt=0)
    """An event is a moment: it counts as going on for so many seconds after it last happened. Reporters write a repeated event
    every five minutes or less often."""


class Happening(Model):
    """Events of Kubernetes about pods, their ReplicaSets and their workloads."""

    reasons: Annotated[tuple[Text, ...], Field(min_length=1), Listed]
    """Any of these reasons, whole and case-sensitive."""
    type: Literal["Warning", "Normal"] = "Warning"
    """The type of the events."""


def signal_name(reason: str, kind: str) -> str:
    """The name of the signal of an event with that reason and type: the reason alone for a warning."""
    return f"{reason} (Normal)" if kind == NORMAL else reason


def signal_names(happening: Happening) -> tuple[str, ...]:
    """The names of the signals that a rule looks for."""
    return tuple(signal_name(reason, happening.type) for reason in happening.reasons)


def odd_reasons(happening: Happening) -> Iterable[str]:
    """Reasons that no event has: a pattern was meant."""
    for reason in happening.reasons:
        if not _REASON.fullmatch(reason):
            yield f"waits for an event with the reason {reason!r}: reasons are compared whole, not as patterns; list the reasons"
