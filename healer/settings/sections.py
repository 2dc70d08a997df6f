"""The sections of settings and their defaults: a component takes its section as it is. docs/settings.md is made from them."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from healer.model.signal import REPLICA_LABELS
from healer.section import OBJECT_NAME, OBJECT_NAME_OR_NONE, PREFIX, Seconds, Section

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_SIGNING = ("authorization", "cookie", "proxy-authorization", "x-api-key")
HeaderValue = Annotated[str, Field(pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$")]
"""The value of an HTTP header: one line of ASCII."""


class Cluster(Section):
    """Access to the Kubernetes API."""

    namespaces: tuple[Annotated[str, Field(pattern=OBJECT_NAME)], ...] = ()
    """Namespaces to watch; empty means all of them, which needs a ClusterRole. For Roles in these namespaces alone see
    `healer rbac --namespace`."""
    nodes: bool = False
    """Watch nodes whatever the rules: no rule takes a pod from a node that somebody else drains or mends. It needs a ClusterRole
    (`deploy/healer/components/nodes`), also where `namespaces` confines healer. A rule on `node` has nodes watched without it."""
    absent_poll: Seconds = Field(60.0, gt=0)
    """Seconds between two looks for a kind that the cluster need not have (an Argo Rollout, say), while it has none."""
    namespace_poll: Seconds = Field(5.0, gt=0)
    """Seconds between two looks at whether a Namespace is paused, when `namespaces` names them (without it they are watched)."""
    request_timeout: Seconds = Field(10.0, gt=0)
    """Seconds for one request."""
    page: int = Field(500, gt=0)
    """Objects a page of a list."""
    watch_stale: Seconds = Field(300.0, gt=0)
    """A watch whose loop tried nothing and heard nothing for so many seconds fails the liveness probe: only a restart helps then.
    An API server that does not answer is no reason."""


class Alerts(Section):
    """What is taken from Alertmanager, and where it is asked whether an alert still fires."""

    namespace_label: str = "namespace"
    """The label of an alert that names the namespace of its target."""
    pod_label: str = "pod"
    """The label that names the pod."""
    deployment_label: str = "deployment"
    """The label that names the Deployment."""
    queue: int = Field(1000, gt=0)
    """Signals that may wait to be decided; beyond, the webhook answers 503 and Alertmanager sends them again."""
    max_alerts: int = Field(5000, gt=0)
    """Alerts that one webhook may have; one with more is answered 413, and nothing of it is taken."""
    expiry: Seconds = Field(43_200.0, gt=0)
    """Seconds after which an alert that was not repeated counts as over. Must exceed Alertmanager's repeat_interval."""
    freshness: Seconds = Field(10.0, gt=0)
    """Seconds for which a report of an alert counts when healer acts. Alertmanager tells nobody that a silenced alert has ended,
    so an older report says nothing. With `url` healer asks; without it, it waits until Alertmanager repeats the alert."""
    url: str = Field("", pattern=r"^(https?://[^\s,]+(\s*,\s*https?://[^\s,]+)*)?$")
    """The base URL of Alertmanager's API (`http://alertmanager.monitoring:9093`), of a pair both with a comma between. There
    healer asks whether an alert still fires, or is silenced, before it acts on one that waited."""
    token_file: Path | None = None
    """A file with a bearer token to send there; read anew for each request."""
    ca_file: Path | None = None
    """A file with the certificates to trust for https there; empty: the system's."""
    timeout: Seconds = Field(10.0, gt=0)
    """Seconds for one request there."""
    absent: Seconds = Field(120.0, gt=0)
    """Seconds for which Alertmanager must lack an alert before it counts as over: two of Prometheus' resend delays (1 m), for an
    Alertmanager that has just started knows nothing. Until then nothing is done about it."""
    replica_labels: tuple[str, ...] = REPLICA_LABELS
    """Labels in which the servers of a pair of Prometheus differ: what differs in nothing else is one trouble for `count`."""


