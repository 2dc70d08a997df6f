"""A message of Slack as a person reads it: its blocks as lines, the signs as pictures, the times in UTC, links as their words."""

import re
from typing import Any

from healer.model.incident import Incident
from tests.support.slack import FakeSlack, Posted

_SIGNS = {
    "double_vertical_bar": "⏸",
    "wrench": "🔧",
    "hourglass_flowing_sand": "⏳",
    "white_check_mark": "✅",
    "rotating_light": "🚨",
    "red_circle": "🔴",
    "large_orange_circle": "🟠",
    "large_blue_circle": "🔵",
    "no_entry": "⛔",
    "x": "❌",
    "white_small_square": "▫",
    "heavy_minus_sign": "➖",
    "ocean": "🌊",
    "newspaper": "📰",
}
_DATE = re.compile(r"<!date\^\d+\^[^|]*\|([^>]*)>")
_LINK = re.compile(r"<(https?://[^|>]+)\|([^>]*)>")
_MENTION = re.compile(r"<!(here|channel|everyone)>")
_TITLE = re.compile(r"(?:@\S+ )?\d\d:\d\d:\d\dZ \*([^*]+)\*( \([^)]*\))?:")
_SIGN = re.compile(r":([a-z_]+):")


def read_text(text: str) -> str:
    """Mrkdwn as it is shown. A sign that Slack does not know stays as it was written."""
    shown = _LINK.sub(r"[\2](\1)", _MENTION.sub(r"@\1", _DATE.sub(r"\1", text)))
    shown = _SIGN.sub(lambda sign: _SIGNS.get(sign[1], sign[0]), shown)
    return shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def read_message(posted: Posted) -> list[str]:
    """The lines of a message, from the top."""
    return [read_text(line) for block in posted.blocks for text in _texts(block) for line in text.split("\n")] or [
        read_text(posted.text)
    ]


def read_thread(posted: Posted) -> list[str]:
    """The lines of its replies, oldest first."""
    return [read_text(line) for reply in posted.replies for line in reply.text.split("\n")]


def read_all(posted: Posted) -> str:
    """The message and its thread as one text; a reply that the channel shows too says so."""
    replies = [
        f"--- reply{' (also sent to the channel)' if reply.broadcast else ''}\n{read_text(reply.text)}"
        for reply in posted.replies
    ]
    return "\n".join([f"=== message in {posted.channel}", *read_message(posted), f"=== thread, {len(replies)} replies", *replies])


def titles(posted: Posted) -> list[str]:
    """What each line of the thread is: "Done (evict)"."""
    lines = (_TITLE.match(line) for line in read_thread(posted))
    return [f"{line[1]}{line[2] or ''}" for line in lines if line is not None]


def tells_all(slack: FakeSlack, channel: str, incident: Incident) -> bool:
    """Whether the thread of an incident has every line of its history; its message is edited before."""
    posted = [line for (where, name, line) in slack.posted if (where, name) == (channel, incident.id)]
    return max(posted, default=0) >= len(incident.history)


def fields(posted: Posted) -> dict[str, str]:
    """What stands in the fields of a message, by their names."""
    every = [read_text(each["text"]).split("\n", 1) for block in posted.blocks for each in block.get("fields", ())]
    return {name.strip("*"): value for name, value in every}


def _texts(block: dict[str, Any]) -> list[str]:
    match block["type"]:
        case "header":
            return [block["text"]["text"]]
        case "actions":
            return [" ".join(f"[{each['text']['text']}]" for each in block["elements"])]
        case "context":
            return [each["text"] for each in block["elements"]]
        case _:
            return [each["text"] for each in block["fields"]] if "fields" in block else [block["text"]["text"]]
