"""The daemon's heart: what it takes and when it says so, what it starts with, what it still does while it stops."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from healer.cluster.watch import ObjectChange
from healer.engine.incidents.opening import opened
from healer.lab.kinds import POD
from healer.lab.objects import Object, is_ready
from healer.model.effects import Act, Loss, Verb
from healer.model.incident import Incident, State
from healer.model.kube import Condition, Pod
from healer.model.signal import Answered, QueueFull
from tests.support.world import rule, rulebook
from tests.unit.daemon.conftest import NAMESPACE, PATIENCE, House, house, ready

pytestmark = pytest.mark.slow

SLOW = rule("slow", when={"alert": ["HighLatency"]}, heal=[{"evict": {}, "verify": {"within": "1m", "stable": "0s"}}])
HUNG = rule("hung", when={"pod": ["NotReady"]}, heal=[{"evict": {}, "verify": {"within": "1m", "stable": "0s"}}])


# intake


async def test_intake_returns_when_the_engine_has_decided(tmp_path: Path) -> None:
    async with house(tmp_path, SLOW) as h:
        await h.start()
        taking = asyncio.create_task(h.event_loop.intake([h.alert(0), h.alert(1, "Unheard")]))
        await asyncio.sleep(0)
        assert not taking.done()
        await taking
        assert [decision.verb for decision in h.decisions] == [Verb.IGNORE, Verb.OPEN, Verb.ALLOW]


async def test_a_full_queue_takes_nothing_of_a_delivery(tmp_path: Path) -> None:
    async with house(tmp_path, SLOW, queue=3) as h:
        await h.start()
        first, second, third = await asyncio.gather(
            h.event_loop.intake([h.alert(0), h.alert(1)]),
            h.event_loop.intake([h.alert(2), h.alert(2, "Unheard")]),
            h.event_loop.intake([h.alert(2, "Other")]),
            return_exceptions=True,
        )
        assert (first, third) == (None, None)
        assert isinstance(second, QueueFull)
        assert second.retry_after > 0
        named = {decision.target.name for decision in h.decisions if decision.target.kind == "Pod"}
        assert named == {h.alert(n).target.name for n in (0, 1, 2)}
        assert "Unheard" not in str(h.decisions)


async def test_the_queue_has_room_again_when_it_is_decided(tmp_path: Path) -> None:
    async with house(tmp_path, SLOW, queue=1) as h:
        await h.start()
        for _ in range(3):
            await h.event_loop.intake([h.alert(0)])


async def test_a_delivery_larger_than_the_queue_is_taken_when_nothing_waits(tmp_path: Path) -> None:
    """Else Alertmanager would repeat it for ever."""
    async with house(tmp_path, SLOW, queue=1) as h:
        await h.start()
        await h.event_loop.intake([h.alert(0), h.alert(1), h.alert(2)])


async def test_a_sender_that_gives_up_does_not_stop_the_others(tmp_path: Path) -> None:
    async with house(tmp_path, SLOW) as h:
        await h.start()
        impatient = asyncio.create_task(h.event_loop.intake([h.alert(0)]))
        patient = asyncio.create_task(h.event_loop.intake([h.alert(1, "Unheard")]))
        await asyncio.sleep(0)
        impatient.cancel()
        await patient
        with pytest.raises(asyncio.CancelledError):
            await impatient
        assert [decision.verb for decision in h.decisions if decision.rule] == [Verb.OPEN, Verb.ALLOW]


async def test_the_alerts_of_one_delivery_are_decided_together(tmp_path: Path) -> None:
    """All three replicas: that is a storm before the first of them is taken."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        await h.event_loop.intake([h.alert(number) for number in range(3)])
        (incident,) = h.journal.incidents()
        assert (incident.state, incident.reason.code) == (State.WAITING, "Storm")
        assert Verb.ALLOW not in [decision.verb for decision in h.decisions]


async def test_what_our_own_sources_see_at_once_is_decided_together(tmp_path: Path) -> None:
    async with house(tmp_path, SLOW) as h:
        await h.start()
        h.event_loop.observed([h.alert(number) for number in range(3)])
        await h.until(lambda: h.states == [State.WAITING])
        assert Verb.ALLOW not in [decision.verb for decision in h.decisions]


