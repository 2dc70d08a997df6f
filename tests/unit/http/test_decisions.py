"""GET /decisions over real connections: what is given, what is kept back, who may ask."""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from healer.http.decisions import MOST, read_decisions
from healer.http.health import Health
from healer.http.server import Server
from healer.model.effects import Decision, Verb
from healer.model.incident import Reason
from healer.model.target import Target
from healer.settings.http import HttpSettings

AT = 1_790_000_000.25


def decision(
    number: int = 0, *, kind: str = "Pod", namespace: str = "production", rule: str = "tf/crash", **more: Any
) -> Decision:
    target = Target(kind, namespace, f"serving-{number}", f"uid-{number}")
    return Decision(AT + number, Verb.DEFER, Reason("Paused", f"reason {number}"), target, rule, **more)


@asynccontextmanager
async def serving(decisions: Sequence[Decision], **knobs: Any) -> AsyncIterator[aiohttp.ClientSession]:
    settings = HttpSettings(host="127.0.0.1", port=0, **knobs)
    server = Server(settings=settings, webhooks={}, health=Health, registry=CollectorRegistry(), decisions=lambda: decisions)
    async with server, aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session


async def names(session: aiohttp.ClientSession, **query: str) -> list[str]:
    async with session.get("/decisions", params=query) as answer:
        assert answer.status == 200, await answer.text()
        return [row["target"]["name"] for row in (await answer.json())["decisions"]]


async def test_what_is_answered_is_what_was_decided_and_reads_back() -> None:
    made = deque([decision(1), decision(2, rule="", incident="crash-1")])
    async with serving(made) as session, session.get("/decisions") as answer:
        assert answer.content_type == "application/json"
        assert (await answer.json())["decisions"][1] == {
            "at": "2026-09-21T14:13:22.250000Z",
            "decision": "defer",
            "rule": "",
            "incident": "crash-1",
            "target": {"kind": "Pod", "namespace": "production", "name": "serving-2", "uid": "uid-2"},
            "reason": {"code": "Paused", "text": "reason 2"},
        }
        assert read_decisions(await answer.read()) == list(made)


async def test_each_parameter_narrows_and_an_empty_one_does_not() -> None:
    made = [
        decision(0),
        decision(1, namespace="staging"),
        decision(2, kind="Deployment"),
        decision(3, rule="tf/slow"),
        decision(4, incident="crash-1"),
    ]
    async with serving(made) as session:
        assert await names(session, namespace="staging") == ["serving-1"]
        assert await names(session, kind="Deployment") == ["serving-2"]
        assert await names(session, rule="tf/slow") == ["serving-3"]
        assert await names(session, incident="crash-1") == ["serving-4"]
        assert await names(session, name="serving-0", namespace="production") == ["serving-0"]
        assert await names(session, name="serving-0", namespace="staging") == []
        assert len(await names(session, name="", namespace="")) == 5


async def test_the_newest_thousand_come_newest_last() -> None:
    async with serving([decision(number) for number in range(MOST + 7)]) as session:
        given = await names(session)
    assert (len(given), given[0], given[-1]) == (MOST, "serving-7", f"serving-{MOST + 6}")


async def test_an_unknown_parameter_lets_nothing_through() -> None:
    async with serving([decision()]) as session:
        for query in ("pod=serving-0", "name=serving-0&name=serving-1"):
            async with session.get(f"/decisions?{query}") as answer:
                said = await answer.json()
            assert answer.status == 400
            assert "namespace, kind, name, rule, incident" in said["hint"]


async def test_texts_are_redacted() -> None:
    told = Decision(AT, Verb.OPEN, Reason("Slow", "ask ann@example.com, password=hunter22"), Target("Pod", "p", "a", "u"))
    async with serving([told]) as session, session.get("/decisions") as answer:
        text = await answer.text()
    assert "ann@example.com" not in text
    assert "hunter22" not in text
    assert "[email]" in text


async def test_names_of_what_the_cluster_does_not_hold_are_redacted() -> None:
    """They come from labels of an alert; an object's own name stays as it is."""
    outside = Target("Pod", "ann@example.com", "+49 151 23456789 " + "x" * 1000, "")
    held = Target("Pod", "production", "serving-49-151", "uid")
    made = [Decision(AT, Verb.IGNORE, Reason("TargetGone", "gone"), target) for target in (outside, held)]
    async with serving(made) as session, session.get("/decisions") as answer:
        first, second = (row["target"] for row in (await answer.json())["decisions"])
    assert first["namespace"] == "[email]"
    assert "23456789" not in first["name"]
    assert len(first["name"]) <= 253
    assert second["name"] == "serving-49-151"


async def test_the_token_of_webhooks_is_not_asked_for_and_nothing_can_be_posted(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token")
    async with serving([decision()], webhook_token_file=tmp_path / "token") as session:
        assert await names(session) == ["serving-0"]
        async with session.post("/decisions", json={}) as answer:
            assert answer.status == 405


async def test_a_server_that_was_given_none_answers_none() -> None:
    server = Server(settings=HttpSettings(host="127.0.0.1", port=0), webhooks={}, health=Health, registry=CollectorRegistry())
    async with server, aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        assert await names(session) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"decisions": [{"at": 1}]}', b'{"decisions": [{"decision": "guess"}]}'])
def test_another_answer_is_not_taken_for_one(body: bytes) -> None:
    with pytest.raises(ValueError, match="no answer of /decisions"):
        read_decisions(body)
