"""The settings of the HTTP port: where it listens, its TLS, who may use it, and how much."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PlainValidator, model_validator

from healer.section import PREFIX, Seconds, Section

Guarded = Literal["webhook", "read", "metrics", "control"]
"""The kinds of endpoints that can be guarded: webhooks; /state, /decisions and /rules; /metrics; what acts for people. Probes are
never guarded, nor the files of the page, which hold no data."""


def _network(value: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(str(value))
    except ValueError:
        raise ValueError("this is no network: write an address and the length of its prefix, as 10.0.0.0/8 or fd00::/8") from None


Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network)]
Networks = tuple[Network, ...]


class HttpSettings(Section):
    """The HTTP server: webhooks, probes, metrics, and what `healer status` and `healer explain` read."""

    host: str = "0.0.0.0"
    """The address to listen on."""
    port: int = Field(8080, ge=0, le=65535)
    """The port; 0 lets the system choose."""
    tls_cert_file: Path | None = None
    """A PEM file with the certificate, and those between it and its authority. With it and tls_key_file the port speaks only
    https. The files are read again when they change; a pair that cannot be used leaves the old one in force."""
    tls_key_file: Path | None = None
    """A PEM file with the certificate's key, without a passphrase."""
    tls_min_version: Literal["1.2", "1.3"] = "1.2"
    """The oldest version of TLS that is spoken."""
    tls_client_ca_file: Path | None = None
    """A PEM file with the authorities of clients' certificates. With it the endpoints of tls_client_for need one."""
    tls_client_for: tuple[Guarded, ...] = ("webhook",)
    """The endpoints that need a client's certificate: `webhook`, `read` (/state, /decisions, /rules), `metrics`, `control`.
    Probes never do: the kubelet has none."""
    tls_client_names: tuple[str, ...] = ()
    """The names (DNS name, URI or common name) that a client's certificate may have, healer's own among them, for followers
    pass webhooks on; empty: any certificate of these authorities."""
    webhook_token_file: Path | None = None
    """A file with the bearer tokens that webhooks may carry, one a line, or a folder of such files; read again when it changes.
    Without a token, a client's certificate or token_review, only loopback is answered."""
    read_token_file: Path | None = None
    """The same for /state, /decisions and /rules, which the page, `healer status` and `healer explain` read; without one, only
    loopback is answered (`kubectl port-forward` comes from there)."""
    metrics_token_file: Path | None = None
    """The same for /metrics; without one, everyone is answered."""
    control_token_file: Path | None = None
    """The same for what people do on the page: approve, pause, resume, undo. Without one, or a review of tokens, nobody can, from
    loopback neither. Such a token also reads. `healer rbac` prints what healer needs for that."""
    token_review: tuple[Guarded, ...] = ()
    """The endpoints (`webhook`, `read`, `metrics`, `control`) that take a token of Kubernetes as well. healer has the API server
    review it (TokenReview), and asks whether its user may `post` or `get` the path (SubjectAccessReview). `healer rbac` prints
    what healer needs for that."""
    token_review_audience: str = Field("healer", min_length=1)
    """The audience that such a token must be for."""
    token_review_cache: Seconds = Field(60.0, gt=0, le=600)
    """Seconds for which a token that was let in is let in again without a question. A refusal is kept for at most 10 s."""
    allow_anonymous: bool = False
    """Answer webhooks of everyone when nothing else says who may. Whoever reaches the port can then have pods evicted."""
    networks: Networks = ()
    """The networks whose clients are answered (10.0.0.0/8), healer's own pods among them; empty: all. Probes always are."""
    trusted_proxies: Networks = ()
    """The networks of proxies whose X-Forwarded-For says who the client is. Of others it is not believed."""
    rate_per_minute: int = Field(6000, ge=0)
    """Requests a minute of one client: a token, a certificate, a user of Kubernetes, or, where none is needed, an address (a /64
    network with IPv6); 0: any number. What is not let in is counted apart, by address. Beyond, a webhook answers 503, for
    Alertmanager sends again at once after 5xx alone, and the others 429. Probes are not counted."""
    rate_burst: int = Field(1000, ge=1)
    """Requests that a client may make at once after a pause."""
    max_body: int = Field(1024 * 1024, gt=0)
    """The largest webhook body, in bytes. A larger one is answered 413, and nothing of it is taken."""
    max_bodies: int = Field(32, gt=0)
    """Webhook bodies held at once; one more is answered 503. Bounds the memory together with max_body."""
    max_connections: int = Field(256, gt=0)
    """Connections held at once, and no more than a quarter of the files that the process may open (`ulimit -n`). One more closes
    the one that is idle for longest."""
    streams: int = Field(32, gt=0)
    """Pages that hear at once of what changes; one more is answered 503. Each has a connection of max_connections."""
    read_timeout: Seconds = Field(10.0, gt=0)
    """Seconds for a request's body to arrive, and for the handshake of TLS."""
    idle_timeout: Seconds = Field(30.0, gt=0)
    """Seconds for a request's head to arrive, and for the next request on a connection."""
    accept_timeout: Seconds = Field(5.0, gt=0)
    """Seconds for the signals of a webhook to be decided; then 503."""
    shutdown_timeout: Seconds = Field(5.0, gt=0)
    """Seconds for requests under way to finish when the server stops."""

    @property
    def control(self) -> bool:
        """Whether people may act on the page."""
        return self.control_token_file is not None or "control" in self.token_review

    @property
    def tls(self) -> bool:
        """Whether the port speaks https."""
        return self.tls_cert_file is not None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.tls_cert_file is None) is not (self.tls_key_file is None):
            raise ValueError(f"{PREFIX}HTTP__TLS_CERT_FILE and {PREFIX}HTTP__TLS_KEY_FILE belong together: set both, or neither")
        if self.tls_client_ca_file is not None and not self.tls:
            raise ValueError(f"{PREFIX}HTTP__TLS_CLIENT_CA_FILE needs TLS: set {PREFIX}HTTP__TLS_CERT_FILE and its key as well")
        if self.tls_client_names and self.tls_client_ca_file is None:
            raise ValueError(f"{PREFIX}HTTP__TLS_CLIENT_NAMES needs {PREFIX}HTTP__TLS_CLIENT_CA_FILE: there are no authorities")
        return self
