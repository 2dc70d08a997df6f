"""The lease: who may take it and when, what is written, when a term is cut short. Real HTTP; the clock is the test's."""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from healer.cluster.api import Api
from healer.cluster.lease import Lease, LeaseSettings
from healer.lab import Lab
from tests.support.lease import PATIENCE, HandClock, Replica, annotated, change, delete, given, holder, joined, renewed, stored

pytestmark = pytest.mark.slow

MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
PATH = "/apis/coordination.k8s.io/v1/namespaces/default/leases"

Joining = Callable[..., AbstractAsyncContextManager[Replica]]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(controllers=False) as lab:
        yield lab


@pytest.fixture
def kubeconfig(lab: Lab, tmp_path: Path) -> str:
    path = tmp_path / "kubeconfig"
    lab.write_kubeconfig(path)
    return str(path)


@pytest.fixture
async def api(kubeconfig: str) -> AsyncIterator[Api]:
    api = await Api.connect(kubeconfig=kubeconfig)
    yield api
    await api.aclose()


@pytest.fixture
def join(kubeconfig: str, lab: Lab, clock: HandClock) -> Joining:
    """Starts a replica; keyword arguments change LeaseSettings."""

    def start(identity: str = "me", **settings: Any) -> AbstractAsyncContextManager[Replica]:
        return joined(lab, kubeconfig, identity, clock, **settings)

    return start


RENEWED = {"renewTime": "2026-11-22T10:00:02.000000Z"}


