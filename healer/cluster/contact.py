"""The health of the connection to the API server: it counts requests, and logs a problem once for all users of the client."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import structlog

from healer.cluster.errors import ApiError, ClusterConfigError, ClusterError, is_servers

log = structlog.get_logger("healer.cluster")

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")
CODES = ("2xx", "401", "403", "404", "409", "410", "422", "429", "4xx", "5xx", "none")
"""The codes by which requests are counted. `none` means no response."""
_PATIENCE = 5.0
"""Seconds for which a server that has answered before may fail before this is logged. One lost request is not a problem."""
_FIRST, _SELDOM = 60.0, 3600.0
"""Seconds between two log lines about the same problem. The interval doubles from the first value to the second."""
_GRANT = (
    "`healer rbac RULES...` prints what the rules need, for kubectl apply (--namespace NS: as Roles); if it is granted already, "
    "`kubectl get clusterrole healer -o yaml` shows whether Kubernetes has filled it in: it is the sum of the ClusterRoles with "
    'the label rbac.healer.dev/aggregate-to-healer: "true". healer goes on by itself as soon as it may'
)
_WRITES = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class RbacRequest:
    """A request in RBAC's terms. `resource` may be `pods/eviction`; `namespace` is empty for a cluster-wide request."""

    verb: str
    group: str
    resource: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}" + (
            f" in namespace {self.namespace}" if self.namespace else ""
        )


def rbac_request(method: str, path: str, query: Mapping[str, str] | None = None) -> RbacRequest:
    """The RBAC verb, group, resource and namespace of an HTTP request."""
    group, _, rest = path.removeprefix("/apis/").partition("/") if path.startswith("/apis/") else ("", "", path[len("/api/") :])
    parts = rest.split("/")[1:]  # after the version
    namespace = ""
    if parts[:1] == ["namespaces"] and len(parts) > 1:
        namespace, parts = parts[1], parts[2:] or parts
    resource, name, *subresource = [*parts, "", ""][: max(2, len(parts))]
    if method in ("GET", "HEAD"):
        verb = "get" if name else "watch" if query and query.get("watch") == "1" else "list"
    else:
        verb = _WRITES.get(method, "get")
    return RbacRequest(verb, group, "/".join([resource, *subresource]), namespace)


class Contact:
    """The health of one API server, by its responses. `where` names the cluster; `clock` is monotonic, in seconds.

    A response is good when it is 2xx or a refusal other than 401, 429 and 5xx.
    """

    def __init__(self, where: str, clock: Callable[[], float]) -> None:
        self.where = where
        self.counts: Counter[tuple[str, str]] = Counter()
        """Requests so far, by verb and code (VERBS, CODES)."""
        self._clock = clock
        self._begun = clock()
        self._good: float | None = None
        self._failing: float | None = None
        self._failure = ""
        self._logged_at: float | None = None
        self._pause = _FIRST
        self._missing: dict[RbacRequest, str] = {}

    # called by the client

    def answered(self, what: RbacRequest) -> None:
        """Record a 2xx response."""
        self.counts[what.verb, "2xx"] += 1
        if self._missing.pop(what, None) is not None:
            log.info("a permission that was missing is granted now", permission=str(what))
        self._record_success()

    def failed(self, what: RbacRequest, error: ClusterError) -> None:
        """Record a refusal or a missing response."""
        status = error.status if isinstance(error, ApiError) else None
        self.counts[what.verb, _code(status)] += 1
        if is_servers(error) or isinstance(error, ClusterConfigError):
            self._record_failure(str(error))
        elif status != 429:
            self._record_refusal(what, error)
            self._record_success()

    # read by others

    @property
    def heard(self) -> bool:
        """Whether the server has ever given a good response."""
        return self._good is not None

    @property
    def trouble(self) -> str:
        """Why the server cannot be used now; empty when it can."""
        if self._failing is None or (self.heard and self._clock() - self._failing < _PATIENCE):
            return ""
        return self._failure

    @property
    def missing(self) -> tuple[RbacRequest, ...]:
        """The requests that were refused because a permission is missing, and have not been granted since."""
        return tuple(self._missing)

    def silence(self) -> float:
        """Seconds since the last good response, or since the start when there was none."""
        return max(0.0, self._clock() - (self._begun if self._good is None else self._good))

    def summary(self) -> str:
        """The health of the connection in one sentence."""
        last = f"last good answer {self.silence():.0f} s ago" if self.heard else f"never heard, for {self.silence():.0f} s"
        why = f"; {self.trouble}" if self.trouble else ""
        return f"{self.where}: {last}{why}" + "".join(f"; may not {each}" for each in list(self._missing)[:5])

    def numbers(self) -> Iterator[tuple[str, str, int]]:
        """The verb, code and count of every pair of verb and code, zeros included."""
        for verb in VERBS:
            for code in CODES:
                yield verb, code, self.counts[verb, code]

    # inside

    def _record_success(self) -> None:
        self._good = self._clock()
        if self._logged_at is not None:
            log.info("the cluster answers again", cluster=self.where)
        self._failing, self._failure, self._logged_at, self._pause = None, "", None, _FIRST

    def _record_failure(self, why: str) -> None:
        now = self._clock()
        if self._failing is None:
            self._failing = now
        self._failure = why
        if not self.trouble or (self._logged_at is not None and now - self._logged_at < self._pause):
            return
        self._pause = _FIRST if self._logged_at is None else min(_SELDOM, self._pause * 2)
        self._logged_at = now
        log.error(
            "the cluster cannot be reached: nothing is healed until it can",
            cluster=self.where,
            error=why,
            since=f"{now - self._failing:.0f} s" if self.heard else "never heard",
        )

    def _record_refusal(self, what: RbacRequest, error: ClusterError) -> None:
        if what in self._missing or not isinstance(error, ApiError) or not error.is_missing_permission:
            return
        self._missing[what] = str(error)
        log.error(
            "a permission is missing",
            permission=str(what),
            cluster=self.where,
            error=str(error),
            hint=_GRANT,
        )


def _code(status: int | None) -> str:
    if status is None:
        return "none"
    return str(status) if str(status) in CODES else f"{status // 100}xx" if f"{status // 100}xx" in CODES else "4xx"
