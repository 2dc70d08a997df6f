"""The replies in the thread of an incident: its story in sentences, each said once."""

import re
from collections.abc import Iterable, Sequence

from healer.engine.incidents.needed import says_held
from healer.engine.incidents.observing import uncalled
from healer.model.incident import Entry, Incident, State
from healer.sinks.slack.message import LINE, PLAIN, TEXT, Message, SlackForm, clip, moment
from healer.sinks.words import milestone, next_command, took_canary_off, unsaid

SAYS = {
    State.OPEN: "Seen",
    State.WAITING: "Waits",
    State.ACTING: "Acts",
    State.VERIFYING: "Looks whether it helped",
    State.HEALED: "Healed",
    State.ESCALATED: "A human is needed",
    State.CLOSED: "Over",
}
"""How a line of the history begins."""
FIRST = 600
"""Characters of the first line's free text: it says what is wrong, with the last words of a container."""
_GOES_ON = "Goes on"
_DONE = "Done"
_NOTES = {
    "Approved": "Approved",
    "Undone": "Undone",
    "Resolved": "No longer sick",
    "TakenBack": "Taken back",
    "LeftAlone": "Left as it is",
}
"""Lines that change no state, by their reason."""
TAKEN_OFF = "Taken off, the release failed"
_ASKS = "NeedsApproval"
_SICK = re.compile(r"(?P<who>(the new )?\S+) is (still )?sick(?P<too> too)?: (?P<what>.+)|\d+ further signals fire: ", re.DOTALL)
"""What lines say of signals that fire."""
_RESOLVED = re.compile(r"\d+ signals are resolved: ")


def replies(
    entries: Sequence[Entry], incident: Incident, form: SlackForm = PLAIN, missed: float = 0.0
) -> tuple[Message, Sequence[Entry]]:
    """One reply with as many of the first lines as it holds, at least one, and which these are.

    `entries` are the last lines of the history. A line that needs a human is a reply of its own. `missed`: until then nobody
    could be told, for long: of what happened before only the end is told.
    """
    past = _past(entries, missed)
    if past > 1:
        until = entries[past - 1].at
        text = (
            f"While Slack could not be reached, from {moment(entries[0].at)} to {moment(until)}, {past} lines were added that are"
            f" not repeated here: `{clip(_explain(incident), 200)}` has them."
        )
        return Message(text), entries[:past]
    first = len(incident.history) - len(entries)
    if _is_alarm(incident, first):
        mention = f"{form.mention} " if form.mention else ""
        broadcast = entries[0].reason.code != _ASKS
        ending = f"\nNext: `{clip(next_command(incident), 500)}`" if broadcast else ""
        return Message(f"{mention}{reply(entries[0], incident, first)}{ending}", broadcast=broadcast), entries[:1]
    lines = [reply(entries[0], incident, first)]
    room = TEXT - len(lines[0])
    for index, entry in enumerate(entries[1:], first + 1):
        line = reply(entry, incident, index)
        room -= len(line) + 1
        if room < 0 or _is_alarm(incident, index):
            break
        lines.append(line)
    return Message("\n".join(lines)), entries[: len(lines)]


def reply(entry: Entry, incident: Incident, index: int) -> str:
    """A line of the history, the `index`-th, as a sentence."""
    known = entry.step is not None and entry.step < len(incident.steps)
    step = f" ({incident.steps[entry.step]})" if known and entry.step is not None else ""
    title = f"{moment(entry.at)} *{_says(entry, incident, index)}*{clip(step, 100)}"
    return f"{title}: {clip(_news(entry, incident, index), LINE if index else FIRST)}"


def _says(entry: Entry, incident: Incident, index: int) -> str:
    if entry.state.settled and took_canary_off(incident):
        return TAKEN_OFF if entry.state is State.HEALED else SAYS[State.CLOSED]
    before = incident.history[index - 1] if index else None
    if entry.reason.code in _NOTES and (entry.step is None or entry.reason.code == "Approved"):
        return _NOTES[entry.reason.code]
    if before is None or entry.state.settled:
        return SAYS[entry.state]
    if says_held(entry.reason):
        return SAYS[State.ESCALATED]
    if entry.step is None and (entry.state is before.state or _SICK.match(entry.reason.text)):
        waits = entry.state is State.WAITING and _SICK.match(entry.reason.text) is None
        return SAYS[State.WAITING if waits else State.OPEN]
    done = entry.state is State.VERIFYING and before.state is State.ACTING
    return _DONE if done else _GOES_ON if entry.state is State.OPEN else SAYS[entry.state]


def _news(entry: Entry, incident: Incident, index: int) -> str:
    """The text without what earlier lines and the line's own title have said: what is wrong with a target is said once."""
    text, before = entry.reason.text, [each.reason.text for each in incident.history[:index]]
    told = {sick["what"] for sick in map(_SICK.match, before) if sick is not None and sick["what"]}
    if (sick := _SICK.match(text)) is not None and sick["too"] and sick["what"] in told:
        return f"{sick['who']} is sick too: {sick['what'].partition(':')[0]}"
    whats = told | {target.what for target in incident.targets.values() if target.what}
    said = sorted((what for what in whats if any(what in each for each in before)), key=len, reverse=True)
    if entry.reason.code == "Resolved":
        return _resolved(text, said)
    if entry.state is State.ESCALATED or says_held(entry.reason):
        text = uncalled(text)
    return unsaid(text, said).removeprefix("taken back: ")


def _resolved(text: str, said: Iterable[str]) -> str:
    """Who is not sick any more, each named once."""
    for what in said:
        text = text.replace(f": {what}", "")
    who, _, left = text.rpartition("; ")
    names = _RESOLVED.sub("", who).removesuffix(" is resolved").split(", ")
    return "; ".join(filter(None, (", ".join(dict.fromkeys(names)), left)))


def _past(entries: Sequence[Entry], missed: float) -> int:
    """How many of the first lines are from when nobody could be told; the last line of all is always told."""
    return sum(entry.at <= missed for entry in entries[:-1])


def _is_alarm(incident: Incident, index: int) -> bool:
    """Whether a line needs a human, and does so still."""
    entry, latest = incident.history[index], incident.history[-1]
    before = incident.history[index - 1] if index else None
    if entry.state is State.ESCALATED:
        return incident.state is State.ESCALATED and (before is None or before.state is not State.ESCALATED)
    if entry.state is State.WAITING and says_held(entry.reason):
        return all(later.state is State.WAITING and later.step is None for later in incident.history[index + 1 :])
    return entry.reason.code == _ASKS and entry is latest and milestone(incident).needs_human


def _explain(incident: Incident) -> str:
    return f"healer explain incident/{incident.id} -n {incident.workload.namespace}"
