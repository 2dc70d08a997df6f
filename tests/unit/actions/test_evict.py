"""`evict` over HTTP against the lab: every answer that an API server may give, and what must never be sent."""

import pytest

from healer.actions.evict import EvictParams
from healer.cluster.api import Api
from healer.lab import serving
from healer.lab.kinds import NODE
from healer.model.action import OutcomeKind
from healer.model.incident import Reason
from tests.unit.actions.conftest import NAMESPACE, Bench, three_ready

pytestmark = pytest.mark.slow

EVICTION = "pods/eviction"


def node_of(bench: Bench) -> str:
    """The node that the target is on."""
    pod = bench.pod()
    assert pod is not None
    return str(pod["spec"]["nodeName"])


async def test_accepted(bench: Bench) -> None:
    outcome = await bench.attempt()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DONE, "Evicted")
    assert bench.writes == ["create pods/eviction"]
    assert bench.sent == ["evict"]
    assert not bench.untouched
    await bench.lab.wait_for(three_ready)


@pytest.mark.parametrize("dry_run", [False, True])
async def test_to_be_placed_elsewhere_its_node_is_read_again_whatever_the_view_has(bench: Bench, dry_run: bool) -> None:
    """No node is in the view. As long as the node takes such pods, or somebody treats it, the pod stays."""
    params, node = EvictParams(elsewhere=True), node_of(bench)
    for taint, expected in (("", "SameNode"), ("dgxc.nvidia.com/nvsentinel-state", "NodeRemediated")):
        if taint:
            bench.lab.taint_node(node, taint)
        outcome = await bench.attempt(params=params, dry_run=dry_run)
        assert (outcome.kind, outcome.reason) == (OutcomeKind.DEFERRED, expected), outcome.text
        assert f"node/{node}" in outcome.text
        assert (bench.writes, bench.sent) == ([], [])
    bench.lab.taint_node(node, "example.com/gpu-broken")
    outcome = await bench.attempt(params=params, dry_run=dry_run)
    assert (outcome.kind, bench.untouched) == (OutcomeKind.DONE, dry_run)


async def test_to_be_placed_elsewhere_it_leaves_a_node_that_is_gone(bench: Bench) -> None:
    bench.lab.store.remove(NODE.stored_in, ("", node_of(bench)))
    outcome = await bench.attempt(params=EvictParams(elsewhere=True))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DONE, "Evicted")


@pytest.mark.parametrize(
    ("status", "kind", "reason"), [(403, OutcomeKind.REFUSED, "Forbidden"), (500, OutcomeKind.DEFERRED, "ServerError")]
)
async def test_to_be_placed_elsewhere_it_stays_when_its_node_cannot_be_read(
    bench: Bench, status: int, kind: OutcomeKind, reason: str
) -> None:
    bench.lab.faults.answer(status, resource="nodes", times=None)
    outcome = await bench.attempt(params=EvictParams(elsewhere=True))
    assert (outcome.kind, outcome.reason, bench.writes) == (kind, reason, [])
    assert f"read node/{node_of(bench)}" in outcome.text


async def test_an_eviction_that_does_not_ask_for_another_node_reads_none(bench: Bench) -> None:
    await bench.attempt()
    assert not [seen for seen in bench.lab.requests if seen.permission == "nodes"]


async def test_a_dry_run_changes_nothing(bench: Bench) -> None:
    outcome = await bench.attempt(dry_run=True)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DONE, "WouldEvict")
    assert bench.writes == ["create pods/eviction"]
    assert bench.untouched


@pytest.mark.parametrize("bench", [2], indirect=True)
async def test_a_dry_run_does_not_spend_the_budget(bench: Bench) -> None:
    for _ in range(3):
        assert (await bench.attempt(dry_run=True)).kind is OutcomeKind.DONE
    (budget,) = bench.lab.objects("poddisruptionbudgets", NAMESPACE)
    assert budget["status"]["disruptionsAllowed"] == 1


@pytest.mark.parametrize("bench", [3], indirect=True)
@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_budget_s_no_is_no_and_never_a_delete(bench: Bench, dry_run: bool) -> None:
    outcome = await bench.attempt(dry_run=dry_run)
    assert (outcome.kind, outcome.reason, outcome.retry_after) == (OutcomeKind.DEFERRED, "BudgetRefused", None)
    assert "needs 3 healthy pods and has 3 currently" in outcome.text
    assert bench.writes == ["create pods/eviction"]
    assert bench.untouched


async def test_a_budget_s_no_may_name_a_time(bench: Bench) -> None:
    body = {"code": 429, "message": "no", "details": {"retryAfterSeconds": 10, "causes": [{"reason": "DisruptionBudget"}]}}
    bench.lab.faults.answer(429, body=body, resource=EVICTION)
    outcome = await bench.attempt()
    assert (outcome.kind, outcome.reason, outcome.retry_after) == (OutcomeKind.DEFERRED, "BudgetRefused", 10)


async def test_throttling_is_not_the_budget(bench: Bench) -> None:
    bench.lab.faults.answer(429, headers={"Retry-After": "7"}, resource=EVICTION)
    outcome = await bench.attempt()
    assert (outcome.kind, outcome.reason, outcome.retry_after) == (OutcomeKind.DEFERRED, "Throttled", 7)


