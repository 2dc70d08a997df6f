"""What goes wrong between the journal and the API server, and who else writes there: nothing is lost, nothing is overwritten."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from healer.cluster.api import Api
from healer.cluster.errors import Backoff
from healer.journal import codec
from healer.journal.base import ClaimLost, JournalError, NotLeading, Unkept
from healer.journal.kube import KubeJournal
from healer.lab import Lab
from healer.model.incident import Incident, State
from tests.contract.apiserver import ADMIN
from tests.unit.journal.conftest import PATIENCE, Cluster, definition, durable, writing
from tests.unit.journal.gate import Deed
from tests.unit.journal.incidents import incident, then


async def opened_in(cluster: Cluster, journal: KubeJournal, name: str = "crash-loop-1") -> Incident:
    """An open incident that the journal has written."""
    opened = incident(name, cluster.client.namespace)
    journal.note(opened)
    await durable(journal, opened.id)
    return opened


async def annotate(cluster: Cluster, name: str) -> None:
    """What a person does to an incident."""
    change = {"metadata": {"annotations": {"healer.dev/approved-by": "alice"}}}
    assert (await cluster.client.patch(f"{cluster.path}/{name}", change)).code == 200


async def test_the_claim_is_durable_when_it_returns(cluster: Cluster) -> None:
    journal = await cluster.journal()
    opened = await opened_in(cluster, journal)
    hold = cluster.gate.order(Deed.HOLD, "PUT")
    claim = asyncio.create_task(journal.claim(then(opened, State.ACTING, attempt=1)))
    await asyncio.wait_for(hold.met.wait(), PATIENCE)
    assert not claim.done()
    assert (await cluster.stored(opened.id))["status"]["state"] == "open"
    hold.go.set()
    await claim
    assert (await cluster.stored(opened.id))["status"]["state"] == "acting"


async def test_a_persons_annotation_is_no_lost_claim(cluster: Cluster) -> None:
    journal = await cluster.journal()
    opened = await opened_in(cluster, journal)
    await annotate(cluster, opened.id)
    await journal.claim(then(opened, State.ACTING, attempt=1))
    await annotate(cluster, opened.id)
    journal.note(then(opened, State.VERIFYING, attempt=1, later=2))
    await durable(journal, opened.id)
    stored = await cluster.stored(opened.id)
    assert stored["status"]["state"] == "verifying"
    assert stored["metadata"]["annotations"] == {"healer.dev/approved-by": "alice"}
    assert journal.counts.lost == 0


async def test_what_another_has_written_is_not_overwritten(cluster: Cluster) -> None:
    journal = await cluster.journal()
    opened = await opened_in(cluster, journal)
    stored = await cluster.stored(opened.id)
    stored["status"]["state"] = "escalated"
    assert (await cluster.client.put(f"{cluster.path}/{opened.id}/status", stored)).code == 200
    with pytest.raises(ClaimLost, match="somebody else has written its status"):
        await journal.claim(then(opened, State.ACTING, attempt=1))
    journal.note(then(opened, State.WAITING))
    with pytest.raises(ClaimLost):
        await durable(journal, opened.id)
    assert await journal.flush(PATIENCE), "what is lost does not wait"
    assert (await cluster.stored(opened.id))["status"] == stored["status"]
    (found,) = await journal.load()
    assert found.state is State.ESCALATED
    await journal.claim(then(found, State.ACTING, attempt=1))


async def test_a_note_over_what_another_has_written_is_lost_too(cluster: Cluster) -> None:
    journal = await cluster.journal()
    opened = await opened_in(cluster, journal)
    other = await cluster.journal()
    await other.load()
    closed = then(opened, State.CLOSED)
    other.note(closed)
    await durable(other, opened.id)
    journal.note(then(opened, State.WAITING))
    with pytest.raises(ClaimLost):
        await durable(journal, opened.id)
    assert await (await cluster.journal(running=False)).load() == [closed]


async def test_what_a_claim_and_a_note_both_find_lost_is_lost_once(cluster: Cluster) -> None:
    journal = await cluster.journal()
    opened = await opened_in(cluster, journal)
    other = await cluster.journal()
    await other.load()
    other.note(then(opened, State.CLOSED))
    await durable(other, opened.id)
    hold = cluster.gate.order(Deed.HOLD, "PUT")
    claim = asyncio.create_task(journal.claim(then(opened, State.ACTING, attempt=1)))
    await asyncio.wait_for(hold.met.wait(), PATIENCE)
    journal.note(then(opened, State.WAITING))
    note = asyncio.create_task(durable(journal, opened.id))
    hold.go.set()
    for each in (claim, note):
        with pytest.raises(ClaimLost):
            await each
    assert journal.counts.lost == 1


async def test_of_two_that_claim_the_same_step_one_wins(cluster: Cluster) -> None:
    """Even when both write the very same intent."""
    first = await cluster.journal()
    opened = await opened_in(cluster, first)
    second = await cluster.journal()
    await second.load()
    acting = then(opened, State.ACTING, attempt=1)
    hold = cluster.gate.order(Deed.HOLD, "PUT", times=2)
    claims = [asyncio.create_task(journal.claim(acting)) for journal in (first, second)]
    await asyncio.wait_for(hold.met.wait(), PATIENCE)
    hold.go.set()
    results = await asyncio.gather(*claims, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["ClaimLost", "NoneType"]


async def test_a_claim_again_of_what_is_written_already_is_still_a_fence(cluster: Cluster) -> None:
    """The paused leader: its intent was journaled, its successor has read that; only one of them may go on."""
    paused = await cluster.journal()
    opened = await opened_in(cluster, paused)
    acting = then(opened, State.ACTING, attempt=1)
    paused.note(acting)
    await durable(paused, opened.id)
    successor = await cluster.journal()
    assert await successor.load() == [acting]
    await successor.claim(acting)
    with pytest.raises(ClaimLost):
        await paused.claim(acting)


async def test_an_incident_that_somebody_deletes_is_not_made_again(cluster: Cluster) -> None:
    journal = await cluster.journal()
    opened = await opened_in(cluster, journal)
    assert (await cluster.client.delete(f"{cluster.path}/{opened.id}")).code == 200
    with pytest.raises(ClaimLost, match="deleted"):
        await journal.claim(then(opened, State.ACTING, attempt=1))
    assert (await cluster.client.get(f"{cluster.path}/{opened.id}")).code == 404


async def test_an_object_made_again_under_the_name_is_not_ours(cluster: Cluster) -> None:
    journal = await cluster.journal()
    opened = await opened_in(cluster, journal)
    stored = await cluster.stored(opened.id)
    await cluster.client.delete(f"{cluster.path}/{opened.id}")
    fresh = {key: stored[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": opened.id}}
    await cluster.client.make(cluster.path, fresh)
    with pytest.raises(ClaimLost, match="made another"):
        await journal.claim(then(opened, State.ACTING, attempt=1))


async def test_the_answer_to_a_claim_is_lost(cluster: Cluster) -> None:
    """It took effect: that is looked up, and it is not written twice."""
    journal = await cluster.journal()
    opened = await opened_in(cluster, journal)
    cluster.gate.order(Deed.SWALLOW, "PUT")
    writes = cluster.gate.count("PUT")
    await journal.claim(then(opened, State.ACTING, attempt=1))
    assert cluster.gate.count("PUT") == writes + 1
    await journal.claim(then(opened, State.ACTING, attempt=2, later=2))
    assert (await cluster.stored(opened.id))["status"]["attempt"] == 2


async def test_the_answer_to_a_claim_is_lost_and_so_is_the_look(cluster: Cluster) -> None:
    """Nobody may act on it; what is written afterwards knows the lost write for our own."""
    journal = await cluster.journal()
    opened = await opened_in(cluster, journal)
    cluster.gate.order(Deed.SWALLOW, "PUT")
    cluster.gate.order(Deed.REFUSE, "GET")
    with pytest.raises(JournalError) as raised:
        await journal.claim(then(opened, State.ACTING, attempt=1))
    assert not isinstance(raised.value, ClaimLost)
    assert (await cluster.stored(opened.id))["status"]["attempt"] == 1
    await journal.claim(then(opened, State.ACTING, attempt=2, later=2))
    assert (await cluster.stored(opened.id))["status"]["attempt"] == 2
    assert journal.counts.lost == 0


async def test_a_write_that_comes_to_stand_late_is_known_for_our_own(cluster: Cluster) -> None:
    """Its answer was given up; it takes effect after the look that found nothing of it, when nothing more could be sent."""
    is_leader = True
    journal = await cluster.journal(is_leader=lambda: is_leader)
    opened = await opened_in(cluster, journal)
    delay = cluster.gate.order(Deed.DELAY, "PUT")
    late = asyncio.Event()

    def passed(method: str, path: str) -> None:
        nonlocal is_leader
        is_leader = method != "GET"
        if method == "PUT":
            late.set()

    cluster.gate.passing.append(passed)
    with pytest.raises(NotLeading):
        await journal.claim(then(opened, State.ACTING, attempt=1))
    assert (await cluster.stored(opened.id))["status"]["state"] == "open"
    delay.go.set()
    await asyncio.wait_for(late.wait(), PATIENCE)
    cluster.gate.passing.clear()
    await journal.claim(then(opened, State.ACTING, attempt=2, later=2))
    assert (await cluster.stored(opened.id))["status"]["attempt"] == 2


@pytest.mark.parametrize("deed", [Deed.SWALLOW, Deed.REFUSE])
async def test_the_answer_to_an_opening_is_lost(cluster: Cluster, deed: Deed) -> None:
    journal = await cluster.journal()
    cluster.gate.order(deed, "POST")
    opened = await opened_in(cluster, journal)
    stored = await cluster.stored(opened.id)
    assert (stored["status"]["state"], stored["status"]["uid"]) == ("open", stored["metadata"]["uid"])
    assert journal.made_as(opened.id) == stored["metadata"]["uid"]  # an approval of it counts


async def test_an_object_of_others_that_has_the_name_first_is_not_signed(cluster: Cluster) -> None:
    """It says something else than what healer has sent."""
    journal = await cluster.journal()
    opened = incident("first", cluster.client.namespace)
    spec, _ = codec.encode(replace(opened, notify=("#others",)))
    head = {"apiVersion": "healer.dev/v1alpha1", "kind": "Incident", "metadata": {"name": opened.id}}
    await cluster.client.make(cluster.path, head | {"spec": spec})
    journal.note(opened)
    await durable(journal, opened.id)
    assert "uid" not in (await cluster.stored(opened.id))["status"]
    assert journal.made_as(opened.id) is None


async def test_an_opening_that_was_made_and_could_not_be_looked_up(cluster: Cluster) -> None:
    """The POST is sent again and answered 409 AlreadyExists: that is ours."""
    journal = await cluster.journal()
    cluster.gate.order(Deed.SWALLOW, "POST")
    cluster.gate.order(Deed.REFUSE, "GET")
    opened = await opened_in(cluster, journal)
    assert cluster.gate.count("POST") == 2
    assert (await cluster.stored(opened.id))["status"]["state"] == "open"


async def test_the_api_server_is_away_for_a_while(cluster: Cluster) -> None:
    """Nothing is lost, the newest of each is written, in the order in which they came."""
    journal = await cluster.journal(at_once=1)
    known = await opened_in(cluster, journal, "known")
    cluster.gate.away = True
    news = [then(known, State.WAITING), *(incident(f"new-{number}", cluster.client.namespace) for number in range(5))]
    for each in news:
        journal.note(each)
    await asyncio.wait_for(cluster.gate.knocked.wait(), PATIENCE)
    with pytest.raises(JournalError) as raised:
        await journal.claim(then(known, State.ACTING, attempt=1, later=3))
    assert not isinstance(raised.value, ClaimLost)
    assert not await journal.flush(0.05)
    last = then(news[1], State.CLOSED)
    journal.note(last)
    heard = len(cluster.gate.seen)
    cluster.gate.away = False
    assert await journal.flush(PATIENCE)
    written = [path.split("/")[-2] for method, path in cluster.gate.seen[heard:] if method == "PUT"]
    assert written == [each.id for each in news]
    found = {each.id: each for each in await (await cluster.journal(running=False)).load()}
    assert found == {each.id: each for each in [news[0], last, *news[2:]]}
    await durable(journal, *found)


async def test_what_fails_keeps_its_place(cluster: Cluster) -> None:
    journal = await cluster.journal(at_once=1)
    first = await opened_in(cluster, journal, "first")
    cluster.gate.order(Deed.REFUSE, "PUT", "first", times=2)
    journal.note(then(first, State.WAITING))
    journal.note(incident("second", cluster.client.namespace))
    assert await journal.flush(PATIENCE)
    written = [path.split("/")[-2] for method, path in cluster.gate.seen if method == "PUT"]
    assert written == ["first", "first", "second"]


@pytest.mark.parametrize("named", [True, False])
async def test_a_server_in_trouble_is_left_in_peace(cluster: Cluster, named: bool) -> None:
    """For as long as it asks, or as the back-off says: here, an age."""
    backoff = Backoff(3600.0, 3600.0, 1e9, time.monotonic, lambda: 0.0 if named else 1.0)
    journal = KubeJournal(await cluster.api(), namespaces=(cluster.client.namespace,), backoff=backoff)
    said = {"kind": "Status", "code": 429, "message": "not now", "details": {"retryAfterSeconds": 3600} if named else {}}
    order = cluster.gate.order(Deed.ANSWER, "POST", status=429, body=said)
    journal.note(incident("one", cluster.client.namespace))
    async with writing(journal):
        await asyncio.wait_for(order.met.wait(), PATIENCE)
        journal.note(incident("two", cluster.client.namespace))
        assert not await journal.flush(0.2)
    assert cluster.gate.seen == []


@pytest.mark.parametrize("status", [401, 429, 500, 503])
async def test_a_server_in_trouble_is_asked_again(cluster: Cluster, status: int) -> None:
    journal = await cluster.journal()
    opened = await opened_in(cluster, journal)
    said = {"kind": "Status", "status": "Failure", "code": status, "reason": "", "message": "not now"}
    cluster.gate.order(Deed.ANSWER, "PUT", status=status, body=said, times=2)
    journal.note(then(opened, State.WAITING))
    await durable(journal, opened.id)
    assert (await cluster.stored(opened.id))["status"]["state"] == "waiting"


async def test_what_the_server_refuses_holds_up_nothing_else(cluster: Cluster) -> None:
    journal = await cluster.journal()
    said = {"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "incidents is forbidden"}
    cluster.gate.order(Deed.ANSWER, "POST", status=403, body=said)
    refused, welcome = incident("refused", cluster.client.namespace), incident("welcome", cluster.client.namespace)
    journal.note(refused)
    with pytest.raises(JournalError, match="`healer rbac` prints"):
        await durable(journal, "refused")
    journal.note(welcome)
    await durable(journal, "welcome")
    assert not await journal.flush(PATIENCE), "it is not written, and it is said"
    assert journal.counts.refused == 1
    acting = then(refused, State.ACTING, attempt=1)
    await journal.claim(acting)
    journal.note(then(acting, State.VERIFYING))
    await durable(journal, "refused")
    assert await journal.flush(PATIENCE)


async def test_what_cannot_be_kept_is_told_by_name_once_the_others_are(cluster: Cluster) -> None:
    """One is refused, one is in a namespace that is gone; the third is kept all the same."""
    journal = await cluster.journal()
    said = {"kind": "Status", "status": "Failure", "code": 422, "reason": "Invalid", "message": "spec.notify: Too many"}
    cluster.gate.order(Deed.ANSWER, "POST", status=422, body=said)
    journal.note(incident("refused", cluster.client.namespace))
    with pytest.raises(Unkept):
        await durable(journal, "refused")
    journal.note(incident("orphan", "no-such-namespace"))
    journal.note(incident("welcome", cluster.client.namespace))
    with pytest.raises(Unkept) as unkept:
        await durable(journal, "refused", "orphan", "welcome")
    assert list(unkept.value.refused) == ["refused"]
    assert "Too many" in unkept.value.refused["refused"]
    assert list(unkept.value.aside) == ["orphan"]
    assert "is gone, incidents in it cannot be kept" in unkept.value.aside["orphan"]
    assert (await cluster.stored("welcome"))["status"]["state"] == "open"


async def test_an_incident_that_alone_meets_errors_of_the_server_waits_alone(cluster: Cluster) -> None:
    """A webhook of admission that answers 500 for one namespace is no API server that is away."""
    journal = await cluster.journal()
    said = {"kind": "Status", "code": 500, "reason": "InternalError", "message": "failed calling webhook"}
    cluster.gate.order(Deed.ANSWER, "PUT", "/webhook/", status=500, body=said, times=1000)
    journal.note(incident("webhook", cluster.client.namespace))
    journal.note(incident("welcome", cluster.client.namespace))
    await durable(journal, "welcome")
    with pytest.raises(Unkept, match="failed calling webhook"):
        await durable(journal, "webhook")


async def test_a_namespace_that_is_gone_takes_its_incidents_with_it(cluster: Cluster) -> None:
    journal = await cluster.journal()
    journal.note(incident("orphan", "no-such-namespace"))
    with pytest.raises(ClaimLost, match="namespace no-such-namespace is gone"):
        await durable(journal, "orphan")
    assert await journal.flush(PATIENCE)


async def test_a_namespace_that_is_going_takes_its_incidents_with_it(cluster: Cluster) -> None:
    """As a real server answers while it deletes one: 403, with a cause of its own."""
    journal = await cluster.journal()
    causes = [{"reason": "NamespaceTerminating", "message": "namespace x is being terminated", "field": "metadata.namespace"}]
    said = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "forbidden", "details": {"causes": causes}}
    cluster.gate.order(Deed.ANSWER, "POST", status=403, body=said)
    journal.note(incident("orphan", cluster.client.namespace))
    with pytest.raises(ClaimLost, match="is being deleted"):
        await durable(journal, "orphan")


async def test_a_claim_makes_durable_what_was_noted(cluster: Cluster) -> None:
    """Whoever waits for that is told, although the writer has written nothing."""
    journal = await cluster.journal(running=False)
    acting = then(incident(namespace=cluster.client.namespace), State.ACTING, attempt=1)
    journal.note(acting)
    hold = cluster.gate.order(Deed.HOLD, "PUT")
    claim = asyncio.create_task(journal.claim(acting))
    await asyncio.wait_for(hold.met.wait(), PATIENCE)
    waiting = asyncio.create_task(durable(journal, acting.id))
    await asyncio.sleep(0)
    assert not waiting.done()
    hold.go.set()
    await claim
    await waiting


async def test_a_definition_that_is_too_old_is_told_of(tmp_path: Path) -> None:
    """A field that it does not know is not dropped in silence: nothing is claimed, and the message says what to apply."""
    old = definition()
    schema = old["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["properties"]["status"]["properties"]["attempt"]
    async with Lab(token=ADMIN, controllers=False) as lab:
        await lab.apply(old)
        lab.write_kubeconfig(tmp_path / "kubeconfig")
        api = await Api.connect(kubeconfig=str(tmp_path / "kubeconfig"))
        try:
            with pytest.raises(JournalError, match=r"status\.attempt.*kubectl apply -f deploy/healer/crd\.yaml"):
                await KubeJournal(api).claim(incident(namespace="default"))
        finally:
            await api.aclose()


@pytest.mark.parametrize("later", [0, 1])
async def test_a_claim_undoes_nothing_that_was_noted_before_it(cluster: Cluster, later: float) -> None:
    """A further signal came before the claim was made, or at the same moment: what is written has both."""
    journal = await cluster.journal(running=False)
    acting = then(incident(namespace=cluster.client.namespace), State.ACTING, attempt=1)
    journal.note(acting)
    joined = then(acting, State.ACTING, "one more is sick", later=later)
    journal.note(joined)
    await journal.claim(acting)
    assert await (await cluster.journal(running=False)).load() == [joined]
    assert journal.incidents() == [joined]


async def test_a_claim_at_the_moment_of_the_opening_is_the_later_of_the_two(cluster: Cluster) -> None:
    journal = await cluster.journal(running=False)
    opened = incident(namespace=cluster.client.namespace)
    journal.note(opened)
    acting = then(opened, State.ACTING, attempt=1, later=0)
    await journal.claim(acting)
    assert await journal.flush(PATIENCE)
    assert await (await cluster.journal(running=False)).load() == journal.incidents() == [acting]


async def test_a_claim_that_was_overtaken_is_written_and_then_what_overtook_it(cluster: Cluster) -> None:
    journal = await cluster.journal(running=False)
    acting = then(incident(namespace=cluster.client.namespace), State.ACTING, attempt=1)
    waiting = then(acting, State.WAITING)
    journal.note(waiting)
    await journal.claim(acting)
    assert (await cluster.stored(acting.id))["status"]["state"] == "acting"
    async with writing(journal):
        await durable(journal, acting.id)
    assert (await cluster.stored(acting.id))["status"]["state"] == "waiting"
    assert journal.incidents() == [waiting]