class PrometheusSettings(Section):
    """Where rules with the triggers `query` and `canary` ask."""

    url: str = Field("", pattern=r"^(https?://\S+)?$")
    """The base URL of Prometheus, or of what speaks its API (`http://prometheus.monitoring:9090`). Needed by such rules."""
    token_file: Path | None = None
    """A file with a bearer token to send; read anew for each query, for tokens rotate. Like all of these settings, also for
    `healer gate` and `healer compare`."""
    user: str = Field("", pattern=r"^[^:\x00-\x1f]*$")
    """The user for basic authentication; needs password_file."""
    password_file: Path | None = None
    """A file with the user's password; read anew for each query."""
    headers: dict[str, HeaderValue] = Field({})
    """Headers to send, such as a tenant of Grafana Mimir: `{"X-Scope-OrgID": "ml"}`. Secrets go into header_files."""
    header_files: dict[str, Path] = Field({})
    """Headers whose values are secret: for each the file that holds it, read anew for each query."""
    params: dict[str, str] = Field({})
    """Parameters to send with each query besides healer's own (`timeout`, `lookback_delta`, `limit`, `partial_response`,
    `deny_partial_response`); one with an empty value is left out, for a server that refuses it."""
    ca_file: Path | None = None
    """A file with the certificates to trust for https; empty: those that Python's `requests` trusts."""
    insecure: bool = False
    """Take any certificate: whoever is on the way can answer then. Better name the authority in ca_file."""
    timeout: Seconds = Field(10.0, gt=0)
    """Seconds for one query, the wait for its turn included. Prometheus is told as well, so that it stops working on it."""
    at_once: int = Field(4, ge=1, le=32)
    """Queries under way at the same time."""
    series: int = Field(1000, ge=1)
    """An answer with more series is an error: it would be a query about something else than meant."""
    stale: Seconds = Field(120.0, gt=0)
    """Seconds after which a sample is too old to judge by. Must be more than twice the scrape interval. Prometheus before 2.43
    goes by its own 5 minutes."""
    history: int = Field(720, ge=0)
    """Windows of a stable version's past from which the canary judge learns how bursty its errors are; 0: none.
    The less of it there is, the more cautious, and the slower, the judge."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if bool(self.user) is not (self.password_file is not None):
            raise ValueError("user and password_file belong together: set both, or neither")
        if self.user and self.token_file is not None:
            raise ValueError("user and token_file are two ways to sign in: set one of them")
        if self.insecure and self.ca_file is not None:
            raise ValueError("insecure takes any certificate, and ca_file only some: set one of them")
        for name in (*self.headers, *self.header_files):
            if not _HEADER.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a header")
        if any(name.lower() in _SIGNING for name in self.headers):
            raise ValueError("headers holds a secret: put its value into a file, and the file into header_files")
        return self


class Log(Section):
    """Logs, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error: lines below it are left out."""
    format: Literal["auto", "json", "console"] = "auto"
    """auto: coloured lines on a terminal, JSON elsewhere."""
    audit: bool = True
    """Write a line of JSON for each action and approval too, whatever the level and the format: who, what, why, before, after and
    outcome. Their `logger` is "healer.audit"."""


class JournalSettings(Section):
    """Where incidents are kept."""

    kind: Literal["kubernetes", "memory"] = "kubernetes"
    """kubernetes: as objects (`kubectl get incidents`), which survive a restart; memory: forgotten at a restart."""
    keep: int = Field(1000, ge=1)
    """Closed incidents kept."""
    keep_for: Seconds = Field(30 * 86400.0, gt=0)
    """Seconds for which a closed incident is kept."""
    prune: Seconds = Field(300.0, gt=0)
    """Seconds between two looks at what need not be kept any more."""


class LeaderSettings(Section):
    """The election among replicas: one acts, the others watch and take over."""

    enabled: bool = True
    """Without election, run one replica only."""
    namespace: str = Field("", pattern=OBJECT_NAME_OR_NONE)
    """Where the Lease is; empty: the namespace of the pod, else `default`."""
    name: str = Field("healer", pattern=OBJECT_NAME)
    """The Lease. Replicas of one healer share it; `healer pause everything` writes on it, also when there is no election."""
    address: str = Field("", pattern=r"^(\S+:[0-9]+)?$")
    """host:port at which the other replicas reach this one's HTTP server; empty: this host's name and port."""
    service: str = Field("healer", pattern=OBJECT_NAME_OR_NONE)
    """healer's Service, in the same namespace. A follower passes a webhook, and its token, on to the leader's address only when
    that is an endpoint of it; empty: only to `peers`."""
    peers: tuple[str, ...] = ()
    """Further addresses (host:port) that a follower may pass webhooks on to: for replicas outside of a cluster."""
    ca_file: Path | None = None
    """A file with the certificates to trust when a follower passes a webhook on over TLS; empty: the system's. Also for
    `healer status` and `healer explain`."""
    server_name: str = Field("", pattern=OBJECT_NAME_OR_NONE)
    """The name that the certificate of the other replicas must have then; empty: SERVICE.NAMESPACE.svc of healer's Service."""
    duration: Seconds = Field(10.0, gt=0)
    """A follower takes over when the lease was not renewed for so many seconds."""
    deadline: Seconds = Field(7.0, gt=0)
    """A leader that could not renew for so many seconds stops acting. Must be below duration."""
    renew: Seconds = Field(2.0, gt=0)
    """Seconds between renewals."""
    retry: Seconds = Field(1.0, gt=0)
    """Seconds between a follower's looks."""

    @model_validator(mode="after")
    def _fits(self) -> "LeaderSettings":
        """Times that do not go together would have two replicas act at once, or none."""
        orders = (("renew", "deadline"), ("retry", "deadline"), ("deadline", "duration"))
        wrong = [
            f"{PREFIX}LEADER__{low.upper()} ({getattr(self, low):g} s) must be below "
            f"{PREFIX}LEADER__{high.upper()} ({getattr(self, high):g} s)"
            for low, high in orders
            if getattr(self, low) >= getattr(self, high)
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


class RecordSettings(Section):
    """What the daemon saw and did, in files for `healer replay`. Personal data and secrets are left out."""

    folder: Path | None = None
    """The folder for the files; without it, nothing is recorded. It is made where there is none. The replicas of one healer may
    share it, since only the leader writes. `healer run --record` overrides it."""
    file_size: int = Field(16 * 1024 * 1024, ge=4096)
    """Bytes after which a new file begins. Each begins with the whole state, so that it can be replayed alone."""
    file_age: Seconds = Field(21_600.0, gt=0)
    """Seconds after which a new file begins."""
    total_size: int = Field(512 * 1024 * 1024, gt=0)
    """The most bytes that all files have; beyond, the oldest are deleted."""
    queue: int = Field(20_000, ge=100)
    """Lines that may wait for the disk. Beyond, lines are dropped and counted: healing never waits for the record."""
    flush: Seconds = Field(5.0, gt=0)
    """Seconds after which what waits is written, and the most that is lost when the process is killed."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.total_size < 2 * self.file_size:
            raise ValueError(f"{PREFIX}RECORD__TOTAL_SIZE must be at least twice {PREFIX}RECORD__FILE_SIZE")
        return self
