"""`restart` over HTTP against the lab: exactly this pod, as it was seen, and never under a budget."""

from collections.abc import Iterator

import pytest

from healer.lab.kinds import POD
from healer.lab.objects import Object
from healer.model.action import OutcomeKind
from healer.model.incident import Reason
from tests.unit.actions.conftest import NAMESPACE, Bench, three_ready

pytestmark = pytest.mark.slow


async def test_the_pod_is_deleted_and_replaced(bench: Bench) -> None:
    outcome = await bench.attempt("restart")
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DONE, "Restarted")
    assert bench.writes == ["delete pods"]
    assert bench.sent == ["restart"]
    assert not bench.untouched
    await bench.lab.wait_for(three_ready)


async def test_a_dry_run_changes_nothing(bench: Bench) -> None:
    outcome = await bench.attempt("restart", dry_run=True)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DONE, "WouldRestart")
    assert bench.untouched


@pytest.mark.parametrize("bench", [1], indirect=True)
async def test_under_a_budget_it_refuses_though_the_budget_would_allow(bench: Bench) -> None:
    outcome = await bench.attempt("restart")
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "UnderBudget")
    assert "use evict" in outcome.text
    assert bench.writes == []
    assert bench.untouched


async def test_budgets_that_cannot_be_read_are_not_taken_for_none(bench: Bench) -> None:
    bench.lab.forbid("list", "poddisruptionbudgets")
    assert (await bench.attempt("restart")).kind is OutcomeKind.REFUSED
    assert bench.writes == []


async def test_a_pod_that_changed_since_the_look_is_looked_at_again(bench: Bench) -> None:
    """The resourceVersion precondition: what changed may be that it recovered."""
    outcome = await bench.attempt("restart", meanwhile=lambda: bench.change(touched="1"))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DEFERRED, "Changed")
    assert bench.untouched


async def test_a_pod_of_the_same_name_is_left_alone(bench: Bench) -> None:
    assert (await bench.attempt("restart", meanwhile=bench.replace)).kind is OutcomeKind.GONE
    (successor,) = [pod for pod in bench.lab.objects("pods", NAMESPACE) if pod["metadata"]["name"] == bench.target.name]
    assert "deletionTimestamp" not in successor["metadata"]


@pytest.mark.parametrize("stays", [True, False])
async def test_a_conflict_about_a_pod_that_is_going_leaves_open_who_did_it(bench: Bench, stays: bool) -> None:
    """The HTTP client repeats a DELETE whose connection is cut: the conflict may be with its own first try."""
    if stays:
        await bench.lab.behave(NAMESPACE, bench.target.name, "refuse-to-terminate")
    else:
        bench.lab.faults.answer(409, verb="delete", resource="pods")

    def first_try() -> None:
        if stays:
            bench.lab.api.delete(POD, NAMESPACE, bench.target.name)
        else:
            bench.remove()

    assert (await bench.attempt("restart", meanwhile=first_try)).kind is OutcomeKind.FAILED


async def test_gone_between_the_look_and_the_request(bench: Bench) -> None:
    assert (await bench.attempt("restart", meanwhile=bench.remove)).kind is OutcomeKind.GONE


@pytest.mark.parametrize(
    ("code", "kind"),
    [(403, OutcomeKind.REFUSED), (404, OutcomeKind.REFUSED), (429, OutcomeKind.DEFERRED), (500, OutcomeKind.FAILED)],
)
async def test_other_answers(bench: Bench, code: int, kind: OutcomeKind) -> None:
    bench.lab.faults.answer(code, verb="delete", resource="pods")
    assert (await bench.attempt("restart")).kind is kind
    assert bench.writes == ["delete pods"]


async def test_a_cut_connection_leaves_open_whether_it_happened(bench: Bench) -> None:
    bench.lab.faults.drop(verb="delete", resource="pods", times=None)
    assert (await bench.attempt("restart")).kind is OutcomeKind.FAILED


async def test_resolved_while_the_budgets_were_read_sends_nothing(bench: Bench) -> None:
    answers: Iterator[Reason | None] = iter([None, Reason("Resolved", "the alert is over")])
    outcome = await bench.attempt("restart", wanted=lambda: next(answers))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.RECOVERED, "Resolved")
    assert bench.writes == []
    assert bench.sent == []


@pytest.mark.parametrize("finished", [True, False])
async def test_the_floor_is_not_under_a_record(bench: Bench, finished: bool) -> None:
    """A pod that has finished serves nobody, even where its last status says Ready."""
    bench.lab.api.modify(POD, NAMESPACE, bench.target.name, lambda pod: _ended(pod, finished), subresource="status")
    outcome = await bench.attempt("restart", min_ready=3)
    assert outcome.reason == ("Restarted" if finished else "BelowFloor")


def _ended(pod: Object, finished: bool) -> None:
    if finished:
        pod["status"] |= {"phase": "Failed", "reason": "Evicted"}
