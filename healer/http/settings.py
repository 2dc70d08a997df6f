"""The knobs of the HTTP server."""

from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Times are in seconds, sizes in bytes. Port 0 lets the system choose one (`Server.port`)."""

    host: str = "0.0.0.0"
    port: int = 8080
    webhook_token_file: Path | None = None
    """The bearer token that webhooks need. Without one only loopback is answered."""
    allow_anonymous: bool = False
    """Without a token, answer everyone. A configured token is asked for in any case."""
    max_body: int = MIB
    max_bodies: int = 32
    """Webhook bodies held at once; one more is answered 503. Bounds the memory together with max_body."""
    read_timeout: float = 10.0
    """For a request's body to arrive."""
    idle_timeout: float = 30.0
    """For a request's head to arrive, and for the next request on a connection."""
    accept_timeout: float = 5.0
    """For the signals of a webhook to be decided."""
    shutdown_timeout: float = 5.0
    """For requests under way to finish when the server stops."""
