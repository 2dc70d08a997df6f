"""Whether an expression of bad requests that matches nothing could match at all: else it does not prove that nothing is bad.

A healthy service has no series of errors, and neither has an expression with a misspelt label. Four things tell them apart:
whether the metric exists, whether the labels by which the expression selects exist, what the canary has that stable has not, and
whether there are values that mean a failure and are not selected, at the labels that tell the bad requests from all requests.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from healer.rules.probe import named
from healer.sources.prometheus.client import Sample

Ask = Callable[[str], Awaitable[list[Sample]]]
"""The samples of an expression. Raises QueryFailed."""
Filled = Callable[[str], str]
"""Fills in the placeholders of a template, or of a part of one, with the values of one side."""

_CODE = re.compile(r"(?:http|status|code)?5(?:\d\d|xx)", re.IGNORECASE)
_FAILURES = frozenset(
    {"error", "errors", "failed", "failure", "failures", "fail", "timeout", "timedout", "exception", "exceptions", "panic"}
    | {"err", "errs", "crash", "crashed"}
)
"""Words of a label's value that mean that a request failed."""
_STATES = frozenset(
    {"unavailable", "internal", "unknown", "aborted", "dataloss", "unimplemented", "deadlineexceeded", "resourceexhausted"}
)
"""The same of gRPC (its doc/statuscodes.md). They also qualify names (`InternalState`), so they count as the last word alone."""
_EXCUSES = frozenset({"no", "non", "not", "none", "without", "client", "user", "caller", "input"})
"""Words beside them that mean that it did not fail, or that it was the client's fault."""
_GRPC = frozenset({"2", "4", "8", "10", "12", "13", "14", "15"})
"""The same of gRPC, as numbers."""
_BOOLEAN = frozenset({"true", "false"})
_SUCCESS = re.compile(r"(?:is_)?(?:ok|success|succeeded|successful)", re.IGNORECASE)
_NO = frozenset({"false", "no", "0"})
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+(?:xx|XX)?")
"""The words of a value: of `ClientError`, `client_error`, `HTTP 503`."""
_PHRASE = re.compile(r"[:;,()]+")
_PATH = re.compile(r"\S*/\S*")
_MARK = "\x00"
_SHOWN = 120
_STRING = r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'|`[^`]*`"
_TOKEN = re.compile(rf"#[^\n]*|{_STRING}|(?P<name>[a-zA-Z_:\x00][\w:\x00]*)?\s*\{{(?P<body>(?:[^}}\"'`]|{_STRING})*)\}}")
_MATCHER = re.compile(rf"\s*(?P<label>[\w.:]+|\"[^\"]*\")\s*(?P<sign>=~|!~|!=|=)\s*(?P<value>{_STRING})\s*,?")


@dataclass(frozen=True, slots=True)
class LabelMatcher:
    """One condition of a selector, as it is written. `placeholders`: those by which it names the side."""

    label: str
    sign: str
    value: str
    placeholders: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.label}{self.sign}{self.value}"

    def fits(self, value: str) -> bool:
        """Whether the text, as a whole or as a pattern, matches this value; a pattern that only Go understands matches none."""
        written = self.value[1:-1]
        if "~" not in self.sign:
            return written == value
        try:
            return re.fullmatch(written, value) is not None
        except re.error:
            return False


