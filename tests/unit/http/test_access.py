"""Who may use the port, over real connections: tokens that rotate, networks, rates, endpoints with a token of their own."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from healer.http.clients import one_client
from healer.http.health import Health
from healer.http.rate import Rates
from healer.http.server import Server
from healer.secret import SecretError, TokenFiles
from healer.settings.http import HttpSettings
from tests.unit.http.test_http_reviews import USER, desk
from tests.unit.http.test_http_server import from_elsewhere

HOOK = "/hook"
PATHS = {"webhook": ("POST", HOOK), "read": ("GET", "/decisions"), "metrics": ("GET", "/metrics")}
FORBIDDEN = {"error": "Forbidden", "hint": "the log of healer says why"}


class Port:
    """A server, and a client of it."""

    def __init__(self, server: Server, registry: CollectorRegistry, session: aiohttp.ClientSession) -> None:
        self.port = server.port
        self._registry = registry
        self._session = session

    async def send(
        self, method: str, path: str, *, token: str = "", session: aiohttp.ClientSession | None = None, **headers: str
    ) -> tuple[int, Any, Mapping[str, str]]:
        """The status, the body (decoded where it is JSON) and the headers of an answer; `_` in names of headers is `-`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {"Authorization": f"Bearer {token}"} if token else {}
        sent |= {"Content-Type": "application/json"} if method == "POST" else {}
        async with (session or self._session).request(method, path, data=b"{}" if sent else None, headers=sent) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text, answer.headers

    async def status(self, endpoint: str, **options: Any) -> int:
        """Only the status."""
        return (await self.send(*PATHS[endpoint], **options))[0]

    def denied(self, endpoint: str, reason: str) -> float | None:
        return self._registry.get_sample_value("healer_http_denied_total", {"endpoint": endpoint, "reason": reason})


@asynccontextmanager
async def serving(**knobs: Any) -> AsyncIterator[Port]:
    async def receive(_: bytes) -> dict[str, int]:
        return {"accepted": 1}

    registry = CollectorRegistry()
    reviewer = knobs.pop("reviewer", None)
    settings = HttpSettings.model_validate({"host": "127.0.0.1", "port": 0, **knobs})
    server = Server(settings=settings, webhooks={HOOK: receive}, health=Health, registry=registry, reviewer=reviewer)
    async with server, aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield Port(server, registry, session)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text("old\n\n  new  \n")
    return file


# tokens


@pytest.mark.parametrize("endpoint", PATHS)
async def test_each_kind_of_endpoint_has_tokens_of_its_own(endpoint: str, tokens: Path) -> None:
    async with serving(**{f"{endpoint}_token_file": tokens}) as port:
        for each in PATHS:
            guarded = each == endpoint
            assert await port.status(each) == (401 if guarded else 200)
            assert await port.status(each, token="wrong") == (401 if guarded else 200)
            assert await port.status(each, token="new") == 200
        assert port.denied(endpoint, "token") == 2
        assert (await port.send("GET", "/healthz"))[0] == 200


async def test_a_token_rotates_without_a_gap(tokens: Path) -> None:
    async with serving(webhook_token_file=tokens) as port:
        assert [await port.status("webhook", token=token) for token in ("old", "new", "next")] == [200, 200, 401]
        await asyncio.to_thread(tokens.write_text, "new\nnext\n")
        assert [await port.status("webhook", token=token) for token in ("old", "new", "next")] == [401, 200, 200]


def test_tokens_in_a_folder_are_those_of_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "a").write_text("from-a\n")
    (tmp_path / "a").symlink_to("..data/a")
    (tmp_path / "b").write_text("from-b\nfrom-a\n")
    (tmp_path / ".hidden").write_text("no")
    files = TokenFiles(tmp_path)
    assert files.read() == ("from-a", "from-b")
    (tmp_path / "b").write_text("third\n")
    assert files.read() == ("from-a", "third")
    (tmp_path / "a").unlink()
    assert files.read() == ("third",)


