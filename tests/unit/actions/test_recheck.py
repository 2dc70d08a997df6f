"""The last look before acting, for every action that takes a pod: whatever is not as it was, nothing is sent."""

from typing import Any

import pytest

from healer.lab.kinds import DEPLOYMENT
from healer.model.action import OutcomeKind
from tests.unit.actions.conftest import NAME, NAMESPACE, Bench

ACTIONS = pytest.mark.parametrize("action", ["evict", "restart"])
PAUSED: Any = {"healer.dev/paused": "true"}


def nothing_was_done(bench: Bench) -> bool:
    return bench.writes == [] and bench.sent == []


@ACTIONS
async def test_the_pod_is_gone(bench: Bench, action: str) -> None:
    bench.remove()
    outcome = await bench.attempt(action)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.GONE, "AlreadyGone")
    assert nothing_was_done(bench)


@ACTIONS
async def test_another_pod_has_its_name(bench: Bench, action: str) -> None:
    bench.replace()
    outcome = await bench.attempt(action)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.GONE, "Replaced")
    assert nothing_was_done(bench)


@ACTIONS
async def test_it_is_being_deleted_already(bench: Bench, action: str) -> None:
    await bench.lab.behave(NAMESPACE, bench.target.name, "refuse-to-terminate")
    assert (await bench.attempt("evict")).kind is OutcomeKind.DONE
    bench.sent.clear()
    outcome = await bench.attempt(action)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.GONE, "AlreadyTerminating")
    assert nothing_was_done(bench)


@ACTIONS
async def test_it_has_recovered(bench: Bench, action: str) -> None:
    outcome = await bench.attempt(action, sick=False)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.RECOVERED, "Recovered")
    assert nothing_was_done(bench)
    assert bench.untouched


@ACTIONS
async def test_the_floor_is_asked_with_fresh_numbers(bench: Bench, action: str) -> None:
    """The view still has three ready pods; the Deployment says that only one is."""
    others = [pod for pod in bench.lab.objects("pods", NAMESPACE) if pod["metadata"]["uid"] != bench.target.uid]
    for pod in others:
        await bench.lab.behave(NAMESPACE, pod["metadata"]["name"], "hang")
    await bench.lab.wait_for(lambda lab: lab.objects("deployments", NAMESPACE)[0]["status"].get("readyReplicas") == 1)
    outcome = await bench.attempt(action)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DEFERRED, "BelowFloor")
    assert nothing_was_done(bench)


@ACTIONS
async def test_the_floor_heeds_the_view_too_where_the_deployment_lags(bench: Bench, action: str) -> None:
    for pod in list(bench.view.pods()):
        if pod.metadata.uid != bench.target.uid:
            bench.view.drop(type(pod), pod.metadata.uid)
    outcome = await bench.attempt(action)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DEFERRED, "BelowFloor")
    assert nothing_was_done(bench)


@ACTIONS
async def test_a_pod_that_is_ready_by_now_is_not_taken_while_another_is_down(bench: Bench, action: str) -> None:
    """Only because it was not ready, it was to be taken whatever is in flight."""
    outcome = await bench.attempt(action, alone=False)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DEFERRED, "ReadyAgain")
    assert nothing_was_done(bench)


@ACTIONS
async def test_what_was_taken_is_told_as_it_was_at_the_last_look(bench: Bench, action: str) -> None:
    assert (await bench.attempt(action)).ready


@ACTIONS
async def test_the_rule_s_floor_is_asked(bench: Bench, action: str) -> None:
    assert (await bench.attempt(action, min_ready=3)).reason == "BelowFloor"
    assert nothing_was_done(bench)


async def test_a_pod_that_is_not_ready_is_not_counted_twice(bench: Bench) -> None:
    """Two of three are ready, the sick one is not: taking it leaves two."""
    await bench.lab.behave(NAMESPACE, bench.target.name, "hang")
    await bench.lab.wait_for(lambda lab: lab.objects("deployments", NAMESPACE)[0]["status"].get("readyReplicas") == 2)
    bench.look()
    assert (await bench.attempt(min_ready=2)).kind is OutcomeKind.DONE


@ACTIONS
@pytest.mark.parametrize("what", ["pod", "deployment"])
async def test_paused_meanwhile(bench: Bench, action: str, what: str) -> None:
    bench.change(what, **PAUSED)
    outcome = await bench.attempt(action)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DEFERRED, "Paused")
    assert nothing_was_done(bench)


@ACTIONS
async def test_a_pause_that_has_ended_pauses_nothing(bench: Bench, action: str) -> None:
    """Its time is compared with the wall clock, at the last look before acting as well."""
    bench.change("deployment", **PAUSED, **{"healer.dev/paused-until": "2001-01-01T00:00:00Z"})
    assert (await bench.attempt(action)).kind is OutcomeKind.DONE


async def test_the_namespace_was_paused_meanwhile(bench: Bench) -> None:
    for namespace in bench.lab.objects("namespaces"):
        if namespace["metadata"]["name"] == NAMESPACE:
            namespace["metadata"]["annotations"] = PAUSED
            kind = bench.lab.api.kinds.named("namespaces")
            bench.lab.api.update(kind, "", NAMESPACE, namespace)
    bench.look()
    assert (await bench.attempt()).reason == "Paused"
    assert nothing_was_done(bench)


@ACTIONS
async def test_a_rollout_has_begun(bench: Bench, action: str) -> None:
    def new_image(deployment: dict[str, Any]) -> None:
        # one that cannot be pulled: the rollout stays in progress, and takes none of the old pods
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "tensorflow/serving:bad"

    bench.lab.api.modify(DEPLOYMENT, NAMESPACE, NAME, new_image)
    outcome = await bench.attempt(action)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DEFERRED, "RolloutInProgress")
    assert nothing_was_done(bench)


@ACTIONS
async def test_the_workload_is_gone(bench: Bench, action: str) -> None:
    bench.lab.store.remove(DEPLOYMENT.stored_in, (NAMESPACE, NAME))
    outcome = await bench.attempt(action)
    assert outcome.kind is OutcomeKind.GONE
    assert nothing_was_done(bench)


@ACTIONS
async def test_another_workload_has_its_name(bench: Bench, action: str) -> None:
    bench.workload = type(bench.workload)("Deployment", NAMESPACE, NAME, "another")
    outcome = await bench.attempt(action)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "WorkloadReplaced")
    assert nothing_was_done(bench)


@ACTIONS
@pytest.mark.parametrize("resource", ["pods", "deployments"])
@pytest.mark.parametrize(("code", "kind"), [(403, OutcomeKind.REFUSED), (429, OutcomeKind.DEFERRED), (500, OutcomeKind.DEFERRED)])
async def test_a_look_that_fails_acts_on_nothing(bench: Bench, action: str, resource: str, code: int, kind: OutcomeKind) -> None:
    bench.lab.faults.answer(code, verb="get", resource=resource)
    assert (await bench.attempt(action)).kind is kind
    assert nothing_was_done(bench)


@ACTIONS
async def test_a_look_without_an_answer_acts_on_nothing(bench: Bench, action: str) -> None:
    bench.lab.faults.drop(verb="get", resource="pods", times=None)
    assert (await bench.attempt(action)).kind is OutcomeKind.DEFERRED
    assert nothing_was_done(bench)
