"""HTTP requests to servers with Prometheus' API: the query as a form, the answer read whole and checked.

The servers differ. Plain Prometheus ignores parameters that it does not know. Thanos answers 200 with `warnings` when a store is
away, a VictoriaMetrics cluster with `isPartial`. A sum over half of the data is half, so a partial answer is no answer; both are
asked for whole answers (`partial_response`, `deny_partial_response`). Grafana Mimir needs a tenant. Many servers refuse a request
line of more than 8 KiB, so queries are sent by POST, or by GET where POST is not allowed.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
import requests
import structlog
import urllib3
from requests.auth import AuthBase, HTTPBasicAuth

from healer.model.text import body_text, free_text
from healer.secret import SecretFile

WHOLE = {"partial_response": "false", "deny_partial_response": "1"}
"""The parameters that make Thanos and VictoriaMetrics answer with an error instead of a partial answer."""
TENANT, ANONYMOUS = "X-Scope-OrgID", "anonymous"
"""Mimir's header for the tenant, and the tenant that Mimir's own gateway sends for a client that names none."""

MOST_BYTES = 2 * 1024 * 1024
"""Bytes of the largest answer of a daemon. Parsing JSON holds the interpreter's lock, and so the event loop, some milliseconds
per megabyte."""
_CHUNK = 64 * 1024
_PIECE = 300
"""Characters of a server's own words in a message."""
_HOPS = 3
"""Redirects that are followed one after the other."""
_NO_POST = (405, 501)
_ANNOTATION = "PromQL"
"""The beginning of a remark of the engine on an expression (`PromQL info: ...`): the answer is complete."""


class QueryFailed(Exception):
    """There is no usable answer; the message says why, for people."""


class TooMuch(QueryFailed):
    """The answer is too large, or takes too long: one about less may do."""


class NotNow(QueryFailed):
    """The server does not answer, or not in full: the same query may be answered later."""


class Credentials(AuthBase):
    """Adds the credentials and the headers of the settings to each request. Secrets are read anew. Raises SecretError."""

    def __init__(
        self,
        *,
        token: SecretFile | None = None,
        basic: tuple[str, SecretFile | str] | None = None,
        headers: Mapping[str, str] | None = None,
        secret_headers: Mapping[str, SecretFile] | None = None,
    ) -> None:
        self._token = token
        self._basic = basic
        self._headers = dict(headers or {})
        self._secret_headers = dict(secret_headers or {})

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._basic is not None:
            user, password = self._basic
            word = password if isinstance(password, str) else password.read()
            r = HTTPBasicAuth(user.encode(), word.encode())(r)
        if self._token is not None:
            r.headers["Authorization"] = f"Bearer {self._token.read()}"
        r.headers.update(self._headers)
        for name, secret in self._secret_headers.items():
            r.headers[name] = secret.read()
        return r


class _Answer(requests.Response):
    """A response that was read and is an answer of the API. `prometheus-api-client` calls `json`."""

    said: Any = None

    def json(self, **_: Any) -> Any:
        """The body."""
        return self.said


