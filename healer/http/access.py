"""Who may post to a webhook: whoever sends the token; without a token, loopback only."""

import hmac
from http import HTTPStatus

import structlog
from aiohttp import web

from healer.http.answer import Refused
from healer.secret import SecretError, SecretFile
from healer.settings.sections import HttpSettings

_LOOPBACK = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})
# Not all of 127.0.0.0/8: behind a mesh's sidecar every peer has the address 127.0.0.6 (Istio's inbound passthrough).
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


class WebhookGate:
    """Checks every post to a webhook. It fails closed: while the configured token cannot be read, every post is refused."""

    def __init__(self, settings: HttpSettings) -> None:
        self._token = SecretFile(settings.webhook_token_file) if settings.webhook_token_file is not None else None
        self._anonymous = settings.allow_anonymous
        self._log = structlog.get_logger("healer.http")

    def check(self, request: web.Request) -> None:
        """Raises Refused (401, 403, or 503 when our own token cannot be read) unless the request is allowed."""
        if self._token is not None:
            self._check_token(request, self._token)
        elif not self._anonymous and not _from_loopback(request):
            raise Refused(
                HTTPStatus.FORBIDDEN,
                "this webhook answers only loopback, because no token is configured",
                "set HEALER_HTTP__WEBHOOK_TOKEN_FILE and send the token (http_config.authorization in Alertmanager)",
            )

    def _check_token(self, request: web.Request, file: SecretFile) -> None:
        try:
            token = file.read()
        except SecretError as error:
            self._log.error("webhooks are refused: no token to compare with", error=str(error))
            # 5xx, so that Alertmanager sends again: it drops the notification at a 4xx.
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "healer cannot read its webhook token",
                "mount the secret that HEALER_HTTP__WEBHOOK_TOKEN_FILE names",
                {"Retry-After": "30"},
                logged=True,
            ) from error
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # Bytes, because compare_digest takes only ASCII strings, and a header can contain anything.
        same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
        if scheme.lower() != "bearer" or not same:
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                "the bearer token is missing or wrong",
                "set http_config.authorization.credentials_file of the webhook to healer's token",
                {"WWW-Authenticate": 'Bearer realm="healer"'},
            )


def _from_loopback(request: web.Request) -> bool:
    """Whether the request was made on this host. A proxy on this host forwards the requests of others."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return peer is not None and peer[0] in _LOOPBACK and not any(name in request.headers for name in _FORWARDED)
