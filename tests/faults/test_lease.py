"""The lease under faults: requests that fail, networks that are cut, replicas that are killed, stopped and told to go.

Never do two hold it at once. What processes print carries the time by the one clock that they share, and only the order of these
times is asserted.
"""

import asyncio
import json
import math
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from healer.lab import Fault, Lab
from tests.faults import candidate
from tests.faults.conftest import kubeconfig_of
from tests.faults.proxy import Network, Proxy
from tests.support.lease import PATIENCE, HandClock, Replica, change, given, holder, joined, renewed
from tests.support.processes import Process

QUICK = {"duration": 3, "deadline": 2.2, "renew": 0.3, "retry": 0.1, "request_timeout": 0.5}
"""Seconds; a Lease has no shorter ones than whole ones, and a busy machine must not look like a dead one."""
FOR_EVER = QUICK | {"duration": 100_000, "deadline": 90_000}
"""Nothing expires while a test runs."""


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(controllers=False) as lab:
        yield lab


@pytest.fixture
async def proxy(lab: Lab) -> AsyncIterator[Proxy]:
    async with Proxy(lab.url) as proxy:
        yield proxy


def way_to(folder: Path, url: str) -> str:
    """A kubeconfig; returns its path."""
    path = folder / f"kubeconfig-{url.rpartition(':')[2]}"
    path.write_text(yaml.safe_dump(kubeconfig_of(url, {})))
    return str(path)


Joining = Callable[..., AbstractAsyncContextManager[Replica]]


@pytest.fixture
def join(lab: Lab, proxy: Proxy, tmp_path: Path) -> Joining:
    """Starts a replica that reaches the lab through the proxy. Its clock stands still: it never loses the lease by time."""

    def start() -> AbstractAsyncContextManager[Replica]:
        return joined(lab, way_to(tmp_path, proxy.url), "me", HandClock(), request_timeout=0.1)

    return start


Order = Callable[[Lab, int], Fault]

FAULTS: dict[str, Order] = {
    "500": lambda lab, times: lab.faults.answer(500, resource="leases", times=times),
    "429": lambda lab, times: lab.faults.answer(429, headers={"Retry-After": "1"}, resource="leases", times=times),
    "401": lambda lab, times: lab.faults.answer(401, resource="leases", times=times),
    "403": lambda lab, times: lab.faults.answer(403, resource="leases", times=times),
    "not a Lease": lambda lab, times: lab.faults.answer(200, body={"kind": "Status"}, resource="leases", times=times),
    "no answer": lambda lab, times: lab.faults.delay(60, resource="leases", times=times),
    "cut": lambda lab, times: lab.faults.drop(resource="leases", times=times),
}


@pytest.mark.parametrize("order", FAULTS.values(), ids=FAULTS)
async def test_renewals_that_fail_do_not_end_a_term(lab: Lab, join: Joining, order: Order) -> None:
    async with join() as me:
        await me.leads()
        begun = list(me.log)
        fault = order(lab, 6)
        await renewed(lab)
        assert fault.hits == 6
        await renewed(lab)
        assert (me.log, me.lease.is_leader()) == (begun, True)


@pytest.mark.parametrize("order", FAULTS.values(), ids=FAULTS)
async def test_a_campaign_goes_on_through_failures(lab: Lab, join: Joining, order: Order) -> None:
    fault = order(lab, 6)
    async with join() as me:
        await me.leads()
        assert fault.hits == 6
        assert holder(lab) == "me"


async def test_a_renewal_whose_answer_is_lost_does_not_end_a_term(lab: Lab, proxy: Proxy, join: Joining) -> None:
    async with join() as me:
        await me.leads()
        begun = list(me.log)
        proxy.turn(Network.DEAF)
        await renewed(lab)
        await next_look(lab)
        proxy.turn(Network.WHOLE)
        await renewed(lab)
        assert (me.log, me.lease.is_leader()) == (begun, True)


async def taken_unheard(lab: Lab, proxy: Proxy, me: Replica) -> None:
    """Until the replica has taken the Lease, which somebody has released, and does not know."""
    heed = me.heed

    def deafen(annotations: Mapping[str, str]) -> None:
        heed(annotations)
        if me.lease.holder is None:  # it will take it now
            proxy.turn(Network.DEAF)
            me.heed = heed  # type: ignore[method-assign]  # the replica is the test's own

    me.heed = deafen  # type: ignore[method-assign]  # as above
    change(lab, {"holderIdentity": ""})
    await lab.wait_for(lambda lab: holder(lab) == "me", PATIENCE)
    assert me.log == []


async def next_look(lab: Lab) -> None:
    """Until the replica asks for the Lease again: it has given up the request before."""
    await lab.faults.delay(0, verb="get", resource="leases").used()


async def test_a_lease_taken_without_hearing_of_it_is_ours_at_once(lab: Lab, proxy: Proxy, join: Joining) -> None:
    await given(lab)
    async with join() as me:
        await taken_unheard(lab, proxy, me)
        await next_look(lab)
        assert me.log == []
        proxy.turn(Network.WHOLE)
        await me.leads()
    assert me.log[0] == "began 6"  # 5 was the one that it did not hear of


