"""The exceptions of requests to the API server, and the backoff between attempts."""

from collections.abc import Callable

import msgspec

from healer.model.text import body_text

LONGEST_WAIT = 300.0
"""Seconds. A longer Retry-After is cut to this, because it could stop healer for days."""


class ClusterError(Exception):
    """The base class of all errors of access to the cluster."""


class ClusterConfigError(ClusterError):
    """The configuration for the cluster is missing or broken, or the credentials cannot be read."""


class ApiUnavailable(ClusterError):
    """The server did not answer: the connection was refused or cut, or timed out. The request may have had an effect."""


class Unreadable(ClusterError):
    """The response does not have the form that the Kubernetes API specifies."""


class _StatusCause(msgspec.Struct):
    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct, rename="camel"):
    causes: list[_StatusCause] | None = None
    retry_after_seconds: float = 0


class ApiStatus(msgspec.Struct):
    """metav1.Status, as in the body of a failed request and in the ERROR event of a watch."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Details | None = None


class ApiError(ClusterError):
    """The API server refused a request.

    `retry_after` is in seconds, at most LONGEST_WAIT. `causes` holds the `reason` of each cause in the response
    ("DisruptionBudget", ...). `detail` holds the messages of the causes, or the message of the response when they have none.
    """

    body = b""
    """The whole body of the answer, for what is behind the API server's proxy: it answers in words of its own."""

    def __init__(
        self,
        status: int,
        reason: str = "",
        message: str = "",
        *,
        causes: tuple[str, ...] = (),
        retry_after: float | None = None,
        request: str = "",
        detail: str = "",
    ) -> None:
        super().__init__(f"{request}: {status} {reason}: {message}" if request else f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = causes
        self.retry_after = None if retry_after is None else min(max(0.0, retry_after), LONGEST_WAIT)
        self.detail = detail or message

    @classmethod
    def of_body(cls, status: int, body: bytes, *, retry_after: str | None = None, request: str = "") -> "ApiError":
        """The error for an HTTP response: its status, its body, its Retry-After header."""
        try:
            decoded = msgspec.json.decode(body, type=ApiStatus)
        except (msgspec.DecodeError, UnicodeDecodeError):  # the server's filters, and proxies, answer in plain text
            decoded = ApiStatus(message=body_text(body, 500))
        decoded.code = status
        error = cls.of_status(decoded, retry_after=_seconds(retry_after), request=request)
        error.body = body
        return error

    @classmethod
    def of_status(cls, status: ApiStatus, *, retry_after: float | None = None, request: str = "") -> "ApiError":
        """The error for a Status object. `retry_after` (seconds) takes precedence over the one in its details."""
        details = status.details or _Details()
        return cls(
            status.code,
            status.reason,
            status.message,
            causes=tuple(cause.reason for cause in details.causes or ()),
            retry_after=retry_after if retry_after is not None else details.retry_after_seconds or None,
            request=request,
            detail="; ".join(cause.message for cause in details.causes or () if cause.message),
        )

    @property
    def is_unauthorized(self) -> bool:
        """The server does not accept the token, or does so no longer."""
        return self.status == 401

    @property
    def is_forbidden(self) -> bool:
        """RBAC or an admission plugin refuses the request."""
        return self.status == 403

    @property
    def is_missing_permission(self) -> bool:
        """The authorizer refuses the request. Its message names the user and the verb; that of an admission plugin does not."""
        return self.is_forbidden and '" cannot ' in self.message

    @property
    def is_not_found(self) -> bool:
        """The object does not exist."""
        return self.status == 404

    @property
    def is_conflict(self) -> bool:
        """A precondition (uid or resourceVersion) does not hold, or the object exists already."""
        return self.status == 409

    @property
    def is_expired(self) -> bool:
        """The resourceVersion or the continue token is too old."""
        return self.status == 410

    @property
    def is_throttled(self) -> bool:
        """Too many requests; or, with the cause DisruptionBudget, a PodDisruptionBudget that refuses an eviction."""
        return self.status == 429


def is_servers(error: ClusterError) -> bool:
    """Whether the server as a whole cannot be used: no response, 5xx, or credentials that it does not accept."""
    return isinstance(error, ApiUnavailable) or (isinstance(error, ApiError) and (error.status == 401 or error.status >= 500))


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds; the API server never sends the form with a date."""
    try:
        return max(0.0, float(header)) if header is not None else None
    except ValueError:
        return None


class Backoff:
    """Exponential backoff with jitter, in seconds. The count of failures is reset after `reset` seconds without one."""

    def __init__(self, first: float, cap: float, reset: float, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._first = first
        self._cap = cap
        self._reset = reset
        self._clock = clock
        self._random = random
        self._last = clock()
        self.failures = 0
        """Failures in a row."""

    def next(self) -> float:
        """Count a failure. Returns the seconds to wait."""
        now = self._clock()
        if now - self._last >= self._reset:
            self.failures = 0
        self._last = now
        ceiling = min(self._cap, self._first * 2.0 ** min(self.failures, 64))
        self.failures += 1
        return ceiling * self._random()
