"""Questions to a real Prometheus; and to servers that refuse, hang, trickle and babble: never for longer than the timeout."""

import asyncio
import base64
import math
import time
from pathlib import Path

import pytest
from aiohttp import web

from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.schema import Rule
from healer.settings.sections import PrometheusSettings
from healer.sources.prometheus.client import Prometheus, QueryFailed, Sample, connect, unserved
from tests.unit.sources.conftest import Answer, Imposter, closing, remembering, saying, vector

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


# answers in part, in error, or from somebody else


@pytest.mark.parametrize(
    "more",
    [
        {"warnings": ["No StoreAPIs matched for this query: fetch series from sidecar-1: connection refused"]},
        {"warnings": ["PromQL info: metric might not be a counter", "store-2 is away"]},
        {"isPartial": True},
    ],
    ids=["thanos", "thanos beside the engine's remarks", "victoriametrics"],
)
async def test_an_answer_in_part_is_none(imposter: Imposter, more: dict[str, object]) -> None:
    """What lacks some of the data is refused, and whole answers are asked for."""
    found = {"resultType": "vector", "result": [{"metric": {"pod": "a"}, "value": [WHEN, "45"]}]}
    imposter.answer = saying({"status": "success", "data": found, **more})
    async with closing(Prometheus(imposter.url)) as client:
        assert "has answered in part" in await refused(client)
        with pytest.raises(QueryFailed, match="in part"):
            await client.range("up", WHEN, WHEN + 1, 1)


@pytest.mark.parametrize("remark", ["PromQL info: metric might not be a counter", "PromQL warning: bucket label is missing"])
async def test_remarks_of_the_engine_are_no_lack(imposter: Imposter, remark: str) -> None:
    """An annotation on the expression takes nothing from the answer (thanos#7354)."""
    found = {"resultType": "vector", "result": [{"metric": {"pod": "a"}, "value": [WHEN, "45"]}]}
    imposter.answer = saying({"status": "success", "data": found, "warnings": [remark], "infos": [remark]})
    async with closing(Prometheus(imposter.url)) as client:
        assert await client.query("up", WHEN) == [Sample({"pod": "a"}, 45.0)]


async def test_an_error_with_status_200(imposter: Imposter) -> None:
    """The status inside of the body counts."""
    imposter.answer = saying({"status": "error", "errorType": "timeout", "error": "query timed out"})
    async with closing(Prometheus(imposter.url)) as client:
        assert await refused(client) == "Prometheus: query timed out"


async def test_one_odd_sample_harms_only_itself(imposter: Imposter) -> None:
    """A series without a readable value keeps its labels and has NaN; the others are as they are."""
    odd: list[object] = [
        {"metric": {"pod": "a"}, "value": [WHEN, "much"]},
        {"metric": {"pod": "b"}, "histogram": [WHEN, {}]},
        {"metric": {"pod": 5}, "value": [WHEN, "1"]},
        {"metric": None, "value": [WHEN, "1"]},
        {"metric": {"pod": "c"}, "value": None},
        {"metric": {"pod": "d"}},
        "nonsense",
    ]
    imposter.answer = saying({"status": "success", "data": {"result": [*odd, {"metric": {"pod": "z"}, "value": [WHEN, "2"]}]}})
    async with closing(Prometheus(imposter.url)) as client:
        *strange, good = await client.query("up", WHEN)
    assert good == Sample({"pod": "z"}, 2.0)
    assert [sample.labels.get("pod", "") for sample in strange] == ["a", "b", "", "", "c", "d", ""]
    assert all(math.isnan(sample.value) and sample.odd for sample in strange)
    assert "'much' is no number" not in strange[1].odd
    assert "native histograms" in strange[1].odd


async def test_a_range_leaves_out_what_is_odd(imposter: Imposter) -> None:
    """Neither a point nor a series that cannot be read takes the others with it."""
    result: list[object] = [
        {"metric": {"pod": "a"}, "values": [[WHEN, "1"], [WHEN + 1, "much"], [WHEN + 2], None, [WHEN + 3, "4"]]},
        {"metric": [], "values": [[WHEN, "1"]]},
    ]
    imposter.answer = saying({"status": "success", "data": {"resultType": "matrix", "result": result}})
    async with closing(Prometheus(imposter.url)) as client:
        [series] = await client.range("up", WHEN, WHEN + 3, 1)
    assert series.points == {WHEN: 1.0, WHEN + 3: 4.0}


async def test_an_expression_over_a_thousand_pods_is_sent_in_a_body(imposter: Imposter) -> None:
    """Servers refuse request lines of more than 8 KiB."""
    pods = "|".join(f"tensorflow-serving-v2-74f994d44c-{n:05}" for n in range(1000))
    imposter.answer = vector("1")
    async with closing(Prometheus(imposter.url)) as client:
        await client.query(f'x{{pod=~"{pods}"}}', WHEN)
    assert imposter.methods == ["POST"]
    assert imposter.longest < 100
    assert pods in imposter.asked[0]["query"]


async def test_a_real_prometheus_takes_a_thousand_pods(tmp_path: Path) -> None:
    """And the parameters that other servers want as well."""
    pods = "|".join(f"tensorflow-serving-v2-74f994d44c-{n:05}" for n in range(1000))
    async with remembering(tmp_path, {'x{pod="tensorflow-serving-v2-74f994d44c-00999"}': {WHEN: 7.0}}) as client:
        [sample] = await client.query(f'x{{pod=~"{pods}"}}', WHEN + 1)
    assert sample.value == 7.0


