"""A lease at work in this process, what its terms did, and the hand of somebody else on the Lease object."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from healer.clock import Clock
from healer.cluster.api import Api
from healer.cluster.lease import Lease, LeaseSettings
from healer.lab import Lab

PATIENCE = 20.0
QUICK: dict[str, Any] = {"renew": 0.005, "retry": 0.005, "request_timeout": 5.0}


@dataclass
class HandClock:
    """Seconds that pass when the test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Replica:
    """One lease at work, and what its terms did."""

    lab: Lab
    clock: Callable[[], float]
    lease: Lease = field(init=False)
    running: asyncio.Task[None] = field(init=False)
    log: list[str] = field(default_factory=list)
    annotations: Mapping[str, str] = field(default_factory=dict)
    looks: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    wind_down: Callable[[], Any] | None = None
    """Awaited when a term is cancelled."""
    task: Callable[[], Any] | None = None
    """Awaited as the term, instead of waiting for ever."""

    def heed(self, annotations: Mapping[str, str]) -> None:
        """on_annotations."""
        self.annotations = annotations
        self.looks += 1
        self.news.set()

    def say(self, what: str) -> None:
        """Note it."""
        self.log.append(what)
        self.news.set()

    async def term(self) -> None:
        """The term."""
        assert self.lease.is_leader()
        self.say(f"began {self.lease.epoch}")
        try:
            await (self.task() if self.task else asyncio.Event().wait())
        except asyncio.CancelledError:
            self.say(f"cancelled {self.lease.epoch}, held: {self.lease.is_leader()}")
            if self.wind_down:
                await self.wind_down()
            raise
        finally:
            self.say(f"ended {self.lease.epoch}")

    async def until(self, holds: Callable[[], bool]) -> None:
        """Until something was read, or a term did something, that makes it true."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                assert not self.running.done(), self.running
                self.news.clear()
                await self.news.wait()

    async def leads(self) -> None:
        """Until a term goes on."""
        await self.until(lambda: bool(self.log) and self.log[-1].startswith("began"))

    async def reads(self, times: int = 3) -> None:
        """Until the Lease was read so often, from now on: it was also decided upon then, all but the last time."""
        target = self.looks + times
        await self.until(lambda: self.looks >= target)


@asynccontextmanager
async def joined(lab: Lab, kubeconfig: str, identity: str, clock: Callable[[], float], **settings: Any) -> AsyncIterator[Replica]:
    """A replica from entry to exit; keyword arguments change LeaseSettings, which are quick."""
    api = await Api.connect(
        kubeconfig=kubeconfig, request_timeout=1000, clock=Clock(steady=clock)
    )  # the lease has limits of its own
    replica = Replica(lab, clock)
    replica.lease = Lease(
        api,
        LeaseSettings(namespace="default", **(QUICK | settings)),
        identity,
        on_annotations=lambda annotations: replica.heed(annotations),
    )
    replica.running = asyncio.create_task(replica.lease.run(replica.term))
    replica.running.add_done_callback(lambda _: replica.news.set())
    try:
        yield replica
    finally:
        replica.running.cancel()
        await asyncio.wait((replica.running,))
        await api.aclose()
    assert not replica.lease.is_leader()


def stored(lab: Lab) -> dict[str, Any]:
    """The Lease."""
    (lease,) = lab.objects("leases")
    return lease


def holder(lab: Lab) -> str:
    return str(stored(lab)["spec"]["holderIdentity"])


def change(lab: Lab, spec: Mapping[str, Any] | None = None, **annotations: str) -> None:
    """Somebody else writes to the Lease."""

    def edit(obj: dict[str, Any]) -> None:
        obj["spec"] |= spec or {}
        if annotations:
            obj["metadata"].setdefault("annotations", {}).update(annotations)

    lab.api.modify(lab.api.kinds.named("leases"), "default", "healer", edit)


def delete(lab: Lab) -> None:
    lab.api.delete(lab.api.kinds.named("leases"), "default", "healer")


async def renewed(lab: Lab) -> None:
    """Until the Lease is renewed, from now on."""
    seen = stored(lab)["spec"]["renewTime"]
    await lab.wait_for(lambda lab: bool(stored(lab)["spec"]["renewTime"] > seen), PATIENCE)


async def annotated(me: Replica, note: str) -> None:
    """Somebody annotates the Lease; until the replica has read that."""
    change(me.lab, note=note)
    await me.until(lambda: me.annotations == {"note": note})


async def given(lab: Lab, holder: str = "other", duration: int = 15, **metadata: Any) -> None:
    """A Lease as somebody else has written it."""
    moment = "2026-11-22T10:00:00.000000Z"
    spec = {
        "holderIdentity": holder,
        "leaseDurationSeconds": duration,
        "acquireTime": moment,
        "renewTime": moment,
        "leaseTransitions": 4,
        "preferredHolder": "somebody",
        "strategy": "OldestEmulationVersion",
    }
    await lab.apply(
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "healer", **metadata}, "spec": spec}
    )
