"""Who is on the other side of a request: the client's address, also behind a proxy that is trusted."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import web

from healer.http.answer import Refused
from healer.settings.http import Network

Address = IPv4Address | IPv6Address

_LOOPBACK = frozenset({ip_address("127.0.0.1"), ip_address("::1")})
# Not all of 127.0.0.0/8: behind a mesh's sidecar every peer has the address 127.0.0.6 (Istio's inbound passthrough).
_LOOPBACK_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
_PREFIX = 64
"""One client of IPv6 has all addresses of such a network."""


def client(request: web.Request, proxies: Sequence[Network]) -> Address:
    """The address of the client: the peer's, or the last one in X-Forwarded-For that is no trusted proxy's.

    Raises Refused (400) when a trusted proxy names something else than an address, or the connection is gone.
    """
    found = peer(request)
    hops = [hop.strip() for line in request.headers.getall("X-Forwarded-For", ()) for hop in line.split(",")]
    while hops and within(found, proxies):
        found = _address(hops.pop())
    return found


def peer(request: web.Request) -> Address:
    """The address at the other end of the connection. Raises Refused (400) when it is gone."""
    name = request.transport.get_extra_info("peername") if request.transport is not None else None
    return _address(str(name[0]) if name else "")


def within(address: Address, networks: Sequence[Network]) -> bool:
    """Whether an address is in one of the networks."""
    return any(address in network for network in networks)


def from_loopback(request: web.Request) -> bool:
    """Whether the request was made on this host. A proxy on this host forwards the requests of others."""
    return peer(request) in _LOOPBACK and not any(name in request.headers for name in _FORWARDED)


def names_loopback(request: web.Request) -> bool:
    """Whether a request was made to this host by its own name. A browser names the site whose page it shows (DNS rebinding)."""
    named = request.headers.getall("Host", ())
    return bool(named) and all(_LOOPBACK_HOST.fullmatch(each) for each in named)


def one_client(address: Address) -> Address | IPv6Network:
    """What counts as one client: an address, and with IPv6 a network."""
    if isinstance(address, IPv4Address):
        return address
    network = ip_network((address, _PREFIX), strict=False)
    assert isinstance(network, IPv6Network)
    return network


def _address(text: str) -> Address:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError as error:
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            "X-Forwarded-For has something else than addresses",
            "have the proxy write addresses without ports",
        ) from error
    return getattr(found, "ipv4_mapped", None) or found
