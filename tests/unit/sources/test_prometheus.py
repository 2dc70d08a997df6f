"""Questions to a real Prometheus; and to servers that refuse, hang, trickle and babble: never for longer than the timeout."""

import asyncio
import math
import time
from pathlib import Path

import pytest
from aiohttp import web

from healer.engine.rulebook import BoundRule, Rulebook
from healer.model.rule import Rule
from healer.sources.prometheus import Prometheus, QueryFailed, Sample, unserved
from tests.unit.sources.conftest import Imposter, closing, remembering, saying, vector

WHEN = math.floor(time.time()) - 600.0
"""A time that a real Prometheus still remembers, in seconds since the epoch."""


async def refused(client: Prometheus, expr: str = "up") -> str:
    """Why a query has no answer."""
    with pytest.raises(QueryFailed) as failed:
        await client.query(expr, WHEN)
    return str(failed.value)


# a real one


async def test_what_a_real_prometheus_answers(tmp_path: Path) -> None:
    points = {WHEN + 10 * n: float(n) for n in range(10)}
    series = {'x{pod="a"}': points, 'x{pod="b"}': {at: 2 * value for at, value in points.items()}, 'one{pod="a"}': {WHEN: 1.0}}
    async with remembering(tmp_path, series) as client:
        found = await client.query("x", WHEN + 35)
        assert sorted((sample.labels["pod"], sample.value) for sample in found) == [("a", 3.0), ("b", 6.0)]
        assert await client.query("scalar(sum(x))", WHEN + 35) == [Sample({}, 9.0)]
        assert await client.query("absent_metric", WHEN) == []
        [sample] = await client.query("one * NaN", WHEN + 1)
        assert math.isnan(sample.value)
        [sample] = await client.query("one / 0", WHEN + 1)
        assert sample.value == math.inf


async def test_a_range_keeps_to_fractions_of_a_second(tmp_path: Path) -> None:
    points = {WHEN + n / 2: float(n) for n in range(10)}
    async with remembering(tmp_path, {"x": points}) as client:
        [series] = await client.range("x", WHEN + 0.5, WHEN + 2, 0.5)
        assert series.points == {WHEN + 0.5: 1.0, WHEN + 1: 2.0, WHEN + 1.5: 3.0, WHEN + 2: 4.0}


@pytest.mark.parametrize(
    ("expr", "says"),
    [("sum(", "HTTP 400: invalid parameter"), ("x[5m]", "a range of values"), ('"text"', "not one of its API")],
)
async def test_an_expression_that_gives_no_vector(tmp_path: Path, expr: str, says: str) -> None:
    async with remembering(tmp_path, {"x": {WHEN: 1.0}}) as client:
        assert says in await refused(client, expr)


# others


async def test_nobody_there(unused_port: int) -> None:
    async with closing(Prometheus(f"http://user:hunter2@127.0.0.1:{unused_port}")) as client:
        said = await refused(client)
        assert said == f"Prometheus at 127.0.0.1:{unused_port}: Connection refused"


@pytest.fixture
def unused_port() -> int:
    return 1  # tcpmux: nobody has listened there for decades, and it takes root to


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (503, {"status": "error", "error": "query processing would load too many samples"}, "HTTP 503: query processing would"),
        (500, "upstream is away", "HTTP 500: upstream is away"),
        (401, "", "HTTP 401: Unauthorized"),
        (200, "<html>log in</html>", "not one of its API"),
        (200, {"status": "success"}, "not one of its API"),
        (200, {"data": {"result": {"a": 1}}}, "not one of its API"),
        (200, {"data": {"result": [{"metric": {}, "value": [1.0, "much"]}]}}, "not one of its API"),
        (200, {"data": {"result": [{"metric": {}, "histogram": [1.0, {}]}]}}, "native histograms"),
        (200, [1, 2], "not one of its API"),
        (200, " " * (2 * 1024 * 1024 + 1), "more than 2 MiB"),
    ],
)
async def test_no_answer_is_an_error_in_words_and_is_not_asked_again(
    imposter: Imposter, status: int, body: object, says: str
) -> None:
    imposter.answer = saying(body, status)
    async with closing(Prometheus(imposter.url)) as client:
        assert says in await refused(client)
    assert len(imposter.asked) == 1


