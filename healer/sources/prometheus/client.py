"""Queries of Prometheus, by the threads of a small pool: the network never blocks the event loop.

The HTTP API is that of https://prometheus.io/docs/prometheus/latest/querying/api/. A server ignores a parameter that it does not
know: `lookback_delta` came with Prometheus 2.43, `limit` with 3.0.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from math import nan
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import unquote, urlencode, urlsplit

import requests
import urllib3
from prometheus_api_client.exceptions import PrometheusApiClientException
from prometheus_api_client.prometheus_connect import PrometheusConnect

from healer.clock import SYSTEM, Clock
from healer.model.text import free_text
from healer.rules.positions import Problem
from healer.rules.rulebook import Rulebook
from healer.rules.triggers import PROMETHEUS
from healer.secret import SecretError, SecretFile
from healer.settings.sections import PrometheusSettings
from healer.sources.prometheus.http import MOST_BYTES, WHOLE, Credentials, NotNow, QueryFailed, Session, TooMuch

__all__ = [
    "AlertingRule",
    "NotNow",
    "Prometheus",
    "QueryApi",
    "QueryFailed",
    "Sample",
    "Series",
    "TooMuch",
    "connect",
    "unserved",
]

T = TypeVar("T")

_PIECE = 300
"""Characters of an error in a message."""

_POINTS = 60
"""Points in time of one part of a long range."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an instant vector. The value may be NaN or infinite. A scalar has no labels.

    `odd`: why its value cannot be read (then it is NaN), or why it has no labels; "" for a usable one.
    """

    labels: Mapping[str, str]
    value: float
    odd: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a range: its values by their time, in seconds since the epoch; steps without a value are left out."""

    labels: Mapping[str, str]
    points: Mapping[float, float]


@dataclass(frozen=True, slots=True)
class AlertingRule:
    """An alert that a Prometheus evaluates: its name, and the labels that its rule adds to those of the series."""

    name: str
    labels: Mapping[str, str]


class QueryApi(Protocol):
    """The queries that healer makes, of Prometheus or of a test's table."""

    async def query(self, expr: str, at: float) -> list[Sample]:
        """The instant vector, or the scalar, at a time. Raises QueryFailed."""

    async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """The values at start, start + step, ... up to the end. Raises QueryFailed."""


async def long_range(prometheus: QueryApi, expr: str, start: float, end: float, step: float) -> list[Series]:
    """The values at start, start + step, ... up to the end, asked for in parts: all of many series would be too large an answer.

    Times are rounded to milliseconds. Raises QueryFailed.
    """
    points = [round(start + step * number, 3) for number in range(round((end - start) / step) + 1)]
    found: dict[frozenset[tuple[str, str]], dict[float, float]] = defaultdict(dict)
    for first in range(0, len(points), _POINTS):
        part = points[first : first + _POINTS]
        for each in await prometheus.range(expr, part[0], part[-1], step):
            found[frozenset(each.labels.items())].update({round(at, 3): value for at, value in each.points.items()})
    return [Series(dict(labels), values) for labels, values in found.items()]


