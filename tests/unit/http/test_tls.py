"""TLS of the port over real connections: who is served, which certificate is shown, what happens when the files change."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from healer.http.health import Health
from healer.http.server import Server
from healer.http.tls import TlsError, client_context
from healer.settings.http import HttpSettings
from tests.support.certificates import Authority, Pair, rotate

HOOK = "/hook"


class Port:
    """A server with TLS, its files in a Secret volume, and clients of it."""

    def __init__(self, folder: Path) -> None:
        self.ca = Authority.make(folder)
        self.volume = folder / "volume"
        self.registry = CollectorRegistry()
        self.port = 0
        self.taken: list[bytes] = []
        self.write(self.ca.pair_for("first"))

    def write(self, pair: Pair) -> None:
        rotate(self.volume, tls_crt=pair.cert, tls_key=pair.key, ca_crt=self.ca.file)

    async def receive(self, body: bytes) -> dict[str, int]:
        self.taken.append(body)
        return {"accepted": 1}

    @asynccontextmanager
    async def serving(self, **knobs: Any) -> AsyncIterator["Port"]:
        files = {"tls_cert_file": self.volume / "tls.crt", "tls_key_file": self.volume / "tls.key"}
        settings = HttpSettings.model_validate({"host": "127.0.0.1", "port": 0, **files, **knobs})
        server = Server(settings=settings, webhooks={HOOK: self.receive}, health=Health, registry=self.registry)
        async with server:
            self.port = server.port
            yield self

    async def request(self, method: str, path: str, shown: Pair | None = None) -> tuple[int, str]:
        """The status of the answer, and the common name of the certificate that the server showed."""
        line = await self.connected(shown)
        try:
            return await line.request(method, path), line.server
        finally:
            line.writer.close()

    async def connected(self, shown: Pair | None = None) -> "Line":
        context = client_context(self.ca.file, None if shown is None else (shown.cert, shown.key))
        return Line(*await asyncio.open_connection("localhost", self.port, ssl=context))

    def figure(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


class Line:
    """A connection of a client, on which requests can follow each other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        subject = writer.get_extra_info("peercert")["subject"]
        self.server = str(dict(part[0] for part in subject)["commonName"])
        """The common name of the certificate that the server showed."""

    async def request(self, method: str, path: str) -> int:
        """The status of the answer. Raises OSError when the server ends the connection."""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
        self.writer.write(f"{head}{{}}".encode())
        async with asyncio.timeout(30):
            line = await self.reader.readline()
            if not line:
                raise ConnectionResetError("the server has closed the connection")
            length = 0
            while (header := await self.reader.readline()) not in (b"\r\n", b""):
                if header.lower().startswith(b"content-length:"):
                    length = int(header.partition(b":")[2])
            await self.reader.readexactly(length)
        return int(line.split()[1])


@pytest.fixture
def port(tmp_path: Path) -> Port:
    return Port(tmp_path)


async def test_the_port_speaks_https_and_nothing_else(port: Port) -> None:
    async with port.serving():
        assert await port.request("POST", HOOK) == (200, "first")
        with capture_logs() as logs:
            reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"HTTP" not in await asyncio.wait_for(reader.read(), 30)
            writer.close()
        assert port.figure("healer_tls_handshakes_failed_total") == 1
        assert [line["event"] for line in logs] == ["a TLS handshake failed"]


async def test_a_new_certificate_is_shown_to_new_connections_and_old_ones_stay(port: Port) -> None:
    async with port.serving():
        old = await port.connected()
        assert (await old.request("GET", "/healthz"), old.server) == (200, "first")
        port.write(port.ca.pair_for("second"))
        assert await port.request("GET", "/healthz") == (200, "second")
        assert await old.request("GET", "/healthz") == 200
        old.writer.close()
        assert port.figure("healer_tls_reloads_total", outcome="loaded") == 1


async def test_a_pair_that_does_not_fit_leaves_the_old_one_in_force_and_is_told_once(port: Port) -> None:
    async with port.serving():
        other = port.ca.pair_for("other")
        with capture_logs() as logs:
            port.write(Pair(port.ca.pair_for("second").cert, other.key))
            assert [await port.request("GET", "/healthz") for _ in range(3)] == [(200, "first")] * 3
        assert [line["event"] for line in logs] == ["new TLS files cannot be used: the old ones stay in force"]
        assert (port.figure("healer_tls_files_usable"), port.figure("healer_tls_reloads_total", outcome="refused")) == (0, 1)
        port.write(other)
        assert await port.request("GET", "/healthz") == (200, "other")
        assert port.figure("healer_tls_files_usable") == 1