async def test_where_post_is_not_allowed_it_asks_by_get(imposter: Imposter) -> None:
    """A read-only proxy answers 405: found out once."""

    async def reading_only(request: web.Request) -> web.StreamResponse:
        return await (saying("", 405) if request.method == "POST" else vector("1"))(request)

    imposter.answer = reading_only
    async with closing(Prometheus(imposter.url)) as client:
        for _ in range(2):
            assert await client.query("up + 1", WHEN)
    assert imposter.methods == ["POST", "GET", "GET"]
    assert {asked["query"] for asked in imposter.asked} == {"up + 1"}


async def test_a_question_that_was_on_its_way_is_asked_by_get_too(imposter: Imposter) -> None:
    """Another one, sent at the same time, has found out before it that POST is not allowed."""
    learnt = asyncio.Event()

    async def reading_only(request: web.Request) -> web.StreamResponse:
        asked = (await request.post() if request.method == "POST" else request.query)["query"]
        if request.method == "POST":
            if asked == "slow":
                await learnt.wait()
            return await saying("", 405)(request)
        return await vector("1")(request)

    imposter.answer = reading_only
    async with closing(Prometheus(imposter.url)) as client:
        slow = asyncio.create_task(client.query("slow", WHEN))
        assert await client.query("quick", WHEN)
        learnt.set()
        assert await slow


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_on_the_same_host_is_followed_with_the_question(imposter: Imposter, tmp_path: Path, status: int) -> None:
    """Whatever the status, the question is sent again as it was, with its token."""
    token = tmp_path / "token"
    token.write_text("word")

    async def moved(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/old"):
            return web.Response(status=status, headers={"Location": str(request.rel_url).replace("/old", "/new", 1)})
        return await vector("1")(request)

    imposter.answer = moved
    async with closing(Prometheus(f"{imposter.url}/old", token_file=token)) as client:
        assert await client.query("up", WHEN)
    assert [(asked["path"], asked["query"]) for asked in imposter.asked] == [
        ("/old/api/v1/query", "up"),
        ("/new/api/v1/query", "up"),
    ]
    assert {sent["Authorization"] for sent in imposter.headers} == {"Bearer word"}


@pytest.mark.parametrize(
    ("location", "says"),
    [("https://login.example/sign-in?token=hunter2", "redirects to https://login.example"), ("/again", "in a circle")],
)
async def test_a_redirect_that_is_not_followed_says_so(imposter: Imposter, location: str, says: str) -> None:
    """Nothing is sent to another host, and a circle ends."""
    imposter.answer = saying("", 302, Location=location)
    async with closing(Prometheus(imposter.url)) as client:
        said = await refused(client)
    assert says in said
    assert "hunter2" not in said


async def test_what_the_settings_say_of_signing_in_is_sent(imposter: Imposter, tmp_path: Path) -> None:
    """Tenant, password and secret headers reach the server; files are read anew."""
    imposter.answer = vector("1")
    for name, text in (("password", "s3cr/et\n"), ("key", "k1")):
        (tmp_path / name).write_text(text)
    asked = PrometheusSettings(
        url=imposter.url,
        user="me",
        password_file=tmp_path / "password",
        headers={"X-Scope-OrgID": "ml"},
        header_files={"X-Key": tmp_path / "key"},
        params={"deny_partial_response": "", "nocache": "1"},
    )
    async with closing(connect(asked)) as client:
        await client.query("up", WHEN)
        (tmp_path / "next").write_text("second")
        (tmp_path / "next").replace(tmp_path / "key")
        await client.query("up", WHEN)
    basic = "Basic " + base64.b64encode(b"me:s3cr/et").decode()
    assert [(sent["Authorization"], sent["X-Scope-OrgID"], sent["X-Key"]) for sent in imposter.headers] == [
        (basic, "ml", "k1"),
        (basic, "ml", "second"),
    ]
    assert imposter.asked[0]["nocache"] == "1"
    assert "deny_partial_response" not in imposter.asked[0]


async def test_a_user_in_the_url(imposter: Imposter) -> None:
    """It signs in, and is in no message."""
    imposter.answer = saying("no", 403)
    async with closing(Prometheus(imposter.url.replace("//", "//me:s3cr%2Fet@"))) as client:
        assert "s3cr" not in await refused(client)
    assert imposter.headers[0]["Authorization"] == "Basic " + base64.b64encode(b"me:s3cr/et").decode()


async def test_a_server_that_wants_a_tenant(imposter: Imposter) -> None:
    """Nobody has named one: it is asked as Mimir's gateway asks, and believed where it has something."""

    def multi(found: Answer) -> Answer:
        async def answer(request: web.Request) -> web.StreamResponse:
            return await (found if "X-Scope-OrgID" in request.headers else saying("no org id\n", 401))(request)

        return answer

    async with closing(Prometheus(imposter.url)) as client:
        imposter.answer = multi(vector("1"))
        assert await client.query("up", WHEN)
        imposter.answer = multi(vector())
        assert "has nothing for 'anonymous': name it in prometheus.headers" in await refused(client)
    async with closing(Prometheus(imposter.url, headers={"X-Scope-OrgID": "ml"})) as client:
        assert await client.query("up", WHEN) == [], "the tenant that was named has nothing"


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
            "partial_response": "false",
            "deny_partial_response": "1",
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
