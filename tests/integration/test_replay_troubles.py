"""`healer replay --prometheus` against a Prometheus that misbehaves: the same story, or an error that says what and how far."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from healer.daemon.recording.reading import RecordError
from healer.daemon.rulefiles import load_rules, vocabulary
from healer.rehearsal.replay.history.history import LACKS, PrometheusHistory, history_settings
from healer.rehearsal.replay.replaying import Replayed, replay
from healer.settings import Isolated
from healer.sources.prometheus.client import Prometheus
from tests.integration.test_replay_prometheus import APP, EVICT, FAILING, NOW, START, STEP, the_past
from tests.integration.world import SLOW, rule, ruleset
from tests.support.healer import verb
from tests.support.prometheus import ANY, prometheus

pytestmark = pytest.mark.slow

CRASHING = rule("crash-loop", when={"pod": ["CrashLoopBackOff"], "for": "10m"}, heal=EVICT)
Misbehave = Callable[[int, web.Request], Awaitable[web.StreamResponse | None]]
"""What is answered to the request of that number; None: what Prometheus answers."""


@asynccontextmanager
async def in_front(of: str, misbehave: Misbehave) -> AsyncIterator[str]:
    """The URL of a proxy."""
    count = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal count
        count += 1
        body = await request.read()
        if (answer := await misbehave(count, request)) is not None:
            return answer
        headers = {"Content-Type": request.headers.get("Content-Type", "")}
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, f"http://{of}{request.path_qs}", data=body, headers=headers) as found,
        ):
            whole = await found.read()
            return web.Response(body=whole, status=found.status, content_type="application/json")

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def never(number: int, request: web.Request) -> None:
    """It behaves."""


async def replayed(url: str, rules: Path, **limits: Any) -> Replayed:
    """In this process, without pauses."""
    book = load_rules([rules], vocabulary())
    settings = history_settings(Isolated())

    def play() -> Replayed:
        made: dict[str, Any] = {"timeout": 20.0, "most": 50_000} | limits
        history = PrometheusHistory(lambda: Prometheus(url, **made), settings, [book], START, NOW, STEP, pauses=(0.0, 0.0, 0.0))
        result = replay(history, book, settings=settings, lacks=LACKS)
        result.remarks += history.remarks
        return result

    return await asyncio.to_thread(play)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """With the past beside them."""
    path = tmp_path / "rules.yaml"
    path.write_text(ruleset(CRASHING, SLOW, FAILING), "utf-8")
    past = the_past()
    past.add("errors_ratio", APP | {"pod": "serving-3"}, 300, 320, 0.9)
    past.write(tmp_path)
    return path


def told(result: Replayed) -> list[tuple[str, str, float]]:
    return [(deed.rule, deed.target.name, deed.at) for deed in result.story.counted]


async def test_what_fails_now_and_then_or_is_too_much_at_once_changes_nothing(tmp_path: Path, rules: Path) -> None:
    """503, half an answer, an answer that breaks off; few samples for a query, and few bytes for an answer."""

    async def now_and_then(number: int, request: web.Request) -> web.StreamResponse | None:
        match number % 5:
            case 2:
                return web.Response(status=503, text="upstream is away")
            case 3:
                return web.Response(
                    text='{"status":"success","data":{"resultType":"matrix","resu', content_type="application/json"
                )
            case 4:
                response = web.StreamResponse(headers={"Content-Length": "5000"})
                await response.prepare(request)
                await response.write(b'{"status":"success",')
                assert request.transport is not None
                request.transport.abort()
                return response
        return None

    few = ("--query.max-samples=2000",)
    async with prometheus(tmp_path, {}) as monitor:
        plain = await replayed(f"http://{monitor.address}", rules)
    async with prometheus(tmp_path, {}, ANY, *few) as monitor, in_front(monitor.address, now_and_then) as url:
        result = await replayed(url, rules, most_bytes=30_000)
    assert [each[:2] for each in told(plain)] == [
        ("test/failing", "serving-3"),
        ("test/crash-loop", "serving-2"),
        ("test/slow", "serving-1"),
    ]
    assert told(result) == told(plain)
    assert result.remarks == plain.remarks


async def test_one_that_fails_for_good_is_an_error_that_says_how_far_it_was_read(tmp_path: Path, rules: Path) -> None:
    async def after_a_while(number: int, request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=503, text="gone") if number > 50 else None

    async with prometheus(tmp_path, {}) as monitor, in_front(monitor.address, after_a_while) as url:
        with pytest.raises(RecordError, match="HTTP 503: gone; the history was read up to 20"):
            await replayed(url, rules)


async def test_one_that_is_too_slow_is_an_error(tmp_path: Path, rules: Path) -> None:
    """Also with few steps at once; it is not asked for each step alone."""
    asleep, late = asyncio.Event(), []

    async def after_a_while(number: int, request: web.Request) -> None:
        if number > 50:
            late.append(number)
            await asleep.wait()

    async with prometheus(tmp_path, {}) as monitor, in_front(monitor.address, after_a_while) as url:
        try:
            with pytest.raises(RecordError, match=r"no answer within 0.5 s from .*; the history was read up to 20"):
                await replayed(url, rules, timeout=0.5)
        finally:
            asleep.set()
    assert 2 < len(late) < 9


async def test_too_many_series_are_an_error_that_says_how_to_ask_for_fewer(tmp_path: Path, rules: Path) -> None:
    async with prometheus(tmp_path, {}) as monitor:
        with pytest.raises(RecordError, match=r"more than 2 series answer .*; --match asks for fewer series"):
            await replayed(f"http://{monitor.address}", rules, most=2)


async def test_what_is_no_prometheus_or_wants_a_login_says_so(tmp_path: Path) -> None:
    """Exit code 2, and what to do."""
    (tmp_path / "rules.yaml").write_text(ruleset(SLOW), "utf-8")

    async def others(number: int, request: web.Request) -> web.StreamResponse | None:
        match request.path.split("/")[1]:
            case "guarded":
                return web.Response(status=401, text="who are you")
            case "moved":
                return web.Response(status=302, headers={"Location": "https://login.example.com/"})
            case "page":
                return web.Response(text="<html>sign in</html>", content_type="text/html")
            case "empty":
                return web.json_response({"status": "success", "data": []})
        return web.Response(status=404, text="404 page not found")

    async with in_front("127.0.0.1:9", others) as url:
        for path, said in (
            ("guarded", "set prometheus.token_file, or user and password_file, or headers"),
            ("moved", "a page to sign in? Set prometheus.url to the server itself"),
            ("page", "a page to sign in? Check prometheus.url"),
            ("nowhere", "does prometheus.url end where /api/v1 begins?"),
            ("empty", "Prometheus has neither ALERTS nor metrics of kube-state-metrics in that time"),
        ):
            code, printed = await verb(
                "replay", "--prometheus", f"{url}/{path}", "--rules", tmp_path / "rules.yaml", home=tmp_path
            )
            assert (code, said in printed) == (2, True), printed
