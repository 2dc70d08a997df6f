"""Questions to Prometheus, asked by threads of a small pool: the event loop waits for the answer and never for the network.

The HTTP API is that of https://prometheus.io/docs/prometheus/latest/querying/api/; a server that does not know a parameter
ignores it: `lookback_delta` came with Prometheus 2.43, `limit` with 3.0.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import urlsplit

import requests
import urllib3
from prometheus_api_client.exceptions import PrometheusApiClientException
from prometheus_api_client.prometheus_connect import PrometheusConnect
from requests.auth import AuthBase

from healer.engine.rulebook import Rulebook
from healer.model.problem import Problem
from healer.model.text import free_text, said_in
from healer.secret import SecretError, SecretFile

T = TypeVar("T")

_MOST_BYTES = 2 * 1024 * 1024
"""The largest answer. Reading JSON holds the interpreter's lock, and so the event loop, for 10 ms a megabyte."""
_CHUNK = 64 * 1024
_PIECE = 300
"""Characters of what a server says that go into a message."""
_ASKS = ("query", "canary")


class QueryFailed(Exception):
    """There is no answer that could be used; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an instant vector. The value may be NaN or infinite. A scalar has no labels."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a range: its values by their time, in seconds since the epoch; steps without a value are left out."""

    labels: Mapping[str, str]
    points: Mapping[float, float]


class Asked(Protocol):
    """What can be asked, be it Prometheus or a test's table."""

    async def query(self, expr: str, at: float) -> list[Sample]:
        """The instant vector, or the scalar, at a time. Raises QueryFailed."""

    async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """The values at start, start + step, ... up to the end. Raises QueryFailed."""


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
        ca_file: Path | None = None,
        timeout: float = 10.0,
        at_once: int = 4,
        most: int = 1000,
        stale: float = 120.0,
    ) -> None:
        self._at = urlsplit(url).netloc.rpartition("@")[2]  # a password in the URL is not for messages
        self._timeout = timeout
        self._most = most
        self._params = {"timeout": f"{timeout:.3f}", "lookback_delta": f"{stale:.3f}"}
        session = _Session()
        session.trust_env = False  # proxies and .netrc of the environment: looked up anew, on disk, for each request
        session.verify = True if ca_file is None else str(ca_file)
        # The library's own retries, three with back-off, would multiply the timeout. The next look is soon enough.
        retry = urllib3.Retry(0, read=False)
        session.auth = None if token_file is None else _Bearer(SecretFile(token_file))
        self._connect = PrometheusConnect(url.rstrip("/"), session=session, retry=retry)
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="prometheus")

    async def query(self, expr: str, at: float) -> list[Sample]:
        """The instant vector, or the scalar, that an expression has at a time. Raises QueryFailed."""
        # What the library calls a whole number of seconds it hands on to `requests`, to which it may be any.
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

    async def aclose(self) -> None:
        """Ask nothing more. Nobody waits for what is under way: it ends by its timeout, and before that the process does not."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._connect.close()

    async def _answer(self, ask: Callable[[float], T]) -> T:
        """What a thread of the pool is answered. Whoever is cancelled leaves a thread that ends by its own timeout."""
        until = time.monotonic() + self._timeout
        late = QueryFailed(f"Prometheus: no answer within {self._timeout:g} s from {self._at}")
        nonsense = f"Prometheus: the answer from {self._at} is not one of its API"

        def work() -> T:
            if (left := until - time.monotonic()) <= 0:
                raise late
            try:
                return ask(left)
            except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
                raise late from error
            except requests.JSONDecodeError as error:
                raise QueryFailed(nonsense) from error
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                raise QueryFailed(f"Prometheus at {self._at}: {_cause(error)}") from error
            except (PrometheusApiClientException, KeyError, TypeError, ValueError) as error:
                raise QueryFailed(nonsense) from error
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
            raise QueryFailed(f"Prometheus: more than {self._most} series answer the query: aggregate, or select fewer")
        return found


def unserved(rulebook: Rulebook, url: str) -> list[Problem]:
    """The rules that ask Prometheus, when the settings name none."""
    if url:
        return []
    asking = [rule for rule in rulebook.rules if rule.rule.when.source in _ASKS]
    message, hint = "asks Prometheus, and the settings name none", "set prometheus.url (HEALER_PROMETHEUS__URL)"
    return [Problem(rule.where or "rules", 0, 0, "", f"rule {rule.name} {message}", hint) for rule in asking]


class _Bearer(AuthBase):
    """Puts the token of now on each request. Raises SecretError."""

    def __init__(self, secret: SecretFile) -> None:
        self._secret = secret

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        r.headers["Authorization"] = f"Bearer {self._secret.read()}"
        return r


class _Session(requests.Session):
    """Reads an answer whole before the library sees it: within the time, no larger than allowed, and only a 200.

    `requests` takes a timeout for each read from the socket: one that sends a byte now and then would hold a thread for ever.
    """

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send it. `timeout` is in seconds, for all of it. Raises QueryFailed for what is no answer, else as `requests` does."""
        until = time.monotonic() + kwargs["timeout"]
        answer = super().send(request, **{**kwargs, "stream": True})
        if answer.is_redirect:
            return answer
        try:
            answer._content = _body(answer.raw, until)
        finally:
            answer.close()
        if answer.status_code != 200:
            raise QueryFailed(f"Prometheus: {_refusal(answer)}")
        return answer


