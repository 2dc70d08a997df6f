"""Free text: what sources, servers and people say. It is made safe once, where it enters the model, and stays so.

One line, so that nobody can forge another one; without control characters and without those that are not seen or that turn the
direction of writing; without personal data and secrets; not without end.
"""

import re
import unicodedata
from functools import lru_cache

from healer.model.redact import SLACK, redact_most

MOST = 1000
"""Characters of a free text; the definition of incidents allows no more."""
_MARGIN = 4 * SLACK
"""Bytes of an answer that are looked at beyond what is shown: a character takes up to four."""
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
"""Letters and marks that are not seen, beside all of the category "format"."""
_SUSPECT = re.compile("[" + "".join(sorted(_UNSEEN)) + "]")

_FIGURES = re.compile(r"(?<![\w./:-])\d+(?:[.,]\d+)*(?![\w/:-])")
"""Numbers that stand by themselves: counts, durations. Those in names tell one object from another."""


def without_figures(text: str) -> str:
    """The text with all its figures made 0: two that are the same so say the same."""
    return _FIGURES.sub("0", text)


def free_text(text: str, most: int = MOST) -> str:
    """The text as it may be kept and shown, of at most `most` characters."""
    return _made_safe(text[: most + 3 * SLACK], most)


@lru_cache(2048)  # what a target has stands in its incident, in a line of it, and in that of its node
def _made_safe(text: str, most: int) -> str:
    return cut(redact_most(one_line(text), most), most)


def body_text(body: bytes, most: int) -> str:
    """What an answer that cannot be read says, as text that may be shown."""
    return free_text(body[: _MARGIN + most].decode(errors="replace").strip(), most)


def one_line(text: str) -> str:
    """The text on one line, without characters that are not seen."""
    if text.isprintable() and not _SUSPECT.search(text):
        return text
    return "".join(map(_shown, text)).strip()


def cut(text: str, most: int) -> str:
    """The text, cut to so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _shown(sign: str) -> str:
    if sign in _UNSEEN:
        return ""
    if sign.isprintable():
        return sign
    return "" if unicodedata.category(sign) == "Cf" else " "
