"""The page's files, what is passed through the stream, and who may act, over real connections."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp.web_protocol import RequestHandler
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from healer.http.control import ControlBody
from healer.http.health import Health
from healer.http.page import HEADERS
from healer.http.protocol import ClientProtocol
from healer.http.server import Server
from healer.http.state import CheckRow, StateBody, StateRoutes, WorkloadRow
from healer.http.stream import StateStream
from healer.model.target import Target
from healer.settings.http import HttpSettings

STATIC = Path(__file__).parents[3] / "healer/http/static"
EMPTY = StateBody(
    at=1.0, version="1", cluster="", mode="enforce", leads=True, leader="a", paused="", control=False,
    checks=[], incidents=[], workloads=[], canaries=[], limits=[], rules=[], activity=[],
)  # fmt: skip


def workload(name: str, ready: int = 3) -> WorkloadRow:
    return WorkloadRow(Target("Deployment", "production", name, f"uid-{name}"), 3, ready, "", "", [])


@dataclass
class Site:
    """What stands behind the server. `looks` counts how often its state was asked for."""

    state: StateBody = EMPTY
    looks: int = 0
    fails: bool = False
    asked: list[tuple[str, ControlBody, str]] = field(default_factory=list)
    connections: Callable[[], list[RequestHandler]] = list

    async def whole(self) -> StateBody:
        self.looks += 1
        if self.fails:
            raise ValueError("broken on purpose")
        return self.state

    async def carry_out(self, verb: str, asked: ControlBody, by: str) -> str:
        self.asked.append((verb, asked, by))
        return f"{verb} done"

    @asynccontextmanager
    async def serving(self, **knobs: Any) -> AsyncIterator[aiohttp.ClientSession]:
        settings = HttpSettings(host="127.0.0.1", port=0, **knobs)
        server = Server(
            settings=settings,
            webhooks={},
            health=Health,
            registry=CollectorRegistry(),
            state=StateRoutes(self.whole, lambda namespace, name: None),
            controls=self.carry_out,
        )
        self.connections = lambda: [] if server._runner.server is None else server._runner.server.connections
        async with server, aiohttp.ClientSession(f"http://127.0.0.1:{server.port}", read_bufsize=_LONGEST) as session:
            yield session


_LONGEST = 2**26
"""Bytes of the longest line."""


class Events:
    """The events of a stream, taken one by one."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._content = answer.content

    async def next(self) -> tuple[str, Any]:
        """The next event and its data; "" at the end of the stream."""
        kind = ""
        async with asyncio.timeout(60):
            while line := (await self._content.readline()).decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    return kind, msgspec.json.decode(value)
        return "", None


# files


