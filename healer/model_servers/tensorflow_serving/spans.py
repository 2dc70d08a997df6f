"""The positions of the fields in a protobuf text, so that an edit touches only what it changes.

Source: the Text Format Language Specification of Protocol Buffers. The protobuf library checks names and types.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from healer.model_servers.versions import DIGITS, ConfigError


@dataclass(slots=True)
class Value:
    """A value: text[start:end]. `fields` are those of a message, braces not included; a scalar has none."""

    start: int
    end: int
    fields: "list[Field] | None" = None


@dataclass(slots=True)
class Field:
    """A field: text[start:end], with its separator text[start:full_end]; several values, between `commas`, when it is a list."""

    name: str
    start: int
    values: list[Value] = field(default_factory=list)
    commas: list[int] = field(default_factory=list)
    bracketed: bool = False
    end: int = 0
    full_end: int = 0


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    start: int
    end: int


_TOKEN = re.compile(
    r"""(?P<skip>[ \t\r\n\f\v]+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<sign>[{}<>\[\]:;,])
      | (?P<word>[^\s{}<>\[\]:;,"'#]+)""",
    re.VERBOSE,
)
_UNREAD = re.compile(r"-?(?:\d+_\w*|0[bBoO]\w*|(?=\d*[^\x00-\x7f])\d+)")
"""Numbers that Python's library accepts and TensorFlow Serving does not: 2023_10_01, 0o7, digits of other scripts."""
_OCTAL = re.compile(r"-?0[0-9]+", re.ASCII)
_DEEPEST = 100
"""The most nested messages: TensorFlow Serving's own limit (protobuf's default), below the limit of the interpreter's stack."""
_CLOSING = {"{": "}", "<": ">"}


def position(text: str, offset: int) -> str:
    """ "line 3, column 7", both from 1."""
    before = text[:offset]
    return f"line {before.count(chr(10)) + 1}, column {offset - before.rfind(chr(10))}"


def octals(text: str) -> list[str]:
    """The octal numbers that look like decimal ones, in words: a leading 0 makes a number octal. Raises ConfigError."""
    found = [token for token in _tokens(text) if _OCTAL.fullmatch(token.text)]
    return [
        f"{position(text, token.start)}: {token.text} is an octal number and means {meant}: write it without the leading 0"
        for token in found
        if (meant := str(abs(int(token.text, 8)))) != (token.text.lstrip("-0") or "0")
    ]


def fields_of(text: str) -> list[Field]:
    """The fields of a text. Raises ConfigError."""
    return _Reader(text).message("")


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = 0

    def message(self, closing: str) -> list[Field]:
        """The fields up to the closing sign, which the caller reads; "" is the end of the text."""
        found = []
        while (token := self._peek()).text != closing:
            if not token.text:
                raise ConfigError(f"{position(self._text, token.start)}: the text ends where {closing!r} is missing")
            found.append(self._field())
        return found

    def _field(self) -> Field:
        token = self._take()
        made = Field(token.text, token.start)
        if token.text == "[":  # the name of an extension, or of the type in an Any
            while self._take().text not in ("]", ""):
                continue
        elif token.text in (*"{}<>];:,",):
            raise ConfigError(f"{position(self._text, token.start)}: a field's name is expected, not {token.text!r}")
        if self._peek().text == ":":
            self._take()
        if self._peek().text == "[":
            self._list(made)
        else:
            made.values.append(self._value())
        made.end = made.full_end = self._last.end
        if self._peek().text in (";", ","):
            made.full_end = self._take().end
        return made

    def _list(self, made: Field) -> None:
        made.bracketed = True
        self._take()
        while self._peek().text != "]":
            made.values.append(self._value())
            if self._peek().text == ",":
                made.commas.append(self._take().start)
            elif self._peek().text != "]":
                token = self._peek()
                raise ConfigError(f"{position(self._text, token.start)}: ',' or ']' is expected, not {token.text or 'the end'!r}")
        self._take()

    def _value(self) -> Value:
        token = self._take()
        if (closing := _CLOSING.get(token.text)) is not None:
            self._depth += 1
            if self._depth > _DEEPEST:
                raise ConfigError(f"{position(self._text, token.start)}: more than {_DEEPEST} messages inside each other")
            fields = self.message(closing)
            self._depth -= 1
            return Value(token.start, self._take().end, fields)
        if not token.text or token.text in (*"}>]:;,",):
            raise ConfigError(f"{position(self._text, token.start)}: a value is expected, not {token.text or 'the end'!r}")
        while token.text[0] in "\"'" and self._peek().text[:1] in ('"', "'"):  # strings side by side are one
            self._take()
        return Value(token.start, self._last.end)

    @property
    def _last(self) -> _Token:
        return self._tokens[self._next - 1]

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token


def _tokens(text: str) -> Iterator[_Token]:
    """The tokens, and an empty one at the end. Raises ConfigError for a number that TensorFlow Serving does not read."""
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ConfigError(f"{position(text, at)}: {text[at]!r} begins a string that does not end on its line")
        if found.lastgroup != "skip":
            if _UNREAD.fullmatch(found[0]):
                raise ConfigError(f"{position(text, at)}: {found[0]} is no number: {DIGITS}")
            if _OCTAL.fullmatch(found[0]) and {"8", "9"} & set(found[0]):
                plain = found[0].replace("-", "").lstrip("0")
                raise ConfigError(
                    f"{position(text, at)}: {found[0]} is no number, because a leading 0 makes it octal: write {plain}"
                )
            yield _Token(found[0], at, found.end())
        at = found.end()
    yield _Token("", at, at)
