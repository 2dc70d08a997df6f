"""The executor: claims before it acts, does so many at once, and always reports."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from healer.actions.base import Call
from healer.actions.evict import Evict
from healer.actions.registry import ACTIONS
from healer.cluster.resources import RESOURCES
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Act
from healer.model.incident import State
from healer.model.kube import Pod
from healer.workloads.registry import core_resources
from tests.support.world import rule
from tests.unit.daemon.conftest import NAMESPACE, House, house, ready

pytestmark = pytest.mark.slow

SLOW = rule("slow", when={"alert": ["HighLatency"]}, heal=[{"evict": {}, "verify": {"within": "1m", "stable": "0s"}}])


async def test_the_intent_is_kept_before_anything_is_asked_of_the_cluster(tmp_path: Path) -> None:
    async with house(tmp_path, SLOW) as h:
        await h.start()
        h.lab.requests.clear()
        h.journal.kept.clear()
        await h.event_loop.intake([h.alert(0)])
        await h.journal.asked.wait()
        assert [seen.verb for seen in h.lab.requests if seen.verb != "watch"] == [], "a watch may only now begin"
        h.journal.kept.set()
        await h.until(lambda: h.states == [State.VERIFYING])
        assert h.evictions == 1


async def test_an_action_without_an_end_is_given_up_and_said_to_have_failed(tmp_path: Path) -> None:
    async with house(tmp_path, SLOW, patience=0.05) as h:
        await h.start()
        h.lab.faults.delay(3600, verb="get", resource="pods")
        await h.event_loop.intake([h.alert(0)])
        await h.until(lambda: "TimedOut" in [decision.reason.code for decision in h.decisions])
        await h.until(lambda: any(incident.failures for incident in h.journal.incidents()) or h.evictions > 0)


class Stumbling(Evict):
    """An action with a fault of its own: what it meets at the first pod is none of what it expects."""

    def __init__(self) -> None:
        self.stumbled = 0

    async def run(self, call: Call) -> Outcome:
        if not self.stumbled:
            self.stumbled += 1
            raise ValueError("invalid literal for int() with base 0: '00000006'")
        return await super().run(call)


async def test_a_fault_of_an_action_ends_its_attempt_and_nothing_else(tmp_path: Path) -> None:
    async with house(tmp_path, SLOW, actions={**ACTIONS, "evict": Stumbling()}) as h:
        await h.start()
        await h.event_loop.intake([h.alert(0)])
        await h.until(lambda: "InternalError" in [decision.reason.code for decision in h.decisions])
        await h.until(lambda: any(incident.failures for incident in h.journal.incidents()) or h.evictions > 0)


class OneByOne(Evict):
    """An action that counts in the cluster: each attempt waits until all that may be under way are."""

    spec = replace(Evict.spec, one_by_one=True)

    def __init__(self) -> None:
        self.under_way = 0
        self.most = 0

    async def run(self, call: Call) -> Outcome:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        outcome = await super().run(call)
        self.under_way -= 1
        return outcome


async def test_what_counts_in_the_cluster_is_attempted_one_by_one(tmp_path: Path) -> None:
    """Else two attempts would both find room for one."""
    counting = OneByOne()
    watch = rule("watch", when={"alert": ["HighLatency"]}, heal=[{"evict": {}}], mode="observe")
    async with house(tmp_path, watch, SLOW, at_once=2, actions={**ACTIONS, "evict": counting}) as h:
        await h.start()
        h.journal.kept.clear()
        await h.event_loop.intake([h.alert(0)])
        await h.journal.asked.wait()
        h.journal.kept.set()
        await h.until(lambda: State.ACTING not in h.states)
        assert (h.journal.most, counting.most) == (2, 1)


@pytest.mark.parametrize("at_once", [1, 2])
async def test_so_many_at_once_and_the_others_in_turn(tmp_path: Path, at_once: int) -> None:
    """Two incidents on one workload never act at once, unless one only observes."""
    watch = rule("watch", when={"alert": ["HighLatency"]}, heal=[{"evict": {}}], mode="observe")
    async with house(tmp_path, watch, SLOW, at_once=at_once) as h:
        await h.start()
        h.journal.kept.clear()
        await h.event_loop.intake([h.alert(0)])
        assert h.states == [State.ACTING, State.ACTING]
        await h.journal.asked.wait()
        h.journal.kept.set()
        await h.until(lambda: State.ACTING not in h.states)
        assert h.journal.most == at_once


async def test_the_source_is_asked_again_before_anything_is_done(tmp_path: Path) -> None:
    """The first outcome that a recheck gives is the attempt's, and the action does not run."""
    answers = [Outcome(OutcomeKind.DEFERRED, "Unasked", "Alertmanager does not answer: nothing was done"), None]
    asked: list[str] = []

    async def recheck(act: Act) -> Outcome | None:
        asked.append(act.target.name)
        return answers.pop(0)

    async with house(tmp_path, SLOW) as h:
        h.rechecks.append(recheck)
        await h.start()
        h.lab.requests.clear()
        await h.event_loop.intake([h.alert(0)])
        await h.until(lambda: "Unasked" in [decision.reason.code for decision in h.decisions])
        assert [seen.permission for seen in h.lab.requests if seen.verb == "get"] == []
        await h.until(lambda: h.states == [State.VERIFYING])
        assert (len(asked), h.evictions) == (2, 1)


