"""Requests that others sign: the receiver decides, and no body is read without end."""

from collections.abc import Mapping

import aiohttp
from prometheus_client import CollectorRegistry

from healer.http.health import Health
from healer.http.server import Server
from healer.settings.http import HttpSettings
from healer.sinks.commands import PostRefused

PATH = "/slack/interactions"


async def receive(headers: Mapping[str, str], body: bytes) -> str:
    if headers.get("x-slack-signature") != "good":
        raise PostRefused(401, "the signature is not Slack's")
    return f"{len(body)} bytes"


async def test_a_receiver_decides_by_the_headers_and_the_body() -> None:
    settings = HttpSettings(host="127.0.0.1", port=0)
    registry = CollectorRegistry()
    server = Server(settings=settings, webhooks={}, health=lambda: Health([], []), registry=registry, signed={PATH: receive})
    async with server, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.port}{PATH}"
        good = {"X-Slack-Signature": "good"}
        async with session.post(url, data=b"x" * 1000, headers=good) as answer:
            assert (answer.status, await answer.text()) == (200, "1000 bytes")
        async with session.post(url, data=b"x") as answer:
            assert answer.status == 401
            assert "signature" not in await answer.text(), "who is not let in learns nothing"
        async with session.post(url, data=b"x" * 600_000, headers=good) as answer:
            assert answer.status == 413
    server = Server(settings=settings, webhooks={}, health=lambda: Health([], []), registry=registry)
    async with server, aiohttp.ClientSession() as session, session.post(f"http://127.0.0.1:{server.port}{PATH}") as answer:
        assert answer.status == 404
