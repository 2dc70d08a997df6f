"""Bounds the cost of a condition: how it may be written, and how much of the facts it gets.

CEL bounds the rounds of its macros (10,000), but not the cost of a round: texts that grow in each round, and patterns that are
compiled in each, took a second of the loop and gigabytes.
"""

import re
from collections.abc import Mapping

LONGEST_EXPRESSION = 8_192
"""Characters of an expression."""
DEEPEST = 2
"""Macros inside each other."""
MOST_SUMS = 2
"""`+` inside a macro."""
LONGEST_TEXT = 2_048
"""Characters of a text that a condition gets; the rest is cut off."""
MOST_ENTRIES, MOST_CHARACTERS = 250, 32_768
"""Keys of a map, and characters of all of it, that a condition gets; it is not evaluated on a larger map."""

_TOKEN = re.compile(r"\.\s*(?P<macro>all|exists|exists_one|map|filter)\s*\(|(?P<pattern>\.\s*matches\s*\(\s*[^\s\"'])|[()+]")
_LITERAL = re.compile(r"""[rRbB]{0,2}(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")""")


class TooCostly(Exception):
    """An expression could cost too much; `hint` says what to do, `offset` where it is."""

    def __init__(self, message: str, hint: str, offset: int) -> None:
        super().__init__(message)
        self.hint = hint
        self.offset = offset


class TooLarge(Exception):
    """Facts are larger than a condition may get; in words."""


def check(expression: str) -> None:
    """Raises TooCostly for an expression that could block the loop."""
    if len(expression) > LONGEST_EXPRESSION:
        raise TooCostly(f"the expression has more than {LONGEST_EXPRESSION} characters", "make several rules of it", 0)
    opened: list[bool] = []  # for each open bracket, whether it is a macro's
    sums = 0
    for found in _TOKEN.finditer(_LITERAL.sub(lambda text: '"' + "x" * (len(text[0]) - 2) + '"', expression)):
        if found["pattern"]:
            opened.append(False)
            if any(opened):
                hint = "write the pattern as a text: .matches('...')"
                raise TooCostly("the pattern of matches() is made anew in each round of a macro", hint, found.start())
        elif found[0].endswith("("):
            opened.append(found["macro"] is not None)
            if sum(opened) > DEEPEST:
                hint = "read a label or an annotation by its name: pod.labels.app"
                raise TooCostly(f"macros are nested deeper than {DEEPEST}: {found['macro']}()", hint, found.start())
        elif found[0] == ")":
            opened = opened[:-1]
        elif any(opened):
            sums += 1
            if sums > MOST_SUMS:
                raise TooCostly(f"more than {MOST_SUMS} sums inside macros", "compare the parts one by one", found.start())


def seen(facts: Mapping[str, object], expression: str) -> dict[str, object]:
    """The facts that an expression names, as it gets them. Raises TooLarge."""
    return {name: _seen(name, value) for name, value in facts.items() if name in expression}


def _seen(name: str, value: object) -> object:
    if isinstance(value, str):
        return value[:LONGEST_TEXT]
    if not isinstance(value, dict):
        return value
    if len(value) > MOST_ENTRIES:
        raise TooLarge(f"{name} has {len(value)} keys, and a condition sees at most {MOST_ENTRIES}")
    shown = {key[:LONGEST_TEXT]: text[:LONGEST_TEXT] for key, text in value.items()}
    characters = sum(len(key) + len(text) for key, text in shown.items())
    if characters > MOST_CHARACTERS:
        raise TooLarge(f"{name} has {characters} characters, and a condition sees at most {MOST_CHARACTERS}")
    return shown
