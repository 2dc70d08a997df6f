"""Events about actions: which are posted, how many, and what becomes of those that cannot be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from healer.actions.evict import Evict
from healer.cluster.api import Api
from healer.daemon.metrics import Metrics
from healer.daemon.object_events import ObjectEvents
from healer.lab import Lab
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Act
from healer.model.incident import State
from healer.model.target import Target
from tests.support.incidents import WORKLOAD, bare

pytestmark = pytest.mark.slow

POD = Target("Pod", "production", "tfs-1", "p1")
INCIDENT = bare(State.ACTING)
ACT = Act(INCIDENT, 0, 1, "evict", Evict.spec.params(), POD, dry_run=False, min_ready=0, seen_at=1.0)
DONE = Outcome(OutcomeKind.DONE, "Evicted", "pod/tfs-1 is evicted")
PATIENCE = 20.0


class Posting:
    """What posts Events to a lab, and its metrics."""

    def __init__(self, lab: Lab, api: Api) -> None:
        self.lab = lab
        self.metrics = Metrics()
        self.events = ObjectEvents(api, self.metrics, "healer-0")

    def counted(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("healer_object_events_total", {"outcome": outcome}) or 0.0

    async def until_counted(self, outcome: str, number: int) -> None:
        await self.lab.wait_for(lambda lab: self.counted(outcome) >= number, PATIENCE)


@pytest.fixture
async def posting(tmp_path: Path) -> AsyncIterator[Posting]:
    async with Lab() as lab:
        await lab.apply_yaml("{apiVersion: v1, kind: Namespace, metadata: {name: production}}")
        lab.write_kubeconfig(tmp_path / "kubeconfig")
        async with aclosing(await Api.connect(kubeconfig=str(tmp_path / "kubeconfig"))) as api, asyncio.TaskGroup() as group:
            each = Posting(lab, api)
            running = group.create_task(each.events.run())
            yield each
            running.cancel()


async def test_what_was_done_is_said_on_the_pod_and_on_its_workload(posting: Posting) -> None:
    posting.events.acted(ACT, DONE, "it crashes")
    await posting.lab.wait_for(lambda lab: len(lab.objects("events")) == 2, PATIENCE)
    notes = {event["involvedObject"]["kind"]: event["message"] for event in posting.lab.objects("events")}
    assert notes.keys() == {"Pod", "Deployment"}
    assert set(notes.values()) == {"healer: pod/tfs-1 is evicted, because it crashes (rule pack/rule, incident x)"}


@pytest.mark.parametrize("kind", [OutcomeKind.DEFERRED, OutcomeKind.RECOVERED, OutcomeKind.GONE])
async def test_what_was_not_done_is_not_said(posting: Posting, kind: OutcomeKind) -> None:
    """Nor is a dry run: the last Event is of something else."""
    posting.events.acted(ACT, replace(DONE, kind=kind), "it crashes")
    posting.events.acted(replace(ACT, dry_run=True), DONE, "it crashes")
    posting.events.acted(replace(ACT, target=WORKLOAD), replace(DONE, reason="RolledBack"), "it is bad")
    await posting.lab.wait_for(lambda lab: bool(lab.objects("events")), PATIENCE)
    assert [event["reason"] for event in posting.lab.objects("events")] == ["RolledBack"]


async def test_an_object_gets_so_many_and_no_more(posting: Posting) -> None:
    for _ in range(10):
        posting.events.acted(ACT, DONE, "it crashes")
    await posting.lab.wait_for(lambda lab: len(lab.objects("events")) == 12, PATIENCE)
    assert posting.counted("dropped") == 8, "four on each of the two objects"


async def test_one_that_is_refused_is_counted_and_the_next_is_posted(posting: Posting) -> None:
    posting.lab.faults.answer(403, verb="create", resource="events", times=2)
    posting.events.acted(ACT, DONE, "it crashes")
    posting.events.acted(ACT, replace(DONE, reason="Restarted"), "it crashes")
    await posting.lab.wait_for(lambda lab: len(lab.objects("events")) == 2, PATIENCE)
    assert [event["reason"] for event in posting.lab.objects("events")] == ["Restarted"] * 2
    assert posting.counted("failed") == 2


async def test_a_long_name_makes_a_valid_event(posting: Posting) -> None:
    """An object's name may have 253 characters, and so may an Event's."""
    posting.events.acted(replace(ACT, target=replace(POD, name="a" * 253)), DONE, "é" * 2000)
    await posting.lab.wait_for(lambda lab: len(lab.objects("events")) == 2, PATIENCE)
    assert posting.counted("failed") == 0
    assert {len(event["message"].encode()) for event in posting.lab.objects("events")} <= {1023, 1024}, "the API counts bytes"
