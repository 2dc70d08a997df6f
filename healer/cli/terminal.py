"""Renders log events for a terminal, one line each: the time, the level or state, the message, and other fields dimmed."""

from collections.abc import Iterator, MutableMapping
from typing import Any

_STYLES = {
    "debug": "2",
    "info": "",
    "warning": "33",
    "error": "31",
    "critical": "1;31",
    "open": "33",
    "waiting": "36",
    "acting": "1;34",
    "verifying": "34",
    "healed": "1;32",
    "escalated": "1;31",
    "closed": "2",
}
"""SGR codes by level, and by state of an incident. https://ecma-international.org/publications-and-standards/standards/ecma-48/"""
_DIM = "2"
_WORDS = {"info": "", "warning": "warn"}
_INCIDENT = ("rule", "workload", "namespace", "text", "incident", "state", "step", "reason", "at")
"""The fields that an incident's line has in its message, or leaves to `healer explain`."""


class TerminalRenderer:
    """The last processor of structlog's chain, which renders an event. `colours`: whether the terminal shows colours."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _: object, __: str, event: MutableMapping[str, Any]) -> str:
        """The line of an event. A traceback follows on lines of its own."""
        clock = str(event.pop("timestamp", ""))[11:19]
        level = str(event.pop("level", "info"))
        trace = event.pop("exception", None)
        words = str(event.pop("event", ""))
        if "incident" in event and "state" in event:
            kind = str(event["state"])
            words = f"{str(event['rule']).rpartition('/')[2]}: {event['text']}"
            rest = {"incident": f"{event['namespace']}/{event['incident']}"}
            rest |= {key: value for key, value in event.items() if key not in _INCIDENT}
        else:
            kind, rest = _WORDS.get(level, level), dict(event)
        style = _STYLES.get(kind) or _STYLES.get(level, "")
        line = f"{self._styled(clock, _DIM)}  {self._styled(f'{kind:<9}', style)}  {_one_line(words)}"
        if rest:
            line += "  " + self._styled("  ".join(_pairs(rest)), _DIM)
        return line if trace is None else f"{line}\n{trace}"

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colours and style else text


def _pairs(rest: MutableMapping[str, Any]) -> Iterator[str]:
    for key, value in rest.items():
        if value is not None and value != "":
            yield f"{key}={_one_line(str(value))}"


def _one_line(text: str) -> str:
    """The text on one line, without control characters."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