async def test_a_pod_that_leaves_the_selector_while_the_intent_is_written_is_left_alone(tmp_path: Path) -> None:
    scope = {"namespaces": [NAMESPACE], "selector": {"matchLabels": {"app": "tensorflow-serving"}}}
    async with house(tmp_path, SLOW | {"scope": scope}) as h:
        await h.start()
        h.journal.kept.clear()
        await h.event_loop.intake([h.alert(0)])
        await h.journal.asked.wait()
        for watch in h.tasks[: len(core_resources())]:  # from here on the view lags behind
            watch.cancel()
        name = h.alert(0).target.name
        await h.api.request(
            "PATCH",
            RESOURCES[Pod].path(NAMESPACE, name),
            body={"metadata": {"labels": {"app": "quarantined"}}},
            content_type="application/merge-patch+json",
        )
        h.journal.kept.set()
        await h.until(lambda: "OutOfScope" in [decision.reason.code for decision in h.decisions])
        assert h.evictions == 0


@pytest.mark.parametrize("mended", [True, False])
async def test_a_workload_that_recovers_while_the_intent_is_written_is_left_alone(tmp_path: Path, mended: bool) -> None:
    """It is read afresh right before it is changed: the view has not seen yet that it is well."""
    step = {"rolloutRestart": {}, "verify": {"within": "1m", "stable": "0s"}}
    async with house(tmp_path, rule("short", when={"workload": ["Unavailable"]}, heal=[step]), sick=True) as h:
        h.journal.kept.clear()
        await h.start()
        await h.journal.asked.wait()
        for watch in h.tasks[: len(core_resources())]:
            watch.cancel()
        if mended:
            for pod in h.lab.objects("pods", NAMESPACE):
                await h.lab.behave(NAMESPACE, pod["metadata"]["name"], "ok")
            await h.lab.wait_for(ready(3))
        h.journal.kept.set()
        await h.until(lambda: h.states == [State.VERIFYING] or "Recovered" in [each.reason.code for each in h.decisions])
        assert restarts(h) == (0 if mended else 1)


RESTART = rule("slow", when={"alert": ["HighLatency"]}, heal=[{"rolloutRestart": {}, "verify": {"within": "1m", "stable": "0s"}}])


def restarts(h: House) -> int:
    return sum((seen.verb, seen.permission) == ("patch", "deployments") for seen in h.lab.requests)


async def test_an_alert_about_a_pod_may_be_answered_on_its_workload(tmp_path: Path) -> None:
    async with house(tmp_path, RESTART) as h:
        await h.start()
        await h.event_loop.intake([h.alert(0)])
        await h.until(lambda: h.states == [State.VERIFYING])
        assert restarts(h) == 1


async def test_what_is_to_be_done_to_a_workload_is_not_wanted_once_none_of_its_pods_is_sick(tmp_path: Path) -> None:
    async with house(tmp_path, RESTART) as h:
        await h.start()
        h.journal.kept.clear()
        await h.event_loop.intake([h.alert(0)])
        await h.journal.asked.wait()
        await h.event_loop.intake([h.alert(0, firing=False)])
        h.journal.kept.set()
        await h.until(lambda: h.states == [State.CLOSED])
        assert restarts(h) == 0


async def test_what_cannot_be_written_down_beforehand_is_not_done(tmp_path: Path) -> None:
    async with house(tmp_path, RESTART) as h:
        await h.start()
        h.journal.forgets = True
        await h.event_loop.intake([h.alert(0)])
        await h.until(lambda: "NotJournaled" in [decision.reason.code for decision in h.decisions])
        assert restarts(h) == 0
        h.journal.forgets = False
        await h.until(lambda: h.states == [State.VERIFYING])
        assert restarts(h) == 1


class Remembering(Evict):
    """An eviction that notes what it is told of earlier incidents."""

    def __init__(self) -> None:
        self.earlier: list[list[Mapping[str, str]]] = []

    async def run(self, call: Call) -> Outcome:
        self.earlier.append(list(call.earlier))
        return await super().run(call)


async def test_what_earlier_incidents_have_kept_is_known_unless_somebody_has_undone_it(tmp_path: Path) -> None:
    """Of the same workload and revision, within the hour; whichever rule it was."""
    names, action = ("First", "Second", "Third"), Remembering()
    rules = [rule(name.lower(), when={"alert": [name]}, heal=SLOW["heal"]) for name in names]
    async with house(tmp_path, *rules, actions={**ACTIONS, "evict": action}) as h:
        await h.start()
        for name in names:
            alert = h.alert(0, name)
            await h.event_loop.intake([alert])
            await h.until(lambda: h.states[-1] in (State.VERIFYING, State.HEALED))
            await h.event_loop.intake([replace(alert, firing=False)])
            await h.until(lambda: set(h.states) == {State.HEALED})
            h.journal.remember(h.journal.incidents()[-1].id, "evict", {"of": name})
            if name == "Second":
                h.event_loop.undone(h.journal.incidents()[0].id, "alice")
    assert action.earlier == [[], [{"of": "First"}], [{"of": "Second"}]]
