"""A sink that can be started and stopped, and incidents of the scenes that people read of, for the tests of the smaller sinks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from healer.model.incident import Approved, Background, Incident, Reason, State
from healer.sinks.base import SinkMeters
from healer.sinks.delivery import DeliverySink
from healer.sinks.memory import Memory, ProcessMemory
from healer.sinks.registry import SINKS
from healer.sinks.site import Site
from tests.unit.sinks.incidents import incident, then

SITE = Site(cluster="prod-eu-1", page="https://healer.example.com")
QUICK = {"backoff": 0.001, "backoff_most": 0.002, "reconsider": 0.01}


class SinkBench:
    """A sink that runs, and its counter."""

    def __init__(self, kind: str, memory: Memory | None = None, site: Site = SITE, **settings: Any) -> None:
        self.kind = kind
        self.registry = CollectorRegistry()
        options = SINKS[kind].settings.model_validate(QUICK | settings)
        self.sink: DeliverySink[Any] = SINKS[kind].make(options, site, SinkMeters(self.registry), memory or ProcessMemory())  # type: ignore[assignment]

    def count(self, outcome: str) -> float:
        return self.registry.get_sample_value("healer_notifications_total", {"sink": self.kind, "outcome": outcome}) or 0.0

    def usable(self, target: str) -> float | None:
        return self.registry.get_sample_value("healer_channel_usable", {"sink": self.kind, "channel": target})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.sink.run())
        try:
            yield
        finally:
            assert not task.done(), task
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def settled(self) -> None:
        """Wait until nothing is left to tell, what was refused included."""
        async with asyncio.timeout(10):
            while any(queue.pending for queue in self.sink._queues.values()):
                self.sink._served.clear()
                await self.sink._served.wait()

    async def told(self, *snapshots: Incident) -> None:
        """Tell each, and wait until it is told."""
        for snapshot in snapshots:
            self.sink.tell(snapshot)
            assert await self.sink.flush(10)


def crash_loop(*notify: str, name: str = "crash-loop-1") -> list[Incident]:
    """A crash loop that an eviction heals, from opened to closed."""
    background = Background(
        "A container that crashes again and again serves nobody.", links={"runbook": "https://example.com/runbooks/crash-loop"}
    )
    life = [replace(incident(name, notify=notify), background=background)]
    life.append(then(life[-1], State.ACTING, "nothing speaks against it: evict pod/tensorflow-serving-7b5b8c9d4-xyz12"))
    life.append(then(life[-1], State.VERIFYING, "evicted; waiting for 3 of 3 ready"))
    acted = replace(life[-1], acted_at=(1002.0,))
    healed = then(acted, State.HEALED, "3 of 3 ready for 1 min")
    return [*life[:2], acted, healed, then(healed, State.CLOSED, "stayed healed for the whole cooldown")]


def escalated(*notify: str, name: str = "crash-loop-1") -> Incident:
    """The crash loop when no step of its ladder has helped."""
    return then(crash_loop(*notify, name=name)[2], State.ESCALATED, "no step is left after evict, a human is needed", step=1)


def storm(*notify: str) -> Incident:
    """A storm of 40 pods of one workload, told once, for a human."""
    one = incident("storm-1", notify=notify)
    pod = next(iter(one.targets.values()))
    targets = {
        f"uid-{number}": replace(pod, target=replace(pod.target, name=f"tensorflow-serving-{number}", uid=f"uid-{number}"))
        for number in range(40)
    }
    stormy = then(
        replace(one, targets=targets, storm=True), State.WAITING, "40 of 50 pods are sick: pods are not treated one by one"
    )
    taken = replace(stormy.history[-1], reason=Reason("Storm", stormy.reason.text))
    told = replace(stormy, history=(*stormy.history[:-1], taken), reason=taken.reason)
    return then(told, State.ESCALATED, "the storm has lasted for 10 min, a human is needed")


def bad_canary(*notify: str) -> list[Incident]:
    """A canary that is worse than stable and loses its traffic."""
    opened = replace(
        incident("bad-canary-1", notify=notify),
        rule="tensorflow-serving/bad-canary",
        steps=("shiftTraffic",),
        background=Background("The canary answers worse than stable.", "errors: sum(rate(errors[1m])), tolerance 1.5"),
    )
    acting = then(opened, State.ACTING, "nothing speaks against it: shift the traffic of ingress/model-ab-testing")
    verifying = replace(then(acting, State.VERIFYING, "canary weight 20 to 0"), acted_at=(1002.0,))
    healed = then(verifying, State.HEALED, "the canary gets no traffic")
    return [opened, acting, verifying, healed, then(healed, State.CLOSED, "stayed healed for the whole cooldown")]


def waiting_for_approval(*notify: str) -> Incident:
    """A step that waits for a human's approval."""
    opened = replace(incident(notify=notify), mode="approve")
    return replace(then(opened, State.WAITING, "evict needs an approval"), asked_at=1001.0)


def approved(asked: Incident) -> Incident:
    """The same when it was approved and acts."""
    given = replace(asked, approvals=(Approved(0, "jane", 1002.0),))
    return then(given, State.ACTING, "nothing speaks against it: evict the pod")
