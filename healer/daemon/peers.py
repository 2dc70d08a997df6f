"""Which addresses a follower may pass a webhook on to: those of healer's own Service, and those that the settings name.

The Lease says who leads, and at which address. Whoever may edit the Lease can write any address there, and the webhook's token
would go to it. So the address is believed only where somebody else says so too.
"""

import ipaddress
from collections.abc import Callable

import aiohttp
import structlog

from healer.clock import Clock
from healer.cluster.api import Api
from healer.cluster.endpoints import ServiceEndpoints
from healer.cluster.errors import ClusterError
from healer.daemon.leadership import Leadership
from healer.http.access import takes_tokens
from healer.http.forward import Relay
from healer.http.tls import peer_tls
from healer.model.signal import QueueFull
from healer.settings import Settings


class Peers:
    """`named` are the addresses that the settings allow (host:port); `secret`: whether a token goes with what is passed on."""

    def __init__(self, service: ServiceEndpoints | None, named: tuple[str, ...], *, own: Callable[[], str], secret: bool) -> None:
        self._service = service
        self._named = frozenset(named)
        self._own = own
        self._secret = secret
        self._log = structlog.get_logger("healer.http")

    async def checked(self, address: str) -> str:
        """The address, when it is one of healer's. Raises QueueFull, which says why not."""
        if address in self._named or self._on_this_host(address):
            return address
        if self._service is None:
            raise QueueFull(
                f"the Lease names {address} as the leader's address, which HEALER_LEADER__PEERS does not allow", retry_after=5
            )
        try:
            known = await self._service.addresses()
        except ClusterError as error:
            raise QueueFull(f"whether {address} is a replica of healer is not known: {error}", retry_after=2) from error
        if address not in known:
            raise QueueFull(
                f"the Lease names {address} as the leader's address, which is no endpoint of healer's Service: not sent there "
                "(outside of a cluster, HEALER_LEADER__PEERS allows addresses)",
                retry_after=5,
            )
        return address

    async def look(self) -> None:
        """Say whether other replicas would find this one: for the log, at the start."""
        if self._service is None or self._on_this_host(self._own()):
            return
        try:
            known = await self._service.addresses()
        except ClusterError as error:
            self._log.warning("replicas cannot find each other: a follower answers webhooks with 503", error=str(error))
            return
        if self._own() not in known:
            self._log.info(
                "this replica is no endpoint of healer's Service yet: until it is, followers pass no webhooks on to it",
                address=self._own(),
                endpoints=sorted(known)[:10],
            )

    def _on_this_host(self, address: str) -> bool:
        """Whether both are this host's own: where no token is sent, whoever listens there learns what this host knows."""
        return not self._secret and _is_loopback(address) and _is_loopback(self._own())


def peers_of(settings: Settings, api: Api, home: str, own: Callable[[], str]) -> Peers:
    """The peers of a healer with these settings. `home` is its namespace, `own` its address."""
    leader = settings.leader
    service = ServiceEndpoints(api, home, leader.service) if leader.enabled and leader.service else None
    secret = any(takes_tokens(settings.http, kind) for kind in ("webhook", "read", "control"))
    return Peers(service, leader.peers, own=own, secret=secret)


def relay_of(
    settings: Settings,
    session: aiohttp.ClientSession,
    peers: Peers,
    leadership: Leadership,
    follows: Callable[[], bool],
    clock: Clock,
) -> Relay:
    """What passes on to the leader. `follows` says whether another replica decides."""
    http, leader = settings.http, settings.leader

    async def address() -> str:
        return await peers.checked(leadership.leader())

    tls = peer_tls(http, leader.ca_file, clock.steady)
    name = leader.server_name or f"{leader.service}.{leadership.home}.svc"
    return Relay(session, follows, address, http.accept_timeout, tls, name)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).is_loopback
    except ValueError:
        return False
