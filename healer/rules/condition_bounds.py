"""Bounds the cost of a condition: how long it may take, and how much of the facts it gets.

CEL bounds the rounds of its macros (10,000), but not the cost of a round. Patterns, texts that grow in each round and macros in
macros took seconds, in which nothing else ran, and gigabytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from healer.rules.condition_cost import CompiledCost, ConditionLimits, CostFinding

DEEPEST = 2
"""Macros inside each other."""
MOST_SUMS = 2
"""`+` inside a macro."""
LONGEST_PATTERN = 1_024
"""Characters of a pattern of matches()."""
LONGEST_TEXT = 1_024
"""Characters of a text that a condition gets; the rest is cut off."""
MOST_ENTRIES, MOST_CHARACTERS = 128, 16_384
"""Keys of a map, and characters of all of it, that a condition gets; it is not evaluated on a larger map."""


@dataclass(frozen=True, slots=True)
class ConditionBounds:
    """The characters of an expression; and the milliseconds that it may take for one signal, as estimated, on the largest facts
    that it can get."""

    characters: int
    milliseconds: float


OF_FILES, OF_TENANTS = ConditionBounds(8_192, 500.0), ConditionBounds(1_024, 100.0)
"""The estimate is high: it refuses what is absurd in the files of an operator, who is trusted, and what could hold up others in
a tenant's RuleSet. What a tenant writes is short, so that it is also read in some milliseconds."""


class TooCostly(Exception):
    """An expression could cost too much; `hint` says what to do, `offset` where it is."""

    def __init__(self, message: str, hint: str, offset: int) -> None:
        super().__init__(message)
        self.hint = hint
        self.offset = offset


class TooLarge(Exception):
    """Facts are larger than a condition may get; in words."""


def check_length(expression: str, bounds: ConditionBounds) -> None:
    """Raises TooCostly for an expression that is too long to be compiled."""
    if len(expression) > bounds.characters:
        raise TooCostly(f"the expression has more than {bounds.characters} characters", "make several rules of it", 0)


def longest(serialized: bytes, bounds: ConditionBounds) -> float:
    """How many milliseconds a compiled expression may take for one signal. Raises TooCostly where that is too long."""
    found = list(CompiledCost(serialized, ConditionLimits(MOST_ENTRIES, MOST_CHARACTERS, LONGEST_TEXT)).findings())
    sums = [each for each in found if each.sum]
    for each in found:
        if each.loops > DEEPEST:
            hint = "read a label or an annotation by its name: pod.labels.app"
            raise TooCostly(f"macros (all, exists, map ...) are nested deeper than {DEEPEST}", hint, each.offset)
        if each.name == "matches" and each.pattern is None:
            hint = "write it as one text: .matches('...'); startsWith(), endsWith() and contains() take any text"
            raise TooCostly("the pattern of matches() is not known before it is used", hint, each.offset)
        if each.pattern is not None and len(each.pattern) > LONGEST_PATTERN:
            hint = "look for a part of it, or make several rules of it"
            raise TooCostly(f"the pattern of matches() has more than {LONGEST_PATTERN} characters", hint, each.offset)
    if len(sums) > MOST_SUMS:
        raise TooCostly(f"more than {MOST_SUMS} sums inside macros", "compare the parts one by one", sums[0].offset)
    took = sum(each.cost for each in found) / 1000
    if took > bounds.milliseconds:
        most = max(found, key=lambda each: each.cost)
        text = f"the condition may take {took:,.0f} ms for one signal, and {bounds.milliseconds:.0f} ms is the most"
        raise TooCostly(text, _cheaper(most), most.offset)
    return took


def _cheaper(most: CostFinding) -> str:
    """What to do about the part that costs most."""
    if most.name == "matches":
        where = "do not use matches() inside a macro, or " if most.loops else ""
        return f"{where}shorten its pattern: what is repeated ({{100}}), and classes such as \\pL, cost much"
    if most.name in ("_==_", "_!=_", "@in") and most.cost > 1_000:
        return "compare texts and numbers: lists and maps, and what dyn() gives, cost much"
    if most.loops:
        return "do less inside the macro, or read a label or an annotation by its name: pod.labels.app"
    return "make several rules of it"


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
