"""What an incident is, in words for people: its milestone, headline, cause, verdict, and the command to type next."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from healer.engine.incidents.approval import waits
from healer.engine.incidents.needed import STORM, needs_human
from healer.engine.incidents.observing import HUMAN, uncalled
from healer.engine.safety.wide import is_breaker
from healer.model.duration import about
from healer.model.incident import Incident, SickTarget, State
from healer.sinks.site import Site, site_links

SHORT = 300
"""The most characters of a cause or a reason in a message."""
LINES = 20
"""The most lines of a history in a message, the newest."""

TEST = "healer/test"
"""What stands for a rule in a test message."""
_NEUTRAL = str.maketrans({"<": "‹", ">": "›", "[": "［", "]": "］", "@": "＠", "`": "'"})
"""What makes links, mentions and tags in chats, and what looks like it."""

_TAKEN_OFF = "shiftTraffic"
"""The action that takes a canary's traffic off: the workload is well again, and the release has failed."""


class Milestone(StrEnum):
    """What people want to hear of: a sink that tells no single steps tells each change of it."""

    OPENED = "opened"
    """healer saw it, and deals with it."""
    ASKS = "asks"
    """healer waits for a human's approval."""
    ESCALATED = "escalated"
    """healer can do no more, or a storm holds it: a human is needed."""
    HEALED = "healed"
    """healer's action has helped."""
    CLOSED = "closed"
    """It has passed."""

    @property
    def needs_human(self) -> bool:
        """Whether nothing goes on until a human does something."""
        return self in (Milestone.ASKS, Milestone.ESCALATED)


def milestone(incident: Incident) -> Milestone:
    """The milestone that an incident has reached."""
    match incident.state:
        case State.HEALED:
            return Milestone.HEALED
        case State.CLOSED:
            return Milestone.CLOSED
    if waits(incident) or is_breaker(incident):
        return Milestone.ASKS
    return Milestone.ESCALATED if needs_human(incident) else Milestone.OPENED


class Tone(StrEnum):
    """How a message is coloured."""

    URGENT = "urgent"
    WARNING = "warning"
    GOOD = "good"
    INFO = "info"

    @property
    def icon(self) -> str:
        """A sign of that colour."""
        return {"urgent": "🔴", "warning": "🟠", "good": "🟢", "info": "🔵"}[self.value]


def tone(incident: Incident) -> Tone:
    """A canary that lost its traffic is over, and no success."""
    reached = milestone(incident)
    if incident.rule == TEST:
        return Tone.INFO
    if reached.needs_human:
        return Tone.URGENT
    if reached in (Milestone.HEALED, Milestone.CLOSED):
        return Tone.WARNING if took_canary_off(incident) else Tone.GOOD
    return Tone.INFO if incident.severity == "info" else Tone.WARNING


@dataclass(frozen=True, slots=True)
class Words:
    """An incident in words. All of them are sanitised, because an incident's texts are."""

    headline: str
    cause: str
    """What is wrong; of what is over, what was."""
    verdict: str
    """Whether it is over, and how it stands."""
    reason: str
    """Why it stands so."""
    done: str
    """What healer did, action by action; a sentence when it did nothing."""
    command: str
    """What to type next."""
    lasted: str
    """The time since it opened."""
    links: dict[str, str]
    """Where to read on, by what it is."""


def words(incident: Incident, site: Site, most: int = SHORT) -> Words:
    """The incident as it stands, in words. `most`: the most characters of its free texts."""
    what, verdict = cause(incident, most), _verdict(incident)
    place = incident.workload.namespace or "the cluster"
    cluster = f" ({site.cluster})" if site.cluster else ""
    return Words(
        headline=f"{incident.workload} in {place}{cluster}: {what}: {verdict}",
        cause=what,
        verdict=verdict,
        reason=clip(_without(incident.reason.text, verdict, [_first(incident)]), most),
        done=_done(incident),
        command=next_command(incident),
        lasted=about(incident.changed_at - incident.opened_at),
        links=site_links(site, incident),
    )


