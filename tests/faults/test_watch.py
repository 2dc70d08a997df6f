"""Every fault of the watch, and that none of them loses state: the view ends as the server is, and the listener was told."""

import asyncio
import gzip
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from healer.model.view import View
from healer.workloads.registry import WORKLOADS
from tests.faults.conftest import Watched, Watching
from tests.faults.server import Answer, Server, line, status


async def test_follows_what_happens(server: Server, watching: Watching) -> None:
    server.put("a")
    async with watching() as watched:
        await watched.settled()
        await server.asked("watch", 1)
        server.put("b")
        server.put("a")
        server.delete("b")
        await watched.settled()
        assert [verb for verb, *_ in watched.told] == ["put", "put", "put", "drop"]
    assert watched.reflector.counts.failures == 0
    (_, listed), (_, asked) = server.seen
    assert listed == {"limit": "500"}
    assert asked.pop("timeoutSeconds") in map(str, range(300, 601))
    assert asked == {"watch": "1", "resourceVersion": "101", "allowWatchBookmarks": "true"}


async def test_a_long_list_is_read_in_pages(server: Server, watching: Watching) -> None:
    for number in range(7):
        server.put(f"pod-{number}")
    async with watching(page=3) as watched:
        await watched.settled()
        await watched.reflector.synced.wait()
    assert [sort for sort, _ in server.seen][:3] == ["list", "page", "page"]


async def test_an_empty_list_is_complete(server: Server, watching: Watching) -> None:
    async with watching() as watched:
        await watched.reflector.synced.wait()
        await watched.settled()


async def test_a_relist_of_one_namespace_leaves_the_others_alone(server: Server, watching: Watching) -> None:
    view = View(WORKLOADS)
    server.put("a", namespace="one")
    async with watching(namespace="one", view=view) as watched:
        await watched.settled()
        async with watching(namespace="two", view=view) as other:
            await other.reflector.synced.wait()
            assert other.told == []
        assert watched.held == server.state


async def expire_by_status(server: Server) -> None:
    server.faults["watch"].append(status(410, "Expired", "too old"))
    server.end()


async def expire_by_event(server: Server) -> None:
    server.compact()
    server.end()


async def expire_in_a_running_stream(server: Server) -> None:
    server.inject(line({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}))
    server.end()


@pytest.mark.parametrize("expire", [expire_by_status, expire_by_event, expire_in_a_running_stream])
async def test_410_lists_again(server: Server, watching: Watching, expire: type[object]) -> None:
    server.put("kept")
    server.put("gone")
    server.put("recreated")
    async with watching() as watched:
        await watched.settled()
        await server.asked("watch", 1)
        old = server.pods["recreated"]["metadata"]["uid"]
        await _while_away(server, expire)
        await watched.settled()
        assert ("drop", old) in [(verb, uid) for verb, uid, _ in watched.told]
        assert watched.view.pod(old) is None
        await _still_follows(server, watched)
    assert watched.reflector.counts.lists == 2
    told = [(verb, uid) for verb, uid, _ in watched.told]
    assert told.count(("put", server.pods["kept"]["metadata"]["uid"])) == 1, "what has not changed is no change"
    assert told.index(("drop", old)) < told.index(("put", server.pods["recreated"]["metadata"]["uid"])), "drops come first"


async def _while_away(server: Server, expire: object) -> None:
    """Close the watch in the way given, and in the same breath delete one pod and replace another by its namesake."""
    assert callable(expire)
    await expire(server)
    server.delete("gone")
    server.delete("recreated")
    server.put("recreated")
    server.compact()


async def _still_follows(server: Server, watched: Watched) -> None:
    """After a fault the watch must go on as before."""
    server.put("afterwards")
    await watched.settled()
    server.delete("afterwards")
    await watched.settled()


async def test_410_on_a_continue_token_starts_the_list_over(server: Server, watching: Watching) -> None:
    for number in range(5):
        server.put(f"pod-{number}")

    async def first_page_then_expiry(request: web.Request) -> web.StreamResponse:
        server.faults["list"].append(status(410, "Expired", "The provided continue parameter is too old"))
        return server.list(request)

    server.faults["list"].append(first_page_then_expiry)
    async with watching(page=2) as watched:
        await watched.settled()
    assert [sort for sort, _ in server.seen][:5] == ["list", "page", "list", "page", "page"]
    assert watched.reflector.counts.lists == 1


