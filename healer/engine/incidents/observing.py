"""What is said of an incident of a rule that only observes: what would have been done, and what became of it without that."""

import re

from healer.model.duration import about
from healer.model.incident import Incident
from healer.rules.schema import Mode

OBSERVES_ON = "healer observes what becomes of it"


NOTHING_MORE = "healer does nothing more until fewer are sick"
"""What a reason says of a storm that healer waits out."""
HUMAN = "a human is needed"
"""What a reason says when nothing goes on by itself."""
_CALL = re.compile(rf"(,|:| and) {HUMAN}(?! still)")


def uncalled(text: str) -> str:
    """A reason's text without that, for where it is said already."""
    return _CALL.sub("", text)


def is_observing(incident: Incident) -> bool:
    """Whether nothing is done for it, and nothing is said to have failed."""
    return incident.mode == Mode.OBSERVE


def asks(incident: Incident) -> str:
    """That this is for a human: one is asked only for what healer has tried, or may not do."""
    return "a human would be asked" if is_observing(incident) else HUMAN


def recovered(incident: Incident, now: float) -> str:
    """In words: it has recovered."""
    would = ", without what healer would have done" if incident.treated or incident.stormed else ""
    return f"recovered by itself after {about(now - incident.opened_at)}{would}"


def still_sick(incident: Incident, now: float) -> str:
    """In words: it has not, by the time at which the step would have been judged."""
    return f"still sick {about(now - incident.opened_at)} after it began, when healer would have judged what it would have done"
