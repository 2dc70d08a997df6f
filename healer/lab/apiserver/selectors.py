"""Label and field selectors, as query parameters of the API and as LabelSelector objects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from healer.lab.apiserver.status import bad_request
from healer.lab.objects import Object

LabelTest = Callable[[Mapping[str, str]], bool]
FieldTest = Callable[[Object], bool]

_TOKEN = re.compile(r"\s*(==|!=|=|!|,|\(|\)|>|<|[^\s=!,()<>]+)")
_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_SPECIAL = ("==", "!=", "=", "!", ",", "(", ")", ">", "<", "")


class _Tokens:
    """The tokens of a selector, read from left to right. An empty token is the end."""

    def __init__(self, text: str) -> None:
        self._tokens = [match.group(1) for match in _TOKEN.finditer(text.strip())]

    def peek(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def take(self) -> str:
        return self._tokens.pop(0) if self._tokens else ""


def parse_labels(text: str) -> LabelTest:
    """A predicate of labels from `a=b,c in (d,e),!f`. Raises ApiRefusal 400 for invalid syntax.

    The grammar and the error texts are those of k8s.io/apimachinery/pkg/labels/selector.go.
    """
    tokens = _Tokens(text)
    tests: list[LabelTest] = []
    if tokens.peek() in _SPECIAL and tokens.peek() not in ("", "!"):
        raise bad_request(f"found '{tokens.peek()}', expected: !, identifier, or 'end of string'")
    while tokens.peek():
        tests.append(_requirement(tokens))
        separator = tokens.take()
        if separator not in ("", ","):
            raise bad_request(f"found '{separator}', expected: ',' or 'end of string'")
        if separator == "," and tokens.peek() in _SPECIAL and tokens.peek() != "!":
            raise bad_request(f"found '{tokens.peek()}', expected: identifier after ','")
    return lambda labels: all(test(labels) for test in tests)


def _parse_error(what: str) -> Exception:
    return bad_request(f"unable to parse requirement: {what}")


def _requirement(tokens: _Tokens) -> LabelTest:
    key = tokens.take()
    if key == "!":
        absent = tokens.take()
        if absent in _SPECIAL:
            raise _parse_error(f"found '{absent}', expected: identifier")
        return lambda labels: absent not in labels
    if tokens.peek() in ("", ","):
        return lambda labels: key in labels
    operator = tokens.take()
    if operator in ("=", "==", "!="):
        value = tokens.take() if tokens.peek() not in ("", ",") else ""
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if operator in ("in", "notin"):
        values = _values(tokens)
        if operator == "notin":
            return lambda labels: labels.get(key) not in values
        return lambda labels: labels.get(key) in values
    if operator in (">", "<"):
        return _comparison(key, operator, tokens.take())
    raise _parse_error(f"found '{operator}', expected: {_OPERATORS}")


def _comparison(key: str, operator: str, value: str) -> LabelTest:
    if not value.isdecimal():
        raise _parse_error("for 'Gt', 'Lt' operators, the value must be an integer")
    bound = int(value)

    def test(labels: Mapping[str, str]) -> bool:
        found = labels.get(key, "")
        return found.isdecimal() and (int(found) > bound if operator == ">" else int(found) < bound)

    return test


def _values(tokens: _Tokens) -> frozenset[str]:
    if (opening := tokens.take()) != "(":
        raise _parse_error(f"found '{opening}' expected: '('")
    values: set[str] = set()
    while (token := tokens.take()) != ")":
        if not token:
            raise _parse_error("found '', expected: ',' or ')'")
        if token != ",":
            values.add(token)
    return frozenset(values)


def label_selector(selector: Mapping[str, Any] | None) -> LabelTest:
    """A predicate of labels from a LabelSelector object. None selects nothing; an empty selector selects everything."""
    if selector is None:
        return lambda labels: False
    equal: dict[str, str] = selector.get("matchLabels") or {}
    tests = [_expression(expression) for expression in selector.get("matchExpressions") or []]
    return lambda labels: equal.items() <= labels.items() and all(test(labels) for test in tests)


def _expression(expression: Mapping[str, Any]) -> LabelTest:
    key: str = expression["key"]
    values = expression.get("values") or []
    tests: dict[str, LabelTest] = {
        "In": lambda labels: labels.get(key) in values,
        "NotIn": lambda labels: labels.get(key) not in values,
        "Exists": lambda labels: key in labels,
        "DoesNotExist": lambda labels: key not in labels,
    }
    return tests[expression["operator"]]


def format_selector(selector: Mapping[str, Any] | None) -> str:
    """The matchLabels of a LabelSelector in query syntax, as in Scale objects."""
    return ",".join(f"{key}={value}" for key, value in sorted(((selector or {}).get("matchLabels") or {}).items()))


def parse_fields(text: str, known: Mapping[str, tuple[str, ...]]) -> FieldTest:
    """A predicate of objects from `metadata.name=x,status.phase!=Running`.

    known: the supported fields of the kind, with their paths. Raises ApiRefusal 400 for other fields.
    """
    tests: list[FieldTest] = []
    for term in filter(None, text.split(",")):
        match = re.fullmatch(r"([^=!]+)(==|!=|=)(.*)", term)
        if match is None:
            raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
        name, operator, value = match.groups()
        if "=" in value:
            raise bad_request("invalid field selector: unescaped character in value: 61")
        if name not in known:
            raise bad_request(f"field label not supported: {name}")
        tests.append(_field_test(known[name], value, equal=operator != "!="))
    return lambda obj: all(test(obj) for test in tests)


_BOOLEANS = frozenset({("spec", "unschedulable")})
"""Fields that are false where they are absent."""


def _field_test(path: tuple[str, ...], value: str, *, equal: bool) -> FieldTest:
    def test(obj: Object) -> bool:
        found: Any = obj
        for step in path:
            found = found.get(step) if isinstance(found, dict) else None
        if path in _BOOLEANS:
            found = "true" if found else "false"
        return (str(found if found is not None else "") == value) is equal

    return test