async def test_a_burst_leaves_turns_to_others(server: Server, watching: Watching) -> None:
    turns = [0]

    async def other() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    async with watching(slice=0.0) as watched:
        await server.asked("watch", 1)
        task = asyncio.create_task(other())
        during: set[int] = set()
        watched.heed = lambda: during.add(turns[0])
        server.muted = True
        for number in range(100):
            server.put(f"pod-{number}")
        server.inject(b"".join(line(event) for _, event in server.history))
        await watched.settled()
        task.cancel()
    assert len(during) == 100, "with a slice of no time, each event leaves a turn"


async def test_a_clean_end_is_no_failure_and_lists_nothing(server: Server, watching: Watching) -> None:
    server.put("a")
    async with watching() as watched:
        await server.asked("watch", 1)
        server.end()
        server.put("b")
        server.delete("a")
        await watched.settled()
        await _still_follows(server, watched)
    assert (watched.reflector.counts.lists, watched.reflector.counts.failures) == (1, 0)


async def test_a_stream_that_ends_at_once_again_and_again_is_a_failure(server: Server, watching: Watching) -> None:
    server.put("a")

    async def end_at_once(request: web.Request) -> web.StreamResponse:
        return web.Response(content_type="application/json")

    server.faults["watch"].extend([end_at_once] * 3)
    async with watching(brief=60.0) as watched:
        await server.asked("watch", 4)
        await _still_follows(server, watched)
    assert watched.reflector.counts.failures == 3


async def test_a_connection_cut_half_way_through_a_line(server: Server, watching: Watching) -> None:
    server.put("a")
    async with watching() as watched:
        await server.asked("watch", 1)
        server.muted = True
        server.put("b")
        server.inject(line(server.history[-1][1])[:100])
        server.cut()
        server.muted = False
        await watched.settled()
        await _still_follows(server, watched)
    assert watched.reflector.counts.lists == 1
    assert watched.reflector.counts.failures == 1


async def test_a_clean_end_half_way_through_a_line(server: Server, watching: Watching) -> None:
    async with watching() as watched:
        await server.asked("watch", 1)
        server.muted = True
        server.put("b")
        server.inject(line(server.history[-1][1])[:-20])
        server.end()
        server.muted = False
        await watched.settled()
        await _still_follows(server, watched)
    assert (watched.reflector.counts.failures, watched.reflector.counts.lists) == (1, 1)


async def test_a_line_of_1_mb(server: Server, watching: Watching) -> None:
    async with watching() as watched:
        await server.asked("watch", 1)
        server.put("small")
        server.put("large", padding=1_000_000)
        server.put("small")
        await watched.settled()
    assert watched.reflector.counts.failures == 0


async def test_a_line_without_end_is_not_awaited(server: Server, watching: Watching) -> None:
    async with watching(line_limit=100_000) as watched:
        await server.asked("watch", 1)
        server.inject(b"x" * 200_000)
        await server.asked("list", 2)
        await server.asked("watch", 2)
        await _still_follows(server, watched)


async def test_blank_lines_mean_nothing(server: Server, watching: Watching) -> None:
    async with watching() as watched:
        await server.asked("watch", 1)
        server.inject(b"\n\n")
        server.put("a")
        await watched.settled()
    assert watched.reflector.counts.failures == 0


async def test_an_over_long_line_lists_again(server: Server, watching: Watching) -> None:
    async with watching(line_limit=100_000) as watched:
        await server.asked("watch", 1)
        with capture_logs() as logs:
            server.put("large", padding=1_000_000)
            await watched.settled()
        await _still_follows(server, watched)
    assert (watched.reflector.counts.unreadable, watched.reflector.counts.lists) == (1, 2)
    assert "longer than 100000 bytes" in logs[0]["error"]


@pytest.mark.parametrize(
    "spoilt",
    [
        b"garbage\n",
        b'{"type":"MODIFIED"}\n',
        b'{"type":"SURPRISE","object":{}}\n',
        b'{"type":"ADDED","object":{"metadata":{"name":1,"uid":"u"}}}\n',
        b'{"type":"ADDED","object":{"metadata":{"name":"\xff\xfe","uid":"u"}}}\n',
        b'{"type":"BOOKMARK","object":{"metadata":{}}}\n',
        b'{"type":"ADDED","object":{"metadata":{"name":"n","uid":"u"},"deep":' + b"[" * 5000 + b"]" * 5000 + b"}}\n",
    ],
)
async def test_an_undecodable_line_lists_again(server: Server, watching: Watching, spoilt: bytes) -> None:
    server.put("a")
    async with watching() as watched:
        await server.asked("watch", 1)
        with capture_logs() as logs:
            server.muted = True
            server.put("b")
            server.delete("a")
            server.inject(spoilt)
            server.muted = False
            await watched.settled()
        await _still_follows(server, watched)
    assert (watched.reflector.counts.unreadable, watched.reflector.counts.lists) == (1, 2)
    assert [entry["event"] for entry in logs] == ["watch failed"]