@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xff\xfe", None])
def test_no_token_is_an_error_that_does_not_show_what_was_read(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(SecretError, match="token"):
        TokenFiles(tmp_path / "token").read()


async def test_a_token_that_came_through_the_api_servers_proxy_is_in_a_header_of_its_own(tokens: Path) -> None:
    async with serving(read_token_file=tokens) as port:
        assert await port.status("read", X_Healer_Token="new", X_Forwarded_For="10.0.0.1") == 200
        assert await port.status("read", X_Healer_Token="wrong") == 401


# who may read


async def test_without_a_token_only_loopback_reads_and_everyone_scrapes() -> None:
    async with serving(allow_anonymous=True) as port, from_elsewhere(port.port) as outside:
        for path in ("/decisions", "/rules"):
            assert (await port.send("GET", path))[0] == 200
            with capture_logs() as logs:
                status, body, _ = await port.send("GET", path, session=outside)
            assert (status, body) == (403, FORBIDDEN)
        assert await port.status("read", X_Forwarded_For="127.0.0.1") == 403
        assert port.denied("read", "loopback") == 3
        assert await port.status("metrics", session=outside) == 200
        assert await port.status("webhook", session=outside) == 200
    assert logs == [], "one line a minute"


@pytest.mark.parametrize(
    "host", ["evil.example:8080", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io:1", "127.0.0.1@evil", ""]
)
async def test_a_web_page_with_a_name_of_its_own_reads_nothing_through_a_port_forward(host: str, tokens: Path) -> None:
    """A name that resolves to 127.0.0.1 in the second place: to the browser the page and healer are one site."""
    async with serving() as port:
        with capture_logs() as logs:
            for endpoint in ("read", "webhook"):
                assert await port.status(endpoint, Host=host) == 403
                assert port.denied(endpoint, "loopback") == 1
            assert (await port.send("GET", "/rules", Host=host))[0] == 403
        assert "open http://localhost" in logs[0]["hint"]
        assert await port.status("metrics", Host=host) == 200, "everyone scrapes"
    async with serving(read_token_file=tokens, allow_anonymous=True) as port:
        assert await port.status("read", Host=host, token="new") == 200, "no page has the token"
        assert await port.status("webhook", Host=host) == 200, "everyone may post"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:30000", "[::1]", "[::1]:8080"])
async def test_the_names_of_this_host_are_answered_at_any_port(host: str) -> None:
    async with serving() as port:
        assert [await port.status(endpoint, Host=host) for endpoint in ("read", "webhook")] == [200, 200]


# networks


async def test_only_the_networks_that_are_named_are_answered_and_probes_always() -> None:
    async with serving(networks=["127.0.0.6/32", "fd00::/8"], allow_anonymous=True) as port, from_elsewhere(port.port) as inside:
        for endpoint in ("webhook", "metrics"):
            assert await port.status(endpoint) == 403
            assert await port.status(endpoint, session=inside) == 200
            assert port.denied(endpoint, "network") == 1
        for path in ("/healthz", "/readyz"):
            assert (await port.send("GET", path))[0] == 200


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        ("10.1.0.1", 200),
        ("203.0.113.9", 403),
        ("10.1.0.1, 203.0.113.9", 403),  # what the client itself wrote is on the left
        ("203.0.113.9, 10.1.0.1", 200),
        ("10.1.0.1, 127.0.0.1", 200),  # two proxies, one behind the other
        ("somebody", 400),
    ],
)
async def test_a_trusted_proxy_says_who_the_client_is(forwarded: str, status: int) -> None:
    async with serving(networks=["10.1.0.0/16"], trusted_proxies=["127.0.0.1/32"]) as port:
        assert await port.status("metrics", X_Forwarded_For=forwarded) == status


async def test_what_another_proxy_says_is_not_believed() -> None:
    async with serving(networks=["10.1.0.0/16"]) as port:
        assert await port.status("metrics", X_Forwarded_For="10.1.0.1") == 403


# rates


async def test_a_client_that_sends_too_much_is_put_off_and_others_are_not() -> None:
    """Alertmanager sends a notification again after 5xx, and not after 429."""
    async with serving(rate_per_minute=1, rate_burst=2, allow_anonymous=True) as port, from_elsewhere(port.port) as other:
        assert [await port.status("webhook") for _ in range(2)] == [200, 200]
        status, _, headers = await port.send(*PATHS["webhook"])
        assert (status, 0 < int(headers["Retry-After"]) <= 60) == (503, True)
        assert [await port.status(endpoint) for endpoint in ("read", "metrics")] == [429, 429]
        assert (port.denied("webhook", "rate"), port.denied("metrics", "rate")) == (1, 1)
        assert await port.status("webhook", session=other) == 200
        assert (await port.send("GET", "/healthz"))[0] == 200


