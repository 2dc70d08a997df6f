"""A Namespace that is read by name: what was seen stands until something else is seen."""

import asyncio

import pytest

from healer.cluster.api import Api
from healer.cluster.poll import NamespacePoll
from healer.model.view import View
from healer.workloads.registry import WORKLOADS
from tests.unit.cluster.conftest import Server


def _namespace(uid: str, **annotations: str) -> dict[str, object]:
    return {"metadata": {"name": "production", "uid": uid, "annotations": annotations}}


PAUSED = _namespace("u1", **{"healer.dev/paused": "true"})
REFUSED = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": 'User "healer" cannot get resource "namespaces"'}
MISSING = {"kind": "Status", "code": 404, "reason": "NotFound"}


async def _seen(server: Server, api: Api, *answers: tuple[object, int]) -> tuple[View, NamespacePoll]:
    """What the view holds after these answers, body and status of each, one after the other."""
    for body, status in answers:
        server.say(body, status=status)
    last = asyncio.Event()
    answer = server.answers.pop()

    async def hang(_: object) -> object:
        last.set()  # all answers before were taken by now
        return await asyncio.Event().wait()

    server.answers.extend([answer, hang])  # type: ignore[list-item]
    view = View(WORKLOADS)
    poll = NamespacePoll(api, view, "production", every=0.001)
    running = asyncio.create_task(poll.run())
    await asyncio.wait_for(last.wait(), 20)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return view, poll


@pytest.mark.parametrize(("body", "status"), [(REFUSED, 403), ("oops", 500)], ids=["forbidden by now", "an error"])
async def test_a_pause_that_was_seen_stands_while_the_namespace_cannot_be_read(
    server: Server, api: Api, body: object, status: int
) -> None:
    view, poll = await _seen(server, api, (PAUSED, 200), (body, status))
    held = view.namespace("production")
    assert held is not None
    assert held.metadata.annotations.paused == "true"
    assert str(status) in poll.trouble


async def test_a_namespace_that_is_gone_or_made_anew_is_not_the_one_that_was_paused(server: Server, api: Api) -> None:
    view, _ = await _seen(server, api, (PAUSED, 200), (MISSING, 404))
    assert view.namespace("production") is None
    view, _ = await _seen(server, api, (PAUSED, 200), (_namespace("u2"), 200))
    held = view.namespace("production")
    assert held is not None
    assert (held.metadata.uid, held.metadata.annotations.paused) == ("u2", "")


async def test_an_error_of_the_server_is_no_answer_and_a_refusal_is(server: Server, api: Api) -> None:
    """Readiness waits for an answer; without the right to read it there will be no other."""
    _, poll = await _seen(server, api, ("oops", 500))
    assert not poll.synced.is_set()
    _, poll = await _seen(server, api, (REFUSED, 403))
    assert poll.synced.is_set()