async def test_a_large_delivery_is_told_in_parts_and_acted_on_as_a_whole(tmp_path: Path) -> None:
    """The loop gets turns in between, in which changes of pods are told too: none of it lets an incident go on."""
    async with house(tmp_path, SLOW, HUNG, queue=2000) as h:
        await h.start()
        filler = [replace(h.alert(2, "Unheard"), key=f"unheard-{number}") for number in range(1000)]
        taking = asyncio.create_task(h.event_loop.intake([h.alert(0), *filler, h.alert(1)]))
        turns = 0
        while not taking.done():
            turns += 1
            pod = next(iter(h.view.pods()))
            h.event_loop.changed(ObjectChange(Pod, "put", pod, pod))
            await asyncio.sleep(0)
        await taking
        assert turns > len(filler) / 100
        (incident,) = h.journal.incidents()
        assert (incident.state, incident.reason.code) == (State.WAITING, "Storm")
        assert Verb.ALLOW not in [decision.verb for decision in h.decisions]


async def test_what_an_answer_leaves_out_ends_in_parts(tmp_path: Path) -> None:
    """After a restart a probe does not know what fired, and reports no end of it; the loop gets turns in between."""
    looked = rule("looked", when={"query": {"expr": "x", "above": 1}, "for": "1h"}, heal=[{"evict": {}}])
    async with house(tmp_path, looked) as h:
        await h.start()
        fires = replace(h.alert(0), source="query", name="QueryPassed", rule="test/looked")
        signals = [replace(fires, key=f"series-{number}") for number in range(500)]
        await h.event_loop.observed(signals)
        ending, turns = h.event_loop.observed([Answered("test/looked", frozenset())]), 0
        while not ending.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns > 2 * 500 / 25, "for the ends to be found, and for them to be fed"


async def test_what_the_watches_bring_in_one_turn_is_decided_together(tmp_path: Path) -> None:
    async with house(tmp_path, HUNG) as h:
        await h.start()
        for pod in list(h.view.pods()):
            status = msgspec.structs.replace(pod.status, conditions=(Condition("Ready", "False"),))
            sick = msgspec.structs.replace(pod, status=status)
            h.event_loop.changed(ObjectChange(Pod, "put", sick, h.view.put(sick)))
        await h.until(lambda: h.states == [State.WAITING])
        assert h.journal.incidents()[0].reason.code == "Storm"
        assert Verb.ALLOW not in [decision.verb for decision in h.decisions]


# the start


async def test_before_the_view_is_whole_nothing_is_taken_and_nothing_decided(tmp_path: Path) -> None:
    async with house(tmp_path, HUNG, SLOW, sick=True) as h:
        await h.sync()
        with pytest.raises(QueueFull, match="does not know the cluster yet"):
            await h.event_loop.intake([h.alert(0)])
        assert h.decisions == []


async def test_what_is_sick_already_is_healed_at_the_start(tmp_path: Path) -> None:
    async with house(tmp_path, HUNG, sick=True) as h:
        await h.start()
        await h.until(lambda: h.states == [State.HEALED])
        assert h.evictions == 1
        assert ready(3)(h.lab)


async def test_a_pod_that_recovers_while_the_start_is_under_way_is_left_alone(tmp_path: Path) -> None:
    """The news of it is not decided on before what it ends."""
    async with house(tmp_path, HUNG, sick=True) as h:
        await h.begin()
        (sick,) = [pod for pod in h.view.pods() if not pod.ready]
        status = msgspec.structs.replace(sick.status, conditions=(Condition("Ready", "True"),))
        well = msgspec.structs.replace(sick, status=status)
        for pod in [well, *[sick, well] * 15]:  # as many as would be decided on at once
            h.event_loop.changed(ObjectChange(Pod, "put", pod, h.view.put(pod)))
        assert h.decisions == []
        await h.event_loop.accepting.wait()
        assert h.states == [State.CLOSED]
        assert Verb.ALLOW not in [decision.verb for decision in h.decisions]


async def test_what_is_told_while_the_start_is_under_way_is_decided_after_it(tmp_path: Path) -> None:
    """An object that somebody deletes meanwhile is of an incident that the engine may not know yet."""
    async with house(tmp_path, SLOW) as h:
        await h.sync()
        incident = journaled(h)
        await h.begin()
        h.event_loop.lost(incident.id, "somebody has deleted it", Loss.DELETED)
        await h.event_loop.accepting.wait()
        assert (found(h, incident).state, found(h, incident).reason.code) == (State.CLOSED, "NotKept")


async def test_rules_that_are_loaded_while_the_start_is_under_way_are_taken_after_it(tmp_path: Path) -> None:
    async with house(tmp_path, SLOW) as h:
        await h.sync()
        incident = journaled(h)
        await h.begin()
        for _ in range(10):  # turns, in the third of which the incident is known
            await asyncio.sleep(0)
            if h.event_loop.incident(incident.id) is not None:
                break
        h.event_loop.use(rulebook(HUNG))
        assert (found(h, incident).state, h.event_loop.accepting.is_set()) == (State.OPEN, False)
        await h.event_loop.accepting.wait()
        assert (found(h, incident).state, found(h, incident).reason.code) == (State.CLOSED, "RuleChanged")


