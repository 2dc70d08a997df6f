"""What a pattern of matches() may cost: estimated from its text, by how RE2 works, and rather too much than too little.

RE2 takes time in proportion to the text, and to the pattern with its repetitions written out: `.{900}` is nine hundred of `.`.
"""

import math
import re
from dataclasses import dataclass

_STEP = re.compile(
    r"""\\Q(?P<quoted>.*?)(?:\\E|$)
    | \\(?P<unicode>[pP])(?:\{[^}]*\}|.)?
    | \\(?P<wide>[DWS])
    | \\x\{[^}]*\} | \\x.. | \\[0-7]{1,3} | (?P<escape>\\.)
    | (?P<class>\[\^?\]?(?:\[:[^]]*:\]|\\.|[^\]\\])*\])
    | \((?:\?(?P<flags>[imsU-]*)(?P<scoped>[:)])|\?P?<[^>]*>)? | (?P<closed>\)) | (?P<or>\|)
    | (?P<many>[*+?]|\{(?P<least>[0-9]+)(?P<comma>,)?(?P<most>[0-9]*)\})
    | (?P<any>\.) | (?P<anchor>[\^$]) | (?P<one>.)""",
    re.VERBOSE | re.DOTALL,
)
_UNICODE, _WIDE = 400, 12
"""The size of a class of Unicode (`\\pL`), and of one that has all but a few characters."""
_NOTHING, _COMPILED, _SQUARED, _A_CHARACTER = 8.0, 1.5, 0.02, 0.05
"""Microseconds, as measured: for any pattern; to compile each part of it; for each pair of parts of a plain one, whose states are
as many as its parts; and for each part of another one and each new state: each character of the text makes at most one."""


@dataclass(slots=True)
class _OpenGroup:
    """What a bracket holds so far: its size, and that of its last part."""

    size: float = 0.0
    last: float = 0.0

    def add(self, size: float) -> None:
        """A further part."""
        self.size, self.last = self.size + size, size


def pattern_cost(pattern: str, characters: float) -> float:
    """Microseconds that it may take to look for a pattern in a text of so many characters, compiling it included."""
    size, open_ends = _size(pattern)
    states: float = min(characters, size * 2.0 ** min(open_ends, 64.0))
    run = (_A_CHARACTER if open_ends else _SQUARED) * states * size
    return _NOTHING + _COMPILED * size + run


def _size(pattern: str) -> tuple[float, float]:
    """The parts of a pattern written out; and how many are no plain characters: each may double its states."""
    groups = [_OpenGroup()]
    open_ends, folds = 0.0, re.search(r"\(\?[a-zA-Z]*i", pattern) is not None
    for found in _STEP.finditer(pattern):
        kind = found.lastgroup
        if found["closed"]:
            if len(groups) > 1:
                inner = groups.pop()
                groups[-1].add(inner.size + 2)
        elif found["many"]:
            counted = found["least"] is not None or found.start() == 0 or pattern[found.start() - 1] == ")"
            open_ends += math.inf if counted else 1
            times = _times(found)
            groups[-1].size += groups[-1].last * (times - 1) + times
            groups[-1].last = groups[-1].last * times + times
        elif found[0].startswith("(") and kind != "one":
            if found["scoped"] != ")":
                groups.append(_OpenGroup())
        elif found["class"] or found["unicode"] or found["wide"] or found["any"] or found[0][:1] == "\\":
            size, simple = _of_class(found)
            open_ends += not simple
            groups[-1].add(size)
        else:
            groups[-1].add(_folded(found[0]) if folds else max(1, len(found[0].encode())))
    return sum(group.size for group in groups), open_ends


def _folded(character: str) -> float:
    """The size of a character whose case does not matter: K and S have a third form outside of ASCII."""
    plain = character.isascii() and character not in "kKsS"
    return 1.5 if plain else 4.0 * max(1, len(character.encode()))


def _times(found: re.Match[str]) -> float:
    if found["least"] is None:
        return 1.0
    least, most = min(10_000, int(found["least"][:6])), found["most"]
    return float(max(1, least + 1 if found["comma"] and not most else int(most[:6]) if most else least))


def _of_class(found: re.Match[str]) -> tuple[float, bool]:
    """The size of what stands for one of several characters, or is escaped; and whether it stands for one alone."""
    text = found[0]
    if found["quoted"] is not None:
        return float(len(found["quoted"].encode())), True
    if found["class"]:
        wide = text.startswith("[^") or not text.isascii() or re.search(r"\\[DWSx]", text) is not None
        return 1.0 + len(re.findall(r"\\[pP]|\[:\^", text)) * _UNICODE + wide * _WIDE + len(text.encode()) / 2, False
    if found["unicode"]:
        return float(_UNICODE), False
    if found["wide"] or found["any"]:
        return float(_WIDE) / 4, False
    return 1.0, found["escape"] is None or not text[1:].isalnum()
