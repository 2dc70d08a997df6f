"""The HTTP server: webhooks, probes, metrics, recent decisions."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from healer.clock import SYSTEM, Clock
from healer.http.access import WebhookGate
from healer.http.answer import ErrorsAsJson
from healer.http.connections import Connections
from healer.http.decisions import DECISIONS_PATH, Decisions
from healer.http.health import Check, Health, plain_checks
from healer.http.refusals import Refusals
from healer.http.rules import RULES_PATH, RuleRow, Rules
from healer.http.webhook import Receiver, Webhook
from healer.model.effects import Decision
from healer.settings.sections import HttpSettings

LINGER = 1.0
"""Seconds for which the rest of a refused body is read and dropped, so that its sender receives the answer."""

_BACKLOG = 128


class Server:
    """An async context manager: serves from entry to exit; at exit, requests under way get `shutdown_timeout` (s) to finish.

    `webhooks` maps a path to the receiver of the bodies that are posted there; `decisions` returns the recent decisions, oldest
    first; `rules` returns the rules in force. Entry raises OSError when the port is not available.
    """

    def __init__(
        self,
        *,
        settings: HttpSettings,
        webhooks: Mapping[str, Receiver],
        health: Callable[[], Health],
        registry: CollectorRegistry,
        decisions: Callable[[], Sequence[Decision]] = tuple,
        rules: Callable[[], Sequence[RuleRow]] = tuple,
        clock: Clock = SYSTEM,
    ) -> None:
        self._settings = settings
        self._health = health
        self._registry = registry
        # The limit on bodies is Webhook's, which stops reading; aiohttp's own bounds only request.read().
        self._connections = Connections(settings.max_connections)
        self._listening: asyncio.Server | None = None
        self._refusals = Refusals(clock.steady)
        app = web.Application(middlewares=[self._connections.track, ErrorsAsJson(self._refusals).handle])
        access = WebhookGate(settings)
        bodies = asyncio.Semaphore(settings.max_bodies)
        for path, receiver in webhooks.items():
            app.router.add_post(path, Webhook(receiver, access, settings, bodies).handle)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get(DECISIONS_PATH, Decisions(decisions).handle)
        app.router.add_get(RULES_PATH, Rules(rules).handle)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,  # a small body must not become a large one
            keepalive_timeout=settings.idle_timeout,  # also closes a connection that sends no request
            lingering_time=LINGER,
            shutdown_timeout=settings.shutdown_timeout,
        )

    @property
    def port(self) -> int:
        """The port that the server listens on. Raises RuntimeError before entry."""
        if self._listening is None:
            raise RuntimeError("the server does not listen yet")
        return int(self._listening.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        self._connections.server = self._runner.server
        # The backlog is also the number of connections that asyncio accepts before it handles the first of them.
        backlog = min(_BACKLOG, self._connections.most)
        try:
            self._listening = await asyncio.get_running_loop().create_server(
                self._connections, self._settings.host, self._settings.port, backlog=backlog
            )
        except OSError:
            await self._runner.cleanup()
            raise
        self._registry.register(self._refusals)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._registry.unregister(self._refusals)
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _checks(self._health().live)

    async def _readyz(self, _: web.Request) -> web.Response:
        return _checks(self._health().ready)

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})


def _checks(checks: Sequence[Check]) -> web.Response:
    found = plain_checks(checks)
    return web.json_response(found, status=200 if found["ok"] else 503)
