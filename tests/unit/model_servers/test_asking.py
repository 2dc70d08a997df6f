"""Idle engines are asked for a token over HTTP: what is sent, what came of it, and that nothing piles up in a server."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from healer.model_servers.asking import AskingForTokens, Look, TokenSlots, ask_for_token, look_each
from healer.model_servers.base import TokenRequest
from healer.model_servers.heartbeat import Beats
from healer.model_servers.idle import Reply
from healer.model_servers.registry import SERVERS
from healer.model_servers.status import StatusError
from tests.support.model_servers import MODEL, TOKENS, Answer, Engine, Servers, model_servers
from tests.support.processes import PATIENCE

HOST, ENGINE = "127.0.0.1", "engine 0"
VLLM = SERVERS["vllm"]


def request() -> TokenRequest:
    assert VLLM.token is not None
    return VLLM.token


def tokens(within: float = PATIENCE, slots: TokenSlots | None = None) -> AskingForTokens:
    """Whoever shows beats is asked."""
    return AskingForTokens(request(), lambda _, beats: min(beats), within, slots or TokenSlots(4))


async def asked(port: int, within: float = PATIENCE, engine: str = ENGINE, *, of_several: bool = False) -> Reply:
    async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE):
        return await ask_for_token(session, tokens(within), HOST, port, MODEL, engine, of_several=of_several)


async def looked(servers: Servers, how: AskingForTokens, *names: str) -> dict[str, Look | StatusError]:
    hosts = dict.fromkeys(names or ("a",), HOST)
    return await look_each(VLLM, hosts, servers.port, MODEL, beats=True, limit=asyncio.Semaphore(4), tokens=how)


def replies(found: dict[str, Look | StatusError]) -> list[Reply | None]:
    return [seen.reply for seen in found.values() if isinstance(seen, Look)]


@contextlib.asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[Servers]:
    async with model_servers(HOST) as servers:
        servers.says[HOST] = answer
        yield servers


@pytest.fixture
async def received() -> AsyncIterator[tuple[int, list[tuple[str, str, dict[str, object], str | None]]]]:
    """The port of a server that answers 200 to everything, and what it was sent: method, path, JSON, and the rank."""
    seen = []

    async def take(got: web.Request) -> web.Response:
        seen.append((got.method, got.path, json.loads(await got.read()), got.headers.get("X-data-parallel-rank")))
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    yield runner.addresses[0][1], seen
    await runner.cleanup()


async def test_one_token_of_the_model_is_asked_for_and_the_engine_named_where_there_are_several(
    received: tuple[int, list[tuple[str, str, dict[str, object], str | None]]],
) -> None:
    port, seen = received
    assert await asked(port) == Reply(ENGINE)
    assert await asked(port, engine="engine 12", of_several=True) == Reply("engine 12")
    assert [(method, path, body["model"], body["max_tokens"], rank) for method, path, body, rank in seen] == [
        ("POST", TOKENS, MODEL, 1, None),
        ("POST", TOKENS, MODEL, 1, "12"),
    ]


@pytest.mark.parametrize("status", [302, 400, 401, 404, 429, 500, 503, 504])
async def test_a_server_that_answers_is_no_hang_whatever_it_answers(status: int) -> None:
    engine = Engine()
    engine.token = web.Response(status=status, headers={"Location": "/health"})
    async with serving(engine.vllm) as servers:
        reply = await asked(servers.port)
    assert reply == Reply(ENGINE, refused=f"POST {TOKENS} answers {status}")


async def test_a_server_that_is_gone_is_no_hang() -> None:
    with socket.socket() as nobody:
        nobody.bind((HOST, 0))
        reply = await asked(nobody.getsockname()[1])
    assert reply.refused.startswith(f"POST {TOKENS}: no answer: ")
    assert not reply.late


async def test_a_server_that_accepts_no_connection_is_no_hang() -> None:
    """As behind a firewall that drops packets. The queue of this one is full."""
    async with contextlib.AsyncExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind((HOST, 0))
        full.listen(0)
        for _ in range(4):
            waits = stack.enter_context(socket.socket())
            waits.setblocking(False)
            waits.connect_ex(full.getsockname())
        reply = await asked(full.getsockname()[1], within=1.0)
    assert reply == Reply(ENGINE, refused=f"POST {TOKENS}: no connection")


async def test_an_engine_that_hangs_is_late_and_its_request_is_closed() -> None:
    engine = Engine()
    engine.moves = False
    async with serving(engine.vllm) as servers:
        assert await asked(servers.port, within=0.5) == Reply(ENGINE, late=True)
        await servers.closed(HOST)
        assert servers.most_unanswered[HOST] == 1


async def test_the_token_is_asked_for_after_the_metrics_of_the_same_look() -> None:
    engine = Engine()
    async with serving(engine.vllm) as servers:
        (reply,) = replies(await looked(servers, tokens()))
        paths = [each.split()[1] for each in servers.asked]
    assert reply == Reply(ENGINE)
    assert paths == ["/health", "/metrics", "/is_paused", TOKENS]
    assert engine.steps == 1


@pytest.mark.parametrize("trouble", ["dead", "paused", "unreadable", "not due"])
async def test_nobody_is_asked_who_is_dead_paused_unknown_or_not_due(trouble: str) -> None:
    engine, how = Engine(), tokens()
    if trouble == "dead":
        engine.health = 503
    elif trouble == "paused":
        engine.paused = True
    elif trouble == "unreadable":
        engine.metrics = web.Response(status=500)
    else:
        how = AskingForTokens(request(), lambda *_: None, PATIENCE, TokenSlots(4))
    async with serving(engine.vllm) as servers:
        assert replies(await looked(servers, how)) == [None]
        assert servers.count(TOKENS, HOST) == 0


async def test_a_server_is_asked_by_one_rule_at_a_time_and_so_many_in_all() -> None:
    """Whoever finds no room does not wait: the next look comes."""
    engine = Engine()
    engine.moves = False
    slots = TokenSlots(2)
    async with serving(engine.vllm) as servers:
        hung = asyncio.create_task(looked(servers, tokens(slots=slots)))
        await servers.looks(1, TOKENS, HOST)
        assert replies(await looked(servers, tokens(slots=slots))) == [None], "the same server"
        with slots.take("another") as second, slots.take("a third") as third:
            assert (second, third) == (True, False)
        with slots.take("another") as again:
            assert again
        hung.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hung
        await servers.closed(HOST)
        engine.moves = True
        assert replies(await looked(servers, tokens(slots=slots))) == [Reply(ENGINE)], "its place is free again"


async def test_the_name_of_an_engine_ends_with_its_rank() -> None:
    assert VLLM.heartbeat is not None
    shown: list[Beats] = []
    engine = Engine()
    async with serving(engine.vllm) as servers:
        how = AskingForTokens(request(), lambda _, beats: shown.append(beats), PATIENCE, TokenSlots(1))
        await looked(servers, how)
    assert [*shown[0]] == [ENGINE]
