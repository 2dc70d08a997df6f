"""The HTTP server over real connections: who is let in, what is refused and how, what a 2xx promises."""

import asyncio
import hmac
import json
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter
from structlog.testing import capture_logs

from healer.http.health import Check, Health
from healer.http.server import Server
from healer.model.kube import Meta, Pod
from healer.model.signal import QueueFull, Signal
from healer.model.view import View
from healer.settings.http import HttpSettings
from healer.sources.alertmanager.webhook import PATH, AlertmanagerWebhook
from healer.sources.targets import TargetLabels
from healer.workloads.registry import WORKLOADS
from tests.unit.sources.test_alertmanager import NOW, alert, body

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}
HERE = "Host: localhost\r\nContent-Type: application/json"
LOCAL = HttpSettings(host="127.0.0.1", port=0)


def local(**knobs: object) -> HttpSettings:
    """LOCAL with other knobs."""
    return HttpSettings.model_validate({**LOCAL.model_dump(), **knobs})


Answer = tuple[int, dict[str, Any], dict[str, str]]


class Daemon:
    """What stands behind the server: an intake that decides, a view, the health, the registry."""

    def __init__(self) -> None:
        self.decided: list[Signal] = []
        self.gate = asyncio.Event()
        """Cleared: signals are queued, and not decided."""
        self.gate.set()
        self.full = False
        self.waiting = asyncio.Event()
        """Set when signals wait at the gate."""
        self.health = Health()
        self.registry = CollectorRegistry()
        self.view = View(WORKLOADS)
        born = datetime(2026, 8, 1, 9, 0, tzinfo=UTC)
        for number in range(3):
            self.view.put(Pod(Meta(name=f"pod-{number}", uid=f"uid-{number}", namespace="production", creation_timestamp=born)))
        self.webhook = AlertmanagerWebhook(
            view=self.view, labels=TargetLabels(), intake=self.intake, clock=lambda: NOW, registry=self.registry
        )

    async def intake(self, signals: list[Signal]) -> None:
        if self.full:
            raise QueueFull(retry_after=2.5)
        self.waiting.set()
        await self.gate.wait()
        self.decided += signals

    @asynccontextmanager
    async def serving(self, settings: HttpSettings = LOCAL) -> AsyncIterator["Client"]:
        server = Server(settings=settings, webhooks={PATH: self.webhook}, health=lambda: self.health, registry=self.registry)
        async with server, aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
            yield Client(session, server.port)


class Client:
    """Sends requests and takes answers apart."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self.session = session
        self.port = port

    async def post(self, sent: Any, headers: dict[str, str] = JSON, path: str = PATH) -> Answer:
        async with self.session.post(path, data=sent, headers=headers) as response:
            return response.status, await response.json(), dict(response.headers)

    async def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
        async with self.session.get(path, headers=headers) as response:
            return response.status, await response.text()

    async def raw(self, sent: bytes) -> bytes:
        """What the server says until it closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        return answer


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


def group(*statuses: str) -> bytes:
    """An alert for each pod, in order."""
    return body(*(alert(f"pod-{number}", status=status, fingerprint=str(number)) for number, status in enumerate(statuses)))


# what a 2xx says


async def test_all_alerts_of_a_group_are_decided(daemon: Daemon) -> None:
    async with daemon.serving() as client:
        status, answer, headers = await client.post(group("firing", "resolved", "firing"))
    assert (status, answer) == (200, {"accepted": 3, "untargeted": 0, "truncated": 0})
    assert headers["Content-Type"].startswith("application/json")
    assert [(signal.target.uid, signal.firing) for signal in daemon.decided] == [
        ("uid-0", True),
        ("uid-1", False),
        ("uid-2", True),
    ]


async def test_two_hundred_means_decided(daemon: Daemon) -> None:
    daemon.gate.clear()
    async with daemon.serving() as client:
        request = asyncio.create_task(client.post(group("firing")))
        await daemon.waiting.wait()
        assert not request.done()
        daemon.gate.set()
        status, _, _ = await request
    assert status == 200
    assert len(daemon.decided) == 1


