"""Approvals that people write on incident objects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from healer.cluster.watch import WatchSettings
from healer.journal.kube import KubeJournal
from healer.journal.watch import Incidents
from healer.model.incident import State
from tests.unit.journal.conftest import PATIENCE, Cluster, durable
from tests.unit.journal.incidents import incident, then

APPROVAL = "healer.dev/approved-by"


@dataclass
class Told:
    """What was told, and word of it."""

    approvals: list[tuple[str, str]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, name: str, approver: str) -> None:
        self.approvals.append((name, approver))
        self.news.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.approvals) < count:
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def watching(cluster: Cluster, told: Told, uid_of: Callable[[str], str | None]) -> AsyncIterator[Incidents]:
    """A watch that is synced."""
    settings = WatchSettings(backoff_first=0.001, backoff_cap=0.005, brief=0.0)
    incidents = Incidents(
        await cluster.api(direct=True),
        told.hear,
        uid_of=uid_of,
        namespaces=(cluster.client.namespace,),
        settings=settings,
    )
    task = asyncio.create_task(incidents.run())
    try:
        async with asyncio.timeout(PATIENCE):
            await incidents.reflectors[0].synced.wait()
        yield incidents
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def approve(cluster: Cluster, name: str, approver: str | None) -> None:
    change = {"metadata": {"annotations": {APPROVAL: approver}}}
    assert (await cluster.client.patch(f"{cluster.path}/{name}", change)).code == 200


async def opened(cluster: Cluster, *names: str) -> KubeJournal:
    journal = await cluster.journal()
    for name in names:
        journal.note(incident(name, cluster.client.namespace))
    await durable(journal, *names)
    return journal


async def test_each_approval_is_told_once(cluster: Cluster) -> None:
    """Those that stand at the start, and those that come; not what healer or others change besides."""
    journal = await opened(cluster, "early", "late")
    await approve(cluster, "early", "alice")
    told = Told()
    async with watching(cluster, told, journal.uid_of):
        await told.until(1)
        journal.remember("early", "slack", {"ts": "1"})
        await durable(journal, "early")
        await approve(cluster, "late", "bob")
        await told.until(2)
        await approve(cluster, "late", None)
        await approve(cluster, "late", " carol ")
        await told.until(3)
    assert told.approvals == [("early", "alice"), ("late", "bob"), ("late", "carol")]


async def test_an_approval_in_another_namespace_approves_nothing(cluster: Cluster) -> None:
    journal = await opened(cluster, "mine", "yours")
    await approve(cluster, "yours", "mallory")
    told = Told()
    elsewhere = {"mine": journal.uid_of("mine"), "yours": "another's"}
    async with watching(cluster, told, elsewhere.get):
        await approve(cluster, "mine", "alice")
        await told.until(1)
    assert told.approvals == [("mine", "alice")]


async def test_what_was_approved_before_the_journal_was_read_is_told_again(cluster: Cluster) -> None:
    await opened(cluster, "one", "two")
    await approve(cluster, "one", "alice")
    successor, told = await cluster.journal(), Told()
    async with watching(cluster, told, successor.uid_of) as incidents:
        assert told.approvals == [], "nothing is known yet"
        await successor.load()
        incidents.tell()
        assert told.approvals == [("one", "alice")]
        await cluster.client.delete(f"{cluster.path}/one")
        await approve(cluster, "two", "bob")
        await told.until(2)
        incidents.tell()
    assert told.approvals == [("one", "alice"), ("two", "bob"), ("two", "bob")]


async def test_an_approval_counts_only_on_the_object_that_healer_made(cluster: Cluster) -> None:
    """Not on a copy under its name, nor on an incident that people wrote: healer goes on with them, and waits for ever."""
    namespace = cluster.client.namespace
    journal = await opened(cluster, "copied", "mine")
    original = await cluster.stored("copied")
    assert original["status"]["uid"] == original["metadata"]["uid"]
    assert (await cluster.client.delete(f"{cluster.path}/copied")).code == 200
    forged = {key: value for key, value in original["status"].items() if key != "uid"}
    for name, status in (("copied", original["status"]), ("written", forged)):
        head = {
            "apiVersion": original["apiVersion"],
            "kind": original["kind"],
            "metadata": {"name": name, "namespace": namespace},
        }
        await cluster.client.make(cluster.path, head | {"spec": original["spec"]})
        made = await cluster.stored(name)
        assert (await cluster.client.put(f"{cluster.path}/{name}/status", made | {"status": status})).code == 200

    successor = await cluster.journal()
    assert {each.id for each in await successor.load()} == {"copied", "mine", "written"}
    for name in ("copied", "written"):
        successor.note(then(incident(name, namespace), State.WAITING))
        await durable(successor, name)
        assert "uid" not in (await cluster.stored(name))["status"], "healer signs what it made, and nothing else"
    assert successor.made_as("mine") == journal.made_as("mine") == (await cluster.stored("mine"))["metadata"]["uid"]
    told = Told()
    for name in ("copied", "written", "mine"):
        await approve(cluster, name, "mallory")
    async with watching(cluster, told, successor.made_as):
        await told.until(1)
        assert told.approvals == [("mine", "mallory")]
