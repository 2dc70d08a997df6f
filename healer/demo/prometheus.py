"""A substitute for Prometheus. It answers queries of the HTTP API from counters of this process.

It supports the part of PromQL that the demo uses: a series selector, and count_over_time of one. It refuses the rest.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

from aiohttp import web

from healer.demo.counters import CounterSample

_SELECTOR = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)\s*(?:\{(?P<where>.*)\})?")
_COUNTED = re.compile(r"count_over_time\((?P<selector>.*)\[\d+m?s\]\)", re.DOTALL)
_MATCHER = re.compile(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPED = re.compile(r"\\(.)")

_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "=": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    "=~": lambda value, wanted: re.fullmatch(wanted, value) is not None,
    "!~": lambda value, wanted: re.fullmatch(wanted, value) is None,
}


class Unsupported(ValueError):
    """An expression outside the supported part of PromQL."""


def select(expression: str, samples: Iterable[CounterSample]) -> list[CounterSample]:
    """The samples that a selector selects. Raises Unsupported for other expressions.

    For `count_over_time` each value is 1, because each series has one sample at any time.
    """
    if (counted := _COUNTED.fullmatch(expression.strip())) is not None:
        return [sample._replace(value=1.0) for sample in select(counted["selector"], samples)]
    found = _SELECTOR.fullmatch(expression.strip())
    if found is None:
        raise Unsupported(f"the demo's stand-in for Prometheus knows selectors only, and not {expression!r}")
    matchers = list(_matchers(found["where"] or ""))
    named = (sample for sample in samples if sample.name == found["name"])
    return [sample for sample in named if all(test(sample.labels.get(label, ""), to) for label, test, to in matchers)]


def _matchers(where: str) -> Iterator[tuple[str, Callable[[str, str], bool], str]]:
    """The label, the comparison and the expected value of each matcher."""
    at = 0
    while at < len(where):
        matcher = _MATCHER.match(where, at)
        if matcher is None:
            raise Unsupported(f"the demo's stand-in for Prometheus cannot read {{{where}}}")
        label, operator, value = matcher.groups()
        yield label, _TESTS[operator], _ESCAPED.sub(r"\1", value)
        at = matcher.end()


class StandIn:
    """A server on loopback, an async context manager. `samples` returns all series at a time (seconds since the epoch).

    The answer to a range query is empty.
    """

    def __init__(self, samples: Callable[[float], Iterable[CounterSample]]) -> None:
        self.url = ""
        self._samples = samples
        app = web.Application()
        app.router.add_get("/api/v1/query", self._query)
        app.router.add_get("/api/v1/query_range", self._query_range)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.cleanup()

    async def _query(self, request: web.Request) -> web.Response:
        at = float(request.query.get("time", time.time()))
        try:
            found = select(request.query["query"], self._samples(at))
        except Unsupported as error:
            return web.json_response({"status": "error", "errorType": "bad_data", "error": str(error)}, status=400)
        vector = [{"metric": s.labels | {"__name__": s.name}, "value": [at, f"{s.value}"]} for s in found]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": vector}})

    async def _query_range(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": []}})
