"""The message of an incident in Slack: blocks that show its present state. Its story is in the thread (`reply`).

Limits of Slack: 50 blocks a message, 3,000 characters a section, 2,000 a field, 150 a header; all blocks together must stay below
some 13,000 characters (slackapi/bolt-js #2509). Of mrkdwn, `&`, `<` and `>` must be escaped, and nothing else can be.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from healer.engine.incidents.observing import uncalled
from healer.model.duration import about
from healer.model.incident import Incident, State
from healer.model.text import cut
from healer.sinks.site import Site, site_links
from healer.sinks.slack.buttons import NOBODY, Pressed, buttons, who_pressed
from healer.sinks.slack.template import SlackTemplate
from healer.sinks.words import Milestone, cause, milestone, next_command, took_canary_off, unsaid, words

HEADER, FIELD, NOW, LIST, LINE, TEXT = 150, 500, 1500, 2500, 300, 3000
"""Characters in a header, a field, the reason, a list of lines, a line's free text, the text of a message."""
TARGETS = 10
"""Targets that the message shows."""
_LINKS = ("page", "runbook", "dashboard", "alert")
"""The links that help most, in this order."""

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
_TAKEN_OFF = ":no_entry:"
"""A canary lost its traffic: nothing is sick any more, and the release has failed."""
UNDOABLE = frozenset({"cordon", "pinModelVersion", "quarantine", "rollback", "scale", "shiftTraffic"})
"""The actions that `healer undo` can undo."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is posted or edited; `text` is what notifications show. `broadcast`: a reply is shown in the channel, too."""

    text: str
    blocks: tuple[Block, ...] = ()
    broadcast: bool = False


@dataclass(frozen=True, slots=True)
class SlackForm:
    """What messages have beside the incident: where healer runs, and the mention that reaches people."""

    site: Site = field(default_factory=Site)
    mention: str = ""
    """In Slack's own form: `<!here>`, `<@U123>`, `<!subteam^S123>`."""
    buttons: bool = False
    """Whether people can press buttons."""
    template: SlackTemplate | None = None
    """The message of users, where they have one."""


PLAIN = SlackForm()


def render(incident: Incident, note: str = "", form: SlackForm = PLAIN, pressed: Pressed = NOBODY) -> Message:
    """The incident's one message, as it stands now; `note` says why it is in this channel; it may be empty."""
    if form.template is None:
        sign = emoji(incident)
        head, parts = f"{sign} {cause(incident, HEADER - len(sign) - 1)}", _parts(incident, form)
    else:
        head, texts = form.template.fill(partial(_gaps, incident, form, cut), partial(_gaps, incident, form, clip))
        parts = [{"type": "section", "text": mrkdwn(text)} for text in texts]
    blocks: list[Block] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(head, HEADER), "emoji": True}},
        *parts,
        *([buttons(incident, pressed, form.site.cluster, undoable=can_undo(incident))] if form.buttons else []),
        *([{"type": "context", "elements": [mrkdwn(who)]}] if (who := who_pressed(incident, pressed)) else []),
        {"type": "context", "elements": [mrkdwn(f"{clip(incident.id, FIELD)} · rule {clip(incident.rule, FIELD)}")]},
        *([{"type": "context", "elements": [mrkdwn(clip(note, NOW))]}] if note else []),
    ]
    ending = f" ({note})" if note else ""
    place = f"{incident.workload} in {incident.workload.namespace or 'the cluster'}"
    return Message(clip(f"{head} · {place}: {_now(incident)}{ending}", TEXT), tuple(blocks))


def _parts(incident: Incident, form: SlackForm) -> list[Block]:
    """What stands under the headline, where users have no template of their own."""
    background, links = incident.background, _links(incident, form)
    sections = [
        f"*Now* {clip(_now(incident), NOW)}",
        f"*Next* {' or '.join(f'`{clip(command, FIELD)}`' for command in commands(incident))}",
        f"*Why this answer* {clip(background.description, NOW)}" if background.description else "",
        f"*Asked* `{clip(background.asks.replace('`', ' '), NOW)}`" if background.asks else "",
        _titled("Steps", _steps(incident)),
        _titled("Sick", fit(_targets(incident))),
    ]
    return [
        {"type": "section", "fields": [mrkdwn(f"*{name}*\n{value}") for name, value in _fields(incident, form)]},
        *({"type": "section", "text": mrkdwn(text)} for text in sections if text),
        *([{"type": "context", "elements": [mrkdwn(" · ".join(links))]}] if links else []),
    ]


def _gaps(incident: Incident, form: SlackForm, short: Callable[[str, int], str], size: int) -> dict[str, str]:
    """What fills the gaps of a template; `short` cuts, and escapes where Slack takes mrkdwn."""
    said = words(incident, form.site)
    texts = {
        "cause": cause(incident),
        "verdict": said.verdict,
        "now": _now(incident),
        "workload": str(incident.workload),
        "namespace": incident.workload.namespace,
        "cluster": form.site.cluster,
        "severity": incident.severity,
        "lasted": said.lasted,
        "mode": incident.mode,
        "rule": incident.rule,
        "incident": incident.id,
        "description": incident.background.description,
        "asked": incident.background.asks,
        "next": next_command(incident),
        "sick": "; ".join(f"{target.target}: {target.what}" for target in incident.sick[:TARGETS]),
        "steps": ", ".join(incident.steps),
    }
    links = " · ".join(_links(incident, form))
    ready = {"icon": emoji(incident), "links": links if len(links) <= size else ""}
    return {name: short(text, size) for name, text in texts.items()} | ready


