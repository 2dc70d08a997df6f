"""Certificates as Python's ssl shows them: when the port's own ends, and which names a client's has."""

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_ANY_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME: the end of a certificate that has ended is read as well."""
_ROUNDS = 8
"""More than a handshake needs."""

PeerCertificate = Mapping[str, Any]
"""What SSLSocket.getpeercert returns."""


def ends_at(server: ssl.SSLContext, cert_file: Path) -> float:
    """The end of a server context's certificate, in seconds since the epoch. Raises ssl.SSLError or OSError.

    Python's ssl shows a certificate only to the other side of a handshake, so this makes one in memory. A client that trusts
    exactly this certificate also finds out whether others can use it.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cert_file)
    client.verify_flags = ssl.VerifyFlags(client.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN | _ANY_TIME)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_ROUNDS):
        done = [_step(side) for side in (ours, theirs)]
        if all(done):
            break
    found = ours.getpeercert()
    if not found:
        raise ssl.SSLError("the certificate cannot be read back")
    return ssl.cert_time_to_seconds(str(found["notAfter"]))


def _step(side: ssl.SSLObject) -> bool:
    """Go on with a handshake; whether this side is done."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def names(certificate: PeerCertificate) -> Iterator[str]:
    """The DNS names, URIs and common names of a certificate."""
    for kind, value in certificate.get("subjectAltName", ()):
        if kind in ("DNS", "URI"):
            yield value
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                yield value
