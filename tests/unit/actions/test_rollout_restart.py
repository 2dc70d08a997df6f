"""`rolloutRestart` over HTTP against the lab: a rolling update of the same template, once, and not on top of another."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from healer.actions.registry import ACTIONS
from healer.actions.rollout_restart import RolloutRestartParams
from healer.lab import Lab
from healer.lab.kinds import DEPLOYMENT
from healer.model.action import Outcome, OutcomeKind
from healer.model.incident import Reason
from tests.unit.actions.conftest import NAME, NAMESPACE, Bench
from tests.unit.actions.rollouts import BAD, REVISION, annotations, change, deployment, settled, ship, strategy, verdict

pytestmark = pytest.mark.slow

AT, BY = "kubectl.kubernetes.io/restartedAt", "healer.dev/restarted-by"


async def restart(bench: Bench, **more: Any) -> Outcome:
    return await bench.attempt("rolloutRestart", target=bench.workload, **more)


def notes(lab: Lab) -> dict[str, str]:
    return deployment(lab)["spec"]["template"]["metadata"].get("annotations") or {}


def uids(lab: Lab) -> set[str]:
    return {pod["metadata"]["uid"] for pod in lab.objects("pods", NAMESPACE)}


async def test_every_pod_is_replaced_by_a_rollout(bench: Bench) -> None:
    before = uids(bench.lab)
    began = datetime.now(UTC)
    outcome = await restart(bench)
    assert verdict(outcome) == (OutcomeKind.DONE, "RolloutRestarted")
    assert outcome.text == f"the pods of deployment/{NAME} are restarted by a rollout; waiting for them"
    assert [s.verb for s in bench.lab.requests] == ["get", "patch"]
    assert bench.writes == ["patch deployments"]
    assert bench.sent == ["rolloutRestart"]
    assert began <= datetime.fromisoformat(notes(bench.lab)[AT]) <= datetime.now(UTC)
    assert notes(bench.lab)[BY].startswith("crash-")
    await bench.lab.wait_for(settled)
    assert not uids(bench.lab) & before
    assert annotations(bench.lab)[REVISION] == "2"


async def test_only_the_template_s_annotations_change(bench: Bench) -> None:
    before = deployment(bench.lab)
    await restart(bench)
    after = deployment(bench.lab)
    assert set(after["spec"]["template"]["metadata"].pop("annotations")) == {AT, BY}
    assert after["spec"] == before["spec"]


async def test_a_dry_run_asks_the_server_and_changes_nothing(bench: Bench) -> None:
    outcome = await restart(bench, dry_run=True)
    assert verdict(outcome) == (OutcomeKind.DONE, "WouldRestartRollout")
    assert bench.writes == ["patch deployments"]
    assert (notes(bench.lab), bench.kept) == ({}, {})


async def test_when_is_kept_before_anything_is_sent(bench: Bench) -> None:
    bench.unkept = Outcome(OutcomeKind.DEFERRED, "NotJournaled", "no")
    assert await restart(bench) is bench.unkept
    assert (bench.writes, bench.sent) == ([], [])
    bench.unkept = None
    await restart(bench)
    assert bench.kept == {"step": "0", "at": notes(bench.lab)[AT]}


async def test_done_already_by_an_attempt_whose_answer_was_lost(bench: Bench) -> None:
    """Though its rollout is in progress, or over, or somebody has paused since."""
    await restart(bench)
    at = notes(bench.lab)[AT]
    assert verdict(await restart(bench)) == (OutcomeKind.DONE, "FoundDone")
    assert bench.writes == []
    await bench.lab.wait_for(settled)
    bench.change("deployment", **{"healer.dev/paused": "true"})
    assert verdict(await restart(bench)) == (OutcomeKind.DONE, "FoundDone")
    assert notes(bench.lab)[AT] == at


async def test_another_step_or_incident_restarts_again(bench: Bench) -> None:
    await restart(bench)
    await bench.lab.wait_for(settled)
    at = notes(bench.lab)[AT]
    assert verdict(await restart(bench, step=1)) == (OutcomeKind.DONE, "RolloutRestarted")
    assert notes(bench.lab)[AT] > at
    await bench.lab.wait_for(settled)
    assert verdict(await restart(bench, step=1, id="another")) == (OutcomeKind.DONE, "RolloutRestarted")


async def test_kept_but_never_sent_is_not_taken_for_done(bench: Bench) -> None:
    await restart(bench, wanted=lambda: Reason("Stopping", "healer is stopping"))
    assert bench.kept
    assert verdict(await restart(bench)) == (OutcomeKind.DONE, "RolloutRestarted")


async def test_not_on_top_of_a_rollout(bench: Bench) -> None:
    await ship(bench, BAD)
    outcome = await restart(bench)
    assert verdict(outcome) == (OutcomeKind.DEFERRED, "RolloutInProgress")
    assert "1 of 3 replicas are of the current revision" in outcome.text
    assert bench.writes == []


async def test_a_paused_rollout(bench: Bench) -> None:
    change(bench, lambda obj: obj["spec"].update(paused=True))
    assert verdict(await restart(bench)) == (OutcomeKind.DEFERRED, "RolloutPaused")


async def test_paused(bench: Bench) -> None:
    bench.change("deployment", **{"healer.dev/paused": "true"})
    assert verdict(await restart(bench)) == (OutcomeKind.DEFERRED, "Paused")
    assert bench.writes == []


@pytest.mark.parametrize("rolling", [{}, {"maxUnavailable": 3, "maxSurge": 0}])
async def test_the_floor(bench: Bench, rolling: dict[str, int | str]) -> None:
    await strategy(bench, **rolling)
    assert verdict(await restart(bench)) == (OutcomeKind.REFUSED, "BelowFloor")
    assert bench.writes == []


async def test_a_gitops_controller_lets_a_restart_be(bench: Bench) -> None:
    bench.change("deployment", **{"argocd.argoproj.io/tracking-id": f"shop:apps/Deployment:{NAMESPACE}/{NAME}"})
    assert verdict(await restart(bench)) == (OutcomeKind.DONE, "RolloutRestarted")


async def test_changed_between_the_look_and_the_request(bench: Bench) -> None:
    outcome = await restart(bench, meanwhile=lambda: bench.change("deployment", **{"healer.dev/paused": "true"}))
    assert verdict(outcome) == (OutcomeKind.DEFERRED, "Changed")
    assert notes(bench.lab) == {}


async def test_gone_before_the_look_and_between_it_and_the_request(bench: Bench) -> None:
    def remove() -> None:
        bench.lab.store.remove(DEPLOYMENT.stored_in, (NAMESPACE, NAME))

    assert verdict(await restart(bench, meanwhile=remove)) == (OutcomeKind.GONE, "AlreadyGone")
    assert verdict(await restart(bench)) == (OutcomeKind.GONE, "AlreadyGone")


async def test_not_wanted_any_more(bench: Bench) -> None:
    outcome = await restart(bench, wanted=lambda: Reason("Resolved", "the alert is over"))
    assert verdict(outcome) == (OutcomeKind.RECOVERED, "Resolved")
    assert (bench.writes, bench.sent) == ([], [])


@pytest.mark.parametrize(
    ("code", "kind"),
    [(403, OutcomeKind.REFUSED), (404, OutcomeKind.REFUSED), (429, OutcomeKind.DEFERRED), (503, OutcomeKind.FAILED)],
)
async def test_other_answers(bench: Bench, code: int, kind: OutcomeKind) -> None:
    bench.lab.faults.answer(code, verb="patch", resource="deployments")
    assert (await restart(bench)).kind is kind
    assert bench.writes == ["patch deployments"]


async def test_a_look_that_fails_is_no_try(bench: Bench) -> None:
    bench.lab.faults.answer(500, verb="get", resource="deployments")
    assert verdict(await restart(bench)) == (OutcomeKind.DEFERRED, "ServerError")
    assert bench.writes == []


def test_only_what_it_knows_can_be_written_in_a_rule() -> None:
    assert ACTIONS["rolloutRestart"].spec.params is RolloutRestartParams
    assert RolloutRestartParams.model_validate({"evenIfManaged": True}).even_if_managed
    with pytest.raises(ValidationError):
        RolloutRestartParams.model_validate({"toRevision": 3})
    assert not ACTIONS["rolloutRestart"].spec.in_rollout