def _links(incident: Incident, form: SlackForm) -> list[str]:
    """As many links as one element holds: a link that is cut leads nowhere. Those that help first come first."""
    found = site_links(form.site, incident)
    links = (f"<{found[name].replace('&', '&amp;')}|{name}>" for name in dict.fromkeys((*_LINKS, *found)) if name in found)
    shown: list[str] = []
    for link in links:
        if sum(map(len, shown)) + len(link) <= LIST:
            shown.append(link)
    return shown


def _steps(incident: Incident) -> list[str]:
    return fit(f"{_mark(incident, index)} {clip(step, LINE)}" for index, step in enumerate(incident.steps))


def _fields(incident: Incident, form: SlackForm) -> Iterable[tuple[str, str]]:
    """What people look for first: where, how bad, since when. The values are escaped."""
    yield "Workload", clip(str(incident.workload), FIELD)
    yield "Namespace", clip(incident.workload.namespace, FIELD) or "none: it is of the whole cluster"
    if form.site.cluster:
        yield "Cluster", clip(form.site.cluster, FIELD)
    yield "Severity", f"{_SEVERITIES.get(incident.severity, ':large_blue_circle:')} {clip(incident.severity, FIELD)}"
    lasted = about((incident.changed_at if incident.ended_at is None else incident.ended_at) - incident.opened_at)
    if incident.state.settled:
        yield "Lasted", lasted
    else:
        yield "Lasts", f"{lasted} so far, since {moment(incident.opened_at)}"
    if incident.mode != "enforce":
        yield "Mode", f"{clip(incident.mode, FIELD)} (healer changes nothing by itself)"


def commands(incident: Incident) -> list[str]:
    """What to type next, and what else helps."""
    place = incident.workload.namespace
    found = [next_command(incident)]
    if not incident.state.settled and place:
        found.append(f"healer pause {str(incident.workload).lower()} -n {place}")
    if can_undo(incident):
        found.append(f"healer undo incident/{incident.id} -n {place}")
    return found


def can_undo(incident: Incident) -> bool:
    """Whether healer has changed something for it that it can undo."""
    acted = {entry.step for entry in incident.history if entry.state is State.ACTING and entry.step is not None}
    return bool(incident.acted_at) and any(incident.steps[step] in UNDOABLE for step in acted if step < len(incident.steps))


def _now(incident: Incident) -> str:
    """How it stands, and why. The headline has said what is wrong."""
    verdict = words(incident, Site()).verdict
    text = unsaid(incident.reason.text, dict.fromkeys(target.what for target in incident.targets.values()))
    text = uncalled(text) if milestone(incident) is Milestone.ESCALATED else text
    return text if verdict in text else f"{verdict}: {text}"


def clip(text: str, limit: int) -> str:
    """The text escaped for mrkdwn and cut to `limit` characters, never in the middle of an escape."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if len(escaped) <= limit:
        return escaped
    cut_off = escaped[: limit - 1]
    ampersand = cut_off.rfind("&")
    if ampersand >= 0 and ";" not in cut_off[ampersand:]:
        cut_off = cut_off[:ampersand]
    return cut_off + "…"


def mrkdwn(text: str) -> Block:
    """A text object."""
    return {"type": "mrkdwn", "text": text}


def moment(at: float) -> str:
    """A time of day that Slack shows in the reader's own zone."""
    return f"<!date^{int(at)}^{{time_secs}}|{datetime.fromtimestamp(at, UTC):%H:%M:%S}Z>"


def emoji(incident: Incident) -> str:
    """The sign of its state."""
    if milestone(incident) in (Milestone.HEALED, Milestone.CLOSED) and took_canary_off(incident):
        return _TAKEN_OFF
    if milestone(incident) is Milestone.ESCALATED:
        return _STATES[State.ESCALATED]
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
    """The sick targets, when there is more than the one that the headline names; those that are alike on one line."""
    sick = incident.sick
    alike: dict[str, list[str]] = {}
    for target in sick[:TARGETS] if len(sick) > 1 else ():
        alike.setdefault(target.what, []).append(str(target.target))
    for what, names in alike.items():
        yield f"• {clip(', '.join(names), LINE)}: {clip(what, LINE)}"
    if len(sick) > TARGETS:
        yield f"and {len(sick) - TARGETS} more"


def _titled(title: str, lines: Sequence[str]) -> str:
    """The lines under a title; empty without lines."""
    return "\n".join((f"*{title}*", *lines)) if lines else ""


def fit(lines: Iterable[str]) -> list[str]:
    """As many of the first lines as a list holds."""
    fitting: list[str] = []
    room = LIST
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        fitting.append(line)
    return fitting
