"""Recent decisions as JSON: the answer of GET /decisions, and how it is read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from itertools import islice
from typing import Any

import msgspec
from aiohttp import web

from healer.http.answer import Refused
from healer.model.effects import Decision, Verb
from healer.model.incident import Reason
from healer.model.target import Target
from healer.model.text import free_text
from healer.turns import in_turns

DECISIONS_PATH = "/decisions"
MOST = 1000
"""The most decisions in an answer; of more, it has the newest."""
_NAME = 253
"""The longest name of an object, in characters."""
_AT_ONCE = 100
"""Decisions that are written before the loop is yielded: about a millisecond."""

_FILTERS: Mapping[str, Callable[[Decision], str]] = {
    "namespace": lambda decision: decision.target.namespace,
    "kind": lambda decision: decision.target.kind,
    "name": lambda decision: decision.target.name,
    "rule": lambda decision: decision.rule,
    "incident": lambda decision: decision.incident,
}


class Decisions:
    """The route: recent decisions, newest last, at most MOST. A parameter of the query selects those with exactly its value.

    Whoever reads them sees names of all namespaces, so that only loopback and whoever has a token is answered. `healer explain`
    reads it through the API server's proxy, which forwards the token in a header of its own.
    """

    def __init__(self, recent: Callable[[], Sequence[Decision]]) -> None:
        self._recent = recent

    async def handle(self, request: web.Request) -> web.Response:
        """Answers 200, or 400 for an unknown parameter: a misspelt one must not select everything."""
        wanted = _wanted(request)
        fits = (d for d in reversed(self._recent()) if all(_FILTERS[name](d) == value for name, value in wanted.items()))
        newest = list(islice(fits, MOST))
        rows: list[msgspec.Raw] = []
        async for decision in in_turns(reversed(newest), _AT_ONCE):
            rows.append(_row(decision))
        return web.Response(body=msgspec.json.encode({"decisions": rows}), content_type="application/json")


@lru_cache(2 * MOST)
def _row(decision: Decision) -> msgspec.Raw:
    """A decision in JSON; cached, because anybody may ask for the same thousand again and again."""
    return msgspec.Raw(msgspec.json.encode(plain_decision(decision)))


def plain_decision(decision: Decision) -> Mapping[str, Any]:
    """A decision in plain values. The names of a target that does not exist come from outside, so that they are limited."""
    target = decision.target
    if not target.exists:
        target = replace(target, namespace=free_text(target.namespace, _NAME), name=free_text(target.name, _NAME))
    return {
        "at": _written(decision.at),
        "decision": decision.verb,
        "rule": decision.rule,
        "incident": decision.incident,
        "target": target,
        "reason": decision.reason,
    }


def read_decisions(body: bytes) -> list[Decision]:
    """The decisions of an answer, oldest first. Raises ValueError for another body."""
    try:
        rows = msgspec.json.decode(body, type=_DecisionsBody).decisions
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"this is no answer of {DECISIONS_PATH}: {error}") from error
    return [Decision(row.at.timestamp(), row.decision, row.reason, row.target, row.rule, row.incident) for row in rows]


class _DecisionRow(msgspec.Struct):
    at: datetime
    decision: Verb
    rule: str
    incident: str
    target: Target
    reason: Reason


class _DecisionsBody(msgspec.Struct):
    decisions: list[_DecisionRow]


def _wanted(request: web.Request) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in _FILTERS or name in wanted:
            known = ", ".join(_FILTERS)
            error = f"{name!r} is given twice" if name in wanted else f"there is no parameter {name!r}"
            raise Refused(HTTPStatus.BAD_REQUEST, error, f"the parameters are {known}, each once")
        if value:
            wanted[name] = value
    return wanted


def _written(at: float) -> str:
    """Seconds since the epoch in RFC 3339."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
