"""Free text from sources, servers and people. It is sanitised once, where it enters the model.

Sanitised text is one line, so that nobody can forge another line. It has no control characters, no invisible ones and none that
change the direction of writing. Personal data and secrets are redacted, and its length is limited.
"""

import re
import unicodedata
from functools import lru_cache

from healer.model.redact import SLACK, redact_most

MOST = 1000
"""The most characters of a free text. The definition of incidents allows no more."""
_MARGIN = 4 * SLACK
"""The bytes of a body that are decoded beyond the part that is shown. A character takes up to four bytes."""
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
"""Invisible letters and marks, besides the characters of the category "format"."""
_SUSPECT = re.compile("[" + "".join(sorted(_UNSEEN)) + "]")

_FIGURES = re.compile(r"(?<![\w./:-])\d+(?:[.,]\d+)*(?![\w/:-])")
"""Numbers on their own: counts and durations. Numbers inside names distinguish objects and do not match."""


def without_figures(text: str) -> str:
    """The text with each number replaced by 0. Two texts with the same result have the same meaning."""
    return _FIGURES.sub("0", text)


def says_more(text: str, known: str) -> bool:
    """Whether a text says something that the known one does not, apart from figures. One that only leaves out the end does not:
    a kubelet that has cleared away a container no longer shows how it ended."""
    return not without_figures(known).startswith(without_figures(text))


def free_text(text: str, most: int = MOST) -> str:
    """The sanitised text, of at most `most` characters."""
    return _made_safe(text[: most + 3 * SLACK], most)


@lru_cache(2048)  # the text of a target recurs in its incident, in the history, and in the incident of its node
def _made_safe(text: str, most: int) -> str:
    return cut(redact_most(one_line(text), most), most)


def body_text(body: bytes, most: int) -> str:
    """The sanitised text of a response body that cannot be decoded."""
    return free_text(body[: _MARGIN + most].decode(errors="replace").strip(), most)


def one_line(text: str) -> str:
    """The text on one line, without invisible characters."""
    if text.isprintable() and not _SUSPECT.search(text):
        return text
    return "".join(map(_shown, text)).strip()


def cut(text: str, most: int) -> str:
    """The text, cut to `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _shown(sign: str) -> str:
    if sign in _UNSEEN:
        return ""
    if sign.isprintable():
        return sign
    return "" if unicodedata.category(sign) == "Cf" else " "
