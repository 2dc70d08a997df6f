"""Durations: parsed from the form that rules use ("90s", "1h30m") into seconds, and formatted."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo
from pydantic_core import PydanticCustomError

LONGEST = 30 * 86400.0
"""The longest duration that is accepted, in seconds. Windows are held in memory."""

_SHOWN = 40
"""The number of characters of an invalid text that a message shows."""
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
_HINT = "write a number with a unit: 500ms, 90s, 2m, 1h30m, 1d"


def parse(text: str, longest: float = LONGEST) -> float:
    """The seconds of a duration. It has whole numbers, each with a unit (d, h, m, s, ms), the larger unit first.

    Raises ValueError when `text` is not a duration, or is longer than `longest` seconds.
    """
    match = _DURATION.fullmatch(text)
    shown = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
    if match is None or not text:
        raise ValueError(f"{shown} is not a duration")
    digits = zip(match.groups(), _UNITS.values(), strict=True)
    seconds = sum(float(number) * unit for number, unit in digits if number is not None)
    if seconds > longest:
        raise ValueError(f"{shown} is longer than {say(longest)}")
    return seconds


def say(seconds: float) -> str:
    """The shortest form of a duration, rounded to milliseconds, which `parse` accepts."""
    left = round(seconds * 1000)
    parts: list[str] = []
    for unit, size in _UNITS.items():
        number, left = divmod(left, round(size * 1000))
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


class InSeconds:
    """Marks a field that holds a duration, for code that walks the models (scaling, the reference in docs/rules.md)."""


def _duration(value: Any, info: ValidationInfo) -> Any:
    """Validate a duration. A file must give a unit; code uses seconds."""
    if isinstance(value, str):
        try:
            return parse(value)
        except ValueError as error:
            raise PydanticCustomError("duration", "{text}", {"text": str(error), "hint": _HINT}) from None
    if info.context is None:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PydanticCustomError("duration", "{value} has no unit", {"value": value, "hint": _HINT})
    raise PydanticCustomError("duration", "not a duration", {"hint": _HINT})


Duration = Annotated[float, BeforeValidator(_duration), InSeconds()]


def about(seconds: float) -> str:
    """A duration for people, in its two largest units: "300 ms", "12 s", "2 m 30 s", "1 h 5 m"."""
    if 0 < seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    left, parts = max(0, round(seconds)), []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        number, left = divmod(left, size)
        parts.append((number, unit))
    while len(parts) > 1 and not parts[0][0]:
        del parts[0]
    return " ".join(f"{number} {unit}" for number, unit in parts[:2] if number) or "0 s"