async def test_whoever_is_not_let_in_uses_up_nothing_of_whoever_is_behind_the_same_address(tokens: Path) -> None:
    async with serving(rate_per_minute=1, rate_burst=2, webhook_token_file=tokens) as port:
        assert [await port.status("webhook", token="wrong") for _ in range(2)] == [401, 401]
        assert [await port.status("webhook"), await port.status("webhook", token="wrong")] == [503, 503]
        assert (port.denied("webhook", "token"), port.denied("webhook", "rate")) == (2, 2)
        assert [await port.status("webhook", token="old") for _ in range(3)] == [200, 200, 503]
        assert await port.status("webhook", token="new") == 200, "another client"
        assert await port.status("metrics") == 200, "whoever needs no token either"


async def test_a_client_with_a_token_is_the_same_one_at_all_its_addresses(tokens: Path) -> None:
    async with serving(rate_per_minute=1, rate_burst=1, webhook_token_file=tokens) as port, from_elsewhere(port.port) as other:
        assert [await port.status("webhook", token="new", session=each) for each in (None, other)] == [200, 503]


async def test_whoever_is_refused_too_often_causes_no_more_reviews(tmp_path: Path) -> None:
    """Also where the API server gives no answer. Whoever was let in before, or is at another address, is reviewed."""
    now = 0.0
    async with desk(tmp_path, clock=lambda: now) as at:
        knobs = {"token_review": ["webhook"], "rate_per_minute": 1, "rate_burst": 2}
        for known in ("valid", "other"):
            at.lab.reviews.add_token(known, USER, "healer")
        at.lab.reviews.grant(USER, "post", HOOK)
        async with serving(reviewer=at.reviewer, **knobs) as port, from_elsewhere(port.port) as other:
            assert await port.status("webhook", token="valid") == 200
            assert [await port.status("webhook", token=f"junk-{number}") for number in range(2)] == [401, 401]
            asked = at.reviewed()
            assert [await port.status("webhook", token=f"junk-{number}") for number in range(2, 9)] == [503] * 7
            assert (at.reviewed(), port.denied("webhook", "rate")) == (asked, 7)
            now = 61.0  # the answer counts no more; the port has a clock of its own
            assert await port.status("webhook", token="valid") == 200
            assert await port.status("webhook", token="other") == 503, "a new one, at the address of those who are refused"
            assert at.reviewed() == asked + 1
            at.lab.forbid("create", "tokenreviews")
            assert [await port.status("webhook", token=f"junk-{number}", session=other) for number in range(10, 12)] == [503] * 2
            assert port.denied("webhook", "unavailable") == 2
            at.lab.allow("create", "tokenreviews")
            asked = at.reviewed()
            assert await port.status("webhook", token="junk-12", session=other) == 503
            assert at.reviewed() == asked


def test_a_bucket_fills_at_its_rate_and_no_more_than_its_burst() -> None:
    now = 0.0
    rates = Rates(60, 3, lambda: now)
    assert [rates.look("a"), *(rates.wait("a") for _ in range(4)), rates.look("a")] == [0, 0, 0, 0, 1, 1]
    now = 0.5
    assert rates.wait("a") == 0.5
    now = 1.0
    assert [rates.wait("a"), rates.wait("a")] == [0, 1]
    now = 1000.0
    assert [rates.wait("a") for _ in range(4)] == [0, 0, 0, 1]


def test_only_so_many_clients_are_remembered() -> None:
    rates = Rates(60, 1, lambda: 0.0, clients=2)
    assert [rates.wait(client) for client in "abab"] == [0, 0, 1, 1]
    assert [rates.wait(client) for client in "cb"] == [0, 1]
    assert rates.wait("a") == 0, "forgotten"


def test_a_client_of_ipv6_is_its_network() -> None:
    assert one_client(ip_address("fd00::1")) == one_client(ip_address("fd00::ffff"))
    assert one_client(ip_address("fd00::1")) != one_client(ip_address("fd00:0:0:1::1"))


# what is told


async def test_no_answer_tells_what_serves(tokens: Path) -> None:
    async with serving(webhook_token_file=tokens) as port:
        answers = [await port.send("GET", path) for path in ("/healthz", "/nowhere", "/metrics")]
        assert {headers["Server"] for _, _, headers in answers} == {"healer"}


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200,
    ],
)
async def test_what_is_no_request_is_refused_counted_and_logged(sent: bytes) -> None:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        with capture_logs() as logs:
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert b" 400 " in answer.partition(b"\r\n")[0]
        assert b"Server: healer\r\n" in answer
        assert b"aiohttp" not in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "Bad Request"
        assert [line["status"] for line in logs] == [400]