async def test_an_alert_without_a_target_is_counted_and_logged_and_the_others_are_decided(daemon: Daemon) -> None:
    lost = alert(labels={"alertname": "Watchdog"}, fingerprint="lost")
    async with daemon.serving() as client:
        with capture_logs() as logs:
            status, answer, _ = await client.post(body(lost, alert("pod-1"), truncatedAlerts=4))
            _, metrics = await client.get("/metrics")
    assert (status, answer) == (200, {"accepted": 1, "untargeted": 1, "truncated": 4})
    assert [signal.target.uid for signal in daemon.decided] == ["uid-1"]
    assert [entry["log_level"] for entry in logs] == ["warning", "warning"]
    assert logs[0]["alert"] == "Watchdog"
    assert "'namespace'" in logs[0]["reason"]
    assert logs[1]["truncated"] == 4
    assert 'healer_alerts_untargeted_total{reason="NoLabel"} 1.0' in metrics
    assert "healer_alerts_truncated_total 4.0" in metrics


async def test_an_alert_that_cannot_be_read_is_counted_and_logged_and_the_others_are_decided(daemon: Daemon) -> None:
    """One alert must not keep the others of its group from healer, whose 400 Alertmanager would repeat in vain."""
    async with daemon.serving() as client:
        with capture_logs() as logs:
            status, answer, _ = await client.post(body(alert("pod-0"), alert(startsAt="yesterday"), alert("pod-1")))
            _, metrics = await client.get("/metrics")
    assert (status, answer) == (200, {"accepted": 2, "untargeted": 1, "truncated": 0})
    assert [signal.target.uid for signal in daemon.decided] == ["uid-0", "uid-1"]
    assert [entry["event"] for entry in logs] == ["an alert cannot be read: it is left out"]
    assert "$.alerts[1].startsAt" in logs[0]["reason"]
    assert 'healer_alerts_untargeted_total{reason="IllFormed"} 1.0' in metrics


# refusals


@pytest.mark.parametrize(
    ("sent", "headers", "status", "error"),
    [
        (b"{", JSON, 400, "not JSON"),
        (body(version="3"), JSON, 400, "version is '3'"),
        (body(alert(labels=2), alert(labels=1)), JSON, 400, "$.alerts[0].labels"),
        (b"", JSON, 400, "not JSON"),
        (group("firing"), {"Content-Type": "text/plain"}, 415, "not application/json"),
        (group("firing"), JSON | {"Content-Encoding": "gzip"}, 415, "compressed"),
        (b" " * (1024 * 1024 + 1), JSON, 413, "larger than 1048576 bytes"),
    ],
)
async def test_what_is_refused_is_refused_in_json_and_nothing_is_taken(
    daemon: Daemon, sent: bytes, headers: dict[str, str], status: int, error: str
) -> None:
    async with daemon.serving() as client:
        answered, answer, _ = await client.post(sent, headers)
    assert answered == status
    assert error in answer["error"]
    assert answer["hint"]
    assert daemon.decided == []


async def test_a_group_of_too_many_alerts_is_refused_and_none_is_taken(daemon: Daemon) -> None:
    daemon.webhook = AlertmanagerWebhook(
        view=daemon.view,
        labels=TargetLabels(),
        intake=daemon.intake,
        clock=lambda: NOW,
        registry=CollectorRegistry(),
        max_alerts=2,
    )
    async with daemon.serving() as client:
        assert (await client.post(group("firing", "firing")))[0] == 200
        status, answer, _ = await client.post(group("firing", "firing", "firing"))
    assert (status, "max_alerts" in answer["hint"]) == (413, True)
    assert len(daemon.decided) == 2


async def test_a_head_that_comes_drop_by_drop_is_not_waited_for(daemon: Daemon) -> None:
    """Each byte that comes is no reason to wait for longer."""
    async with daemon.serving(local(idle_timeout=0.3)) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nX: ")
        answer = asyncio.ensure_future(reader.read())
        async with asyncio.timeout(20):
            while not answer.done():
                writer.write(b"y")
                await asyncio.sleep(0.02)  # the sender's pace
        assert answer.exception() is not None or answer.result() == b""
        writer.close()


async def test_unknown_paths_and_methods_are_json_too(daemon: Daemon) -> None:
    async with daemon.serving() as client:
        status, answer, _ = await client.post(b"{}", path="/webhook")
        assert (status, answer["error"]) == (404, "Not Found")
        async with client.session.get(PATH) as response:
            assert response.status == 405
            assert response.headers["Allow"] == "POST"
            assert (await response.json())["error"] == "Method Not Allowed"