class Prometheus:
    """One Prometheus. Times are in seconds, points in time since the epoch.

    `at_once` queries run at the same time, others wait for their turn; `timeout` is for both together. `most` is the largest
    number of series of an answer. Samples older than `stale` are not seen (before Prometheus 2.43: older than its own 5 minutes).
    Close it when done.
    """

    def __init__(
        self,
        url: str,
        *,
        token_file: Path | None = None,
        user: str = "",
        password_file: Path | None = None,
        headers: Mapping[str, str] | None = None,
        header_files: Mapping[str, Path] | None = None,
        params: Mapping[str, str] | None = None,
        ca_file: Path | None = None,
        insecure: bool = False,
        timeout: float = 10.0,
        at_once: int = 4,
        most: int = 1000,
        stale: float = 120.0,
        most_bytes: int = MOST_BYTES,
        clock: Clock = SYSTEM,
    ) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self._at = host  # no message may contain a password
        self._timeout = timeout
        self._most = most
        known = {"timeout": f"{timeout:.3f}", "lookback_delta": f"{stale:.3f}", **WHOLE, **(params or {})}
        self._params = {name: value for name, value in known.items() if value}
        self._steady = clock.steady
        session = Session(host, clock.steady, most_bytes)
        session.verify = not insecure if ca_file is None else str(ca_file)
        basic: tuple[str, SecretFile | str] | None = None
        if user and password_file is not None:
            basic = user, SecretFile(password_file)
        elif parts.username is not None:
            basic = unquote(parts.username), unquote(parts.password or "")
        session.auth = Credentials(
            token=None if token_file is None else SecretFile(token_file),
            basic=basic,
            headers=headers,
            secret_headers={name: SecretFile(path) for name, path in (header_files or {}).items()},
        )
        # The library's own retries, three with back-off, would multiply the timeout. The next query is soon enough.
        retry = urllib3.Retry(0, read=False)
        plain = parts._replace(netloc=host).geturl().rstrip("/")
        self._session, self._url = session, plain
        self._connect = PrometheusConnect(plain, session=session, retry=retry, method="POST")
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="prometheus")

    async def query(self, expr: str, at: float) -> list[Sample]:
        """The instant vector, or the scalar, that an expression has at a time. Raises QueryFailed."""
        # The library declares whole seconds, and passes the number on to `requests`, which takes any.
        params = {**self._params, "time": f"{at:.3f}", "limit": str(self._most + 1)}

        def ask(left: float) -> list[Sample]:
            return self._few(_samples(self._connect.custom_query(expr, params=params, timeout=cast(int, left))))

        return await self._answer(ask)

    async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """The values of an expression at start, start + step, ... up to the end. Raises QueryFailed."""
        # The library rounds to whole seconds; its `params` come last, and so win.
        times = {"start": f"{start:.3f}", "end": f"{end:.3f}", "limit": str(self._most + 1)}
        params, began = {**self._params, **times}, datetime.fromtimestamp(start, UTC)

        def ask(left: float) -> list[Series]:
            found = self._connect.custom_query_range(expr, began, began, f"{step:.3f}", params=params, timeout=cast(int, left))
            return self._few(_series(found))

        return await self._answer(ask)

    async def alerting_rules(self) -> list[AlertingRule]:
        """The alerting rules that are loaded: `GET /api/v1/rules`. Raises QueryFailed."""

        def ask(left: float) -> list[AlertingRule]:
            answer = self._session.request("GET", f"{self._url}/api/v1/rules?type=alert", timeout=left)
            groups = answer.json()["data"]["groups"]
            rules = [rule for group in groups for rule in group["rules"] if rule.get("type") == "alerting"]
            return [AlertingRule(str(rule["name"]), {**(rule.get("labels") or {})}) for rule in rules]

        return await self._answer(ask)

    async def metric_names(self, start: float, end: float) -> frozenset[str]:
        """The names of the metrics that had a sample between two times: an answer of the index. Raises QueryFailed."""
        query = urlencode({"start": f"{start:.3f}", "end": f"{end:.3f}"})

        def ask(left: float) -> frozenset[str]:
            answer = self._session.request("GET", f"{self._url}/api/v1/label/__name__/values?{query}", timeout=left)
            return frozenset(map(str, answer.json()["data"]))

        return await self._answer(ask)

    async def label_names(self, metric: str, start: float, end: float) -> frozenset[str]:
        """The names of the labels of a metric's series between two times. Raises QueryFailed."""
        query = urlencode({"start": f"{start:.3f}", "end": f"{end:.3f}", "match[]": metric})

        def ask(left: float) -> frozenset[str]:
            answer = self._session.request("GET", f"{self._url}/api/v1/labels?{query}", timeout=left)
            return frozenset(map(str, answer.json()["data"]))

        return await self._answer(ask)

    async def aclose(self) -> None:
        """Send no further query. A query under way ends by its timeout; the process does not end before it."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._connect.close()

    async def _answer(self, ask: Callable[[float], T]) -> T:
        """The answer to a query, by a thread of the pool. After a cancellation the thread ends by its own timeout."""
        until = self._steady() + self._timeout
        late = TooMuch(f"Prometheus: no answer within {self._timeout:g} s from {self._at}")
        nonsense = f"Prometheus: the answer from {self._at} is not one of its API"

        def work() -> T:
            if (left := until - self._steady()) <= 0:
                raise late
            try:
                return ask(left)
            except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
                raise late from error
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                raise NotNow(f"Prometheus at {self._at}: {_cause(error)}") from error
            except (PrometheusApiClientException, KeyError, TypeError, ValueError) as error:
                raise QueryFailed(f"{nonsense}: {_cause(error)}") from error
            except SecretError as error:
                raise QueryFailed(f"Prometheus: {error}") from error

        running = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            async with asyncio.timeout(self._timeout):
                return await running
        except TimeoutError:
            raise late from None

    def _few(self, found: list[T]) -> list[T]:
        if len(found) > self._most:
            raise TooMuch(f"Prometheus: more than {self._most} series answer the query: aggregate, or select fewer")
        return found


def connect(
    asked: PrometheusSettings, *, url: str = "", series: int = 0, timeout: float = 0.0, most_bytes: int = MOST_BYTES
) -> Prometheus:
    """The Prometheus of the settings. `url` replaces its address; the others may raise its limits."""
    return Prometheus(
        url or asked.url,
        token_file=asked.token_file,
        user=asked.user,
        password_file=asked.password_file,
        headers=asked.headers,
        header_files=asked.header_files,
        params=asked.params,
        ca_file=asked.ca_file,
        insecure=asked.insecure,
        timeout=max(asked.timeout, timeout),
        at_once=asked.at_once,
        most=max(asked.series, series),
        stale=asked.stale,
        most_bytes=most_bytes,
    )


def unserved(rulebook: Rulebook, url: str) -> list[Problem]:
    """A problem for each rule that needs Prometheus, when the settings name none."""
    if url:
        return []
    asking = [rule for rule in rulebook.rules if rule.rule.when.trigger.needs == PROMETHEUS]
    message, hint = "asks Prometheus, and the settings name none", "set prometheus.url (HEALER_PROMETHEUS__URL)"
    return [Problem(rule.where or "rules", 0, 0, "", f"rule {rule.name} {message}", hint) for rule in asking]


def _cause(error: BaseException) -> str:
    """The first of the errors that led to this one: it says what went wrong."""
    first = error
    while (before := first.__cause__ or first.__context__) is not None:
        first = before
    said = first.strerror if isinstance(first, OSError) else None
    return free_text(said or str(first) or type(first).__name__, _PIECE)


def _samples(result: Any) -> list[Sample]:
    """The `result` of an instant query. Raises QueryFailed for another type, or when no entry of it can be read."""
    if _scalar(result):
        return [Sample({}, float(result[1]))]
    entries = _entries(result, "values", "a range of values; an instant vector or a scalar is needed")
    found = [_sample(entry) for entry in entries]
    if found and all(sample.odd for sample in found):
        raise QueryFailed(f"Prometheus: the answer is not one of its API, or not one of numbers: {found[0].odd}")
    return found


def _sample(entry: Any) -> Sample:
    labels = _labels(entry)
    if labels is None:
        return Sample({}, nan, "a series has no labels that could be read")
    if "value" not in entry and ("histogram" in entry or "histograms" in entry):
        return Sample(labels, nan, "the query gives native histograms; numbers are needed: take histogram_count or the like")
    try:
        _, value = entry["value"]
        return Sample(labels, _number(value))
    except (KeyError, TypeError, ValueError) as error:
        return Sample(labels, nan, f"a series has no value that could be read: {_cause(error)}")


def _series(result: Any) -> list[Series]:
    """The `result` of a range query. What has no labels, or no numbers, is left out."""
    found: list[Series] = []
    for entry in _entries(result, "value", "one value where a range of them is asked for"):
        labels, values = _labels(entry), entry.get("values", ()) if isinstance(entry, dict) else ()
        if labels is not None and isinstance(values, list):
            numbers = dict(_points(values))
            numbers.update(dict.fromkeys(_histograms(entry), nan))
            found.append(Series(labels, numbers))
    return found


def _points(values: list[Any]) -> Iterator[tuple[float, float]]:
    for pair in values:
        try:
            at, value = pair
            yield float(at), _number(value)
        except (TypeError, ValueError):
            continue


def _histograms(entry: Any) -> Iterator[float]:
    """When a series has a native histogram in place of a number."""
    for pair in entry.get("histograms", ()) if isinstance(entry, dict) else ():
        try:
            yield float(pair[0])
        except (TypeError, ValueError, IndexError):
            continue


def _entries(result: Any, other: str, gives: str) -> list[Any]:
    """The series of an answer. Raises QueryFailed when they have `other`, the key of the other type of answer."""
    if not isinstance(result, list):
        raise TypeError(f"its result is {type(result).__name__}")
    if any(isinstance(entry, dict) and other in entry for entry in result):
        raise QueryFailed(f"Prometheus: the query gives {gives}")
    return result


def _labels(entry: Any) -> dict[str, str] | None:
    labels = entry.get("metric") if isinstance(entry, dict) else None
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        return None
    return labels


def _number(value: Any) -> float:
    """A number as the API writes it. Raises ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{str(value)[:50]!r} is no number")
    return float(value)


def _scalar(result: Any) -> bool:
    return isinstance(result, list) and len(result) == 2 and isinstance(result[1], str)
