"""The rules in force as JSON: the answer of GET /rules, and how `healer explain` and `healer status` read it."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from aiohttp import web

RULES_PATH = "/rules"


class RuleRow(msgspec.Struct, frozen=True, rename="camel"):
    """One rule in force. `scope` is as in a rule file. `pods` and `workloads` count what its steps could treat, `watched` the
    workloads that healer cannot act on; they are None until its scope was counted. `written` is the mode that its file says,
    where healer's own setting caps it, else "". `origin` is where it is written: "file:line", or "RuleSet NAMESPACE/NAME"."""

    name: str
    mode: str
    trigger: str
    names: list[str]
    scope: dict[str, Any]
    pods: int | None = None
    workloads: int | None = None
    doubts: list[str] = []
    watched: int | None = None
    description: str = ""
    written: str = ""
    origin: str = ""


class Rules:
    """The route. It shows names of rules, namespaces and labels to whom /decisions is shown as well."""

    def __init__(self, rows: Callable[[], Sequence[RuleRow]]) -> None:
        self._rows = rows

    async def handle(self, _: web.Request) -> web.Response:
        """Answers 200."""
        return web.Response(body=msgspec.json.encode({"rules": list(self._rows())}), content_type="application/json")


def read_rules(body: bytes) -> list[RuleRow]:
    """The rules of an answer, in their order. Raises ValueError for another body."""
    try:
        return msgspec.json.decode(body, type=_RuleRows).rules
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"this is no answer of {RULES_PATH}: {error}") from error


class _RuleRows(msgspec.Struct):
    rules: list[RuleRow]