async def test_too_many_series(imposter: Imposter) -> None:
    async with closing(Prometheus(imposter.url, most=2)) as client:
        imposter.answer = vector("1", "2")
        assert len(await client.query("up", WHEN)) == 2
        imposter.answer = vector("1", "2", "3")
        assert "more than 2 series" in await refused(client)
    assert imposter.asked[0]["limit"] == "3"


async def test_the_server_is_told_the_timeout(imposter: Imposter) -> None:
    async with closing(Prometheus(f"{imposter.url}/prefix/", timeout=7.5, stale=90)) as client:
        await client.query("up", WHEN)
    assert imposter.asked == [
        {
            "path": "/prefix/api/v1/query",
            "query": "up",
            "time": f"{WHEN:.3f}",
            "timeout": "7.500",
            "lookback_delta": "90.000",
            "limit": "1001",
        }
    ]


async def test_a_token_is_read_anew(imposter: Imposter, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    async with closing(Prometheus(imposter.url, token_file=token)) as client:
        await client.query("up", WHEN)
        (tmp_path / "next").write_text("second, and longer\n")
        (tmp_path / "next").replace(token)
        await client.query("up", WHEN)
        token.unlink()
        assert f"the secret file {token} cannot be read" in await refused(client)
    assert [sent["Authorization"] for sent in imposter.headers] == ["Bearer first", "Bearer second, and longer"]


async def test_a_server_that_hangs(imposter: Imposter) -> None:
    released = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    imposter.answer = hang
    async with closing(Prometheus(imposter.url, timeout=0.2)) as client:
        assert "no answer within 0.2 s" in await refused(client)
        released.set()


async def test_a_server_that_trickles_holds_no_thread(imposter: Imposter) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while request.transport is not None and not request.transport.is_closing():
            await answer.write(b" ")
            await asyncio.sleep(0.02)
        return answer

    imposter.answer = trickle
    async with closing(Prometheus(imposter.url, timeout=2.0, at_once=1)) as client:
        assert "no answer within 2 s" in await refused(client)
        imposter.answer = vector("1")
        assert await client.query("up", WHEN)


async def test_a_cancelled_query_leaves_room_for_the_next(imposter: Imposter) -> None:
    released = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    imposter.answer = hang
    async with closing(Prometheus(imposter.url, at_once=1, timeout=30)) as client:
        under_way = asyncio.create_task(client.query("up", WHEN))
        await imposter.arrived.wait()
        waiting = asyncio.create_task(client.query("up", WHEN))
        await asyncio.sleep(0)
        for task in (under_way, waiting):
            task.cancel()
        await asyncio.wait((under_way, waiting))
        released.set()
        imposter.answer = vector("1")
        assert await client.query("up", WHEN)
    assert len(imposter.asked) == 2, "the one that waited was never sent"


async def test_so_many_at_once_and_no_more(imposter: Imposter) -> None:
    present, most, full = 0, 0, asyncio.Event()

    async def count(request: web.Request) -> web.StreamResponse:
        nonlocal present, most
        present += 1
        most = max(most, present)
        if present == 3:
            full.set()
        await full.wait()
        present -= 1
        return await vector("1")(request)

    imposter.answer = count
    async with closing(Prometheus(imposter.url, at_once=3)) as client:
        await asyncio.gather(*(client.query("up", WHEN) for _ in range(12)))
    assert most == 3


async def test_the_rules_that_need_what_is_not_configured() -> None:
    asking = Rule.model_validate(
        {
            "name": "slow",
            "scope": {"namespaces": ("a",)},
            "when": {"query": {"expr": "up", "above": 1}},
            "heal": ({"action": "page", "params": {}},),
        }
    )
    book = Rulebook([BoundRule("tfs", asking, where="rules.yaml:7")])
    assert unserved(book, "http://prometheus") == []
    [problem] = unserved(book, "")
    assert str(problem).startswith("rules.yaml:7: rule tfs/slow asks Prometheus")
    assert "HEALER_PROMETHEUS__URL" in problem.hint