async def test_an_object_of_a_list_that_cannot_be_read_hides_no_other(server: Server, watching: Watching) -> None:
    server.put("a")
    server.put("b")
    async with watching() as watched:
        await watched.settled()
        await server.asked("watch", 1)
        held = watched.held
        with capture_logs() as logs:
            server.pods["a"]["status"]["phase"] = 7
            await expire_by_status(server)
            server.put("c")
            await watched.until(lambda: len(watched.told) == 3)
        assert held.items() < watched.held.items(), "what was held of an object that cannot be read is kept"
    assert [entry["name"] for entry in logs if entry["event"] == "object cannot be read"] == ["a"]


async def test_a_silent_stream_is_reconnected_where_it_was(server: Server, watching: Watching) -> None:
    server.put("a")
    async with watching(read_timeout=0.3) as watched:
        await server.asked("watch", 1)
        server.muted = True
        server.put("b")
        server.delete("a")
        await watched.settled()
    assert watched.reflector.counts.lists == 1
    assert watched.reflector.counts.failures == 0, "silence is no error"


async def test_a_bookmark_is_where_the_next_stream_begins(server: Server, watching: Watching) -> None:
    async with watching() as watched:
        await server.asked("watch", 1)
        marked = server.bookmark()
        server.end()
        await server.asked("watch", 2)
        server.put("a")
        await watched.settled()
    assert server.seen[-1][1]["resourceVersion"] == marked


def rotate(token: Path) -> None:
    token.write_text("two\n")


async def test_a_401_reads_the_rotated_token_at_once(server: Server, watching: Watching, token: Path) -> None:
    server.put("a")
    server.tokens = {"one"}
    async with watching() as watched:
        await server.asked("watch", 1)
        rotate(token)
        server.tokens = {"two"}
        server.end()
        server.put("b")
        await watched.settled()
    assert server.refused == 1
    assert watched.reflector.counts.failures == 0


async def test_a_401_for_good_is_tried_again_until_the_token_is_there(server: Server, watching: Watching, token: Path) -> None:
    server.put("a")
    server.tokens = {"two"}
    async with watching() as watched:
        await server.asked("list", 4)
        rotate(token)
        await watched.settled()
    assert watched.reflector.counts.failures >= 1


@pytest.mark.parametrize("sort", ["list", "watch"])
async def test_retry_after_is_honoured(server: Server, watching: Watching, sort: str) -> None:
    server.put("a")
    server.faults[sort].append(status(429, "TooManyRequests", "later", retry_after="0.2"))
    async with watching() as watched:
        with capture_logs() as logs:
            await server.asked(sort, 1)
            before = asyncio.get_running_loop().time()
            await server.asked(sort, 2)
            waited = asyncio.get_running_loop().time() - before
        await _still_follows(server, watched)
    assert logs[0]["delay"] == 0.2
    assert waited > 0.1, "asked again before it was asked to"
    assert watched.reflector.counts.lists == 1


@pytest.mark.parametrize("code", [500, 503, 504, 403])
@pytest.mark.parametrize("sort", ["list", "watch"])
async def test_a_refusal_is_tried_again(server: Server, watching: Watching, sort: str, code: int) -> None:
    server.put("a")
    server.faults[sort].extend([status(code, "Broken", "not now")] * 3)
    async with watching() as watched:
        with capture_logs() as logs:
            await server.asked(sort, 4)
        await _still_follows(server, watched)
    assert (watched.reflector.counts.failures, watched.reflector.counts.lists) == (3, 1)
    assert f"{code} Broken: not now" in logs[0]["error"]


async def test_an_error_event_that_is_no_410_goes_on_where_it_was(server: Server, watching: Watching) -> None:
    async with watching() as watched:
        await server.asked("watch", 1)
        server.inject(line({"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcd is away"}}))
        server.end()
        server.put("a")
        await _still_follows(server, watched)
    assert (watched.reflector.counts.failures, watched.reflector.counts.lists) == (1, 1)