class Session(requests.Session):
    """Reads a whole answer before the library gets it: in time, no larger than allowed, and only an answer of the API.

    `requests` applies a timeout to each read from the socket: a server that sends a byte now and then would keep a thread for
    ever. `at` names the server in messages; an answer has at most `most` bytes.
    """

    def __init__(self, at: str, steady: Callable[[], float], most: int = MOST_BYTES) -> None:
        super().__init__()
        self.trust_env = False  # proxies and .netrc of the environment: looked up anew, on disk, for each request
        self._at = at
        self._steady = steady
        self._most = most
        self._by_get = False
        self._tenant = ""
        self._log = structlog.get_logger("healer.prometheus").bind(server=at)

    def request(self, method: Any, url: Any, params: Any = None, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        """As `requests` does, but with the query of a POST in its body: the library writes it into the URL."""
        return super().request(method, url, data=params, **kwargs)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request. `timeout` is in seconds, for all of it. Raises QueryFailed for what is no answer, else as `requests`
        does."""
        until = self._steady() + kwargs["timeout"]
        asked = _by_get(request) if self._by_get else request
        answer = self._followed(asked, until, kwargs)
        if answer.status_code in _NO_POST and asked.method != "GET":  # another thread may have learnt it meanwhile
            answer = self._followed(_by_get(request), until, kwargs)
            self._by_get = self._by_get or answer.status_code == 200
        if answer.status_code == 401 and TENANT not in request.headers and b"no org id" in answer.content:
            asked = _by_get(request) if self._by_get else request.copy()
            asked.headers[TENANT] = ANONYMOUS
            answer = self._followed(asked, until, kwargs)
            return self._of_anonymous(self._checked(answer))
        return self._checked(answer)

    def _followed(self, request: requests.PreparedRequest, until: float, kwargs: Mapping[str, Any]) -> requests.Response:
        """The response after redirects on the same host: the query is sent again unchanged, with its credentials."""
        for _ in range(_HOPS):
            left = max(0.001, until - self._steady())
            answer = super().send(request, **{**kwargs, "stream": True, "allow_redirects": False, "timeout": left})
            try:
                answer._content = _body(answer.raw, self._most, lambda: self._steady() > until)
            finally:
                answer.close()
            if not answer.is_redirect:
                return answer
            request = self._moved(request, answer)
        raise QueryFailed(f"Prometheus: {self._at} redirects in a circle: check prometheus.url")

    def _moved(self, request: requests.PreparedRequest, answer: requests.Response) -> requests.PreparedRequest:
        old, there = str(request.url), urljoin(str(request.url), answer.headers["location"])
        was, now = urlsplit(old), urlsplit(there)
        if now.hostname != was.hostname or now.scheme not in ("http", "https") or (was.scheme, now.scheme) == ("https", "http"):
            to = f"{now.scheme}://{now.hostname}"[:_PIECE]
            hint = "a page to sign in? Set prometheus.url to the server itself, and a token or a password for it"
            raise QueryFailed(f"Prometheus: {self._at} redirects to {to}, which is not followed: {hint}")
        moved = request.copy()
        moved.url = there
        return moved

    def _checked(self, answer: requests.Response) -> _Answer:
        """The answer, when it is a whole answer of the API. Raises QueryFailed, in the server's own words when it gives a
        reason."""
        try:
            said = msgspec.json.decode(answer.content)
        except msgspec.DecodeError:
            said = None
        if answer.status_code != 200:
            raise _kind_of(answer.status_code, said)(f"Prometheus: {_refusal(answer, said)}")
        if not isinstance(said, dict):
            torn = NotNow if said is None and answer.content.startswith(b"{") else QueryFailed
            raise torn(f"{self._nonsense}: {_came(answer)}")
        if said.get("status", "success") != "success":
            raise QueryFailed(f"Prometheus: {_words(said.get('error')) or 'an error without a message'}")
        if (lack := _lack(said)) and not _cut(said):
            raise NotNow(f"Prometheus: {self._at} has answered in part: {lack}")
        if not isinstance(said.get("data"), dict | list):
            raise QueryFailed(f"{self._nonsense}: it has no data")
        whole = _Answer()
        whole.__dict__.update(answer.__dict__)
        whole.said = said
        return whole

    def _of_anonymous(self, answer: _Answer) -> _Answer:
        """Checks the answer to a tenant that nobody has named: it is believed only when it is not empty."""
        hint = f'name it in prometheus.headers: {{"{TENANT}": "..."}}'
        if not answer.said["data"].get("result"):
            raise QueryFailed(f"Prometheus: {self._at} wants a tenant, and has nothing for {ANONYMOUS!r}: {hint}")
        if not self._tenant:
            self._tenant = ANONYMOUS
            self._log.warning(f"the server wants a tenant: asked as {ANONYMOUS!r}; {hint}")
        return answer

    @property
    def _nonsense(self) -> str:
        return f"Prometheus: the answer from {self._at} is not one of its API"


def _by_get(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """The same query by GET."""
    if request.method == "GET":
        return request.copy()
    asked = request.copy()
    body = request.body if isinstance(request.body, str) else (request.body or b"").decode()
    asked.method, asked.url, asked.body = "GET", f"{request.url}?{body}", None
    for name in ("Content-Length", "Content-Type"):
        asked.headers.pop(name, None)
    return asked


def _body(raw: urllib3.BaseHTTPResponse, most: int, late: Callable[[], bool]) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := raw.read1(_CHUNK, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise TooMuch(f"Prometheus: an answer of more than {most >> 20} MiB: aggregate, or select fewer series")
        if late():
            raise requests.Timeout("the answer is too slow")
    return b"".join(pieces)


def _lack(said: Mapping[str, Any]) -> str:
    """What the answer lacks, in the server's words; "" when it is whole."""
    if said.get("isPartial"):
        return "isPartial is true"
    warnings = said.get("warnings")
    given = [_words(each) for each in warnings] if isinstance(warnings, list) else []
    return next((warning for warning in given if not warning.startswith(_ANNOTATION)), "")


def _cut(said: Mapping[str, Any]) -> bool:
    """Whether it is the warning of Prometheus 3 about `limit`: the series are counted later."""
    warnings = said.get("warnings")
    return not said.get("isPartial") and warnings == ["results truncated due to limit"]


def _kind_of(status: int, said: Any) -> type[QueryFailed]:
    """What may help against a refusal. Prometheus answers 422 when a query would load too many samples, and 503 when it takes too
    long."""
    kind = said.get("errorType") if isinstance(said, dict) else None
    large = status == 422 and "too many samples" in _words(said.get("error") if isinstance(said, dict) else "")
    if large or status in (413, 504) or kind in ("timeout", "canceled"):
        return TooMuch
    return NotNow if status in (429, 500, 502, 503) else QueryFailed


def _refusal(answer: requests.Response, said: Any) -> str:
    """The error of a server in words, its own when it is Prometheus, and what may help."""
    text = _words(said.get("error")) if isinstance(said, dict) else ""
    text = text or body_text(answer.content, _PIECE) or answer.reason or "no reason given"
    hints = {
        401: "set prometheus.token_file, or user and password_file, or headers",
        403: "the token, the user or the tenant may not ask this",
        404: "does prometheus.url end where /api/v1 begins?",
    }
    hint = f" ({hints[answer.status_code]})" if answer.status_code in hints else ""
    return f"HTTP {answer.status_code}: {text}{hint}"


def _came(answer: requests.Response) -> str:
    """What the server sent instead of an answer, in words."""
    kind = answer.headers.get("Content-Type", "no type").partition(";")[0]
    text = body_text(answer.content, 100)
    hint = "; a page to sign in? Check prometheus.url" if "html" in kind or text.startswith("<") else ""
    return f"{kind} came, not JSON: {text!r}{hint}"


def _words(said: object) -> str:
    """A text of a server on one line, cut to a length."""
    return free_text(said, _PIECE) if isinstance(said, str) else ""