@pytest.mark.parametrize("chunked", [False, True])
async def test_thirty_megabytes_are_not_held(daemon: Daemon, chunked: bool) -> None:
    """Without Content-Length only reading tells that it is too much."""
    chunk = b" " * 65_536

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30 * 16):
            yield chunk

    length = {} if chunked else {"Content-Length": str(30 * 16 * 65_536)}
    async with daemon.serving() as client:
        assert (await client.post(group("firing")))[0] == 200  # whatever is allocated once is allocated now
        tracemalloc.start()
        try:
            status, answer, _ = await client.post(chunks(), JSON | length)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert status == 413
    assert "larger" in answer["error"]
    assert peak < 5 * 1024 * 1024


async def test_a_body_is_never_held_beyond_the_limit(daemon: Daemon) -> None:
    """The endless body of a sender that waits for nothing: the answer comes after the limit, long before the end."""
    async with daemon.serving(local(max_body=100_000)) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(f"POST {PATH} HTTP/1.1\r\n{HERE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(11):
            writer.write(b"2710\r\n" + b" " * 10_000 + b"\r\n")
        await writer.drain()
        assert b" 413 " in await asyncio.wait_for(reader.readline(), 30)  # though the body never ended
        writer.close()


async def test_a_body_that_says_it_is_too_large_is_not_read(daemon: Daemon) -> None:
    head = f"POST {PATH} HTTP/1.1\r\n{HERE}\r\nContent-Length: 2000000\r\n\r\n".encode()
    async with daemon.serving() as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(head)
        assert b" 413 " in await asyncio.wait_for(reader.readline(), 5)  # not one byte of the body was sent
        writer.close()


async def test_a_body_of_exactly_the_limit_is_taken(daemon: Daemon) -> None:
    sent = group("firing")
    async with daemon.serving(local(max_body=len(sent))) as client:
        assert (await client.post(sent))[0] == 200
        assert (await client.post(sent + b" "))[0] == 413


async def test_a_body_that_does_not_come_is_not_waited_for(daemon: Daemon) -> None:
    head = f"POST {PATH} HTTP/1.1\r\n{HERE}\r\nContent-Length: 500\r\n\r\n".encode()
    async with daemon.serving(local(read_timeout=0.1)) as client:
        answer = await client.raw(head + b'{"version": "4", ')
    assert b" 503 " in answer.partition(b"\r\n")[0], "Alertmanager sends it again at once"
    assert b"did not arrive within 0.1 s" in answer
    assert daemon.decided == []


async def test_a_head_that_does_not_come_is_not_waited_for(daemon: Daemon) -> None:
    async with daemon.serving(local(idle_timeout=0.1)) as client:
        assert await client.raw(b"") == b""
        assert await client.raw(f"POST {PATH} HTTP/1.1\r\nHost: ".encode()) == b""


async def test_a_sender_that_goes_away_half_way_leaves_nothing_behind(daemon: Daemon) -> None:
    sent = group("firing")
    head = f"POST {PATH} HTTP/1.1\r\n{HERE}\r\nContent-Length: {len(sent)}\r\n\r\n".encode()
    async with daemon.serving(local(max_bodies=1)) as client:
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", client.port)
            writer.write(head + sent[:-1])
            await writer.drain()
            writer.transport.abort()
        status = 503
        while status == 503:  # until the server has seen them go: their place is free again
            status, _, _ = await client.post(sent)
        assert status == 200
    assert len(daemon.decided) == 1


async def test_broken_framing_is_refused(daemon: Daemon) -> None:
    async with daemon.serving() as client:
        head = f"POST {PATH} HTTP/1.1\r\n{HERE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        answer = await client.raw(head + b"zz\r\n")
    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert daemon.decided == []


# put off


async def test_a_full_queue_is_503_and_taken_the_next_time(daemon: Daemon) -> None:
    daemon.full = True
    async with daemon.serving() as client:
        status, answer, headers = await client.post(group("firing", "firing"))
        assert (status, headers["Retry-After"]) == (503, "3")
        assert answer == {"error": "the queue of signals is full", "hint": "nothing was taken: send it again later"}
        daemon.full = False
        assert (await client.post(group("firing", "firing")))[0] == 200
    assert len(daemon.decided) == 2


async def test_what_is_not_decided_in_time_is_503(daemon: Daemon) -> None:
    daemon.gate.clear()
    async with daemon.serving(local(accept_timeout=0.05)) as client:
        status, answer, headers = await client.post(group("firing"))
    assert status == 503
    assert answer["error"] == "not decided within 0.05 s"
    assert answer["hint"].startswith("it is taken, in part at least"), "the engine may have it already"
    assert headers["Retry-After"] == "5"


async def test_too_many_bodies_at_once_are_503(daemon: Daemon) -> None:
    daemon.gate.clear()
    async with daemon.serving(local(max_bodies=1)) as client:
        first = asyncio.create_task(client.post(group("firing")))
        await daemon.waiting.wait()
        status, answer, headers = await client.post(group("firing"))
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "at once" in answer["error"]
        daemon.gate.set()
        assert (await first)[0] == 200


# who


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("s3cret-tökén\n")
    return file


def bearer(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return JSON | {"Authorization": f"{scheme} {token}"}


@pytest.mark.parametrize(
    "headers",
    [
        JSON,
        bearer("s3cret-töké"),
        bearer("s3cret-tökénn"),
        bearer(""),
        bearer("wrong"),
        bearer("s3cret-tökén", "Basic"),
        JSON | {"Authorization": "s3cret-tökén"},
    ],
)
async def test_without_the_token_nobody_is_let_in_not_even_from_loopback(
    daemon: Daemon, token_file: Path, headers: dict[str, str]
) -> None:
    async with daemon.serving(local(webhook_token_file=token_file, allow_anonymous=True)) as client:
        status, answer, answered = await client.post(group("firing"), headers)
    assert status == 401
    assert answered["WWW-Authenticate"] == 'Bearer realm="healer"'
    assert answer == {"error": "Unauthorized", "hint": "the log of healer says why"}
    assert daemon.decided == []


@pytest.mark.parametrize("headers", [bearer("s3cret-tökén"), bearer("s3cret-tökén", "bearer"), bearer(" s3cret-tökén")])
async def test_with_the_token_one_is_let_in(daemon: Daemon, token_file: Path, headers: dict[str, str]) -> None:
    async with daemon.serving(local(webhook_token_file=token_file)) as client:
        assert (await client.post(group("firing"), headers))[0] == 200


async def test_tokens_are_compared_in_constant_time(daemon: Daemon, token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every comparison goes through hmac.compare_digest; a plain one beside it would not be seen here."""
    compared: list[tuple[bytes, bytes]] = []
    real: Callable[[bytes, bytes], bool] = hmac.compare_digest

    def watched(given: bytes, token: bytes) -> bool:
        compared.append((given, token))
        return real(given, token)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    async with daemon.serving(local(webhook_token_file=token_file)) as client:
        for headers in (JSON, bearer("x"), bearer("s3cret-tökén", "Basic"), bearer("s3cret-tökén")):
            await client.post(group("firing"), headers)
    token = "s3cret-tökén".encode()
    assert compared == [(b"", token), (b"x", token), (b"", token), (token, token)]


async def test_a_rotated_token_is_taken_at_once(daemon: Daemon, token_file: Path) -> None:
    async with daemon.serving(local(webhook_token_file=token_file)) as client:
        assert (await client.post(group("firing"), bearer("s3cret-tökén")))[0] == 200
        new = token_file.with_name("new")
        await asyncio.to_thread(new.write_text, "other-tökén!")
        await asyncio.to_thread(new.replace, token_file)
        assert (await client.post(group("firing"), bearer("s3cret-tökén")))[0] == 401
        assert (await client.post(group("firing"), bearer("other-tökén!")))[0] == 200


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
async def test_a_configured_token_that_cannot_be_read_lets_nobody_in(
    daemon: Daemon, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "token"
    if content is not None:
        await asyncio.to_thread(file.write_bytes, content)
    async with daemon.serving(local(webhook_token_file=file, allow_anonymous=True)) as client:
        with capture_logs() as logs:
            for headers in (JSON, bearer(""), bearer("None")):
                status, answer, answered = await client.post(group("firing"), headers)
                assert status == 503
                assert answered["Retry-After"] == "30"
                assert "token" in answer["error"]
        assert [entry["log_level"] for entry in logs] == ["error"] * 3
        assert str(file) in logs[0]["error"]
        assert daemon.decided == []
        await asyncio.to_thread(file.write_text, "at-last")
        assert (await client.post(group("firing"), bearer("at-last")))[0] == 200


@asynccontextmanager
async def from_elsewhere(port: int) -> AsyncIterator[aiohttp.ClientSession]:
    """A client at another address than 127.0.0.1: the one that Istio's sidecar calls from, on behalf of anyone."""
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.6", 0), family=socket.AF_INET)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector) as session:
        yield session


async def test_without_a_token_only_loopback_itself_is_answered(daemon: Daemon) -> None:
    async with daemon.serving() as client:
        assert (await client.post(group("firing")))[0] == 200
        with capture_logs() as logs:
            async with from_elsewhere(client.port) as session:
                status, answer, _ = await Client(session, client.port).post(group("firing"))
        assert status == 403
        assert answer == {"error": "Forbidden", "hint": "the log of healer says why"}
        assert "only loopback" in logs[0]["error"]
        assert "WEBHOOK_TOKEN_FILE" in logs[0]["hint"]
        for header in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
            assert (await client.post(group("firing"), JSON | {header: "127.0.0.1"}))[0] == 403
    assert len(daemon.decided) == 1


async def test_unless_everyone_is_allowed(daemon: Daemon) -> None:
    async with daemon.serving(local(allow_anonymous=True)) as client, from_elsewhere(client.port) as session:
        assert (await Client(session, client.port).post(group("firing")))[0] == 200


async def test_who_is_settled_before_the_body_is_read(daemon: Daemon, token_file: Path) -> None:
    head = f"POST {PATH} HTTP/1.1\r\n{HERE}\r\nContent-Length: 500\r\n\r\n".encode()
    async with daemon.serving(local(webhook_token_file=token_file)) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(head)
        assert b" 401 " in await asyncio.wait_for(reader.readline(), 30)  # not one byte of the body was sent
        writer.close()


# probes and metrics


async def test_probes_say_each_check_and_its_reason_and_need_no_token(daemon: Daemon, token_file: Path) -> None:
    synced, lease = Check("pods", True, "synced 2 s ago"), Check("lease", False, "held by healer-1")
    daemon.health = Health(live=(synced,), ready=(synced, lease))
    async with daemon.serving(local(webhook_token_file=token_file)) as client, from_elsewhere(client.port) as session:
        outside = Client(session, client.port)
        status, text = await outside.get("/healthz")
        alerts = {"alerts": {"ok": True, "reason": "none was refused lately"}}
        pods = {"pods": {"ok": True, "reason": "synced 2 s ago"}}
        assert (status, json.loads(text)) == (200, {"ok": True, "checks": pods | alerts})
        status, text = await outside.get("/readyz")
        assert status == 503
        lost = {"lease": {"ok": False, "reason": "held by healer-1"}}
        assert json.loads(text) == {"ok": False, "checks": pods | lost | alerts}
        assert (await outside.get("/metrics"))[0] == 200


async def test_metrics_are_those_of_the_registry_in_the_format_asked_for(daemon: Daemon) -> None:
    Counter("healer_x", "X.", registry=daemon.registry).inc(3)
    async with daemon.serving() as client:
        async with client.session.get("/metrics") as response:
            assert response.headers["Content-Type"].startswith("text/plain")
            assert "healer_x_total 3.0" in await response.text()
        accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
        async with client.session.get("/metrics", headers=accept) as response:
            assert response.headers["Content-Type"].startswith("application/openmetrics-text")
            assert (await response.text()).endswith("# EOF\n")


# starting and stopping


async def test_a_taken_port_is_an_error_at_the_start_and_leaves_nothing_open(daemon: Daemon) -> None:
    async with daemon.serving() as client:
        with pytest.raises(OSError, match="address already in use"):
            async with daemon.serving(local(port=client.port)):
                raise AssertionError("two servers on one port")


async def test_a_request_under_way_is_finished_when_the_server_stops(daemon: Daemon) -> None:
    daemon.gate.clear()
    server = Server(settings=LOCAL, webhooks={PATH: daemon.webhook}, health=lambda: daemon.health, registry=daemon.registry)
    async with aiohttp.ClientSession() as session:
        async with server:
            url = f"http://127.0.0.1:{server.port}"
            request = asyncio.create_task(Client(session, server.port).post(group("firing"), path=url + PATH))
            await daemon.waiting.wait()
            asyncio.get_running_loop().call_later(0.05, daemon.gate.set)
        assert (await request)[0] == 200
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(url + "/healthz")
