"""The journal in the cluster: what is written, what is read back, who wins."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from healer.cluster.api import Api
from healer.journal import codec
from healer.journal.base import ClaimLost, JournalMissing, NotLeading
from healer.journal.kube import KubeJournal
from healer.lab import Lab
from healer.model.incident import State
from healer.model.target import Target
from tests.unit.journal.conftest import PATIENCE, Cluster, durable, writing
from tests.unit.journal.gate import Deed
from tests.unit.journal.incidents import NOW, incident, then

pytestmark = pytest.mark.slow


async def test_a_whole_life_is_written_and_read_back(cluster: Cluster) -> None:
    journal = await cluster.journal()
    assert await journal.load() == []
    opened = incident(namespace=cluster.client.namespace)
    journal.note(opened)
    await durable(journal, opened.id)
    assert (await cluster.stored(opened.id))["status"]["state"] == "open"

    acting = then(opened, State.ACTING, attempt=1)
    await journal.claim(acting)
    stored = await cluster.stored(opened.id)
    assert (stored["status"]["state"], stored["status"]["attempt"]) == ("acting", 1)

    closed = then(then(acting, State.HEALED), State.CLOSED)
    journal.note(closed)
    await durable(journal, opened.id)
    assert journal.incidents() == [closed]
    successor = await cluster.journal(running=False)
    assert await successor.load() == [closed]


async def test_kubectl_shows_the_columns(cluster: Cluster) -> None:
    journal = await cluster.journal()
    opened = incident(namespace=cluster.client.namespace)
    journal.note(opened)
    await durable(journal, opened.id)
    table = (await cluster.client.get(cluster.path, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})).body
    shown = dict(zip((column["name"] for column in table["columnDefinitions"]), table["rows"][0]["cells"], strict=True))
    assert shown.pop("Age")
    assert shown == {
        "Name": opened.id,
        "Workload": opened.workload.name,
        "Rule": opened.rule,
        "State": "open",
        "Step": "evict (1 of 2)",
        "Reason": "CrashLoopBackOff",
        "Why": opened.reason.text,
    }


async def test_load_gives_the_oldest_first_page_by_page(cluster: Cluster) -> None:
    journal = await cluster.journal(at_once=16)
    made = [incident(f"i-{number:03}", cluster.client.namespace, opened_at=NOW - number) for number in range(120)]
    for each in made:
        journal.note(each)
    await durable(journal, *(each.id for each in made))
    assert await (await cluster.journal(running=False)).load() == made[::-1]
    assert cluster.gate.count("GET") == 5, "twenty-five a page"


async def test_a_list_that_expires_between_two_pages_is_read_anew(cluster: Cluster) -> None:
    journal = await cluster.journal(at_once=16)
    made = [incident(f"i-{number:03}", cluster.client.namespace, opened_at=NOW + number) for number in range(26)]
    for each in made:
        journal.note(each)
    await durable(journal, *(each.id for each in made))
    expired = {"kind": "Status", "code": 410, "reason": "Expired", "message": "The provided continue parameter is too old"}

    def expire(method: str, path: str) -> None:
        cluster.gate.passing.clear()
        cluster.gate.order(Deed.ANSWER, "GET", status=410, body=expired)

    cluster.gate.passing.append(expire)
    assert await (await cluster.journal(running=False)).load() == made
    assert cluster.gate.count("GET") == 3


async def test_of_closed_incidents_the_newest_lines_are_kept_and_none_is_lost(cluster: Cluster) -> None:
    """A thousand of them with two hundred lines each would take half a gigabyte; written again, they have them all."""
    journal = await cluster.journal()
    story = incident("long", cluster.client.namespace)
    for number in range(150):
        story = then(story, State.WAITING, f"line {number}")
    over = then(story, State.CLOSED, "over")
    journal.note(over)
    await durable(journal, "long")

    successor = await cluster.journal()
    (found,) = await successor.load()
    assert found == replace(over, history=over.history[-20:])
    successor.remember("long", "slack", {"ts": "1"})
    await durable(successor, "long")
    (whole,) = await (await cluster.journal()).load()
    assert codec.decode(await cluster.stored("long")) == over
    assert whole.history == over.history[-20:]


async def test_a_closed_incident_that_is_gone_meanwhile_is_lost_and_nothing_else(cluster: Cluster) -> None:
    journal = await cluster.journal()
    story = incident("long", cluster.client.namespace)
    for number in range(30):
        story = then(story, State.WAITING, f"line {number}")
    journal.note(then(story, State.CLOSED, "over"))
    await durable(journal, "long")
    successor = await cluster.journal()
    await successor.load()
    await cluster.client.delete(f"{cluster.path}/long")
    successor.remember("long", "slack", {"ts": "1"})
    with pytest.raises(ClaimLost, match="somebody has deleted it"):
        await durable(successor, "long")


async def test_a_load_lets_others_have_their_turn_between_two_incidents(cluster: Cluster) -> None:
    """The lease must be renewed meanwhile, however much is kept."""
    journal = await cluster.journal()
    made = [incident(f"i-{number:03}", cluster.client.namespace) for number in range(30)]
    for each in made:
        journal.note(each)
    await durable(journal, *(each.id for each in made))
    successor = await cluster.journal(running=False)
    read: list[int] = []
    decode = codec.decode
    turns = 0

    def counting(*arguments: Any) -> Any:
        read.append(turns)
        return decode(*arguments)

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "decode", counting)
        task = asyncio.create_task(others())
        await successor.load()
        task.cancel()
    assert len(set(read)) == len(read) == 30


async def test_what_is_no_incident_is_counted_and_left_alone(cluster: Cluster) -> None:
    """One of a source that nobody knows, and one that stands in another namespace than its workload."""
    journal = await cluster.journal()
    good, martian = incident("good", cluster.client.namespace), incident("martian", cluster.client.namespace)
    journal.note(good)
    journal.note(martian)
    await durable(journal, "good", "martian")
    stored = await cluster.stored("martian")
    target = next(iter(stored["status"]["targets"].values()))
    next(iter(target["signals"].values()))["source"] = "mars"
    changed = await cluster.client.put(f"{cluster.path}/martian/status", stored)
    assert changed.code == 200
    spec = stored["spec"] | {"workload": stored["spec"]["workload"] | {"namespace": "another"}}
    spoof = {"apiVersion": stored["apiVersion"], "kind": stored["kind"], "metadata": {"name": "spoof"}, "spec": spec}
    await cluster.client.make(cluster.path, spoof)

    successor = await cluster.journal()
    with capture_logs() as logs:
        assert await successor.load() == [good]
    said = {log["name"]: log["error"] for log in logs}
    assert said.keys() == {"martian", "spoof"}
    assert "mars" in said["martian"]
    assert "'another'" in said["spoof"]
    assert successor.counts.undecodable == 2
    await successor.prune(NOW + 1e9)
    assert (await cluster.stored("martian"))["status"] == changed.body["status"]


async def test_an_incident_without_a_namespace_has_a_home(cluster: Cluster) -> None:
    journal = await cluster.journal(home=cluster.client.namespace)
    opened = replace(incident(), workload=Target("Node", "", "node-0", "uid-n"))
    journal.note(opened)
    await durable(journal, opened.id)
    assert await (await cluster.journal(running=False, home=cluster.client.namespace)).load() == [opened]
    assert await (await cluster.journal(running=False)).load() == [], "the home of another healer is not trusted"


async def test_an_opening_that_was_cut_short_is_open_and_undecided(cluster: Cluster) -> None:
    """Killed between the POST and the PUT: the object has no status."""
    opened = incident(namespace=cluster.client.namespace)
    dying = await cluster.journal(running=False)
    hold = cluster.gate.order(Deed.HOLD, "PUT")
    dying.note(opened)
    writer = asyncio.create_task(dying.run())
    await asyncio.wait_for(hold.met.wait(), PATIENCE)
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)
    assert "status" not in await cluster.stored(opened.id)

    successor = await cluster.journal()
    (found,) = await successor.load()
    assert (found.id, found.state, found.reason.code, found.targets) == (opened.id, State.OPEN, "Unfinished", {})
    assert (found.rule, found.workload, found.opened_at) == (opened.rule, opened.workload, opened.opened_at)
    await successor.claim(then(found, State.ACTING, attempt=1))
    assert (await cluster.stored(opened.id))["status"]["state"] == "acting"


async def test_a_burst_of_snapshots_is_one_write(cluster: Cluster) -> None:
    journal = await cluster.journal()
    now = incident(namespace=cluster.client.namespace)
    hold = cluster.gate.order(Deed.HOLD, "PUT")
    journal.note(now)
    await asyncio.wait_for(hold.met.wait(), PATIENCE)
    for _ in range(100):
        now = then(now, State.WAITING)
        journal.note(now)
    hold.go.set()
    await durable(journal, now.id)
    assert cluster.gate.count("PUT") == 2
    assert await (await cluster.journal(running=False)).load() == [now]


async def test_a_workloads_incidents_are_written_in_the_order_in_which_they_were_noted(cluster: Cluster) -> None:
    """That one was closed is known before its successor is: a restart in between finds no two open ones."""
    journal = await cluster.journal()
    first = incident("first", cluster.client.namespace)
    second = replace(incident("second", cluster.client.namespace), workload=first.workload)
    hold = cluster.gate.order(Deed.HOLD, "PUT", "first")
    journal.note(first)
    await asyncio.wait_for(hold.met.wait(), PATIENCE)
    journal.note(then(first, State.CLOSED))
    journal.note(second)
    next_hold = cluster.gate.order(Deed.HOLD, "PUT", "first")
    hold.go.set()
    await asyncio.wait_for(next_hold.met.wait(), PATIENCE)
    assert (await cluster.client.get(f"{cluster.path}/second")).code == 404
    next_hold.go.set()
    await durable(journal, "second")
    written = [path.split("/")[-2] for method, path in cluster.gate.seen if method == "PUT"]
    assert written == ["first", "first", "second"]


async def test_what_sinks_know_survives(cluster: Cluster) -> None:
    journal = await cluster.journal()
    opened = incident(namespace=cluster.client.namespace)
    journal.remember(opened.id, "slack", {"ts": "0"})
    assert journal.recall(opened.id) == {}, "of an incident that is not kept, nothing is remembered"
    journal.note(opened)
    journal.remember(opened.id, "slack", {"channel": "C1", "ts": "1700000000.000100"})
    async with asyncio.timeout(PATIENCE):
        await journal.remembered(opened.id)
    acting = then(opened, State.ACTING, attempt=1)
    await journal.claim(acting)
    journal.remember(opened.id, "webhook", {"told": "2"})
    async with asyncio.timeout(PATIENCE):
        await journal.remembered(opened.id)
    writes = cluster.gate.count("PUT")
    journal.remember(opened.id, "webhook", {"told": "2"})
    assert await journal.flush(PATIENCE)
    assert cluster.gate.count("PUT") == writes, "nothing new was to be remembered"

    successor = await cluster.journal(running=False)
    assert await successor.load() == [acting]
    assert successor.recall(opened.id) == {
        "slack": {"channel": "C1", "ts": "1700000000.000100"},
        "webhook": {"told": "2"},
    }


async def test_closed_incidents_go_by_number_and_by_age_the_oldest_first(cluster: Cluster) -> None:
    journal = await cluster.journal(keep=3, keep_for=100.0)
    names = [f"i-{number}" for number in range(6)]
    for number, name in enumerate(names):
        opened = incident(name, cluster.client.namespace, opened_at=NOW + number)
        journal.note(opened if number == 0 else then(opened, State.CLOSED))
    await durable(journal, *names)
    await journal.prune(NOW + 50)
    left = [each.id for each in journal.incidents()]
    assert left == ["i-0", "i-3", "i-4", "i-5"], "the open one stays, and three closed ones"
    assert [obj["metadata"]["name"] for obj in await cluster.until(lambda objects: len(objects) == 4)] == left
    await journal.prune(NOW + 105.5)
    assert [each.id for each in journal.incidents()] == ["i-0", "i-5"], "those that ended more than 100 s ago are gone"
    assert len((await cluster.client.get(cluster.path)).body["items"]) == 2


async def test_what_is_not_written_yet_is_not_let_go_of(cluster: Cluster) -> None:
    journal = await cluster.journal(running=False, keep_for=0.0)
    closed = then(incident(namespace=cluster.client.namespace), State.CLOSED)
    journal.note(closed)
    await journal.prune(NOW + 1e6)
    assert journal.incidents() == [closed]


async def test_another_object_of_the_name_is_not_deleted(cluster: Cluster) -> None:
    journal = await cluster.journal(keep=1, keep_for=0.0)
    closed = then(incident(namespace=cluster.client.namespace), State.CLOSED)
    journal.note(closed)
    await durable(journal, closed.id)
    stored = await cluster.stored(closed.id)
    assert (await cluster.client.delete(f"{cluster.path}/{closed.id}")).code == 200
    fresh = {key: stored[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": closed.id}}
    await cluster.client.make(cluster.path, fresh)
    await journal.prune(NOW + 1e6)
    assert journal.incidents() == []
    assert (await cluster.stored(closed.id))["spec"] == stored["spec"]


async def test_what_cannot_be_deleted_now_is_deleted_later(cluster: Cluster) -> None:
    journal = await cluster.journal(keep_for=0.0)
    closed = then(incident(namespace=cluster.client.namespace), State.CLOSED)
    journal.note(closed)
    await durable(journal, closed.id)
    cluster.gate.order(Deed.REFUSE, "DELETE")
    await journal.prune(NOW + 1e6)
    assert journal.incidents() == [closed]
    cluster.gate.order(Deed.SWALLOW, "DELETE")
    await journal.prune(NOW + 1e6)
    assert journal.incidents() == [closed]
    await journal.prune(NOW + 1e6)
    assert journal.incidents() == []


async def test_who_does_not_lead_sends_nothing(cluster: Cluster) -> None:
    is_leader = True
    journal = await cluster.journal(is_leader=lambda: is_leader)
    opened, closed = incident(namespace=cluster.client.namespace), then(incident("old", cluster.client.namespace), State.CLOSED)
    journal.note(opened)
    journal.note(closed)
    await durable(journal, opened.id, closed.id)
    is_leader, heard = False, len(cluster.gate.seen)
    with pytest.raises(NotLeading):
        await journal.claim(then(opened, State.ACTING, attempt=1))
    journal.note(then(opened, State.WAITING))
    with pytest.raises(NotLeading):
        await durable(journal, opened.id)
    await journal.prune(NOW + 1e9)
    assert not await journal.flush(0.05)
    assert len(cluster.gate.seen) == heard
    is_leader = True
    await durable(journal, opened.id)
    assert (await cluster.stored(opened.id))["status"]["state"] == "waiting"


async def test_leadership_is_asked_after_the_look_too(cluster: Cluster) -> None:
    """Lost between two requests of one claim: the second is not sent."""
    is_leader = True
    journal = await cluster.journal(is_leader=lambda: is_leader)
    opened = incident(namespace=cluster.client.namespace)
    journal.note(opened)
    await durable(journal, opened.id)
    await cluster.client.patch(f"{cluster.path}/{opened.id}", {"metadata": {"annotations": {"a": "b"}}})

    def lose(method: str, path: str) -> None:
        nonlocal is_leader
        is_leader = method != "PUT"

    cluster.gate.passing.append(lose)
    with pytest.raises(NotLeading):
        await journal.claim(then(opened, State.ACTING, attempt=1))
    assert cluster.gate.count("GET", opened.id) == 0


async def test_without_the_definition_it_says_what_to_apply(tmp_path: Path) -> None:
    async with Lab(controllers=False) as lab:
        lab.write_kubeconfig(tmp_path / "kubeconfig")
        api = await Api.connect(kubeconfig=str(tmp_path / "kubeconfig"))
        try:
            with pytest.raises(JournalMissing, match=r"kubectl apply -f deploy/healer/crd\.yaml"):
                await KubeJournal(api).load()
            with pytest.raises(JournalMissing, match=r"kubectl apply -f deploy/healer/crd\.yaml"):
                await KubeJournal(api).claim(incident(namespace="default"))
        finally:
            await api.aclose()


async def test_the_spec_is_fixed(cluster: Cluster) -> None:
    journal = await cluster.journal()
    opened = incident(namespace=cluster.client.namespace)
    journal.note(opened)
    await durable(journal, opened.id)
    answer = await cluster.client.patch(f"{cluster.path}/{opened.id}", {"spec": {"mode": "observe"}})
    assert answer.code == 422
    assert answer.causes == [
        {"reason": "FieldValueInvalid", "message": "Invalid value: the spec of an incident never changes", "field": "spec"}
    ]


async def test_reading_anew_forgets_what_was_not_written(cluster: Cluster) -> None:
    """As a restart does: a leader of before begins its next term with what the journal says."""
    journal = await cluster.journal()
    opened = incident(namespace=cluster.client.namespace)
    journal.note(opened)
    await durable(journal, opened.id)
    refuse = cluster.gate.order(Deed.REFUSE, "PUT", times=1_000_000)
    journal.note(then(opened, State.WAITING))
    waiting = asyncio.create_task(durable(journal, opened.id))
    await asyncio.wait_for(refuse.met.wait(), PATIENCE)
    assert await journal.load() == [opened]
    with pytest.raises(ClaimLost, match="read anew"):
        await waiting
    cluster.gate.take_back(refuse)
    await journal.claim(then(opened, State.ACTING, attempt=1, later=2))
    assert journal.counts.written == 2


async def test_after_reading_anew_it_is_written_as_before(cluster: Cluster) -> None:
    journal = await cluster.journal(running=False)
    opened = incident(namespace=cluster.client.namespace)
    journal.note(opened)
    assert await journal.load() == []
    journal.note(then(opened, State.WAITING))
    async with writing(journal):
        await durable(journal, opened.id)
    assert (await cluster.stored(opened.id))["status"]["state"] == "waiting"


async def test_of_two_incidents_that_claim_one_thread_the_older_has_it(cluster: Cluster) -> None:
    """Whoever copies what another incident keeps of its Slack thread would have healer write his own into it."""
    journal = await cluster.journal()
    for name, opened_at in (("genuine", NOW), ("copy", NOW + 5)):
        journal.note(incident(name, cluster.client.namespace, opened_at=opened_at))
        journal.remember(name, "slack #ml-oncall", {"channel": "C1", "ts": "17.1"})
        await durable(journal, name)
        if name == "genuine":
            await asyncio.sleep(1.1)  # the API server tells of whole seconds when an object was made
    successor = await cluster.journal(running=False)
    await successor.load()
    assert successor.recall("genuine") == {"slack #ml-oncall": {"channel": "C1", "ts": "17.1"}}
    assert successor.recall("copy") == {}


async def test_of_two_objects_of_one_name_the_older_is_healer_s(cluster: Cluster) -> None:
    other = f"{cluster.client.namespace}-b"
    await cluster.client.make("/api/v1/namespaces", {"metadata": {"name": other}})
    journal = await cluster.journal()
    genuine = incident("twice", cluster.client.namespace)
    journal.note(genuine)
    await durable(journal, "twice")
    await asyncio.sleep(1.1)  # see above
    copier = KubeJournal(await cluster.api(), namespaces=(other,))
    async with writing(copier):
        copier.note(incident("twice", other))
        await durable(copier, "twice")
    for order in ((cluster.client.namespace, other), (other, cluster.client.namespace)):
        both = KubeJournal(await cluster.api(), namespaces=order)
        assert await both.load() == [genuine]
        assert list(both.unread) == [(other, "twice")]