async def test_a_lease_taken_without_hearing_of_it_is_released_on_exit(lab: Lab, proxy: Proxy, join: Joining) -> None:
    await given(lab)
    async with join() as me:
        await taken_unheard(lab, proxy, me)
        me.running.cancel()
        proxy.turn(Network.WHOLE)
        await asyncio.wait((me.running,), timeout=PATIENCE)
        assert me.running.cancelled()
    assert (me.log, holder(lab)) == ([], "")


class Candidate(Process):
    """tests/faults/candidate.py, and what it told."""

    def __init__(self, folder: Path, url: str, name: str, settings: Mapping[str, float]) -> None:
        told = json.dumps({"namespace": "default"} | dict(settings))
        super().__init__(name, [sys.executable, candidate.__file__, way_to(folder, url), name, told])
        self.events: list[dict[str, Any]] = []

    def heard(self, line: str) -> None:
        super().heard(line)
        if line.startswith("{"):
            self.events.append(json.loads(line))

    def times(self, event: str) -> list[float]:
        """When it told this, in seconds by CLOCK_MONOTONIC."""
        return [told["at"] for told in self.events if told["event"] == event]

    def after(self, moment: float) -> list[str]:
        """What it told of the time after that moment."""
        return [told["event"] for told in self.events if told["at"] > moment]

    async def tells(self, event: str, after: float = -math.inf) -> float:
        """Until it tells this of a time after that; returns when it was."""
        await self.until(lambda: event in self.after(after), f"{event!r} of {self.name}")
        return next(at for at in self.times(event) if at > after)

    async def sees(self, name: str) -> None:
        """Until the last holder that it told of is this one."""
        await self.until(
            lambda: [told["holder"] for told in self.events if told["event"] == "sees"][-1:] == [name],
            f"{self.name} seeing {name} lead",
        )

    @property
    def terms(self) -> list[tuple[float, float, int]]:
        """From when until when it held the lease for certain, and the number of the term."""
        return [
            (begin, max(told["at"] for told in self.events if (told["event"], told["epoch"]) == ("acting", epoch)), epoch)
            for begin, epoch in ((told["at"], told["epoch"]) for told in self.events if told["event"] == "leader")
        ]


def never_two(first: Candidate, second: Candidate) -> None:
    """The one led and then the other, with higher numbers, and at no time both."""
    terms = sorted(first.terms + second.terms)
    assert first.terms
    assert second.terms
    assert all(end < begin for (_, end, _), (begin, _, _) in pairwise(terms)), terms
    assert all(before < after for (_, _, before), (_, _, after) in pairwise(terms)), terms


@asynccontextmanager
async def two(folder: Path, first: str, second: str, settings: Mapping[str, float]) -> AsyncIterator[tuple[Candidate, Candidate]]:
    """A leader, and a follower that knows it; they reach the lab at these URLs."""
    async with Candidate(folder, first, "old", settings) as old:
        await old.tells("acting")
        async with Candidate(folder, second, "new", settings) as new:
            await new.sees("old")
            yield old, new


async def test_a_leader_that_is_killed_is_followed(lab: Lab, tmp_path: Path) -> None:
    async with two(tmp_path, lab.url, lab.url, QUICK) as (old, new):
        old.send(signal.SIGKILL)
        assert await old.ended() == -signal.SIGKILL
        await new.tells("acting")
    never_two(old, new)


async def test_a_leader_that_is_told_to_go_hands_over(lab: Lab, tmp_path: Path) -> None:
    """Nothing expires here: only the release lets the other lead."""
    async with two(tmp_path, lab.url, lab.url, FOR_EVER) as (old, new):
        old.send(signal.SIGTERM)
        assert await old.ended() == 0
        await new.tells("acting")
    never_two(old, new)
    assert old.times("lost") < new.times("leader")


async def test_a_leader_that_was_stopped_does_not_act_when_it_goes_on(lab: Lab, tmp_path: Path) -> None:
    async with two(tmp_path, lab.url, lab.url, QUICK) as (old, new):
        old.send(signal.SIGSTOP)
        try:
            taken = await new.tells("leader")
        finally:
            old.send(signal.SIGCONT)
        await old.tells("lost", after=taken)
        await old.sees("new")
        await new.tells("acting", after=old.times("lost")[-1])
    assert old.after(taken)[0] in ("refused", "lost")
    assert "acting" not in old.after(taken)[: old.after(taken).index("lost")]
    never_two(old, new)


@pytest.mark.parametrize("network", ["refused", "silent", "failing"])
async def test_a_leader_that_is_cut_off_stops_before_the_other_leads(
    lab: Lab, proxy: Proxy, tmp_path: Path, network: str
) -> None:
    async with two(tmp_path, proxy.url, lab.url, QUICK) as (old, new):
        if network == "refused":
            await proxy.close()
        else:
            proxy.turn(Network(network))
        await old.tells("lost")
        await new.tells("leader")
        if network == "refused":
            await proxy.open()
        else:
            proxy.turn(Network.WHOLE)  # a renewal that was on its way arrives now
        await old.sees("new")
        await new.tells("acting", after=old.events[-1]["at"])
        assert holder(lab) == "new"
    never_two(old, new)