async def test_a_version_from_the_future_lists_again(server: Server, watching: Watching) -> None:
    async with watching() as watched:
        await server.asked("watch", 1)
        server.faults["watch"].append(status(504, "Timeout", "Too large", causes=("ResourceVersionTooLarge",)))
        server.end()
        server.put("a")
        await _still_follows(server, watched)
    assert watched.reflector.counts.lists == 2


async def test_the_server_is_down_and_comes_back(server: Server, watching: Watching) -> None:
    server.put("a")
    async with watching() as watched:
        await watched.settled()
        await server.asked("watch", 1)
        with capture_logs() as logs:
            await server.stop()
            server.put("b")
            server.delete("a")
            await watched.failed(3)
            await server.start()
            await watched.settled()
        await _still_follows(server, watched)
    assert any("onnect" in entry["error"] for entry in logs)
    assert watched.reflector.counts.lists == 1


async def test_after_many_failures_the_version_is_not_trusted(server: Server, watching: Watching) -> None:
    """The server comes back from a backup: its resourceVersions begin anew, and the pods are others."""
    server.put("a")
    async with watching(distrust=3) as watched:
        await watched.settled()
        await server.asked("watch", 1)
        await server.stop()
        server.restore()
        server.put("b")
        await watched.failed(3)
        await server.start()
        await watched.settled()
        await _still_follows(server, watched)


async def test_the_server_is_down_at_the_start(server: Server, watching: Watching) -> None:
    await server.stop()
    async with watching() as watched:
        await watched.failed(3)
        assert not watched.reflector.synced.is_set()
        server.put("a")
        await server.start()
        await watched.settled()


async def test_age_is_the_time_since_the_server_was_heard(server: Server, watching: Watching) -> None:
    now = [1000.0]
    async with watching(clock=lambda: now[0]) as watched:
        await watched.reflector.synced.wait()
        await server.asked("watch", 1)
        server.put("a")
        await watched.settled()
        assert watched.reflector.age(now[0]) == 0
        now[0] += 50
        assert watched.reflector.age(now[0]) == 50
        server.put("b")
        await watched.settled()
        assert watched.reflector.age(now[0]) == 0


