"""An eviction, with the daemon killed right before and right after every request that it sends."""

import os
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from healer.lab.apiserver.store import StoreEvent
from healer.lab.kinds import POD
from healer.lab.objects import Object
from tests.crash.gate import Gate
from tests.crash.matrix import Matrix
from tests.crash.world import Scenario, all_healed, incidents_of, state
from tests.integration.world import NAMESPACE, Rule, pods, rule, serve, serves, told, uid
from tests.support.healer import Healer
from tests.support.processes import PATIENCE

_RULE = rule(
    "crash-loop",
    when={"pod": ["CrashLoopBackOff"], "for": "100ms"},
    heal=[{"evict": {}, "verify": {"within": "30s", "stable": "100ms"}}],
)
_AT_ONCE = 2
"""Runs at a time for each core: half of a run is waiting for the lease of the dead."""


class Eviction(Scenario):
    """One sick pod among three, which is slow to go.

    Slow to go: a second eviction of a pod that is gone could only fail, and would not be noticed.
    """

    must = ("create leases", "create incidents", "update incidents/status", "create pods/eviction", "slack chat.postMessage")

    async def begin(self, stack: AsyncExitStack) -> Rule:
        self.evicted: Counter[str] = Counter()
        self.born: set[str] = set()
        """The uids of all that there ever were."""
        self.lab.store.listeners.append(self._look)
        name, *_ = await serve(self.lab)
        self.sick = uid(self.lab, name)
        await self.lab.behave(NAMESPACE, name, "crash")
        self._hold(["healer.test/slow-to-go"])
        return _RULE

    async def heal(self, healer: Healer, gate: Gate) -> None:
        """The pod goes when healer counts on it."""
        await self.lab.wait_for(lambda lab: any(state(i) in ("verifying", "healed") for i in incidents_of(lab)), PATIENCE)
        self._hold([])
        await self.lab.wait_for(all_healed, PATIENCE)
        await self.slack.wait_for(told("healed"), PATIENCE)

    def ended(self, gate: Gate) -> None:
        self.evicted += gate.evicted

    async def verify(self) -> None:
        assert self.evicted == {self.sick: 1}
        assert len(self.born) == 4
        assert serves(3, without=self.sick)(self.lab)

    def _hold(self, finalizers: list[str]) -> None:
        """Have these finalizers keep the sick pod from going, if it is still there."""

        def change(obj: Object) -> None:
            obj["metadata"]["finalizers"] = finalizers

        for name in [name for name, found in pods(self.lab).items() if found["metadata"]["uid"] == self.sick]:
            self.lab.api.modify(POD, NAMESPACE, name, change)

    def _look(self, collection: str, change: StoreEvent) -> None:
        if collection == "pods":
            self.born.update(pod["metadata"]["uid"] for pod in self.lab.objects("pods", NAMESPACE))


@pytest.mark.timeout(600)
async def test_a_daemon_killed_at_any_request_heals_once_and_says_it_once(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    matrix = Matrix("an eviction", Eviction, tmp_path)
    record_property("figures", await matrix.complete(_AT_ONCE * len(os.sched_getaffinity(0))))
