"""TLS of the port: contexts made of files, and made anew when the files change."""

import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from healer.http.certificate import ends_at
from healer.settings.http import HttpSettings

_AGAIN = 5.0
"""Seconds after which files that could not be used are tried again, although they have not changed."""
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

T = TypeVar("T")


class TlsError(Exception):
    """The files cannot be used; the message says which and why."""


class Reloaded(Generic[T]):
    """What is made of TLS files, and follows them. Files that cannot be used leave the old ones in force.

    A Secret volume is updated by swapping a symbolic link (kubelet's AtomicWriter), so the files behind the paths change their
    inodes. Each `get` costs one stat a file, a local call of microseconds.
    """

    def __init__(self, files: Sequence[Path], make: Callable[[], T], clock: Callable[[], float]) -> None:
        """`make` raises OSError (ssl.SSLError is one) where the files cannot be used; this then raises TlsError."""
        self._files = files
        self._make = make
        self._clock = clock
        self._log = structlog.get_logger("healer.http")
        self._seen = self._stat()
        self._tried = clock()
        self.loaded = 0
        """How often changed files were taken."""
        self.refused = 0
        """How often they were not."""
        self.usable = True
        """Whether the files are those in force."""
        try:
            self._made = make()
        except OSError as error:
            raise TlsError(f"TLS cannot be served with {', '.join(map(str, files))}: {_said(error)}") from error

    def get(self) -> T:
        """What is made of the newest files that can be used."""
        seen = self._stat()
        changed = seen != self._seen
        if changed or (not self.usable and self._clock() >= self._tried + _AGAIN):
            self._seen, self._tried = seen, self._clock()
            self._reload(changed)
        return self._made

    def _reload(self, changed: bool) -> None:
        files = [str(file) for file in self._files]
        try:
            self._made = self._make()
        except OSError as error:
            self.usable = False
            self.refused += changed
            if changed:
                hint = "write a certificate and the key that belongs to it"
                said = "new TLS files cannot be used: the old ones stay in force"
                self._log.error(said, files=files, error=_said(error), hint=hint)
        else:
            self.usable = True
            self.loaded += 1
            self._log.info("new TLS files are in force", files=files)

    def _stat(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_identity(file) for file in self._files)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What the port serves with; `ends_at` is the end of the certificate, in seconds since the epoch."""

    context: ssl.SSLContext
    ends_at: float


def server_tls(settings: HttpSettings, clock: Callable[[], float]) -> Reloaded[ServerTls] | None:
    """What the port speaks: TLS with these files, or None for plain HTTP. Raises TlsError."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    files = [settings.tls_cert_file, settings.tls_key_file]
    if settings.tls_client_ca_file is not None:
        files.append(settings.tls_client_ca_file)
    return Reloaded(files, partial(_server_context, settings, settings.tls_cert_file), clock)


def peer_tls(settings: HttpSettings, ca_file: Path | None, clock: Callable[[], float]) -> Reloaded[ssl.SSLContext] | None:
    """What a follower speaks to the leader; where the port asks clients for a certificate, it shows its own. Raises TlsError."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    own = settings.tls_client_ca_file is not None
    files = [settings.tls_cert_file, settings.tls_key_file] if own else []
    shown = (settings.tls_cert_file, settings.tls_key_file) if own else None
    return Reloaded([*files, *([ca_file] if ca_file else [])], partial(client_context, ca_file, shown), clock)


def client_context(ca_file: Path | None, shown: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """A client's context: it trusts `ca_file`, or what the system trusts, and shows the certificate and key `shown`.

    Raises OSError.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if shown is not None:
        context.load_cert_chain(*shown)
    return context


def _server_context(settings: HttpSettings, cert_file: Path) -> ServerTls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.tls_min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0  # a session that is resumed would outlive the authority that its client's certificate is from
    # A function instead of a passphrase: OpenSSL would ask the terminal, and wait.
    context.load_cert_chain(cert_file, settings.tls_key_file, password=_no_passphrase)
    if settings.tls_client_ca_file is not None:
        context.load_verify_locations(settings.tls_client_ca_file)
        # Optional here, so that the kubelet's probes come in without one. The doors of the endpoints ask for it.
        context.verify_mode = ssl.CERT_OPTIONAL
    return ServerTls(context, ends_at(context, cert_file))


def _no_passphrase() -> str:
    raise OSError("the key has a passphrase: write it without one")


def _said(error: OSError) -> str:
    return f"{type(error).__name__}: {error.strerror or error}" + (f" ({error.filename})" if error.filename else "")


def _identity(file: Path) -> tuple[int, int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


class TlsMetrics(Collector):
    """What /metrics shows of the port's TLS."""

    def __init__(self, tls: Reloaded[ServerTls]) -> None:
        self._tls = tls

    def collect(self) -> Iterable[Metric]:
        """The metrics, for Prometheus."""
        yield GaugeMetricFamily(
            "healer_tls_certificate_ends_timestamp_seconds",
            "When the certificate of the port ends, in seconds since the epoch.",
            value=self._tls.get().ends_at,
        )
        reloads = CounterMetricFamily("healer_tls_reloads", "Changes of the port's TLS files, by outcome.", labels=["outcome"])
        reloads.add_metric(["loaded"], self._tls.loaded)
        reloads.add_metric(["refused"], self._tls.refused)
        yield reloads
        yield GaugeMetricFamily(
            "healer_tls_files_usable",
            "Whether the port's TLS files are the ones in force: 0 while they cannot be used.",
            value=float(self._tls.usable),
        )
