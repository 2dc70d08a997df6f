"""The text of an incident in Slack: blocks for the one message, a line for each reply.

Limits of Slack: 50 blocks a message, 3,000 characters a section, 2,000 a field, 150 a header; all blocks together must stay below
some 13,000 characters (slackapi/bolt-js #2509). Of mrkdwn, `&`, `<` and `>` must be escaped, and nothing else can be.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from healer.model.incident import Entry, Incident, State
from healer.sinks.site import Site, site_links

HEADER, FIELD, NOW, LIST, LINE, TEXT = 150, 500, 1500, 2500, 300, 3000
"""Characters in a header, a field, the reason, a list of lines, a line's free text, the text of a message."""
TARGETS, LINES = 10, 10
"""Targets and history lines that the message shows."""

Block = dict[str, Any]

_STATES = {
    State.WAITING: ":double_vertical_bar:",
    State.ACTING: ":wrench:",
    State.VERIFYING: ":hourglass_flowing_sand:",
    State.HEALED: ":white_check_mark:",
    State.ESCALATED: ":rotating_light:",
    State.CLOSED: ":white_check_mark:",
}
_SEVERITIES = {"critical": ":red_circle:", "warning": ":large_orange_circle:", "info": ":large_blue_circle:"}


@dataclass(frozen=True, slots=True)
class Message:
    """What is posted or edited; `text` is what notifications show."""

    text: str
    blocks: tuple[Block, ...] = ()


_NO_SITE = Site()


def render(incident: Incident, note: str = "", site: Site = _NO_SITE) -> Message:
    """The incident's one message, as it stands now; `note` says why it is in this channel; it may be empty."""
    head = f"{_emoji(incident)} {incident.workload}: {incident.rule.rpartition('/')[2]}, {incident.state}"
    fields = {
        "Workload": f"{incident.workload.namespace}/{incident.workload}",
        **({"Cluster": site.cluster} if site.cluster else {}),
        "Rule": incident.rule,
        "Severity": incident.severity,
        "Mode": incident.mode if incident.mode == "enforce" else f"{incident.mode} (healer changes nothing by itself)",
    }
    background = incident.background
    links = [f"<{link.replace('&', '&amp;')}|{name}>" for name, link in site_links(site, incident).items()]
    sections = [
        f"*Now* {clip(incident.reason.text, NOW)}",
        f"*Why this answer* {clip(background.description, NOW)}" if background.description else "",
        f"*Asked* `{clip(background.asks.replace('`', ' '), NOW)}`" if background.asks else "",
        _titled("Steps", _fit(f"{_mark(incident, index)} {clip(step, LINE)}" for index, step in enumerate(incident.steps))),
        _titled("Targets", _fit(_targets(incident))),
        _titled("History", _fit(reply(entry, incident) for entry in incident.history[: -LINES - 1 : -1])[::-1]),
    ]
    blocks: list[Block] = [
        {"type": "header", "text": {"type": "plain_text", "text": head[:HEADER], "emoji": True}},
        {"type": "section", "fields": [_mrkdwn(f"*{name}*\n{clip(value, FIELD)}") for name, value in fields.items()]},
        *({"type": "section", "text": _mrkdwn(text)} for text in sections if text),
        {"type": "context", "elements": [_mrkdwn(f"{clip(incident.id, FIELD)}, opened {_time(incident.opened_at)}")]},
        *([{"type": "context", "elements": [_mrkdwn(" · ".join(links))]}] if links else []),
        *([{"type": "context", "elements": [_mrkdwn(clip(note, NOW))]}] if note else []),
    ]
    ending = f" ({note})" if note else ""
    return Message(clip(f"{head}. {incident.reason.text}{ending}", TEXT), tuple(blocks))


def reply(entry: Entry, incident: Incident) -> str:
    """One line of the history."""
    step = f" {incident.steps[entry.step]}" if entry.step is not None and entry.step < len(incident.steps) else ""
    return f"{_time(entry.at)} *{entry.state}*{clip(step, 100)}: {clip(entry.reason.text, LINE)}"


def replies(entries: Sequence[Entry], incident: Incident) -> tuple[Message, Sequence[Entry]]:
    """One reply with as many of the first lines as it holds, at least one, and which these are."""
    lines = [reply(entries[0], incident)]
    room = TEXT - len(lines[0])
    for entry in entries[1:]:
        line = reply(entry, incident)
        room -= len(line) + 1
        if room < 0:
            break
        lines.append(line)
    return Message("\n".join(lines)), entries[: len(lines)]


def clip(text: str, limit: int) -> str:
    """The text escaped for mrkdwn and cut to `limit` characters, never in the middle of an escape."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if len(escaped) <= limit:
        return escaped
    cut = escaped[: limit - 1]
    ampersand = cut.rfind("&")
    if ampersand >= 0 and ";" not in cut[ampersand:]:
        cut = cut[:ampersand]
    return cut + "…"


def _emoji(incident: Incident) -> str:
    return _STATES.get(incident.state) or _SEVERITIES.get(incident.severity, ":large_blue_circle:")


def _mark(incident: Incident, index: int) -> str:
    """How far a step of the ladder has come."""
    if index != incident.step:
        return ":x:" if index < incident.step else ":white_small_square:"
    reached = {entry.state for entry in incident.history} | {incident.state}
    if State.HEALED in reached:
        return ":white_check_mark:"
    if State.ESCALATED in reached:
        return ":x:"
    if incident.state is State.CLOSED:
        return ":heavy_minus_sign:"
    return _STATES.get(incident.state, ":white_small_square:")


def _targets(incident: Incident) -> Iterable[str]:
    sick = incident.sick
    for target in sick[:TARGETS]:
        yield f"• {clip(str(target.target), LINE)}: {clip(target.what, LINE)}"
    if len(sick) > TARGETS:
        yield f"and {len(sick) - TARGETS} more"


def _titled(title: str, lines: Sequence[str]) -> str:
    """The lines under a title; empty without lines."""
    return "\n".join((f"*{title}*", *lines)) if lines else ""


def _fit(lines: Iterable[str]) -> list[str]:
    """As many of the first lines as a list holds."""
    fitting: list[str] = []
    room = LIST
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        fitting.append(line)
    return fitting


def _mrkdwn(text: str) -> Block:
    return {"type": "mrkdwn", "text": text}


def _time(at: float) -> str:
    """A time of day that Slack shows in the reader's own zone."""
    return f"<!date^{int(at)}^{{time_secs}}|{datetime.fromtimestamp(at, UTC):%H:%M:%S}Z>"