def _body(raw: urllib3.BaseHTTPResponse, until: float) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := raw.read1(_CHUNK, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > _MOST_BYTES:
            raise QueryFailed(f"Prometheus: an answer of more than {_MOST_BYTES >> 20} MiB: aggregate, or select fewer series")
        if time.monotonic() > until:
            raise requests.Timeout("the answer is too slow")
    return b"".join(pieces)


def _refusal(answer: requests.Response) -> str:
    """What a server says when it does not answer: Prometheus' own words where it is Prometheus."""
    try:
        said = answer.json()
    except ValueError:
        said = None
    text = said.get("error") if isinstance(said, dict) else None
    if not isinstance(text, str):  # not `answer.text`, which guesses the encoding of all of it at length
        text = said_in(answer.content, _PIECE) or answer.reason or "no reason given"
    return f"HTTP {answer.status_code}: {free_text(text, _PIECE)}"


def _cause(error: BaseException) -> str:
    """The first of the errors that led to this one, which alone says what went wrong."""
    first = error
    while (before := first.__cause__ or first.__context__) is not None:
        first = before
    said = first.strerror if isinstance(first, OSError) else None
    return free_text(said or str(first) or type(first).__name__, _PIECE)


def _samples(result: Any) -> list[Sample]:
    """The `result` of an instant query. Raises QueryFailed for another type, TypeError or ValueError for nonsense."""
    if _scalar(result):
        return [Sample({}, float(result[1]))]
    if not isinstance(result, list):
        raise TypeError(type(result).__name__)
    return [Sample(entry["metric"], float(_of_type(entry, "value", "values")[1])) for entry in result]


def _series(result: Any) -> list[Series]:
    if not isinstance(result, list):
        raise TypeError(type(result).__name__)
    return [Series(entry["metric"], {at: float(value) for at, value in _of_type(entry, "values", "value")}) for entry in result]


def _scalar(result: Any) -> bool:
    return isinstance(result, list) and len(result) == 2 and isinstance(result[1], str)


def _of_type(entry: Mapping[str, Any], wanted: str, other: str) -> Any:
    if other in entry:
        raise QueryFailed("Prometheus: the query gives a range of values; an instant vector or a scalar is needed")
    if wanted not in entry and ("histogram" in entry or "histograms" in entry):
        raise QueryFailed("Prometheus: the query gives native histograms; numbers are needed: take histogram_count or the like")
    return entry[wanted]
