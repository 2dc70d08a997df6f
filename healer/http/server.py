"""The HTTP server: webhooks, probes, metrics, recent decisions, the page."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from healer.clock import SYSTEM, Clock
from healer.http.access import Door, behind
from healer.http.answer import ErrorsAsJson, Handler
from healer.http.connections import Connections
from healer.http.control import CONTROL_PATH, ControlRoute, Controls
from healer.http.decisions import DECISIONS_PATH, Decisions
from healer.http.forward import SUFFIX, Relay
from healer.http.health import Check, Health, plain_checks
from healer.http.page import FILE_PATH, PAGE_PATH, PageFiles
from healer.http.passing import Passing, say_why
from healer.http.protocol import SERVER
from healer.http.rate import ClientRates
from healer.http.refusals import Refusals
from healer.http.reviews import Reviewer
from healer.http.rules import RULES_PATH, RuleRow, Rules
from healer.http.signed import SignedPost
from healer.http.state import INCIDENT_PATH, STATE_PATH, StateRoutes
from healer.http.stream import STREAM_PATH, StateStream
from healer.http.tls import TlsMetrics, server_tls
from healer.http.webhook import Receiver, Webhook
from healer.model.effects import Decision
from healer.settings.http import HttpSettings
from healer.sinks.commands import SignedReceiver

_BACKLOG = 128


class Server:
    """An async context manager: serves from entry to exit; at exit, requests under way get `shutdown_timeout` (s) to finish.

    `webhooks` maps a path to the receiver of the bodies that are posted there; `decisions` returns the recent decisions, oldest
    first; `rules` returns the rules in force; `state` gives the state of healer; `controls` does what people ask for; `signed`
    maps a path to the receiver of requests that others sign; `relay` passes on what another replica decides; `reviewer` reviews
    tokens of Kubernetes. Raises TlsError when the TLS files cannot be used; entry raises OSError when the port is not available.
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
        state: StateRoutes | None = None,
        controls: Controls | None = None,
        signed: Mapping[str, SignedReceiver] | None = None,
        relay: Relay | None = None,
        reviewer: Reviewer | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._settings = settings
        self._health = health
        self._registry = registry
        self._reviewer = reviewer
        self._listening: asyncio.Server | None = None
        self._stream: StateStream | None = None
        self._refusals = Refusals(clock.steady, [path + end for path in webhooks for end in ("", SUFFIX)])
        tls = server_tls(settings, clock.steady)
        self._shown: list[Collector] = [self._refusals] + ([] if tls is None else [TlsMetrics(tls)])
        self._connections = Connections(settings, tls, self._refusals)
        # The limit on bodies is Webhook's, which stops reading; aiohttp's own bounds only request.read().
        app = web.Application(middlewares=[self._connections.track, ErrorsAsJson(self._refusals).handle])
        app.on_response_prepare.append(_head)
        rates = ClientRates(settings.rate_per_minute, settings.rate_burst, clock.steady)
        door = Door("webhook", settings, rates, reviewer)
        bodies = asyncio.Semaphore(settings.max_bodies)
        for path, receiver in webhooks.items():
            app.router.add_post(path, Webhook(receiver, door, settings, bodies, relay).handle)
            if relay is not None:
                app.router.add_post(path + SUFFIX, Webhook(receiver, door, settings, bodies).handle)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", behind(Door("metrics", settings, rates, reviewer), self._metrics))
        reading = Door("read", settings, rates, reviewer)
        read: dict[str, Handler] = {DECISIONS_PATH: Decisions(decisions).handle}
        app.router.add_get(RULES_PATH, behind(reading, Rules(rules).handle))
        page = PageFiles(reading.admit)
        app.router.add_get(PAGE_PATH, page.start)
        app.router.add_get(FILE_PATH, page.file)
        if state is not None:
            stream = self._stream = StateStream(state.whole, settings.streams)
            read |= {STATE_PATH: state.handle, STREAM_PATH: stream.handle, INCIDENT_PATH: state.one}
        if controls is not None:
            app.router.add_post(CONTROL_PATH, ControlRoute(Door("control", settings, rates, reviewer), controls).handle)
        for path, signed_receiver in (signed or {}).items():
            app.router.add_post(path, SignedPost(signed_receiver, reading.admit, settings.read_timeout).handle)
        passing = Passing(relay)
        for path, handler in read.items():
            app.router.add_get(path, behind(reading, passing.around(handler)))
            if relay is not None:
                app.router.add_get(path + SUFFIX, behind(reading, handler))
        self._runner = web.AppRunner(app, shutdown_timeout=settings.shutdown_timeout)

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
        for each in self._shown:
            self._registry.register(each)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for each in self._shown:
            self._registry.unregister(each)
        if self._listening is not None:
            self._listening.close()
        if self._stream is not None:
            await self._stream.aclose()
        await self._connections.aclose()
        await self._runner.cleanup()
        if self._reviewer is not None:
            await self._reviewer.aclose()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _checks([*self._health().live, self._refusals.check()])

    async def _readyz(self, _: web.Request) -> web.Response:
        return _checks([*self._health().ready, self._refusals.check()])

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})


async def _head(request: web.Request, answer: web.StreamResponse) -> None:
    answer.headers["Server"] = SERVER
    answer.headers["X-Content-Type-Options"] = "nosniff"
    say_why(request, answer)


def _checks(checks: Sequence[Check]) -> web.Response:
    found = plain_checks(checks)
    return web.json_response(found, status=200 if found["ok"] else 503)
