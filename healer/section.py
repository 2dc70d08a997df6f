"""A group of settings: the base of the sections, and the forms that their values have."""

import math
import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from healer.model.duration import parse, say

PREFIX = "HEALER_"
"""Of every variable of the environment."""

_PLAIN_NUMBER = re.compile(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", re.IGNORECASE | re.ASCII)


_LONGEST = 3650 * 86400.0
"""The longest duration that a setting takes, in seconds."""
_UNIT_HINT = "write seconds, or a number with a unit: 90s, 2m, 1h30m"


def _seconds(value: object) -> object:
    """A duration as rules write it, in seconds; anything else is left to pydantic, which says what is wrong with it.

    Its messages do not show the value: it may be a secret that came to the wrong place.
    """
    seconds = value
    if isinstance(value, str):
        text = value.strip()
        try:
            seconds = float(text) if _PLAIN_NUMBER.fullmatch(text) else parse(text, math.inf)
        except ValueError:
            raise ValueError(f"this is no duration: {_UNIT_HINT}") from None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ValueError(f"this is no duration: {_UNIT_HINT}")
    if not seconds <= _LONGEST:  # nan as well
        raise ValueError(f"a duration is at most {say(_LONGEST)}: {_UNIT_HINT}")
    return seconds


Seconds = Annotated[float, BeforeValidator(_seconds, json_schema_input_type=float | str)]
"""A duration: a number of seconds, or a text as in rules ("30s", "1h30m")."""


OBJECT_NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
OBJECT_NAME_OR_NONE = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$"
"""Names of objects: they become part of a path."""


class Section(BaseModel):
    """A group of knobs."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
