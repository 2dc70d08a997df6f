"""Approving, against the lab: exactly what was shown is approved, and healer hears of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from healer.cluster.api import Api, ClusterError
from healer.engine.safety.wide import BREAKER
from healer.journal.watch import Incidents
from healer.lab.objects import Object
from healer.model.incident import Approved, Incident, State
from healer.model.target import Target
from healer.operate.approve import ApprovalRequest, NotWaiting, approve
from healer.operate.objects import OperateError
from healer.operate.who import Who, signature
from tests.support.processes import PATIENCE
from tests.unit.operate.conftest import SPACE, Place

pytestmark = pytest.mark.slow

NAME = "crash-loop-1"
BY = "healer.dev/approved-by"


def waiting(place: Place, **more: Any) -> Incident:
    asked = {"mode": "approve", "asked_at": place.now - 10}
    return place.incident(State.WAITING, "NeedsApproval", "a human decides", **asked | more)


async def approved(place: Place, by: str = "alice") -> list[str]:
    """What was shown."""
    shown: list[str] = []
    await approve(place.api, SPACE, NAME, by, lambda asked: shown.append(str(asked)))
    return shown


@asynccontextmanager
async def listening(place: Place) -> AsyncIterator["asyncio.Queue[tuple[str, str]]"]:
    """The daemon's ear for approvals."""
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    place.lab.write_kubeconfig(place.home / "direct")
    api = await Api.connect(kubeconfig=str(place.home / "direct"))

    def uid_of(name: str) -> str:
        (found,) = [each for each in place.lab.objects("incidents.healer.dev") if each["metadata"]["name"] == name]
        return str(found["metadata"]["uid"])

    watch = Incidents(api, lambda name, by: heard.put_nowait((name, by)), uid_of=uid_of)
    running = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(PATIENCE):
            await watch.reflectors[0].synced.wait()
            yield heard
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await api.aclose()


async def test_it_shows_what_will_be_done_and_writes_who(place: Place) -> None:
    await place.keep(waiting(place))
    (shown,) = await approved(place, "  alice ")
    for part in (
        NAME,
        "tensorflow-serving/crash-loop",
        f"step 1 of 2 (evict): evict {place.pod}",
        "CrashLoopBackOff",
        "a human decides",
    ):
        assert part in shown
    assert place.annotations("incidents", NAME) == {BY: "alice"}


async def test_healer_hears_of_each_approval_even_of_a_second_by_the_same_person(place: Place) -> None:
    await place.keep(waiting(place))
    async with listening(place) as heard:
        await approved(place)
        assert await heard.get() == (NAME, "alice")
        await place.keep(waiting(place, step=1))
        await approved(place)
        assert await heard.get() == (NAME, "alice")


@pytest.mark.parametrize("state", [State.OPEN, State.WAITING, State.VERIFYING, State.ESCALATED, State.CLOSED])
async def test_what_does_not_wait_for_approval_is_not_approved(place: Place, state: State) -> None:
    await place.keep(place.incident(state, "DisruptionInFlight", "another pod is down"))
    with pytest.raises(NotWaiting, match=f"it is {state}: another pod is down"):
        await approved(place)
    assert place.annotations("incidents", NAME) == {}


def meanwhile(place: Place, **status: Any) -> Callable[[ApprovalRequest], None]:
    """The incident goes on while the person reads."""

    def change(obj: Object) -> None:
        obj["status"] |= status

    def go_on(_: ApprovalRequest) -> None:
        place.lab.api.modify(place.lab.api.kinds.named("incidents"), SPACE, NAME, change, subresource="status")

    return go_on


@pytest.mark.parametrize(
    "status",
    [
        {"step": 1},
        {"attempt": 1},
        {"targets": {}},
        {"state": "escalated"},
        {"approvals": [{"step": 0, "by": "bob", "at": "2026-08-01T09:00:00Z"}]},
    ],
)
async def test_an_approval_holds_only_for_what_was_shown(place: Place, status: dict[str, Any]) -> None:
    await place.keep(waiting(place))
    with pytest.raises(NotWaiting, match=r"changed meanwhile, nothing was approved|does not wait for approval"):
        await approve(place.api, SPACE, NAME, "alice", meanwhile(place, **status))
    assert place.annotations("incidents", NAME) == {}


async def test_a_change_that_does_not_matter_is_no_hindrance(place: Place) -> None:
    await place.keep(waiting(place))
    asked = await approve(place.api, SPACE, NAME, "alice", meanwhile(place, wakeAt="2030-01-01T00:00:00Z"))
    assert asked.approver == "alice"
    assert place.annotations("incidents", NAME) == {BY: "alice"}


async def test_what_another_guard_puts_off_meanwhile_is_approved_all_the_same(place: Place) -> None:
    await place.keep(place.incident(State.WAITING, "Paused", mode="approve", asked_at=place.now - 10))
    await approved(place)
    assert place.annotations("incidents", NAME) == {BY: "alice"}


async def test_what_is_approved_already_does_not_wait(place: Place) -> None:
    await place.keep(waiting(place, approvals=(Approved(0, "bob", place.now - 5),)))
    with pytest.raises(NotWaiting):
        await approved(place)
    await place.keep(waiting(place, approvals=(Approved(0, "bob", place.now - 5),), step=1))
    await approved(place)


async def test_healer_is_told_to_go_on_after_the_breaker(place: Place) -> None:
    """Its incident has no ladder."""
    cluster = Target("Cluster", SPACE, "cluster", "cluster")
    await place.keep(place.incident(State.ESCALATED, rule=BREAKER, workload=cluster, steps=(), targets={}))
    (shown,) = await approved(place)
    assert "no ladder: let healer act again, everywhere" in shown
    assert place.annotations("incidents", NAME) == {BY: "alice"}
    await place.keep(place.incident(State.CLOSED, rule=BREAKER, workload=cluster, steps=(), targets={}))
    with pytest.raises(NotWaiting):
        await approved(place)


async def test_what_healer_did_not_make_takes_no_approval_and_that_is_said(place: Place) -> None:
    """healer hears of none on it: "approved" would not be so."""
    await place.keep(waiting(place), signed=False)
    with pytest.raises(NotWaiting, match="healer did not make this object itself"):
        await approved(place)


async def test_what_is_not_there_cannot_be_approved(place: Place) -> None:
    with pytest.raises(OperateError, match="there is no incident/crash-loop-1 in production"):
        await approved(place)
    with pytest.raises(OperateError, match="cannot be the name of an incident"):
        await approve(place.api, SPACE, "../x", "alice", lambda _: None)
    await place.keep(waiting(place))
    with pytest.raises(OperateError, match="--by"):
        await approved(place, " ")


async def test_who_signs_is_the_kubeconfig_s_user_only_where_the_server_does_not_say(place: Place) -> None:
    """Before Kubernetes 1.28, or without the right to ask. No answer at all is an error: the name might be refused later."""
    me = Who("alice", SPACE)
    for code in (403, 404):
        place.lab.faults.answer(code, verb="create", resource="selfsubjectreviews")
        assert await signature(place.api, me) == "alice"
    place.lab.faults.answer(503, verb="create", resource="selfsubjectreviews", times=None)
    with pytest.raises(ClusterError, match="503"):
        await signature(place.api, me)


async def test_a_cluster_without_the_definition_says_what_to_apply(place: Place) -> None:
    place.lab.api.kinds.undefine(place.lab.objects("customresourcedefinitions")[0])
    with pytest.raises(OperateError, match=r"kubectl apply -f deploy/healer/crd\.yaml"):
        await approved(place)
