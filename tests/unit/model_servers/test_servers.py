"""What the answers of Triton, the V2 protocol, vLLM and SGLang mean; over HTTP: what is no answer."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.samples import Sample

from healer.model_servers.asking import Look, ask, look, look_each
from healer.model_servers.heartbeat import Beats
from healer.model_servers.registry import SERVERS
from healer.model_servers.status import ModelStatus, StatusError, VersionState, VersionStatus
from tests.support.model_servers import MODEL, Engine, Servers, model_servers


@pytest.mark.parametrize(
    ("server", "status", "body", "ready"),
    [
        ("vllm", 200, "", True),
        ("vllm", 503, "", False),
        ("sglang", 200, "", True),
        ("sglang", 503, "", False),
        ("v2", 200, "", True),
        ("v2", 200, '{"name": "m", "ready": true}', True),
        ("v2", 200, '{"name": "m", "ready": false}', False),
        ("v2", 400, "", False),
        ("v2", 503, '{"error": "Model with name m is not ready."}', False),
        ("v2", 404, '{"error": "Model m not found"}', False),
        ("triton", 200, '[{"name": "m", "version": "1", "state": "READY"}]', True),
        ("triton", 200, '[{"name": "m", "version": "1", "state": "LOADING"}]', False),
        ("triton", 200, '[{"name": "m"}, {"name": "other", "version": "1", "state": "READY"}]', False),
    ],
)
def test_what_is_ready(server: str, status: int, body: str, ready: bool) -> None:
    assert SERVERS[server].parse("m", status, body.encode()).ready is ready


@pytest.mark.parametrize(
    ("server", "status", "body", "why"),
    [
        ("vllm", 503, "upstream connect error", "not vLLM's own answer"),
        ("vllm", 404, "", "it answers 404"),
        ("sglang", 200, "<html>", "not SGLang's own answer"),
        ("sglang", 500, "", "it answers 500"),
        ("v2", 503, "", "it answers 503"),
        ("v2", 503, "no healthy upstream", "not that of the V2 protocol"),
        ("v2", 404, '{"detail": "Not Found"}', "it answers 404"),
        ("v2", 200, "<html>", "not that of the V2 protocol"),
        ("triton", 400, '{"error": "explicit mode"}', "it answers 400"),
        ("triton", 200, "{}", "not that of Triton's repository index"),
        ("triton", 200, '[{"name": "m", "version": "1", "state": "DANCING"}]', "there is no state 'DANCING'"),
        ("triton", 200, '[{"name": "m", "version": "one", "state": "READY"}]', "invalid literal"),
    ],
)
def test_what_is_no_answer_of_that_server(server: str, status: int, body: str, why: str) -> None:
    with pytest.raises(StatusError) as error:
        SERVERS[server].parse("m", status, body.encode())
    assert why in str(error.value)


def test_a_version_that_triton_unloaded_did_not_fail() -> None:
    body = b"""[{"name": "m", "version": "2", "state": "UNAVAILABLE", "reason": "unloaded"},
        {"name": "m", "version": "10", "state": "UNAVAILABLE", "reason": "Internal: no file"}]"""
    unloaded, failed = SERVERS["triton"].parse("m", 200, body).versions
    assert (unloaded.version, unloaded.failed) == (2, False)
    assert failed == VersionStatus(10, VersionState.END, "UNAVAILABLE", "Internal: no file")
    assert failed.failed


@pytest.mark.parametrize("name", ["vllm", "sglang"])
async def test_what_an_engine_server_shows_at_one_look(name: str) -> None:
    """A server that does not know the path that says whether it is paused is not paused."""
    engine = Engine()
    engine.running, engine.paused = 2, None
    async with model_servers("127.0.0.1") as servers, aiohttp.ClientSession() as session:
        servers.says["127.0.0.1"] = getattr(engine, name)
        seen = await look(session, SERVERS[name], "127.0.0.1", servers.port, MODEL, beats=True)
        unasked = await look(session, SERVERS[name], "127.0.0.1", servers.port, MODEL, beats=False)
        engine.paused = True
        paused = await look(session, SERVERS[name], "127.0.0.1", servers.port, MODEL, beats=True)
    assert seen.status.ready
    assert isinstance(seen.beats, dict)
    assert [one.busy for one in seen.beats.values()] == [True]
    assert unasked.beats is None
    assert "is paused" in str(paused.beats)


async def raw(servers: Servers, answer: web.StreamResponse, server: str = "vllm") -> str:
    """Why there is no answer."""
    servers.says["127.0.0.1"] = lambda _: answer
    async with aiohttp.ClientSession() as session:
        with pytest.raises(StatusError) as error:
            await ask(session, SERVERS[server], "127.0.0.1", servers.port, MODEL)
    return str(error.value)


async def test_redirects_and_huge_answers_are_no_answers() -> None:
    async with model_servers("127.0.0.1") as servers:
        assert "it answers 302" in await raw(servers, web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}))
        assert "longer than 1048576 bytes" in await raw(servers, web.Response(body=b"x" * (1 << 20) + b"x"))


async def test_metrics_that_are_too_long_leave_the_status_known() -> None:
    engine = Engine()
    engine.metrics = web.Response(body=b"x" * ((4 << 20) + 1))
    async with model_servers("127.0.0.1") as servers:
        servers.says["127.0.0.1"] = engine.vllm
        found = await look_each(SERVERS["vllm"], {"a": "127.0.0.1"}, servers.port, MODEL, beats=True, limit=asyncio.Semaphore(1))
    assert found == {
        "a": Look(ModelStatus(ready=True, text="GET /health answers 200"), "its answer is longer than 4194304 bytes")
    }


async def test_large_metrics_do_not_hold_the_loop() -> None:
    """They are read in another thread than the loop's."""
    threads = []

    def read(model: str, found: Sequence[Sample]) -> Beats:
        threads.append(threading.get_ident())
        assert heartbeat is not None
        return heartbeat.read(model, found)

    heartbeat = SERVERS["vllm"].heartbeat
    assert heartbeat is not None
    watched = replace(SERVERS["vllm"], heartbeat=replace(heartbeat, read=read))
    engine = Engine()
    async with model_servers("127.0.0.1") as servers, aiohttp.ClientSession() as session:
        servers.says["127.0.0.1"] = engine.vllm
        seen = await look(session, watched, "127.0.0.1", servers.port, MODEL, beats=True)
    assert isinstance(seen.beats, dict)
    assert len(threads) == 1
    assert threads != [threading.get_ident()]
