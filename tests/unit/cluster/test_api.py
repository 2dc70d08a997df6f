"""The client: what it sends, and what it makes of each sort of answer."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from healer.cluster.api import Api, ApiError, ApiUnavailable, ClusterError, Unreadable
from healer.model.kube import Pod
from tests.unit.cluster.conftest import Server, kubeconfig


class Patch(msgspec.Struct):
    weight: int


async def test_sends_what_it_is_given(server: Server, api: Api) -> None:
    server.say({"ok": True})
    answer = await api.request(
        "PATCH", "/a/b", query={"x": "1&2", "dryRun": "All"}, body=Patch(7), content_type="application/merge-patch+json"
    )
    assert json.loads(answer) == {"ok": True}
    ((method, path, headers, body),) = server.asked
    assert (method, path, json.loads(body)) == ("PATCH", "/a/b?x=1%262&dryRun=All", {"weight": 7})
    assert headers["Content-Type"] == "application/merge-patch+json"
    assert headers["Authorization"] == "Bearer secret"
    assert headers["User-Agent"] == "healer"


async def test_get_decodes(server: Server, api: Api) -> None:
    server.say({"metadata": {"name": "a", "uid": "u"}})
    assert (await api.get("/pod", Pod)).metadata.uid == "u"


@pytest.mark.parametrize("body", ["not json", {"metadata": {"name": 3}}])
async def test_an_answer_of_another_shape_is_unreadable(server: Server, api: Api, body: object) -> None:
    server.say(body)
    with pytest.raises(Unreadable, match="GET /pod: the answer is no Pod"):
        await api.get("/pod", Pod)


async def test_a_refusal_is_told_in_full(server: Server, api: Api) -> None:
    details = {"causes": [{"reason": "DisruptionBudget", "message": "needs 3"}], "retryAfterSeconds": 10}
    server.say({"kind": "Status", "code": 429, "reason": "TooManyRequests", "message": "no", "details": details}, status=429)
    with pytest.raises(ApiError) as caught:
        await api.request("POST", "/evict", body={})
    error = caught.value
    assert (error.status, error.reason, error.message, error.causes) == (429, "TooManyRequests", "no", ("DisruptionBudget",))
    assert error.retry_after == 10
    assert error.is_throttled
    assert str(error) == "POST /evict: 429 TooManyRequests: no"


@pytest.mark.parametrize(("header", "seconds"), [("3", 3.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), (None, None)])
async def test_a_refusal_in_plain_text(server: Server, api: Api, header: str | None, seconds: float | None) -> None:
    """API priority and fairness answers so, and so do proxies."""
    server.say("Too many requests, please try again later.\n", status=429, headers={"Retry-After": header} if header else None)
    with pytest.raises(ApiError) as caught:
        await api.request("GET", "/pods")
    assert (caught.value.message, caught.value.causes) == ("Too many requests, please try again later.", ())
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("status", "name"),
    [(401, "unauthorized"), (403, "forbidden"), (404, "not_found"), (409, "conflict"), (410, "expired"), (429, "throttled")],
)
async def test_refusals_have_names(status: int, name: str) -> None:
    error = ApiError(status)
    assert isinstance(error, ClusterError)
    assert [found for found in dir(error) if found.startswith("is_") and getattr(error, found)] == [f"is_{name}"]


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def hang_in_the_body(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"{")
    return await hang(request)


async def refuse_and_hang(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=500)
    await response.prepare(request)
    await response.write(b"{")
    return await hang(request)


async def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut_in_the_body(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"{")
    request.transport.abort()
    return response


@pytest.mark.parametrize("answer", [hang, hang_in_the_body, refuse_and_hang])
async def test_every_request_has_a_timeout(server: Server, tmp_path: Path, answer: object) -> None:
    assert callable(answer)
    server.answers.append(answer)
    api = await Api.connect(kubeconfig=kubeconfig(tmp_path, server.url), request_timeout=0.2)
    with pytest.raises(ApiUnavailable, match="GET /x: timed out"):
        await api.request("GET", "/x")
    await api.aclose()


async def test_a_stream_waits_for_headers_no_longer_than_for_anything_else(server: Server, api: Api) -> None:
    server.answers.append(hang)
    with pytest.raises(ApiUnavailable, match="GET /x: timed out"):
        async with api.stream("/x", {}, read_timeout=0.1):
            raise AssertionError


async def test_a_refused_stream_that_hangs_is_given_up(server: Server, tmp_path: Path) -> None:
    server.answers.append(refuse_and_hang)
    api = await Api.connect(kubeconfig=kubeconfig(tmp_path, server.url), request_timeout=0.2)
    with pytest.raises(ApiUnavailable, match="GET /x: timed out"):
        async with api.stream("/x", {}, read_timeout=60):
            raise AssertionError
    await api.aclose()


@pytest.mark.parametrize("answer", [cut, cut_in_the_body])
async def test_a_cut_connection(server: Server, api: Api, answer: object) -> None:
    assert callable(answer)
    server.answers.extend([answer] * 3)
    with pytest.raises(ApiUnavailable, match="POST /x"):
        await api.request("POST", "/x", body={})


async def test_nobody_listens(tmp_path: Path) -> None:
    api = await Api.connect(kubeconfig=kubeconfig(tmp_path, "http://127.0.0.1:1"))
    with pytest.raises(ApiUnavailable, match=r"GET /x: .*127\.0\.0\.1:1"):
        await api.request("GET", "/x")
    await api.aclose()