def next_command(incident: Incident) -> str:
    """What to type next about an incident."""
    if incident.rule == TEST:
        return "healer status"
    verb = "approve" if milestone(incident) is Milestone.ASKS else "explain"
    return f"healer {verb} incident/{incident.id} -n {incident.workload.namespace}"


def clip(text: str, most: int = SHORT) -> str:
    """The text, cut to `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def neutral(text: str) -> str:
    """The text, in which nothing makes a link, a mention or a tag, whatever a chat reads."""
    return text.translate(_NEUTRAL)


def story(incident: Incident) -> list[str]:
    """The newest lines of the history, oldest first, with their times in UTC."""
    return [f"{_clock(entry.at)} {entry.state}: {clip(entry.reason.text)}" for entry in incident.history[-LINES:]]


def cause(incident: Incident, most: int = SHORT) -> str:
    """What is wrong, in words; of what is over, what was. What it is on is named whole, whatever is cut."""
    sick, what = _sick(incident), _first(incident).partition("; ")[0]
    if incident.storm:
        storm = next((each.reason.text for each in incident.history if each.reason.code == STORM), incident.reason.text)
        how_many = storm.partition(":")[0]
        return clip(f"{how_many}: {what}" if what else how_many, most)
    if not what:
        return clip(incident.history[0].reason.text if incident.history else incident.reason.text, most)
    place = f" on {sick[0].target}" + (f" and {len(sick) - 1} more" if len(sick) > 1 else "")
    return clip(clip(what, max(most - len(place), most // 2)) + place, most)


def unsaid(text: str, said: Iterable[str]) -> str:
    """A text without what was said before of what is wrong."""
    for what in filter(None, said):
        text = re.sub(rf" \((?:[^ ()]+: )?{re.escape(what)}\)", "", text).replace(f": {what} is resolved", ": that is resolved")
    return text


def _without(text: str, verdict: str, said: Iterable[str]) -> str:
    """A text without what the headline has said."""
    return unsaid(uncalled(text) if verdict == HUMAN else text, said)


def _sick(incident: Incident) -> list[SickTarget]:
    """The sick targets; of what is over, those that were."""
    return incident.sick or sorted(incident.targets.values(), key=lambda target: target.since)


def _first(incident: Incident) -> str:
    """What is wrong with the target that has been sick longest; in a storm, with most of them. Empty where no target is known."""
    sick = _sick(incident)
    if incident.storm and sick:
        return Counter(each.what for each in sick).most_common(1)[0][0]
    return sick[0].what if sick else ""


def _verdict(incident: Incident) -> str:
    if incident.rule == TEST:
        return "TEST"
    released = took_canary_off(incident)
    match milestone(incident):
        case Milestone.ASKS:
            return "healer waits for your approval"
        case Milestone.ESCALATED:
            return HUMAN
        case Milestone.HEALED:
            return "taken off, the release failed" if released else "healed"
        case Milestone.CLOSED if not incident.acted_at:
            return "over, without an action of healer"
        case Milestone.CLOSED:
            return "over: taken off, the release failed" if released else "over"
        case _:
            return "healer only observes" if incident.mode == "observe" else "healer is on it"


def took_canary_off(incident: Incident) -> bool:
    """Whether healer's last step took the traffic of a canary: what is well again is not the release."""
    acted = bool(incident.acted_at) and incident.step < len(incident.steps)
    return acted and incident.steps[incident.step] == _TAKEN_OFF


def _done(incident: Incident) -> str:
    """The lines of actions that were accepted or failed: those that follow a line of ACTING."""
    results = [
        after
        for before, after in zip(incident.history, incident.history[1:], strict=False)
        if before.state is State.ACTING and after.state is not State.ACTING
    ]
    if not results:
        return "healer has changed nothing"
    lines = [
        f"{_clock(entry.at)} {_step_name(incident, entry.step)}{clip(entry.reason.text)}" for entry in results[-LINES // 2 :]
    ]
    return "; ".join(lines)


def _step_name(incident: Incident, step: int | None) -> str:
    return f"{incident.steps[step]}: " if step is not None and step < len(incident.steps) else ""


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%SZ}"