async def stream(*parts: bytes, headers: dict[str, str] | None = None, gap: float = 0.0) -> Answer:
    """A watch that sends these bytes and ends well."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for part in parts:
            await response.write(part)
            await asyncio.sleep(gap)
        return response

    return answer


OLD_NEWS = line({"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": "101"}}})


@pytest.mark.parametrize("said", [b"", b"\n\n\n", OLD_NEWS], ids=["nothing", "empty lines", "a bookmark"])
async def test_a_stream_that_brings_nothing_and_ends_is_backed_off_from(server: Server, watching: Watching, said: bytes) -> None:
    """A proxy that answers so was asked 1,600 times a second."""
    server.put("a")
    server.faults["watch"].extend([await stream(said)] * 4)
    async with watching(brief=60.0) as watched:
        await server.asked("watch", 5)
        await _still_follows(server, watched)
    assert watched.reflector.counts.failures == 4


async def test_a_stream_that_ends_after_each_event_is_not_asked_for_at_once(server: Server, watching: Watching) -> None:
    """It brings something, so that it is no failure; the next one waits until `brief` is over."""
    server.put("a")

    async def one_event(_: web.Request) -> web.StreamResponse:
        server.muted = True
        server.put("a")
        server.muted = False
        return web.Response(body=line(server.history[-1][1]))

    server.faults["watch"].extend([one_event] * 3)
    async with watching(brief=0.2) as watched:
        began = asyncio.get_running_loop().time()
        await server.asked("watch", 4)
        assert asyncio.get_running_loop().time() - began >= 3 * 0.2
        await _still_follows(server, watched)
    assert watched.reflector.counts.failures == 0


async def test_a_packed_stream_is_refused_in_words(server: Server, watching: Watching) -> None:
    server.put("a")
    packed = gzip.compress(OLD_NEWS)
    server.faults["watch"].append(await stream(packed, headers={"Content-Encoding": "gzip"}))
    with capture_logs() as logs:
        async with watching() as watched:
            await server.asked("watch", 2)
            await _still_follows(server, watched)
    assert ["packed (gzip)" in entry["error"] for entry in logs if entry["event"] == "watch failed"] == [True]


@pytest.mark.parametrize("drip", [b"{", b"\n"], ids=["bytes", "empty lines"])
async def test_a_stream_that_drips_is_silent(server: Server, watching: Watching, drip: bytes) -> None:
    """Bytes that never become an event reset no clock: what happened meanwhile is learnt from the next stream."""
    server.put("a")
    server.faults["watch"].append(await stream(*[drip] * 1000, gap=0.02))
    async with watching(read_timeout=0.3) as watched:
        await server.asked("watch", 1)
        server.put("b")
        await watched.settled()
        assert server.history
    assert watched.reflector.counts.streams == 2


@pytest.mark.parametrize("way", ["new tokens", "one token", "empty pages"])
async def test_a_list_without_an_end_is_given_up(server: Server, watching: Watching, way: str) -> None:
    """It took 2.5 GB. The list counts for nothing: what was known stays."""
    for number in range(4):
        server.put(f"pod-{number}")
    asked = [0]

    async def endless(request: web.Request) -> web.StreamResponse:
        asked[0] += 1
        server.faults["list"].appendleft(endless)
        items = [] if way == "empty pages" and asked[0] > 1 else list(server.pods.values())[:2]
        token = "same" if way == "one token" else f"token-{asked[0]}"
        meta = {"resourceVersion": "104", "continue": token, "remainingItemCount": 2}
        return web.json_response({"metadata": meta, "items": items})

    server.faults["list"].append(endless)
    with capture_logs() as logs:
        async with watching(page=2) as watched:
            await watched.failed(1)
            assert (watched.held, watched.reflector.counts.lists) == ({}, 0)
            server.faults["list"].clear()
            await watched.settled()
    assert asked[0] <= 12
    assert any("has no end" in entry["error"] for entry in logs if entry["event"] == "watch failed")


async def test_a_retry_after_of_years_is_not_believed(server: Server, watching: Watching) -> None:
    server.faults["list"].append(status(429, "TooManyRequests", "later", retry_after="1000000000"))
    with capture_logs() as logs:
        async with watching() as watched:
            await watched.failed(1)
    assert [entry["delay"] for entry in logs if entry["event"] == "watch failed"] == [300.0]


FORBIDDEN = 'rollouts is forbidden: User "healer" cannot list resource "rollouts"'


@pytest.mark.parametrize("answer", [status(404, "NotFound", "the server could not find it"), status(403, "Forbidden", FORBIDDEN)])
async def test_a_kind_that_the_cluster_need_not_have_holds_nothing_up_and_is_looked_for_again(
    server: Server, watching: Watching, answer: Answer
) -> None:
    server.put("a")
    server.faults["list"].extend([answer, answer])
    async with watching(optional=True, absent=0.05) as watched:
        await watched.reflector.synced.wait()
        assert watched.reflector.absent
        assert watched.held == {}
        await watched.settled()
        assert not watched.reflector.absent
    assert watched.reflector.counts.failures == 0


async def test_a_kind_that_may_be_read_from_now_on_is_watched_soon(
    server: Server, watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sum of ClusterRoles is empty until the control plane has filled it in, and the kind was there all along."""
    monkeypatch.setattr("healer.cluster.watch._SOON", 0.05)
    server.put("a")
    server.faults["list"].append(status(403, "Forbidden", FORBIDDEN))
    async with watching(optional=True, absent=3600) as watched:
        await watched.reflector.synced.wait()
        await watched.settled()
        assert not watched.reflector.absent


async def test_a_kind_whose_definition_is_deleted_is_dropped_and_found_again(server: Server, watching: Watching) -> None:
    server.put("a")
    async with watching(optional=True, absent=0.05) as watched:
        await watched.settled()
        gone = status(404, "NotFound", "the server could not find it")
        server.faults["list"].extend([gone, gone])
        server.faults["watch"].append(gone)
        server.end()
        await watched.until(lambda: ("drop", "uid-1", "101") in watched.told)
        await watched.settled()


@pytest.mark.parametrize("answer", [status(404, "NotFound", "no such kind"), status(403, "Forbidden", FORBIDDEN)])
async def test_one_refusal_of_an_optional_kind_makes_nothing_forgotten(
    server: Server, watching: Watching, answer: Answer
) -> None:
    """An API server that starts does not serve custom resources for a moment, and rights are edited."""
    server.put("a")
    async with watching(optional=True, absent=0.05) as watched:
        await watched.settled()
        server.faults["watch"].append(answer)
        server.end()
        server.put("b")
        await watched.settled()
    assert [verb for verb, *_ in watched.told] == ["put", "put"]


async def test_a_404_of_a_kind_that_every_cluster_has_is_a_failure(server: Server, watching: Watching) -> None:
    server.faults["list"].append(status(404, "NotFound", "the server could not find it"))
    async with watching() as watched:
        await watched.failed(1)
        assert not watched.reflector.absent
        await watched.settled()