async def test_the_files_are_for_everyone_and_the_data_is_not(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret")
    async with Site().serving(read_token_file=tmp_path / "token") as session:
        for file in STATIC.iterdir():
            async with session.get("/" if file.name == "index.html" else f"/page/{file.name}") as answer:
                assert (answer.status, await answer.read()) == (200, file.read_bytes())
                assert HEADERS.items() <= answer.headers.items()
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for path in ("/state", "/state/stream", "/state/incidents/a/b", "/decisions", "/rules"):
            async with session.get(path) as refused:
                assert refused.status == 401


async def test_a_file_that_is_known_is_not_sent_again_and_an_unknown_one_not_at_all() -> None:
    async with Site().serving() as session:
        async with session.get("/") as first:
            known = {"If-None-Match": first.headers["ETag"]}
        async with session.get("/", headers=known) as again:
            assert (again.status, await again.read()) == (304, b"")
        for path in ("/page/none.js", "/page/..%2fpage.py", "/page/%2e%2e%2fpage.py"):
            async with session.get(path) as missing:
                assert missing.status == 404


async def test_who_is_in_no_network_gets_no_file() -> None:
    async with Site().serving(networks=("10.0.0.0/8",)) as session, session.get("/") as answer:
        assert answer.status == 403


def test_no_file_asks_another_site_or_has_code_inside_of_html() -> None:
    files = {path.name: path.read_text("utf-8") for path in STATIC.iterdir()}
    for name, text in files.items():
        assert set(re.findall(r"https?://[^\s\"'`]+", text)) <= {"http://www.w3.org/2000/svg"}, name
        assert "innerHTML" not in text, name
    html = files["index.html"]
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=", html)
    assert set(re.findall(r'(?:src|href)="(page/[^"]+)"', html)) <= {f"page/{name}" for name in files}


# the stream


async def test_a_stream_begins_with_the_whole_and_goes_on_with_what_has_changed() -> None:
    site = Site(replace(EMPTY, workloads=[workload("a"), workload("b"), workload("c")]))
    async with site.serving() as session, session.get("/state/stream") as answer:
        assert answer.content_type == "text/event-stream"
        events = Events(answer)
        kind, whole = await events.next()
        assert kind == "whole"
        assert set(whole["set"]["workloads"]) == {"production/Deployment/a", "production/Deployment/b", "production/Deployment/c"}
        site.state = replace(site.state, at=2.0, workloads=[workload("a"), workload("b", ready=1)])
        kind, change = await events.next()
        assert (kind, change["at"]) == ("change", 2.0)
        assert list(change["set"]) == ["workloads"]
        assert change["set"]["workloads"]["production/Deployment/b"]["ready"] == 1
        assert change["gone"] == {"workloads": ["production/Deployment/c"]}
        site.state = replace(site.state, workloads=[workload("a")])
        _, change = await events.next()
        assert (change["set"], change["gone"]) == ({}, {"workloads": ["production/Deployment/b"]})


async def test_readers_share_the_looks_and_no_look_is_had_without_a_reader() -> None:
    site = Site()
    async with site.serving() as session:
        await asyncio.sleep(0)
        assert site.looks == 0
        async with session.get("/state/stream") as one, session.get("/state/stream") as other:
            readers = Events(one), Events(other)
            assert [(await each.next())[0] for each in readers] == ["whole", "whole"]
            for number in range(3):
                site.state = replace(site.state, checks=[CheckRow("loop", True, str(number))])
                changes = [await each.next() for each in readers]
                assert changes[0] == changes[1]
            seen = site.looks
        assert seen < 12, "each reader would look for itself"


LARGE = replace(EMPTY, workloads=[workload(f"{number:06}") for number in range(40_000)])
"""Some megabytes: more than the buffers of two sockets take."""


@asynccontextmanager
async def idle_reader(session: aiohttp.ClientSession) -> AsyncIterator[socket.socket]:
    """A reader of the stream that takes nothing."""
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setblocking(False)
        loop, base = asyncio.get_running_loop(), session._base_url
        assert base is not None
        await loop.sock_connect(reader, (base.host, base.port))
        await loop.sock_sendall(reader, b"GET /state/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield reader


async def test_of_what_a_reader_does_not_take_little_is_held_for_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("healer.http.stream.SLOW", 600.0)  # on a machine with too much to do it is not sent away meanwhile
    site = Site(LARGE)
    async with site.serving() as session, idle_reader(session), session.get("/state/stream") as answer:
        events = Events(answer)
        assert (await events.next())[0] == "whole", "the other reader was written to before this one"
        site.state = replace(LARGE, checks=[CheckRow("loop", True, "1")])
        assert (await events.next())[0] == "change"
        held = [each.transport.get_write_buffer_size() for each in site.connections() if each.transport is not None]
        assert len(held) == 2
        assert max(held) < 8 * 64 * 1024 < len(msgspec.json.encode(LARGE)) / 4


async def test_who_is_too_slow_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("healer.http.stream.SLOW", 0.2)
    gone, lost = asyncio.Event(), ClientProtocol.connection_lost

    def ended(connection: ClientProtocol, error: BaseException | None) -> None:
        lost(connection, error)
        gone.set()

    monkeypatch.setattr(ClientProtocol, "connection_lost", ended)
    async with Site(LARGE).serving() as session, idle_reader(session), asyncio.timeout(20):
        await gone.wait()


async def test_changes_are_kept_up_to_the_size_of_the_whole() -> None:
    """A reader for which the changes are larger than the whole gets the whole."""
    stream = StateStream(Site().whole, 1)
    await stream._note(LARGE)
    (whole,) = stream._since(0)
    await stream._note(replace(LARGE, workloads=[workload(f"{number:06}", ready=1) for number in range(20_000)]))
    await stream._note(replace(LARGE, workloads=LARGE.workloads[:100]))
    assert len(stream._changes) == 0, "they would be larger than what is left"
    (small,) = stream._since(1)
    assert small.startswith(b"event: whole")
    assert len(small) < len(whole)
    for number in range(100):
        await stream._note(replace(EMPTY, workloads=LARGE.workloads[:100], checks=[CheckRow("loop", True, str(number))]))
    assert 0 < len(stream._changes) <= 32
    first, *rest = stream._since(0)
    assert first.startswith(b"event: whole")
    assert rest == list(stream._changes)[len(stream._changes) - len(rest) :], "an older whole, and all that changed since"


async def test_no_more_read_than_the_settings_allow() -> None:
    async with Site().serving(streams=1) as session, session.get("/state/stream") as first:
        assert (await Events(first).next())[0] == "whole"
        async with session.get("/state/stream") as second:
            assert second.status == 503
            assert "HEALER_HTTP__STREAMS" in (await second.json())["hint"]


async def test_a_stream_ends_when_another_replica_leads_and_begins_anew() -> None:
    site = Site()
    async with site.serving() as session:
        async with session.get("/state/stream") as answer:
            events = Events(answer)
            assert (await events.next())[0] == "whole"
            site.state = replace(site.state, leads=False, leader="b")
            while (await events.next())[0]:
                pass
        async with session.get("/state/stream") as answer:
            _, whole = await Events(answer).next()
            assert whole["set"]["head"][""]["leader"] == "b"


async def test_a_look_that_fails_ends_the_stream_and_the_next_reader_begins_anew() -> None:
    site = Site()
    async with site.serving() as session:
        async with session.get("/state/stream") as answer:
            events = Events(answer)
            assert (await events.next())[0] == "whole"
            site.fails = True
            assert (await events.next()) == ("", None)
        site.fails = False
        async with session.get("/state/stream") as answer:
            assert (await Events(answer).next())[0] == "whole"


async def test_a_server_that_stops_ends_its_streams() -> None:
    async with aiohttp.ClientSession() as outside:
        async with Site().serving() as session:
            answer = await outside.get(f"{session._base_url}/state/stream")
            events = Events(answer)
            assert (await events.next())[0] == "whole"
        assert await events.next() == ("", None)


async def test_a_stream_ends_after_a_while_so_that_a_token_is_shown_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose token was taken away does not read on."""
    monkeypatch.setattr("healer.http.stream.LIFE", 0.05)
    monkeypatch.setattr("healer.http.stream._BEAT", 0.01)
    (tmp_path / "read").write_text("reader")
    async with Site().serving(read_token_file=tmp_path / "read") as session:
        headers = {"Authorization": "Bearer reader"}
        async with session.get("/state/stream", headers=headers) as answer:
            events = Events(answer)
            assert (await events.next())[0] == "whole"
            (tmp_path / "read").write_text("another")
            assert await events.next() == ("", None)
        async with session.get("/state/stream", headers=headers) as answer:
            assert answer.status == 401


# who may act

JSON = {"Content-Type": "application/json"}


async def act(session: aiohttp.ClientSession, verb: str = "pause", token: str = "", **body: Any) -> tuple[int, Any]:
    headers = JSON | ({"Authorization": f"Bearer {token}"} if token else {})
    async with session.post(
        f"/control/{verb}", json={"name": "deployment/a", "namespace": "b", **body}, headers=headers
    ) as answer:
        return answer.status, await answer.json()


async def test_nobody_acts_where_no_token_is_configured() -> None:
    site = Site()
    async with site.serving() as session:
        assert (await act(session, by="ann"))[0] == 403, "from loopback neither"
    assert site.asked == []


@pytest.mark.parametrize("token", ["", "wrong", "reader"])
async def test_only_a_token_for_it_may_act_from_loopback_too(tmp_path: Path, token: str) -> None:
    (tmp_path / "control").write_text("captain")
    (tmp_path / "read").write_text("reader")
    site = Site()
    async with site.serving(control_token_file=tmp_path / "control", read_token_file=tmp_path / "read") as session:
        assert (await act(session, token=token, by="ann"))[0] == 401
        assert site.asked == []
        assert await act(session, token="captain", by=" ann ") == (200, {"said": "pause done", "by": "ann (page)"})
    ((verb, asked, by),) = site.asked
    assert (verb, asked.name, by) == ("pause", "deployment/a", "ann (page)")


async def test_who_may_act_may_read(tmp_path: Path) -> None:
    (tmp_path / "control").write_text("captain")
    (tmp_path / "read").write_text("reader")
    async with Site().serving(control_token_file=tmp_path / "control", read_token_file=tmp_path / "read") as session:
        for token, status in (("captain", 200), ("reader", 200), ("stranger", 401)):
            async with session.get("/state", headers={"Authorization": f"Bearer {token}"}) as answer:
                assert answer.status == status


async def test_what_says_too_little_or_another_site_could_send_is_refused(tmp_path: Path) -> None:
    (tmp_path / "control").write_text("captain")
    site = Site()
    async with site.serving(control_token_file=tmp_path / "control") as session:
        assert (await act(session, token="captain"))[0] == 400  # nobody's name
        assert (await act(session, "erase", token="captain", by="ann"))[0] == 404
        assert (await act(session, token="captain", by="ann", force=True))[0] == 400
        assert (await act(session, token="captain", by="ann", reason="x" * 20_000))[0] == 413
        for seconds in (0, -5, 1e12, 1e300, "60"):
            assert (await act(session, token="captain", by="ann", seconds=seconds))[0] == 400, "it would end a pause, or never"
        form = {"Authorization": "Bearer captain", "Content-Type": "text/plain"}
        async with session.post("/control/pause", data=b'{"name": "everything", "by": "eve"}', headers=form) as answer:
            assert answer.status == 415
    assert site.asked == []
