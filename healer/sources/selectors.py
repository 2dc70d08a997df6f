"""An expression of bad requests that matches nothing is no proof that nothing is bad: whether it could match at all.

A healthy service has no series of errors, and neither has one whose label is misspelt. They are told apart by what is there
besides: the metric, the labels by which the expression selects, what the canary has that stable has not, and values of these
labels that speak of failure and are not selected.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from healer.model.probe import named
from healer.sources.prometheus import Sample

Ask = Callable[[str], Awaitable[list[Sample]]]
"""The samples of an expression. Raises QueryFailed."""
Filled = Callable[[str], str]
"""A template, or a part of one, with one side's values in its places."""

_CODE = re.compile(r"5(?:\d\d|xx)", re.IGNORECASE)
_FAILURES = frozenset(
    {"error", "errors", "failed", "failure", "failures", "fail", "timeout", "timedout", "exception", "exceptions", "panic"}
    | {"unavailable", "internal", "unknown", "aborted", "dataloss", "unimplemented", "deadlineexceeded", "resourceexhausted"}
)
"""Words of a label's value that speak of a request that failed: plain ones, and those of gRPC (its doc/statuscodes.md)."""
_EXCUSES = frozenset({"no", "non", "not", "none", "without", "client", "user", "caller", "input"})
"""Words beside them that say it did not, or that it was the client's own fault."""
_GRPC = frozenset({"2", "4", "8", "10", "12", "13", "14", "15"})
"""The same of gRPC, as numbers."""
_BOOLEAN = frozenset({"true", "false"})
_SUCCESS = re.compile(r"(?:is_)?(?:ok|success|succeeded|successful)", re.IGNORECASE)
_NO = frozenset({"false", "no", "0"})
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+(?:xx|XX)?")
"""The words of a value: of `ClientError`, `client_error`, `HTTP 503`."""
_MARK = "\x00"
_SHOWN = 120
_STRING = r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'|`[^`]*`"
_TOKEN = re.compile(rf"#[^\n]*|{_STRING}|(?P<name>[a-zA-Z_:\x00][\w:\x00]*)?\s*\{{(?P<body>(?:[^}}\"'`]|{_STRING})*)\}}")
_MATCHER = re.compile(rf"\s*(?P<label>[\w.:]+|\"[^\"]*\")\s*(?P<sign>=~|!~|!=|=)\s*(?P<value>{_STRING})\s*,?")


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition of a selector, as it is written. `places`: it names the side, by a place of the template."""

    label: str
    sign: str
    value: str
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.label}{self.sign}{self.value}"

    def fits(self, value: str) -> bool:
        """Whether what is written here, whole or as a pattern, is this value; a pattern that only Go knows fits none."""
        written = self.value[1:-1]
        if "~" not in self.sign:
            return written == value
        try:
            return re.fullmatch(written, value) is not None
        except re.error:
            return False


@dataclass(frozen=True, slots=True)
class Selector:
    """What an expression selects: a metric, "" where a matcher names it, and the matchers."""

    metric: str
    matchers: tuple[Matcher, ...]

    def __str__(self) -> str:
        return f"{self.metric}{{{', '.join(map(str, self.matchers))}}}"

    @property
    def name(self) -> str:
        """For people."""
        return self.metric or next((each.value for each in self.matchers if each.label == "__name__"), "a metric")

    @property
    def chosen(self) -> list[str]:
        """The labels by which it selects among the series of one side."""
        ours = (each.label for each in self.matchers if not each.places and each.label != "__name__" and len(each.value) > 2)
        return list(dict.fromkeys(ours))

    def leaves_out(self, label: str, value: str) -> bool:
        """Whether a matcher says in so many words that this value is not wanted."""
        return any(each.label == label and each.sign in ("!=", "!~") and each.fits(value) for each in self.matchers)

    def asks_for(self, label: str, value: str) -> bool:
        """Whether a matcher on that label lets this value through."""
        return any(each.label == label and each.fits(value) != (each.sign in ("!=", "!~")) for each in self.matchers)

    def of_side(self, *more: str) -> str:
        """All series of its metric that one side has, with more matchers."""
        kept = [str(each) for each in self.matchers if each.places or each.label == "__name__"]
        return f"{self.metric}{{{', '.join([*kept, *more])}}}"


def selectors(template: str) -> list[Selector]:
    """Those of a template that have braces, in its order; their places are as the template has them."""
    places: list[str] = []

    def mark(place: str) -> str:
        places.append(place)
        return f"{_MARK}{len(places) - 1}{_MARK}"

    marked = re.sub(r"\{\{\s*(.*?)\s*\}\}", lambda found: mark(found[1]), template)

    def back(text: str) -> str:
        return re.sub(rf"{_MARK}(\d+){_MARK}", lambda found: f"{{{{ {places[int(found[1])]} }}}}", text)

    return [
        Selector(
            back(found["name"] or ""),
            tuple(
                Matcher(one["label"], one["sign"], back(one["value"]), tuple(sorted(named(back(one["value"])))))
                for one in _MATCHER.finditer(found["body"])
            ),
        )
        for found in _TOKEN.finditer(marked)
        if found["body"] is not None
    ]


async def doubt(total: str, bad: str, sides: Sequence[Filled], ask: Ask, others: Sequence[str] = ()) -> str:
    """Why no answer to `bad` may not mean that no request is bad, in words; "" where it means that.

    `total` and `bad` are templates; the canary is the first of the sides. `others`: what the other measures of the rule count as
    bad, so that nobody need count it here too. Raises QueryFailed.
    """

    async def there(expr: str) -> bool:
        for side in sides:
            if await ask(f"group({side(expr)})"):
                return True
        return False

    chosen: dict[str, None] = {}
    for selector in selectors(bad):
        if await there(str(selector)):
            return ""
        if not await there(selector.of_side()):
            return _never(bad, f"neither side has a series of {selector.name}")
        for label in selector.chosen:
            if not await there(selector.of_side(f'{label}!=""')):
                return _never(bad, f"no series of {selector.name} has the label {label}")
            chosen[label] = None
    if strange := await _strange(total, list(chosen), sides, ask):
        return _never(bad, f"the canary has {strange}, which stable has not")
    failing = await _unselected(total, bad, sides, ask, others)
    return _never(bad, f"series of {failing} are there, which it does not select") if failing else ""


def _never(bad: str, why: str) -> str:
    shown = bad if len(bad) <= _SHOWN else f"{bad[:_SHOWN]}..."
    return f"the expression `{shown}` has never matched a series, and {why}: check it, for so nothing can be bad"


async def _strange(total: str, labels: Iterable[str], sides: Sequence[Filled], ask: Ask) -> str:
    """What the canary's requests have as one of these labels and stable's have not."""
    if len(sides) < 2:
        return ""
    for label in labels:
        for selector in selectors(total):
            canary, stable = [
                {sample.labels.get(label, "") for sample in await ask(f"group by ({label}) ({side(str(selector))})")}
                for side in sides
            ]
            if stable and (found := canary - stable - {""}):
                return f'{selector.name} with {label}="{min(found)}"'
    return ""


async def _unselected(total: str, bad: str, sides: Sequence[Filled], ask: Ask, others: Sequence[str]) -> str:
    """A value of a label by which `bad` selects that speaks of failure, on either side; it is known to select none of them."""
    elsewhere = [each for other in others for each in selectors(other)]
    for selector in selectors(bad):
        for label in selector.chosen:
            for name, expr in ((selector.name, selector.of_side()), *((each.name, str(each)) for each in selectors(total))):
                for side in sides:
                    found = {sample.labels.get(label, "") for sample in await ask(f"group by ({label}) ({side(expr)})")} - {""}
                    found -= {each for each in found if any(other.asks_for(label, each) for other in elsewhere)}
                    failing = [each for each in found if _speaks_of_failure(label, each) and not selector.leaves_out(label, each)]
                    if found and found <= _BOOLEAN and not any(selector.asks_for(label, each) for each in _BOOLEAN):
                        failing = sorted(found)
                    if failing:
                        return f'{name} with {label}="{min(failing)}"'
    return ""


def _speaks_of_failure(label: str, value: str) -> bool:
    words = [word.lower() for word in _WORD.findall(value)]
    if any(_CODE.fullmatch(word) for word in words):
        return True
    if _SUCCESS.fullmatch(label) is not None and value.lower() in _NO:
        return True
    if "grpc" in label.lower() and value in _GRPC:
        return True
    pairs = {one + other for one, other in pairwise(words)}
    return not _EXCUSES & {*words} and bool(_FAILURES & {*words, *pairs})