def journaled(h: House) -> Incident:
    """An incident about the first pod, that the journal holds from before."""
    (deployment,) = h.view.workloads()
    (bound,) = rulebook(SLOW).rules
    incident = opened(bound, deployment.target, h.alert(0), time.time(), 1, "", "")
    h.journal.note(incident)
    return incident


def found(h: House, incident: Incident) -> Incident:
    """What the journal has of it by now."""
    return next(each for each in h.journal.incidents() if each.id == incident.id)


# time


async def test_time_alone_is_enough(tmp_path: Path) -> None:
    waits = HUNG | {"when": {"pod": ["NotReady"], "for": "100ms"}}
    async with house(tmp_path, waits, sick=True) as h:
        await h.start()
        assert Verb.ALLOW not in [decision.verb for decision in h.decisions]
        await h.until(lambda: h.states == [State.HEALED])


# the end


async def evicting(h: House) -> None:
    """An eviction was sent, and its answer takes long."""
    slow = h.lab.faults.delay(0.2, resource="pods/eviction")
    await h.event_loop.intake([h.alert(0)])
    async with asyncio.timeout(PATIENCE):
        await slow.used()


async def test_stopping_takes_nothing_more(tmp_path: Path) -> None:
    async with house(tmp_path, SLOW, HUNG) as h:
        await h.start()
        h.event_loop.stopping = True
        with pytest.raises(QueueFull, match="stopping"):
            await h.event_loop.intake([h.alert(0)])
        name = h.lab.objects("pods", NAMESPACE)[0]["metadata"]["name"]
        await h.lab.behave(NAMESPACE, name, "hang")
        await h.lab.wait_for(ready(2))
        await h.until(lambda: sum(pod.ready for pod in h.view.pods()) == 2)
        assert h.decisions == []


async def test_stopping_lets_an_action_under_way_finish_and_records_it(tmp_path: Path) -> None:
    async with house(tmp_path, SLOW) as h:
        await h.start()
        await evicting(h)
        h.event_loop.stopping = True
        assert await h.executor.finish(PATIENCE)
        (incident,) = h.journal.incidents()
        assert incident.state is State.VERIFYING
        assert len(incident.acted_at) == 1


async def test_stopping_waits_no_longer_than_it_is_told(tmp_path: Path) -> None:
    async with house(tmp_path, SLOW) as h:
        await h.start()
        h.lab.faults.delay(3600, resource="pods/eviction")
        await h.event_loop.intake([h.alert(0)])
        assert not await h.executor.finish(0.01)


async def test_what_had_not_been_sent_when_healer_stops_is_not_sent(tmp_path: Path) -> None:
    async with house(tmp_path, SLOW) as h:
        await h.start()
        h.journal.kept.clear()
        await h.event_loop.intake([h.alert(0)])
        await h.journal.asked.wait()
        h.event_loop.stopping = True
        h.journal.kept.set()
        assert await h.executor.finish(PATIENCE)
        assert h.evictions == 0
        assert [incident.reason.code for incident in h.journal.incidents()] == ["Stopping"]


async def test_an_attempt_after_the_stop_sends_nothing(tmp_path: Path) -> None:
    """The action under way makes room for the next pod: that one is for whoever comes after."""
    async with house(tmp_path, SLOW) as h:
        await h.start()
        await evicting(h)
        await h.event_loop.intake([h.alert(1)])
        h.event_loop.stopping = True
        while h.executor._under_way:
            assert await h.executor.finish(PATIENCE)
        assert h.evictions == 1


# a denied eviction

POLICY = "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'no-evictions' with binding 'all' denied request: it is being moved"
WEBHOOK = 'admission webhook "evictions.example.com" denied the request: the operator restarts the pod itself'


@pytest.mark.parametrize(("code", "words"), [(403, POLICY), (403, WEBHOOK), (400, WEBHOOK), (500, WEBHOOK), (422, WEBHOOK)])
async def test_a_denied_eviction_is_not_followed_by_a_delete(tmp_path: Path, code: int, words: str) -> None:
    """The server's words are in the incident, without a hint about rights that nobody lacks."""
    ladder = SLOW | {"heal": [{"evict": {}}, {"restart": {}}]}
    async with house(tmp_path, ladder) as h:
        await h.start()
        body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": words, "code": code}
        h.lab.faults.answer(code, times=None, verb="create", resource="pods/eviction", body=body)
        await h.event_loop.intake([h.alert(0)])
        await h.until(lambda: h.states == [State.ESCALATED])
        assert [seen for seen in h.lab.requests if (seen.verb, seen.permission) == ("delete", "pods")] == []
        (incident,) = h.journal.incidents()
        assert words in " ".join(entry.reason.text for entry in incident.history)
        assert "role" not in " ".join(entry.reason.text for entry in incident.history)
        assert list(incident.denied) == [h.alert(0).target.uid]