@dataclass(frozen=True, slots=True)
class SeriesSelector:
    """A selector of series: a metric, "" when a matcher names it, and the matchers."""

    metric: str
    matchers: tuple[LabelMatcher, ...]

    def __str__(self) -> str:
        return f"{self.metric}{{{', '.join(map(str, self.matchers))}}}"

    @property
    def name(self) -> str:
        """For people."""
        return self.metric or next((each.value[1:-1] for each in self.matchers if each.label == "__name__"), "a metric")

    @property
    def choosing(self) -> list[LabelMatcher]:
        """The matchers by which it selects among the series of one side."""
        return [each for each in self.matchers if not each.placeholders and each.label != "__name__" and len(each.value) > 2]

    @property
    def chosen(self) -> list[str]:
        """The labels of these."""
        return list(dict.fromkeys(each.label for each in self.choosing))

    def with_more(self, more: Iterable[LabelMatcher]) -> "SeriesSelector":
        """The selector of those of its series that these matchers match too."""
        return SeriesSelector(self.metric, tuple(dict.fromkeys((*self.matchers, *more))))

    def leaves_out(self, label: str, value: str) -> bool:
        """Whether a matcher excludes this value explicitly."""
        return any(each.label == label and each.sign in ("!=", "!~") and each.fits(value) for each in self.matchers)

    def asks_for(self, label: str, value: str) -> bool:
        """Whether a matcher on that label selects this value."""
        return any(each.label == label and each.fits(value) != (each.sign in ("!=", "!~")) for each in self.matchers)

    def of_side(self, *more: str) -> str:
        """The selector of all series of its metric that one side has, with more matchers."""
        kept = [str(each) for each in self.matchers if each.placeholders or each.label == "__name__"]
        return f"{self.metric}{{{', '.join([*kept, *more])}}}"


def selectors(template: str) -> list[SeriesSelector]:
    """The selectors of a template that have braces, in its order, with the placeholders of the template."""
    placeholders: list[str] = []

    def mark(placeholder: str) -> str:
        placeholders.append(placeholder)
        return f"{_MARK}{len(placeholders) - 1}{_MARK}"

    marked = re.sub(r"\{\{\s*(.*?)\s*\}\}", lambda found: mark(found[1]), template)

    def back(text: str) -> str:
        return re.sub(rf"{_MARK}(\d+){_MARK}", lambda found: f"{{{{ {placeholders[int(found[1])]} }}}}", text)

    return [
        SeriesSelector(
            back(found["name"] or ""),
            tuple(
                LabelMatcher(one["label"], one["sign"], back(one["value"]), tuple(sorted(named(back(one["value"])))))
                for one in _MATCHER.finditer(found["body"])
            ),
        )
        for found in _TOKEN.finditer(marked)
        if found["body"] is not None
    ]


async def doubt(total: str, bad: str, sides: Sequence[Filled], ask: Ask, others: Sequence[str] = ()) -> str:
    """Why an empty answer to `bad` may not mean that no request is bad, in words; "" when it does.

    `total` and `bad` are templates; the canary is the first of the sides. `others`: the expressions of bad requests of the rule's
    other measures; their requests need not be counted here too. Raises QueryFailed.
    """

    async def there(expr: str) -> bool:
        for side in sides:
            if await ask(f"group({side(expr)})"):
                return True
        return False

    for selector in selectors(bad):
        if await there(str(selector)):
            return ""
        if not await there(selector.of_side()):
            return _never(bad, f"neither side has a series of {selector.name}")
        for label in selector.chosen:
            if not await there(selector.of_side(f'{label}!=""')):
                return _never(bad, f"no series of {selector.name} has the label {label}")
    narrowed = [each for selector in selectors(bad) for each in _narrowed(selectors(total), selector)]
    labels = dict.fromkeys(matcher.label for _, more in narrowed for matcher in more)
    if strange := await _strange(total, labels, sides, ask):
        return _never(bad, f"the canary has {strange}, which stable has not")
    elsewhere = [each for other in others for each in selectors(other)]
    for whole, more in narrowed:
        if failing := await _unselected(whole, more, sides, ask, elsewhere):
            return _never(bad, f"series of {failing} are there, which it does not select")
    return ""


def _never(bad: str, why: str) -> str:
    shown = bad if len(bad) <= _SHOWN else f"{bad[:_SHOWN]}..."
    return f"the expression `{shown}` has never matched a series, and {why}: check it, because nothing can be bad by it"


