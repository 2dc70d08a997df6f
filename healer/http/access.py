"""Who may use the endpoints of one kind: a client's network, certificate, token and rate are checked, in this order."""

import hashlib
import hmac
import math
from collections.abc import Hashable, Sequence
from http import HTTPStatus
from pathlib import Path

import structlog
from aiohttp import web

from healer.http.answer import Handler, Refused
from healer.http.certificate import names
from healer.http.clients import Address, client, from_loopback, names_loopback, one_client, within
from healer.http.forward import SUFFIX
from healer.http.rate import ClientRates
from healer.http.refusals import Objection
from healer.http.reviews import Reviewer, ReviewError
from healer.secret import SecretError, TokenFiles
from healer.settings.http import Guarded, HttpSettings

TOKEN_HEADER = "X-Healer-Token"
"""For clients behind the API server's proxy, which takes Authorization for itself and forwards the other headers."""
_LONGEST_TOKEN = 8192
"""Characters; a header is not longer either."""
_NOT_LET_IN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class Door:
    """What guards the endpoints of one kind. It fails closed: while configured tokens cannot be read, nobody comes in by them."""

    def __init__(self, kind: Guarded, settings: HttpSettings, rates: ClientRates, reviewer: Reviewer | None) -> None:
        """`reviewer` is needed where the settings have tokens of Kubernetes reviewed."""
        self._kind = kind
        self._reviewer = reviewer if kind in settings.token_review else None
        self._settings = settings
        self._rates = rates
        path = _token_file(settings, kind)
        self._tokens = None if path is None else TokenFiles(path)
        above = settings.control_token_file if kind == "read" else None
        self._stronger = None if above is None else TokenFiles(above)  # who may act may read
        self._certificate = settings.tls_client_ca_file is not None and kind in settings.tls_client_for
        self._open = kind == "metrics" or (kind == "webhook" and settings.allow_anonymous)
        self._log = structlog.get_logger("healer.http")

    async def admit(self, request: web.Request) -> None:
        """Raises Refused for a client whose network is not answered, or that asks too often: for what holds no data."""
        address = client(request, self._settings.trusted_proxies)
        self._check_network(address)
        self._put_off(self._rates.let_in.wait(one_client(address)))

    async def check(self, request: web.Request) -> str:
        """The user of Kubernetes that a request is from, "" for others. Raises Refused unless the request is allowed."""
        address = client(request, self._settings.trusted_proxies)
        self._check_network(address)
        try:
            who = await self._who(request, address)
        except Refused as refused:
            if refused.status in _NOT_LET_IN or isinstance(refused.__cause__, ReviewError):
                self._put_off(self._rates.refused.wait(one_client(address)))
            raise
        self._put_off(self._rates.let_in.wait(who))
        return who[1] if isinstance(who[1], str) else ""

    async def _who(self, request: web.Request, address: Address) -> tuple[Hashable, Hashable]:
        """Who a request is from: the certificate, and the token or the address of a client that needs none. Raises Refused."""
        shown = self._check_certificate(request) if self._certificate else ()
        if self._stronger is not None and (digest := self._ours(request, self._stronger)):
            return shown, digest
        if self._tokens is not None or self._reviewer is not None:
            return shown, await self._check_token(request, one_client(address))
        if self._kind == "control" or not (self._certificate or self._open or from_loopback(request)):
            raise Refused(
                HTTPStatus.FORBIDDEN,
                f"{'nobody' if self._kind == 'control' else 'only loopback'} is answered here, because no token is configured",
                f"set HEALER_HTTP__{self._kind.upper()}_TOKEN_FILE and send a token (Alertmanager: http_config.authorization)",
                objection=Objection(self._kind, "loopback"),
            )
        if not (self._certificate or self._open or names_loopback(request)):
            raise Refused(
                HTTPStatus.FORBIDDEN,
                "the request is to another host, as those of a web page are, and without a token only this host's names count",
                "open http://localhost:PORT or http://127.0.0.1:PORT",
                objection=Objection(self._kind, "loopback"),
            )
        return shown, () if shown else one_client(address)

    def _check_network(self, address: Address) -> None:
        if self._settings.networks and not within(address, self._settings.networks):
            raise Refused(
                HTTPStatus.FORBIDDEN,
                f"{address} is in none of the networks that are answered",
                "HEALER_HTTP__NETWORKS names them; a follower passes webhooks on, so healer's own pods must be among them",
                objection=Objection(self._kind, "network"),
            )

    def _put_off(self, wait: float) -> None:
        """Refuse a request, if its client is to wait."""
        if wait:
            # Alertmanager sends again at once after 5xx alone: its notify/webhook names no other RetryCodes.
            again = HTTPStatus.SERVICE_UNAVAILABLE if self._kind == "webhook" else HTTPStatus.TOO_MANY_REQUESTS
            raise Refused(
                again,
                "too many requests",
                "send fewer (group alerts by fewer labels), or raise HEALER_HTTP__RATE_PER_MINUTE",
                {"Retry-After": str(math.ceil(wait))},
                objection=Objection(self._kind, "rate"),
            )

    def _check_certificate(self, request: web.Request) -> Hashable:
        """The names of the client's certificate."""
        shown = request.transport.get_extra_info("peercert") if request.transport is not None else None
        allowed = self._settings.tls_client_names
        named = tuple(names(shown)) if shown else ()
        if not shown or (allowed and not set(named) & set(allowed)):
            known = ", ".join(named) if shown else "none"
            raise Refused(
                HTTPStatus.FORBIDDEN,
                f"the client has shown no certificate that is allowed here: {known}",
                "set tls_config.cert_file and key_file of the client, or add its name to HEALER_HTTP__TLS_CLIENT_NAMES",
                objection=Objection(self._kind, "certificate"),
            )
        return named or "a certificate without a name"

    async def _check_token(self, request: web.Request, source: Hashable) -> Hashable:
        """Who the token belongs to: the user of Kubernetes, or the digest of a token of ours."""
        given = given_token(request)
        unknown: SecretError | ReviewError | None = None
        try:
            if self._tokens is not None and _is_one_of(given, self._tokens.read()):
                return _digest(given)
        except SecretError as error:
            self._log.error("requests are refused: no token to compare with", endpoint=self._kind, error=str(error))
            unknown = error
        try:
            if self._reviewer is not None and given:
                asked = _asked_for(request)
                if not self._reviewer.knows(given, *asked):  # whoever is refused too often causes no more reviews
                    self._put_off(self._rates.refused.look(source))
                if user := await self._reviewer.user(given, *asked, source):
                    return user
        except ReviewError as error:
            self._log.error("a token of Kubernetes is refused: it cannot be reviewed", endpoint=self._kind, error=str(error))
            unknown = error
        if unknown is None:
            raise self._unauthorized()
        # 5xx, so that Alertmanager sends again at once: after 4xx it waits for its group_interval.
        raise Refused(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"healer cannot read its {self._kind} token, or has no answer of the API server about this one",
            f"mount the secret that HEALER_HTTP__{self._kind.upper()}_TOKEN_FILE names; see the log of healer",
            {"Retry-After": "30"},
            logged=True,
            objection=Objection(self._kind, "unavailable"),
        ) from unknown

    def _ours(self, request: web.Request, tokens: TokenFiles) -> bytes:
        """The digest of the request's token, b"" when it is none of these."""
        given = given_token(request)
        try:
            return _digest(given) if given and _is_one_of(given, tokens.read()) else b""
        except SecretError as error:
            self._log.error("tokens cannot be read: none of them counts", endpoint=self._kind, error=str(error))
            return b""

    def _unauthorized(self) -> Refused:
        return Refused(
            HTTPStatus.UNAUTHORIZED,
            "the bearer token is missing or wrong",
            "set http_config.authorization.credentials_file of the webhook to healer's token",
            {"WWW-Authenticate": 'Bearer realm="healer"'},
            objection=Objection(self._kind, "token"),
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _is_one_of(given: str, tokens: Sequence[str]) -> bool:
    """Whether a token is one of ours. All are compared, so that the time does not tell which one it was."""
    # Bytes, because compare_digest takes only ASCII strings, and a header can contain anything.
    sent = given.encode("utf-8", "surrogateescape")
    same = [hmac.compare_digest(sent, token.encode()) for token in tokens]
    return any(same)


def _asked_for(request: web.Request) -> tuple[str, str]:
    """The verb and the path that RBAC knows a request by; the path of what a follower passes on is that of the webhook."""
    return request.method.lower(), request.path.removesuffix(SUFFIX)


def takes_tokens(settings: HttpSettings, kind: Guarded) -> bool:
    """Whether clients of these endpoints send a token."""
    return _token_file(settings, kind) is not None or kind in settings.token_review


def _token_file(settings: HttpSettings, kind: Guarded) -> Path | None:
    files = {
        "webhook": settings.webhook_token_file,
        "read": settings.read_token_file,
        "metrics": settings.metrics_token_file,
        "control": settings.control_token_file,
    }
    return files[kind]


def behind(door: Door, handler: Handler) -> Handler:
    """The handler, for those whom the door lets in."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        await door.check(request)
        return await handler(request)

    return guarded


def given_token(request: web.Request) -> str:
    """The bearer token of a request, "" without one."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    token = given.strip() if scheme.lower() == "bearer" else request.headers.get(TOKEN_HEADER, "").strip()
    return token[:_LONGEST_TOKEN]