@pytest.mark.parametrize("bench", [2], indirect=True)
async def test_two_budgets_over_one_pod_are_a_human_s_matter(bench: Bench) -> None:
    (budget,) = [each for each in serving() if each["kind"] == "PodDisruptionBudget"]
    budget["metadata"]["name"] = "another"
    await bench.lab.apply(budget)
    bench.look()
    outcome = await bench.attempt()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "TwoBudgets")
    assert "(another, tensorflow-serving)" in outcome.text
    assert bench.untouched


@pytest.mark.parametrize("code", [500, 503])
async def test_another_server_error_may_have_had_its_effect(bench: Bench, code: int) -> None:
    bench.lab.faults.answer(code, resource=EVICTION)
    outcome = await bench.attempt()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, "ServerError")
    assert bench.writes == ["create pods/eviction"]


async def test_forbidden_says_what_to_grant(bench: Bench) -> None:
    bench.lab.forbid("create", EVICTION)
    outcome = await bench.attempt()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "Forbidden")
    assert "pods/eviction" in outcome.text
    assert bench.untouched


async def test_any_other_no_is_a_refusal(bench: Bench) -> None:
    bench.lab.faults.answer(422, resource=EVICTION)
    assert (await bench.attempt()).kind is OutcomeKind.REFUSED


async def test_gone_between_the_look_and_the_request(bench: Bench) -> None:
    outcome = await bench.attempt(meanwhile=bench.remove)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.GONE, "AlreadyGone")


@pytest.mark.parametrize(
    "message",
    [
        'admission webhook "x.example.com" denied the request: no shard is registered',
        "the server could not find the requested resource",
    ],
)
async def test_a_404_about_a_pod_that_is_there_is_a_refusal_in_the_server_s_words(bench: Bench, message: str) -> None:
    """A webhook may deny with any code: read as "gone", the next step would delete the pod."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "message": message, "code": 404}
    bench.lab.faults.answer(404, body=body, resource=EVICTION)
    outcome = await bench.attempt()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "Rejected")
    assert message in outcome.text
    assert bench.untouched


async def test_a_404_about_a_pod_whose_name_another_has_by_the_second_look(bench: Bench) -> None:
    """It is gone for certain: another uid answers to its name."""
    bench.lab.faults.answer(404, resource=EVICTION)
    outcome = await bench.attempt(meanwhile=bench.replace)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.GONE, "Replaced")


async def test_a_404_whose_second_look_fails_does_not_say_that_the_pod_is_gone(bench: Bench) -> None:
    """What cannot be read is not known to be gone."""
    bench.lab.faults.answer(404, resource=EVICTION)

    def break_down() -> None:
        bench.lab.faults.answer(500, verb="get", resource="pods")

    assert (await bench.attempt(meanwhile=break_down)).kind is OutcomeKind.FAILED


async def test_replaced_between_the_look_and_the_request_the_successor_is_left_alone(bench: Bench) -> None:
    """The uid precondition is the last net: without it the healthy pod of that name would go."""
    outcome = await bench.attempt(meanwhile=bench.replace)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.GONE, "Replaced")
    (successor,) = [pod for pod in bench.lab.objects("pods", NAMESPACE) if pod["metadata"]["name"] == bench.target.name]
    assert "deletionTimestamp" not in successor["metadata"]


async def test_a_conflict_about_the_same_pod_did_nothing_and_is_tried_again(bench: Bench) -> None:
    bench.lab.faults.answer(409, resource=EVICTION)
    outcome = await bench.attempt()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DEFERRED, "Conflict")


async def test_a_conflict_about_a_pod_that_is_gone_by_the_second_look(bench: Bench) -> None:
    bench.lab.faults.answer(409, resource=EVICTION)
    outcome = await bench.attempt(meanwhile=bench.remove)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.GONE, "AlreadyGone")


async def test_a_conflict_whose_second_look_fails(bench: Bench) -> None:
    bench.lab.faults.answer(409, resource=EVICTION)

    def break_down() -> None:
        bench.lab.faults.answer(500, verb="get", resource="pods")

    assert (await bench.attempt(meanwhile=break_down)).kind is OutcomeKind.FAILED


async def test_a_cut_connection_leaves_open_whether_it_happened(bench: Bench) -> None:
    bench.lab.faults.drop(resource=EVICTION, times=None)
    outcome = await bench.attempt()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, "NoAnswer")
    assert bench.writes == ["create pods/eviction"]  # sent once, whatever became of it


async def test_no_answer_in_time_leaves_open_whether_it_happened(bench: Bench) -> None:
    await bench.api.aclose()
    bench.api = await Api.connect(kubeconfig=bench.kubeconfig, request_timeout=0.5)
    bench.lab.faults.delay(3600, resource=EVICTION)
    outcome = await bench.attempt()
    await bench.api.aclose()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, "NoAnswer")
    assert "timed out" in outcome.text


async def test_resolved_at_the_last_moment_sends_nothing(bench: Bench) -> None:
    outcome = await bench.attempt(wanted=lambda: Reason("Resolved", "the alert is over"))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.RECOVERED, "Resolved")
    assert bench.writes == []
    assert bench.sent == []