async def _strange(total: str, labels: Iterable[str], sides: Sequence[Filled], ask: Ask) -> str:
    """The values of these labels that the canary's requests have, and stable's have not."""
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


def _narrowed(total: Sequence[SeriesSelector], bad: SeriesSelector) -> list[tuple[SeriesSelector, list[LabelMatcher]]]:
    """The selectors of all requests, and the matchers by which `bad` selects among them: those that `total` has not.

    `total` selects all requests. When it has another metric, or adds up the good and the bad requests, all requests are also the
    series of the metric of `bad`, with the matchers that the two have in common.
    """
    found = [(each, [one for one in bad.choosing if one not in each.matchers]) for each in total]
    narrowed = [(each, more) for each, more in found if more]
    ours = [each for each, _ in found if each.name == bad.name]
    others = [each for each, more in narrowed if each.name == bad.name]
    if not ours or len(others) < len(ours):
        apart = [one for one in bad.choosing if not any(one in each.matchers for each in (others if ours else total))]
        narrowed.append((SeriesSelector(bad.metric, tuple(one for one in bad.matchers if one not in apart)), apart))
    return narrowed


async def _unselected(
    whole: SeriesSelector, more: Sequence[LabelMatcher], sides: Sequence[Filled], ask: Ask, elsewhere: Sequence[SeriesSelector]
) -> str:
    """A value that means a failure, at a label that tells the bad requests; `more` selects none of the whole, as is known.

    A label says where a request went instead (a model, a handler) when `more` selects something by it, and no value of that means
    a failure: then only the requests that went there are checked. Requests that `elsewhere` selects are counted there.
    """
    narrow = SeriesSelector("", tuple(more))
    telling: list[str] = []
    for label in narrow.chosen:
        matchers = [each for each in more if each.label == label]
        found = await _values(label, whole.with_more(matchers), sides, ask)
        if not found or any(_speaks_of_failure(label, each) for each in found):
            telling.append(label)
    scope = whole.with_more(each for each in more if each.label not in telling)
    counted = [each for each in elsewhere if each.name == whole.name]
    for label in telling:
        found = await _values(label, scope, sides, ask, counted)
        failing = [each for each in found if _speaks_of_failure(label, each) and not narrow.leaves_out(label, each)]
        if found and found <= _BOOLEAN and not any(narrow.asks_for(label, each) for each in _BOOLEAN):
            failing = sorted(found)
        if failing:
            return f'{whole.name} with {label}="{min(failing)}"'
    return ""


async def _values(
    label: str, of: SeriesSelector, sides: Sequence[Filled], ask: Ask, without: Sequence[SeriesSelector] = ()
) -> set[str]:
    """The label's values on either side, of the series that no other selector of the same metric selects."""
    expr = " unless ".join(map(str, (of, *without)))
    return {sample.labels.get(label, "") for side in sides for sample in await ask(f"group by ({label}) ({side(expr)})")} - {""}


def _speaks_of_failure(label: str, value: str) -> bool:
    """Whether the words of this value mean that a request failed; a path says where it went."""
    if _SUCCESS.fullmatch(label) is not None and value.lower() in _NO:
        return True
    if "grpc" in label.lower() and value in _GRPC:
        return True
    if _PATH.fullmatch(value) is not None:
        return False
    return any(map(_phrase_speaks_of_failure, _PHRASE.split(value)))


def _phrase_speaks_of_failure(phrase: str) -> bool:
    """The words that say what a name means: of a name with hyphens, such as `error-correction`, the last one."""
    if any(_CODE.fullmatch(token) for token in re.split(r"[\W_]+", phrase)):
        return True
    words = [word.lower() for word in _WORD.findall(phrase)]
    if not words or _EXCUSES & {*words}:
        return False
    last = {words[-1], "".join(words[-2:])}
    every = {*words, *(one + other for one, other in pairwise(words))}
    return bool(last & (_FAILURES | _STATES) or ("-" not in phrase and every & _FAILURES))