def test_the_defaults() -> None:
    settings = LeaseSettings(namespace="healer")
    assert (settings.duration, settings.deadline, settings.renew, settings.retry) == (10, 7, 2, 1)
    assert settings.request_timeout < min(settings.duration, settings.deadline, settings.renew, settings.retry)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"deadline": 10}, r"deadline \(10 s\) must be below duration \(10 s\)"),
        ({"renew": 7}, r"renew \(7 s\) must be below deadline \(7 s\)"),
        ({"retry": 8}, r"retry \(8 s\) must be below deadline \(7 s\)"),
        ({"request_timeout": 7}, r"request_timeout \(7 s\) must be below deadline \(7 s\)"),
        ({"retry": 0}, "retry is 0 s; it must be above 0"),
        ({"renew": -1}, "renew is -1 s"),
        ({"duration": math.inf}, "duration is inf s"),
        ({"deadline": math.nan}, "deadline is nan s"),
        ({"name": ""}, "name is empty"),
        ({"namespace": ""}, "namespace is empty"),
    ],
)
def test_settings_that_do_not_go_together(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LeaseSettings(**({"namespace": "default"} | wrong))


async def test_an_identity_is_needed(api: Api) -> None:
    with pytest.raises(ValueError, match="identity is empty"):
        Lease(api, LeaseSettings(namespace="default"), "")


async def test_a_missing_lease_is_created(lab: Lab, join: Joining) -> None:
    async with join(duration=10.5) as me:
        await me.leads()
        lease = stored(lab)
        spec = lease["spec"]
        assert (lease["metadata"]["namespace"], lease["metadata"]["name"]) == ("default", "healer")
        assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("me", 11, 0)
        assert MICRO_TIME.fullmatch(spec["acquireTime"])
        assert (me.lease.holder, me.lease.epoch) == ("me", 0)
        await renewed(lab)
        assert MICRO_TIME.fullmatch(stored(lab)["spec"]["renewTime"])
        assert stored(lab)["spec"] == spec | {"renewTime": stored(lab)["spec"]["renewTime"]}
    assert me.log == ["began 0", "cancelled 0, held: True", "ended 0"]
    assert lab.requests.permissions() == {("coordination.k8s.io", "leases", verb) for verb in ("get", "create", "update")}


async def test_a_released_lease_is_taken_at_once_and_kept_as_it_was_found(lab: Lab, join: Joining) -> None:
    await given(lab, "", labels={"team": "ml"}, annotations={"note": "by hand"})
    async with join() as me:
        await me.leads()
        assert me.annotations == {"note": "by hand"}
        lease = stored(lab)
        assert (lease["metadata"]["labels"], lease["metadata"]["annotations"]) == ({"team": "ml"}, {"note": "by hand"})
        spec = lease["spec"]
        assert (spec["preferredHolder"], spec["strategy"]) == ("somebody", "OldestEmulationVersion")
        assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("me", 10, 5)
        assert me.lease.epoch == 5


async def test_the_record_of_another_is_left_for_as_long_as_the_record_says(lab: Lab, join: Joining, clock: HandClock) -> None:
    await given(lab, duration=15)
    async with join() as me:
        await me.reads()
        assert (me.lease.holder, me.lease.is_leader()) == ("other", False)
        clock.now += 14.9
        await me.reads()
        assert holder(lab) == "other"
        clock.now += 0.1
        await me.leads()
    assert me.log[0] == "began 5"


async def test_a_record_without_a_duration_is_left_for_our_own(lab: Lab, join: Joining, clock: HandClock) -> None:
    await given(lab)
    change(lab, {"leaseDurationSeconds": None})
    async with join() as me:
        await me.reads()
        clock.now += 9.9
        await me.reads()
        assert holder(lab) == "other"
        clock.now += 0.1
        await me.leads()


async def test_a_renewal_by_another_begins_the_wait_anew(lab: Lab, join: Joining, clock: HandClock) -> None:
    await given(lab, duration=15)
    async with join() as me:
        await me.reads()
        clock.now += 14
        change(lab, RENEWED)
        await me.reads()
        clock.now += 14.9
        await me.reads()
        assert holder(lab) == "other"
        clock.now += 0.1
        await me.leads()


async def test_an_annotation_is_no_renewal(lab: Lab, join: Joining, clock: HandClock) -> None:
    await given(lab, duration=15)
    async with join() as me:
        await me.reads()
        clock.now += 14
        await annotated(me, "x")
        clock.now += 1
        await me.leads()
        assert stored(lab)["metadata"]["annotations"] == {"note": "x"}


async def test_our_name_written_by_another_process_is_not_us(lab: Lab, join: Joining, clock: HandClock) -> None:
    await given(lab, holder="me", duration=15)
    async with join("me") as me:
        await me.reads()
        assert not me.lease.is_leader()
        clock.now += 15
        await me.leads()
        assert me.lease.epoch == 5


async def test_a_follower_waits_after_the_lease_was_deleted(lab: Lab, join: Joining, clock: HandClock) -> None:
    """For its leader may not know yet."""
    await given(lab, duration=15)
    async with join() as me:
        await me.reads()
        delete(lab)
        clock.now += 9.9
        for _ in range(3):
            await lab.faults.delay(0, verb="get", resource="leases").used()
        assert me.lease.holder is None
        clock.now += 9.9
        for _ in range(3):
            await lab.faults.delay(0, verb="get", resource="leases").used()
        assert lab.objects("leases") == []
        clock.now += 0.1
        await me.leads()
        assert stored(lab)["spec"]["leaseTransitions"] == me.lease.epoch == 5


async def test_a_leader_stops_when_the_lease_was_deleted(lab: Lab, join: Joining, clock: HandClock) -> None:
    async with join() as me:
        await me.leads()
        delete(lab)
        await me.until(lambda: "ended 0" in me.log)
        assert me.log[1:] == ["cancelled 0, held: False", "ended 0"]
        clock.now += 10
        await me.leads()
        assert me.log[-1] == "began 1"


async def test_a_leader_stops_when_another_holds_the_lease(lab: Lab, join: Joining, api: Api) -> None:
    async with join() as me:
        await me.leads()
        wound_down = asyncio.Event()
        me.wind_down = wound_down.wait
        change(lab, {"holderIdentity": "other", "leaseTransitions": 1})
        await me.until(lambda: "cancelled 0, held: False" in me.log)
        assert me.lease.holder == "other"
        change(lab, {"holderIdentity": ""})
        lab.requests.clear()
        for _ in range(5):
            await api.request("GET", PATH)
        assert (len(lab.requests), me.log[-1]) == (5, "cancelled 0, held: False")  # nobody asks but the test
        wound_down.set()
        await me.leads()
        assert me.log[2:] == ["ended 0", "began 2"]


async def test_a_leader_that_is_annotated_reads_that_and_renews_at_once(lab: Lab, join: Joining) -> None:
    async with join(retry=500, deadline=1000, duration=2000) as me:
        await me.leads()
        for note in ("a", "b", "c"):
            await annotated(me, note)
            await renewed(lab)
        assert stored(lab)["metadata"]["annotations"] == {"note": "c"}
        assert me.log == ["began 0"]


async def test_a_lease_that_changes_just_before_it_is_taken_is_read_again(lab: Lab, join: Joining) -> None:
    await given(lab, "")
    conflict = lab.faults.answer(409, verb="update", resource="leases", times=2)
    async with join() as me:
        await me.leads()
    assert conflict.hits == 2
    assert me.log[0] == "began 5"


async def test_somebody_creates_the_lease_first(lab: Lab, join: Joining) -> None:
    await given(lab)
    lab.faults.answer(404, verb="get", resource="leases")
    async with join() as me:
        await me.reads()
        assert (me.lease.holder, me.lease.is_leader()) == ("other", False)
    verbs = [seen.verb for seen in lab.requests]
    assert verbs[:3] == ["get", "create", "get"]
    assert holder(lab) == "other"


async def test_of_two_one_leads_and_the_other_knows_it(lab: Lab, join: Joining) -> None:
    async with join("one") as one, join("two") as two:
        await lab.wait_for(lambda lab: bool(lab.objects("leases")))
        first, second = (one, two) if holder(lab) == "one" else (two, one)
        await first.leads()
        await second.reads()
        assert second.lease.holder == first.lease.holder == holder(lab)
        assert (first.lease.is_leader(), second.lease.is_leader(), second.log) == (True, False, [])
        first.running.cancel()
        await second.leads()
        assert (second.log, first.log[-1]) == (["began 1"], "ended 0")


async def test_held_ends_with_the_deadline_before_anything_else_happens(lab: Lab, join: Joining, clock: HandClock) -> None:
    """As after a SIGSTOP: no time passes in the process, and much on the clock."""
    async with join() as me:
        await me.leads()
        clock.now += 6.99
        assert me.lease.is_leader()
        clock.now += 0.01
        assert not me.lease.is_leader()
        await me.until(lambda: "ended 0" in me.log)
        await me.leads()
    assert me.log[:4] == ["began 0", "cancelled 0, held: False", "ended 0", "began 1"]


async def test_the_deadline_counts_from_when_the_renewal_was_sent(lab: Lab, join: Joining, clock: HandClock) -> None:
    async with join() as me:
        await me.leads()
        slow = lab.faults.delay(0.1, verb="update", resource="leases")
        sent = clock.now
        failing = lab.faults.answer(500, verb="update", resource="leases", times=None)
        await slow.used()
        clock.now += 3
        await failing.used()
        clock.now = sent + 6.99
        assert me.lease.is_leader()
        clock.now = sent + 7
        assert not me.lease.is_leader()


async def test_no_request_is_waited_for_beyond_the_deadline(lab: Lab, join: Joining, clock: HandClock) -> None:
    async with join(request_timeout=500, deadline=1000, duration=2000) as me:
        await me.leads()
        failing = lab.faults.answer(500, verb="update", resource="leases", times=None)
        await failing.used()
        hanging = lab.faults.delay(1000, resource="leases", times=None)
        lab.faults.remove(failing)
        clock.now += 999.95
        await hanging.used()
        clock.now += 0.05
        await me.until(lambda: "ended 0" in me.log)
        lab.faults.clear()


async def test_a_term_that_ends_ends_the_run_and_the_lease_is_released(lab: Lab, join: Joining) -> None:
    await given(lab, "")
    async with join() as me:
        me.task = lambda: asyncio.sleep(0)
        await asyncio.wait((me.running,), timeout=PATIENCE)
        assert me.running.result() is None
        assert (me.log, holder(lab), me.lease.holder, me.lease.is_leader()) == (["began 5", "ended 5"], "", None, False)
        assert stored(lab)["spec"]["leaseTransitions"] == 5


async def test_a_term_that_raises_ends_the_run_and_the_lease_is_released(lab: Lab, join: Joining) -> None:
    async def fail() -> None:
        raise ArithmeticError("so it is")

    async with join() as me:
        me.task = fail
        await asyncio.wait((me.running,), timeout=PATIENCE)
        assert isinstance(me.running.exception(), ArithmeticError)
        assert holder(lab) == ""


async def test_a_term_that_fails_as_it_winds_down_ends_the_run(lab: Lab, join: Joining) -> None:
    async def fail() -> None:
        raise ArithmeticError("so it is")

    async with join() as me:
        await me.leads()
        me.wind_down = fail
        change(lab, {"holderIdentity": "other"})
        await asyncio.wait((me.running,), timeout=PATIENCE)
        assert isinstance(me.running.exception(), ArithmeticError)
        assert holder(lab) == "other"


async def test_what_on_annotations_raises_ends_the_term_and_the_run(lab: Lab, join: Joining) -> None:
    def fail(annotations: Mapping[str, str]) -> None:
        raise ArithmeticError("so it is")

    async with join() as me:
        await me.leads()
        me.heed = fail  # type: ignore[method-assign]  # the replica is the test's own
        await asyncio.wait((me.running,), timeout=PATIENCE)
        assert isinstance(me.running.exception(), ArithmeticError)
        assert me.log == ["began 0", "cancelled 0, held: True", "ended 0"]


async def test_a_clean_exit_winds_down_with_the_lease_held_and_then_releases_it(
    lab: Lab, join: Joining, clock: HandClock
) -> None:
    async def wind_down() -> None:
        for _ in range(3):  # beyond the deadline: it is renewed all the while
            await renewed(lab)
            clock.now += 3
        me.say(f"wound down, held: {me.lease.is_leader()} {holder(lab)}")

    async with join() as me:
        await me.leads()
        me.wind_down = wind_down
        me.running.cancel()
        await asyncio.wait((me.running,), timeout=PATIENCE)
        assert me.running.cancelled()
        assert me.log[1:] == ["cancelled 0, held: True", "wound down, held: True me", "ended 0"]
        assert (holder(lab), me.lease.holder, me.lease.is_leader()) == ("", None, False)
        assert stored(lab)["spec"]["leaseTransitions"] == 0


async def test_a_second_cancellation_reaches_the_term(lab: Lab, join: Joining) -> None:
    async with join() as me:
        await me.leads()
        me.wind_down = asyncio.Event().wait
        me.running.cancel()
        await me.until(lambda: "cancelled 0, held: True" in me.log)
        me.running.cancel()
        await asyncio.wait((me.running,), timeout=PATIENCE)
        assert me.running.cancelled()
        assert (me.log[-1], holder(lab)) == ("ended 0", "")


async def test_an_exit_while_a_lost_term_winds_down(lab: Lab, join: Joining) -> None:
    async with join() as me:
        await me.leads()
        me.wind_down = asyncio.Event().wait
        change(lab, {"holderIdentity": "other"})
        await me.until(lambda: "cancelled 0, held: False" in me.log)
        me.running.cancel()
        await asyncio.wait((me.running,), timeout=PATIENCE)
        assert me.running.cancelled()
        assert (me.log[-1], holder(lab)) == ("ended 0", "other")


async def test_a_release_that_meets_a_change_is_tried_again(lab: Lab, join: Joining) -> None:
    async with join(renew=6) as me:
        await me.leads()
        change(lab, note="x")
        me.running.cancel()
        await asyncio.wait((me.running,), timeout=PATIENCE)
        assert (holder(lab), stored(lab)["metadata"]["annotations"]) == ("", {"note": "x"})


async def test_a_lease_that_another_has_taken_is_not_released(lab: Lab, join: Joining) -> None:
    async with join(renew=6) as me:
        await me.leads()
        change(lab, {"holderIdentity": "other"})
        me.running.cancel()
        await asyncio.wait((me.running,), timeout=PATIENCE)
        assert (me.running.cancelled(), holder(lab)) == (True, "other")


async def test_a_release_without_an_answer_does_not_hold_up_the_exit(lab: Lab, join: Joining) -> None:
    async with join(renew=6, request_timeout=0.2) as me:
        await me.leads()
        hanging = lab.faults.delay(1000, resource="leases", times=None)
        me.running.cancel()
        await asyncio.wait((me.running,), timeout=PATIENCE)
        assert (me.running.cancelled(), hanging.hits) == (True, 1)


async def test_a_release_that_never_succeeds_is_given_up(lab: Lab, join: Joining) -> None:
    async with join(renew=6, request_timeout=0.2) as me:
        await me.leads()
        conflict = lab.faults.answer(409, verb="update", resource="leases", times=None)
        me.running.cancel()
        await asyncio.wait((me.running,), timeout=PATIENCE)
        assert me.running.cancelled()
        assert conflict.hits > 1
        assert holder(lab) == "me"


async def test_a_follower_that_exits_writes_nothing(lab: Lab, join: Joining) -> None:
    await given(lab)
    async with join() as me:
        await me.reads()
    assert {seen.verb for seen in lab.requests} == {"get"}