async def test_an_eviction_without_an_answer_is_not_followed_by_a_delete(tmp_path: Path) -> None:
    ladder = SLOW | {"heal": [{"evict": {}}, {"restart": {}}]}
    async with house(tmp_path, ladder, patience=0.2) as h:
        await h.start()
        h.lab.faults.delay(3600, times=None, resource="pods/eviction")
        await h.event_loop.intake([h.alert(0)])
        await h.until(lambda: h.states == [State.ESCALATED])
        assert [seen for seen in h.lab.requests if (seen.verb, seen.permission) == ("delete", "pods")] == []


# what the executor asks


async def test_an_alert_that_ends_between_the_claim_and_the_act_stops_it(tmp_path: Path) -> None:
    async with house(tmp_path, SLOW) as h:
        await h.start()
        h.journal.kept.clear()
        await h.event_loop.intake([h.alert(0)])
        await h.journal.asked.wait()
        await h.event_loop.intake([h.alert(0, firing=False)])
        h.journal.kept.set()
        await h.until(lambda: h.states == [State.CLOSED])
        assert h.evictions == 0


async def test_a_pod_that_recovers_between_the_claim_and_the_act_is_left_alone(tmp_path: Path) -> None:
    async with house(tmp_path, HUNG, sick=True) as h:
        h.journal.kept.clear()
        await h.start()
        await h.journal.asked.wait()
        for pod in h.lab.objects("pods", NAMESPACE):
            await h.lab.behave(NAMESPACE, pod["metadata"]["name"], "ok")
        await h.lab.wait_for(ready(3))
        h.journal.kept.set()
        await h.until(lambda: h.states == [State.CLOSED])
        assert h.evictions == 0


async def test_the_condition_of_a_rule_is_asked_about_what_the_pod_says_right_before_the_act(tmp_path: Path) -> None:
    """The view does not follow in this test, so that only the fresh look can know."""
    unless = HUNG | {"when": {"pod": ["NotReady"], "if": "!signal.message.contains('download')"}}
    async with house(tmp_path, unless, sick=True) as h:
        h.journal.kept.clear()
        await h.start()
        await h.journal.asked.wait()
        for watching in h.tasks[:-1]:
            watching.cancel()
        (sick,) = [pod for pod in h.lab.objects("pods", NAMESPACE) if not is_ready(pod)]

        def change(pod: Object) -> None:
            for each in pod["status"]["conditions"]:
                each["message"] = "the download goes on"

        h.lab.api.modify(POD, NAMESPACE, sick["metadata"]["name"], change, subresource="status")
        h.journal.kept.set()
        await h.until(lambda: "ConditionUnmet" in [decision.reason.code for decision in h.decisions] or h.evictions > 0)
        assert h.evictions == 0


# what sources ask


async def test_what_an_action_has_kept_counts_while_what_came_of_it_is_watched(tmp_path: Path) -> None:
    """Not before: what is kept says what is about to be done, and not that it was."""
    step = {"rolloutRestart": {}, "verify": {"within": "1m", "stable": "0s"}}
    async with house(tmp_path, rule("slow", when={"alert": ["HighLatency"]}, heal=[step])) as h:
        await h.start()
        (deployment,) = h.view.workloads()
        alert = replace(h.alert(), target=deployment.target)
        seen: list[object] = []

        async def looking(_: Act) -> None:
            h.journal.remember(h.journal.incidents()[0].id, "rolloutRestart", {"kept": "this"})
            seen.append(h.event_loop.accepted(alert.key, "rolloutRestart"))

        h.rechecks.append(looking)
        assert h.event_loop.accepted(alert.key, "rolloutRestart") is None, "there is no incident"
        await h.event_loop.intake([alert])
        await h.until(lambda: h.states == [State.VERIFYING])
        assert seen == [{}], "it was on its way"
        assert (h.event_loop.accepted(alert.key, "rolloutRestart") or {})["step"] == "0"
        h.event_loop.undone(h.journal.incidents()[0].id, "alice")
        assert h.event_loop.accepted(alert.key, "rolloutRestart") == {}, "who has taken it back has put nothing back"
        await h.event_loop.intake([replace(alert, firing=False)])
        assert h.event_loop.accepted(alert.key, "rolloutRestart") is None
