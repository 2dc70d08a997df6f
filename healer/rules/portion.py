"""A portion of a workload's replicas, as rules write it: "40%" of the desired ones, or a whole number."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

_PERCENT = re.compile(r"([1-9][0-9]?|100)%", re.ASCII)
_HINT = "write a percentage of the desired replicas (40%), or a whole number of pods (3)"


def exceeded(portion: int | str, number: int, of: int) -> bool:
    """Whether `number` is more than that portion of `of`."""
    if isinstance(portion, int):
        return number > portion
    return number * 100 > int(portion.removesuffix("%")) * of


def part_of(portion: int | str, of: int) -> int:
    """So much of `of`, rounded up: at least one."""
    return portion if isinstance(portion, int) else max(1, -(-of * int(portion.removesuffix("%")) // 100))


class InReplicas:
    """Marks a field that holds a portion, for code that walks the models (the reference in docs/rules.md)."""


def _portion(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if value >= 1:
            return value
        raise PydanticCustomError("rule", "{value} is too few", {"value": value, "hint": "one sick pod alone is never a storm"})
    if isinstance(value, str) and _PERCENT.fullmatch(value):
        return value
    if isinstance(value, str | float) and not isinstance(value, bool):
        written = repr(value) if isinstance(value, str) else value
        raise PydanticCustomError(
            "rule", "{value} is neither a percentage nor a number of replicas", {"value": written, "hint": _HINT}
        )
    raise PydanticCustomError("rule", "neither a percentage nor a number", {"hint": _HINT})


Portion = Annotated[int | str, BeforeValidator(_portion), InReplicas()]


def _more(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and value < 1:
        hint = "write how many more: at least 1, or a percentage"
        raise PydanticCustomError("rule", "{value} is too few", {"value": value, "hint": hint})
    return _portion(value)


More = Annotated[int | str, BeforeValidator(_more), InReplicas()]
"""So many replicas more: a whole number, or a percentage of those that there are."""
