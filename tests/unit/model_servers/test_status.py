"""What a server says of a model, and what is no answer of TensorFlow Serving; over HTTP."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from healer.model_servers.asking import ask, ask_each
from healer.model_servers.status import ConnectionRefused, ModelStatus, StatusError, VersionState, VersionStatus
from healer.model_servers.tensorflow_serving.server import TENSORFLOW_SERVING
from healer.model_servers.tensorflow_serving.status import parse
from tests.support.tensorflow_serving import status_servers


def available(version: int) -> ModelStatus:
    return ModelStatus(ready=True, versions=(VersionStatus(version, VersionState.AVAILABLE),))


def answer(*versions: dict[str, Any]) -> bytes:
    return json.dumps({"model_version_status": list(versions)}).encode()


def test_an_answer_as_the_server_writes_it() -> None:
    body = answer(
        {"version": "3", "state": "LOADING", "status": {"error_code": "OK", "error_message": ""}},
        {"version": "2", "state": "END", "status": {"error_code": "NOT_FOUND", "error_message": "no such file"}},
        {"version": 1, "state": "AVAILABLE"},
    )
    status = parse("m", 200, body)
    assert status.versions == (
        VersionStatus(1, VersionState.AVAILABLE),
        VersionStatus(2, VersionState.END, "NOT_FOUND", "no such file"),
        VersionStatus(3, VersionState.LOADING),
    )
    assert list(map(str, status.versions)) == ["1 AVAILABLE", "2 END (NOT_FOUND: no such file)", "3 LOADING"]
    assert status.ready
    assert status.available == {1}


def test_a_model_without_versions_is_an_answer() -> None:
    assert parse("m", 404, b'{ "error": "Could not find any versions of model None" }') == ModelStatus(ready=False)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b"404 page not found", "not that of TensorFlow Serving"),
        (404, b'{"error": "Malformed request: GET /v1/models/a"}', "it answers 404"),
        (500, b"oh", "it answers 500: oh"),
        (302, b"", "it answers 302"),
        (200, b"<html>\n</html>", "not that of TensorFlow Serving .*: <html> </html>"),
        (200, b"{}", "model_version_status"),
        (200, b"\xff", "not that of TensorFlow Serving"),
        (200, answer({"version": "1", "state": "READY"}), "READY"),
        (200, answer({"version": "one", "state": "END"}), "one"),
        (200, answer({"version": "1"}), "state"),
        (200, b'{"model_version_status": {}}', "array"),
    ],
)
def test_what_is_no_answer(status: int, body: bytes, said: str) -> None:
    with pytest.raises(StatusError, match=said):
        parse("m", status, body)


async def test_a_server_is_asked() -> None:
    async with status_servers("127.0.0.1") as servers, aiohttp.ClientSession() as session:

        async def asked(host: str, model: str) -> ModelStatus:
            return await ask(session, TENSORFLOW_SERVING, host, servers.port, model)

        servers.say("127.0.0.1", (7, "AVAILABLE"))
        assert await asked("127.0.0.1", "a/b c?") == available(7)
        assert servers.asked == ["/v1/models/a%2Fb%20c%3F"]
        servers.say("127.0.0.1")
        assert await asked("127.0.0.1", "m") == ModelStatus(ready=False)
        servers.say("127.0.0.1", raw=web.Response(status=302, headers={"Location": "/v1/models/other"}))
        with pytest.raises(StatusError, match="302"):
            await asked("127.0.0.1", "m")
        servers.say("127.0.0.1", raw=web.Response(body=b" " * (1 << 20) + b"{}"))
        with pytest.raises(StatusError, match="longer than"):
            await asked("127.0.0.1", "m")
        assert len(servers.asked) == 4, "nothing is asked twice, and no redirect followed"


async def test_nobody_there() -> None:
    async with status_servers("127.0.0.1") as servers, aiohttp.ClientSession() as session:
        port = servers.port
        with pytest.raises(ConnectionRefused, match=r"no answer: .*127\.0\.0\.9"):
            await ask(session, TENSORFLOW_SERVING, "127.0.0.9", port, "m")


async def test_a_connection_that_breaks_was_not_refused() -> None:
    """Somebody listens: it is another failure, of which nothing follows."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server, aiohttp.ClientSession() as session:
        with pytest.raises(StatusError) as error:
            await ask(session, TENSORFLOW_SERVING, "127.0.0.1", server.sockets[0].getsockname()[1], "m")
    assert type(error.value) is StatusError


async def test_a_proxy_that_tells_of_a_refusal_has_not_refused() -> None:
    """A sidecar's 503: it may be the server's port, or another hop."""
    text = "upstream connect error or disconnect/reset before headers. delayed connect error: Connection refused"
    async with status_servers("127.0.0.1") as servers, aiohttp.ClientSession() as session:
        servers.say("127.0.0.1", raw=web.Response(status=503, text=text))
        with pytest.raises(StatusError) as error:
            await ask(session, TENSORFLOW_SERVING, "127.0.0.1", servers.port, "m")
    assert type(error.value) is StatusError


async def test_one_that_never_answers_is_given_up() -> None:
    held = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server, aiohttp.ClientSession() as session:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(StatusError, match=r"no answer within 0\.05 s"):
            await ask(session, replace(TENSORFLOW_SERVING, timeout=0.05), "127.0.0.1", port, "m")
        held.set()


async def test_many_are_asked_a_few_at_once() -> None:
    addresses = [f"127.0.0.{n}" for n in range(1, 7)]
    async with status_servers(*addresses) as servers:
        servers.together = asyncio.Barrier(3)
        for n, address in enumerate(addresses[:-1], 1):
            servers.say(address, (n, "AVAILABLE"))
        servers.say(addresses[-1], raw=web.Response(status=503, text="busy"))
        by_name = {f"pod-{address}": address for address in addresses}
        answers = await ask_each(TENSORFLOW_SERVING, by_name, servers.port, "m", limit=asyncio.Semaphore(3))
    assert list(answers) == list(by_name)
    assert [answers[f"pod-{address}"] for address in addresses[:-1]] == [available(n) for n in range(1, 6)]
    assert str(answers[f"pod-{addresses[-1]}"]) == "it answers 503: busy"
    assert servers.most == 3