async def test_files_that_are_gone_leave_the_old_ones_in_force(port: Port) -> None:
    async with port.serving():
        (port.volume / "..data").unlink()
        assert await port.request("GET", "/healthz") == (200, "first")
        assert port.figure("healer_tls_files_usable") == 0


async def test_the_end_of_the_certificate_is_a_metric_also_when_it_has_ended(port: Port) -> None:
    async with port.serving():
        now = ssl.cert_time_to_seconds("Jan  1 00:00:00 2020 GMT")
        ends = port.figure("healer_tls_certificate_ends_timestamp_seconds")
        assert ends is not None
        assert ends > now
        port.write(port.ca.ended(port.ca.pair_for("ended")))
        later = port.figure("healer_tls_certificate_ends_timestamp_seconds")
        assert later is not None
        assert ends - later == pytest.approx(3 * 86400, abs=600)


@pytest.mark.parametrize("missing", ["tls.crt", "tls.key"])
async def test_without_its_files_it_does_not_start_and_says_which_are_missing(port: Port, missing: str) -> None:
    (port.volume / missing).unlink()
    with pytest.raises(TlsError, match=missing):
        async with port.serving():
            raise AssertionError("it serves")


async def test_a_key_with_a_passphrase_is_an_error_and_no_question(port: Port, tmp_path: Path) -> None:
    key = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", str(port.volume / "tls.key"), "-aes256", "-passout", "pass:x", "-out", str(key)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    with pytest.raises(TlsError, match="passphrase"):
        async with port.serving(tls_key_file=key):
            raise AssertionError("it serves")


# clients' certificates


async def test_webhooks_need_a_certificate_of_the_authority_and_probes_and_metrics_do_not(port: Port, tmp_path: Path) -> None:
    ours, theirs = port.ca.pair_for("alertmanager", ()), Authority.make(tmp_path / "other").pair_for("mallory", ())
    async with port.serving(tls_client_ca_file=port.volume / "ca.crt"):
        assert (await port.request("POST", HOOK, ours))[0] == 200
        assert (await port.request("POST", HOOK))[0] == 403
        assert port.figure("healer_http_denied_total", endpoint="webhook", reason="certificate") == 1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await port.request("POST", HOOK, theirs)
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await port.request("GET", path))[0] == 200
    assert len(port.taken) == 1


async def test_only_certificates_with_an_allowed_name_come_in(port: Port) -> None:
    names = {"tls_client_ca_file": port.volume / "ca.crt", "tls_client_names": ("alertmanager", "spiffe://cluster.local/am")}
    async with port.serving(**names):
        assert (await port.request("POST", HOOK, port.ca.pair_for("alertmanager", ())))[0] == 200
        assert (await port.request("POST", HOOK, port.ca.pair_for("x", ("URI:spiffe://cluster.local/am",))))[0] == 200
        assert (await port.request("POST", HOOK, port.ca.pair_for("mallory", ())))[0] == 403


async def test_a_new_authority_takes_the_place_of_the_old_one(port: Port, tmp_path: Path) -> None:
    old, new = port.ca.pair_for("old", ()), Authority.make(tmp_path / "new")
    async with port.serving(tls_client_ca_file=port.volume / "ca.crt"):
        assert (await port.request("POST", HOOK, old))[0] == 200
        first = port.ca.pair_for("first")
        rotate(port.volume, tls_crt=first.cert, tls_key=first.key, ca_crt=new.file)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await port.request("POST", HOOK, old)
        assert (await port.request("POST", HOOK, new.pair_for("am", ())))[0] == 200


# slow and many clients


async def test_a_handshake_that_does_not_come_is_not_waited_for(port: Port) -> None:
    async with port.serving(read_timeout=0.1):
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


async def test_clients_that_only_connect_keep_nobody_out(port: Port) -> None:
    async with port.serving(max_connections=3, read_timeout=600):
        silent = [await asyncio.open_connection("127.0.0.1", port.port) for _ in range(8)]
        assert (await port.request("GET", "/healthz"))[0] == 200
        assert await asyncio.wait_for(silent[0][0].read(), 30) == b"", "the oldest had to go"
        for _, writer in silent:
            writer.close()


async def test_a_server_that_stops_ends_handshakes_under_way(port: Port) -> None:
    async with asyncio.timeout(30), port.serving(read_timeout=600):
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        await port.request("GET", "/healthz")  # by then the first connection was accepted
    assert await asyncio.wait_for(reader.read(), 30) == b""
    writer.close()
