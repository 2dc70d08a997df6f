"""The buttons under an incident's message, and what a press of one says.

https://docs.slack.dev/reference/block-kit/blocks/actions-block; the payload is that of
https://docs.slack.dev/reference/interaction-payloads/block_actions-payload.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from healer.engine.incidents.approval import is_undone, step_asked
from healer.model.incident import Incident
from healer.sinks.words import Milestone, milestone

APPROVE, PAUSE, RESUME, UNDO, EXPLAIN = "approve", "pause", "resume", "undo", "explain"
_PREFIX = "healer_"
_DONE = {APPROVE: "Approved", PAUSE: "Paused", UNDO: "Undone"}
_SHORT = 75
"""The most characters of a button's text, and the first limit that a confirmation's title has."""

Pressed = Mapping[str, str]
"""Who has pressed which button (a user's ID), by `Press.key`."""
NOBODY: Pressed = {}


class ButtonTarget(msgspec.Struct, forbid_unknown_fields=True):
    """The value of a button: the incident, and the workload and the step that the message showed."""

    incident: str
    namespace: str
    workload: str
    step: str = ""
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class Press:
    """A button was pressed."""

    verb: str
    target: ButtonTarget
    user: str
    name: str
    channel: str
    ts: str
    text: str
    blocks: tuple[dict[str, Any], ...]
    """The message as it was when it was pressed."""

    @property
    def by(self) -> str:
        """Who, as it stands in the audit."""
        return f"slack:{self.user} ({self.name})" if self.name else f"slack:{self.user}"

    @property
    def key(self) -> str:
        """By which the button is known."""
        return f"{self.verb}{self.target.step}"


def parse_press(payload: Any) -> Press | None:
    """The press that a payload tells of; None when it is about no button of ours. Raises ValueError for what is no payload."""
    try:
        action = payload["actions"][0]
        if payload["type"] != "block_actions" or not str(action["action_id"]).startswith(_PREFIX):
            return None
        user = payload["user"]
        return Press(
            verb=str(action["action_id"]).removeprefix(_PREFIX),
            target=msgspec.json.decode(action["value"], type=ButtonTarget),
            user=str(user["id"]),
            name=str(user.get("username") or user.get("name") or ""),
            channel=str(payload["channel"]["id"]),
            ts=str(payload["message"]["ts"]),
            text=str(payload["message"].get("text", "")),
            blocks=tuple(dict(block) for block in payload["message"].get("blocks", ())),
        )
    except (AttributeError, LookupError, TypeError, ValueError, msgspec.MsgspecError) as error:
        raise ValueError(f"not a payload of a button: {type(error).__name__}") from error


def buttons(incident: Incident, pressed: Pressed, cluster: str, *, undoable: bool) -> dict[str, Any]:
    """The block of buttons. One that was pressed is gone for all."""
    step = step_asked(incident) if milestone(incident) is Milestone.ASKS else ""
    shown: list[dict[str, Any]] = []
    if step and f"{APPROVE}{step}" not in pressed:
        shown.append(_button(incident, cluster, APPROVE, "Approve", step=step, style="primary"))
    if incident.workload.namespace and not (incident.state.settled and PAUSE not in pressed):
        if PAUSE in pressed:
            shown.append(_button(incident, cluster, RESUME, "Resume"))
        else:
            what = f"healer sends no further action for {incident.workload} until somebody resumes it."
            shown.append(_button(incident, cluster, PAUSE, "Pause", confirm=what))
    if undoable and UNDO not in pressed and not is_undone(incident):
        what = "healer puts back what it changed for this incident, as far as nobody has changed it since."
        shown.append(_button(incident, cluster, UNDO, "Undo", confirm=what, style="danger"))
    shown.append(_button(incident, cluster, EXPLAIN, "Explain"))
    return {"type": "actions", "block_id": "healer_buttons", "elements": shown}


def who_pressed(incident: Incident, pressed: Pressed) -> str:
    """Who has pressed what, in mrkdwn; empty when nobody has."""
    step = step_asked(incident)
    said = {APPROVE + step: _DONE[APPROVE], PAUSE: _DONE[PAUSE], UNDO: _DONE[UNDO]}
    return " · ".join(f"{word} by <@{pressed[key]}>" for key, word in said.items() if key in pressed)


def without_button(press: Press) -> list[dict[str, Any]]:
    """The blocks of the message without the button, for a healer that does not hold its thread."""
    who = {"type": "context", "elements": [{"type": "mrkdwn", "text": f"{_DONE.get(press.verb, press.verb)} by <@{press.user}>"}]}
    blocks: list[dict[str, Any]] = []
    for block in press.blocks:
        if block.get("type") != "actions":
            blocks.append(block)
            continue
        left = [each for each in block["elements"] if each.get("action_id") != f"{_PREFIX}{press.verb}"]
        blocks += [{**block, "elements": left}, who] if left else [who]
    return blocks


def _button(
    incident: Incident, cluster: str, verb: str, text: str, *, step: str = "", confirm: str = "", style: str = ""
) -> dict[str, Any]:
    place = incident.workload
    value = ButtonTarget(incident.id, place.namespace, str(place), step, cluster)
    button: dict[str, Any] = {
        "type": "button",
        "action_id": f"{_PREFIX}{verb}",
        "text": {"type": "plain_text", "text": text},
        "value": msgspec.json.encode(value).decode(),
    }
    if style:
        button["style"] = style
    if confirm:
        button["confirm"] = {
            "title": {"type": "plain_text", "text": f"{text}?"},
            "text": {"type": "plain_text", "text": confirm[:300]},
            "confirm": {"type": "plain_text", "text": text},
            "deny": {"type": "plain_text", "text": "Cancel"},
        }
    return button
