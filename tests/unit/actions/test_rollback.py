"""`rollback` over HTTP against the lab: to which revision, in which one request, and when not."""

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from healer.actions.registry import ACTIONS
from healer.actions.rollback import RollbackParams
from healer.daemon.rulefiles import vocabulary
from healer.lab.kinds import DEPLOYMENT, REPLICASET
from healer.lab.kinds import NAMESPACE as NAMESPACES
from healer.lab.objects import Object
from healer.model.action import Outcome, OutcomeKind
from healer.model.incident import Reason
from healer.model.target import ActsOn
from healer.model.view import target_of
from healer.rules.loading import load
from tests.support.world import rule
from tests.unit.actions.conftest import NAME, NAMESPACE, Bench
from tests.unit.actions.rollouts import (
    BAD,
    FIRST,
    GOOD,
    NEWER,
    REVISION,
    annotations,
    change,
    deployment,
    image,
    roll_back,
    settled,
    ship,
    strategy,
    verdict,
)

FROM, BY = "healer.dev/rolled-back-from", "healer.dev/rolled-back-by"


def replace(bench: Bench) -> None:
    """Another Deployment takes the name, at once; its rollout is paused, so that it leaves the old one's pods alone."""
    obj = deployment(bench.lab)
    bench.lab.store.remove(DEPLOYMENT.stored_in, (NAMESPACE, NAME))
    for key in ("uid", "resourceVersion", "creationTimestamp"):
        del obj["metadata"][key]
    obj["spec"]["paused"] = True
    bench.lab.api.create(DEPLOYMENT, NAMESPACE, obj)


async def test_to_the_revision_before_and_its_replicaset_serves_again(bench: Bench) -> None:
    (first,) = bench.lab.objects("replicasets", NAMESPACE)
    await ship(bench, GOOD)
    outcome = await roll_back(bench)
    assert verdict(outcome) == (OutcomeKind.DONE, "RolledBack")
    assert outcome.text == (
        f"deployment/{NAME} is rolled back from revision 2 to revision 1 (image {GOOD} -> {FIRST}); waiting for its pods"
    )
    assert bench.writes == ["patch deployments"]
    assert [s.verb for s in bench.lab.requests] == ["get", "list", "patch"]
    assert bench.sent == ["rollback"]
    await bench.lab.wait_for(settled)
    assert image(bench.lab) == FIRST
    assert annotations(bench.lab)[REVISION] == "3"
    assert annotations(bench.lab)[FROM] == "2"
    assert annotations(bench.lab)[BY].startswith("crash-")
    assert {r["metadata"]["name"]: r["spec"]["replicas"] for r in bench.lab.objects("replicasets", NAMESPACE)}[
        first["metadata"]["name"]
    ] == 3
    assert "pod-template-hash" not in deployment(bench.lab)["spec"]["template"]["metadata"]["labels"]


async def test_only_the_template_and_the_notes_change(bench: Bench) -> None:
    await ship(bench, GOOD)
    before = deployment(bench.lab)
    await roll_back(bench)
    after = deployment(bench.lab)
    assert after["spec"].pop("template") != before["spec"].pop("template")
    assert after["spec"] == before["spec"]
    assert {k for k, v in after["metadata"]["annotations"].items() if before["metadata"]["annotations"].get(k) != v} <= {
        FROM,
        BY,
        REVISION,
    }
    assert after["metadata"]["labels"] == before["metadata"]["labels"]


async def test_a_bad_rollout_is_rolled_back_while_it_is_in_progress(bench: Bench) -> None:
    """That is the point of it: the old pods serve, the new one cannot start."""
    await ship(bench, BAD)
    bench.target = next(target_of(pod) for pod in bench.view.pods() if not pod.ready)
    outcome = await roll_back(bench)
    assert verdict(outcome) == (OutcomeKind.DONE, "RolledBack")
    await bench.lab.wait_for(settled)
    assert image(bench.lab) == FIRST


async def test_a_sick_pod_of_an_older_revision_rolls_nothing_back(bench: Bench) -> None:
    """What is being rolled out may be the cure."""
    await ship(bench, BAD)
    outcome = await roll_back(bench)
    assert verdict(outcome) == (OutcomeKind.DEFERRED, "NewRevision")
    assert "is at revision 2, and what is sick is of 1: " in outcome.text
    assert (image(bench.lab), bench.writes) == (BAD, [])


async def test_to_the_last_revision_that_was_seen_healthy(bench: Bench) -> None:
    await ship(bench, GOOD)
    await ship(bench, NEWER)
    outcome = await roll_back(bench, healthy="1")
    assert "from revision 3 to revision 1, last seen healthy (" in outcome.text
    assert image(bench.lab) == FIRST


async def test_to_the_one_before_when_the_healthy_one_is_the_current(bench: Bench) -> None:
    await ship(bench, GOOD)
    await ship(bench, NEWER)
    assert "from revision 3 to revision 2 (" in (await roll_back(bench, healthy="3")).text
    assert image(bench.lab) == GOOD


async def test_to_the_revision_that_the_rule_names(bench: Bench) -> None:
    await ship(bench, GOOD)
    await ship(bench, NEWER)
    assert verdict(await roll_back(bench, to=1, healthy="2")) == (OutcomeKind.DONE, "RolledBack")
    assert image(bench.lab) == FIRST


async def test_what_it_goes_from_and_to_is_kept_before_anything_is_sent(bench: Bench) -> None:
    await ship(bench, GOOD)
    (goal,) = [r for r in bench.lab.objects("replicasets", NAMESPACE) if r["metadata"]["annotations"][REVISION] == "1"]
    bench.unkept = Outcome(OutcomeKind.DEFERRED, "NotJournaled", "no")
    assert await roll_back(bench) is bench.unkept
    assert (bench.writes, bench.sent, image(bench.lab)) == ([], [], GOOD)
    bench.unkept = None
    await roll_back(bench)
    assert bench.kept == {"step": "0", "from": "2", "to": "1", "replicaSet": goal["metadata"]["name"]}


async def test_a_dry_run_asks_the_server_and_changes_nothing(bench: Bench) -> None:
    await ship(bench, GOOD)
    before = deployment(bench.lab)
    outcome = await roll_back(bench, dry_run=True)
    assert verdict(outcome) == (OutcomeKind.DONE, "WouldRollBack")
    assert outcome.text.endswith("(observe: dry run, nothing was done)")
    assert bench.writes == ["patch deployments"]
    assert bench.kept == {}
    after = deployment(bench.lab)
    assert (after["spec"], annotations(bench.lab)) == (before["spec"], before["metadata"]["annotations"])


async def test_the_change_cause_goes_with_the_template(bench: Bench) -> None:
    await ship(bench, GOOD, cause="model 17")
    await ship(bench, NEWER, cause="model 18")
    await roll_back(bench)
    assert annotations(bench.lab)["kubernetes.io/change-cause"] == "model 17"
    await bench.lab.wait_for(settled)
    await roll_back(bench, to=1, step=1)
    assert "kubernetes.io/change-cause" not in annotations(bench.lab)


# never twice


async def test_done_already_by_an_attempt_whose_answer_was_lost(bench: Bench) -> None:
    await ship(bench, GOOD)
    await roll_back(bench)
    again = await roll_back(bench)
    assert verdict(again) == (OutcomeKind.DONE, "FoundDone")
    assert "from revision 2 to 1 already" in again.text
    assert bench.writes == []
    await bench.lab.wait_for(settled)
    assert verdict(await roll_back(bench)) == (OutcomeKind.DONE, "FoundDone")
    assert annotations(bench.lab)[REVISION] == "3"


async def test_done_already_is_seen_though_somebody_has_paused_since(bench: Bench) -> None:
    await ship(bench, GOOD)
    await roll_back(bench)
    bench.change("deployment", **{"healer.dev/paused": "true"})
    assert verdict(await roll_back(bench)) == (OutcomeKind.DONE, "FoundDone")


async def test_another_step_of_the_same_incident_is_another_rollback(bench: Bench) -> None:
    await ship(bench, GOOD)
    await ship(bench, NEWER)
    await roll_back(bench, revision="3")
    await bench.lab.wait_for(settled)
    outcome = await roll_back(bench, step=1, to=1, revision="3")
    assert verdict(outcome) == (OutcomeKind.DONE, "RolledBack")
    assert (bench.kept["step"], bench.kept["from"], image(bench.lab)) == ("1", "4", FIRST)


async def test_a_storm_s_step_is_another_one(bench: Bench) -> None:
    await ship(bench, GOOD)
    await roll_back(bench, storming=True)
    await bench.lab.wait_for(settled)
    assert bench.kept["step"] == "storm"
    assert verdict(await roll_back(bench)) == (OutcomeKind.REFUSED, "PingPong")


async def test_what_was_rolled_back_and_put_back_is_not_taken_for_done(bench: Bench) -> None:
    """Nor fought over: whoever puts it back does so again."""
    await ship(bench, GOOD)
    await roll_back(bench)
    await bench.lab.wait_for(settled)
    await ship(bench, GOOD)
    outcome = await roll_back(bench, revision="2")
    assert verdict(outcome) == (OutcomeKind.REFUSED, "PutBack")
    assert "revision 2" in outcome.text
    assert "as 4" in outcome.text
    assert bench.writes == []


async def test_what_was_put_back_and_seen_healthy_since_may_be_rolled_back(bench: Bench) -> None:
    await ship(bench, GOOD)
    await roll_back(bench)
    await bench.lab.wait_for(settled)
    await ship(bench, GOOD)
    bench.kept = {}
    assert verdict(await roll_back(bench, healthy="4", revision="4")) == (OutcomeKind.DONE, "RolledBack")
    assert image(bench.lab) == FIRST


# refused


async def test_without_an_earlier_revision(bench: Bench) -> None:
    outcome = await roll_back(bench)
    assert verdict(outcome) == (OutcomeKind.REFUSED, "NoEarlierRevision")
    assert bench.writes == []


async def test_a_restart_is_no_earlier_revision(bench: Bench) -> None:
    """Revision 2 is a restart of 1: to go back to it would restart the pods and change nothing."""
    await bench.attempt("rolloutRestart", target=bench.workload)
    await bench.lab.wait_for(settled)
    bench.look()
    assert annotations(bench.lab)[REVISION] == "2"
    assert verdict(await roll_back(bench)) == (OutcomeKind.REFUSED, "NoEarlierRevision")
    assert verdict(await roll_back(bench, to=1)) == (OutcomeKind.REFUSED, "AlreadyCurrent")


async def test_after_a_restart_by_the_same_incident_it_goes_behind_both(bench: Bench) -> None:
    await ship(bench, GOOD)
    await bench.attempt("rolloutRestart", target=bench.workload, revision="2")
    await bench.lab.wait_for(settled)
    outcome = await roll_back(bench, revision="2", healthy="2")
    assert verdict(outcome) == (OutcomeKind.DONE, "RolledBack")
    assert image(bench.lab) == FIRST


@pytest.mark.parametrize(
    ("to", "reason", "said"), [(2, "AlreadyCurrent", "current"), (7, "RevisionGone", "revisionHistoryLimit"), (1, "", "")]
)
async def test_the_wanted_revision_must_be_there_and_another(bench: Bench, to: int, reason: str, said: str) -> None:
    await ship(bench, GOOD)
    outcome = await roll_back(bench, to=to)
    assert verdict(outcome) == ((OutcomeKind.REFUSED, reason) if reason else (OutcomeKind.DONE, "RolledBack"))
    assert said in outcome.text


async def test_a_healthy_revision_that_history_has_dropped_is_not_replaced_by_an_unseen_one(bench: Bench) -> None:
    await ship(bench, GOOD)
    await ship(bench, NEWER)
    (first,) = [r for r in bench.lab.objects("replicasets", NAMESPACE) if r["metadata"]["annotations"][REVISION] == "1"]
    bench.lab.api.delete(REPLICASET, NAMESPACE, first["metadata"]["name"])
    outcome = await roll_back(bench, healthy="1")
    assert verdict(outcome) == (OutcomeKind.REFUSED, "RevisionGone")
    assert "kept: 2, 3" in outcome.text
    assert bench.writes == []


async def test_no_to_and_fro(bench: Bench) -> None:
    """What it went back to is bad as well: it does not return to what it came from."""
    await ship(bench, GOOD)
    await roll_back(bench)
    await bench.lab.wait_for(settled)
    bench.kept = {}
    for wanted in ({}, {"to": 2}, {"healthy": "2"}):
        outcome = await roll_back(bench, **wanted)
        assert verdict(outcome) == (OutcomeKind.REFUSED, "PingPong")
        assert "from revision 2 before" in outcome.text
        assert bench.writes == []


async def test_nor_to_what_it_came_from_the_time_before(bench: Bench) -> None:
    """2 was rolled back to 1, which became 3, then 4 to 3: the Deployment's mark names 4, the ReplicaSet of 4 still 2."""
    await ship(bench, GOOD)
    await roll_back(bench)
    await bench.lab.wait_for(settled)
    await ship(bench, NEWER)
    await roll_back(bench, step=1)
    await bench.lab.wait_for(settled)
    await ship(bench, "tensorflow/serving:2.19.0")
    assert annotations(bench.lab)[FROM] == "4"
    outcome = await roll_back(bench, step=2, to=2)
    assert (verdict(outcome), "from revision 2 before" in outcome.text) == ((OutcomeKind.REFUSED, "PingPong"), True)


async def test_a_revision_is_known_by_the_numbers_that_it_had(bench: Bench) -> None:
    """1 came back as 3: the rule that names it means the template."""
    await ship(bench, GOOD)
    await ship(bench, FIRST)
    assert verdict(await roll_back(bench, to=1)) == (OutcomeKind.REFUSED, "AlreadyCurrent")
    await ship(bench, NEWER)
    assert "to revision 3 (" in (await roll_back(bench, to=1)).text
    assert image(bench.lab) == FIRST


async def test_replicasets_of_another_deployment_are_not_its_history(bench: Bench) -> None:
    await ship(bench, GOOD)
    (first,) = [r for r in bench.lab.objects("replicasets", NAMESPACE) if r["metadata"]["annotations"][REVISION] == "1"]

    def disown(obj: Object) -> None:
        obj["metadata"]["ownerReferences"][0]["uid"] = "another"

    bench.lab.api.modify(REPLICASET, NAMESPACE, first["metadata"]["name"], disown)
    assert verdict(await roll_back(bench)) == (OutcomeKind.REFUSED, "NoEarlierRevision")


async def test_a_gitops_controller_would_revert_it(bench: Bench) -> None:
    await ship(bench, GOOD)
    tracking = f"shop:apps/Deployment:{NAMESPACE}/{NAME}"
    bench.change("deployment", **{"argocd.argoproj.io/tracking-id": tracking})
    outcome = await roll_back(bench)
    assert verdict(outcome) == (OutcomeKind.REFUSED, "Managed")
    assert "managed by Argo CD (Application shop), which would revert a rollback" in outcome.text
    assert bench.writes == []
    assert verdict(await roll_back(bench, even_if_managed=True)) == (OutcomeKind.DONE, "RolledBack")


@pytest.mark.parametrize(
    ("rolling", "min_ready", "allowed"),
    [
        ({}, 1, False),
        ({"maxUnavailable": 3, "maxSurge": 0}, 1, False),
        ({"maxUnavailable": 1, "maxSurge": 0}, 3, False),
        ({"maxUnavailable": "34%", "maxSurge": 0}, 2, True),
        ({"maxUnavailable": "30%", "maxSurge": 0}, 3, False),
        ({"maxUnavailable": 0, "maxSurge": 1}, 9, True),
    ],
)
async def test_the_floor(bench: Bench, rolling: dict[str, int | str], min_ready: int, allowed: bool) -> None:
    """34 % of 3 is one; 30 % is none, but with no surge either it is one."""
    await ship(bench, GOOD)
    await strategy(bench, **rolling)
    outcome = await roll_back(bench, min_ready=min_ready)
    assert verdict(outcome) == ((OutcomeKind.DONE, "RolledBack") if allowed else (OutcomeKind.REFUSED, "BelowFloor"))
    assert bench.writes == (["patch deployments"] if allowed else [])


async def test_without_a_ready_replica_nothing_can_be_lost(bench: Bench) -> None:
    await ship(bench, GOOD)
    await strategy(bench)
    for pod in bench.lab.objects("pods", NAMESPACE):
        await bench.lab.behave(NAMESPACE, pod["metadata"]["name"], "hang")
    await bench.lab.wait_for(lambda lab: not deployment(lab)["status"].get("readyReplicas"))
    assert verdict(await roll_back(bench)) == (OutcomeKind.REFUSED, "BelowFloor"), "the view still shows ready pods"
    bench.look()
    assert verdict(await roll_back(bench)) == (OutcomeKind.DONE, "RolledBack")


async def test_another_object_of_that_name(bench: Bench) -> None:
    await ship(bench, GOOD)
    replace(bench)
    assert verdict(await roll_back(bench)) == (OutcomeKind.REFUSED, "WorkloadReplaced")
    assert bench.writes == []


async def test_a_deployment_that_is_gone(bench: Bench) -> None:
    bench.lab.store.remove(DEPLOYMENT.stored_in, (NAMESPACE, NAME))
    assert verdict(await roll_back(bench)) == (OutcomeKind.GONE, "AlreadyGone")


async def test_a_deployment_that_is_going(bench: Bench) -> None:
    await ship(bench, GOOD)

    def keep(obj: Object) -> None:
        obj["metadata"]["finalizers"] = ["example.com/slow"]

    change(bench, keep)
    bench.lab.api.delete(DEPLOYMENT, NAMESPACE, NAME)
    assert verdict(await roll_back(bench)) == (OutcomeKind.GONE, "AlreadyTerminating")
    assert bench.writes == []


# deferred


async def test_a_paused_rollout(bench: Bench) -> None:
    await ship(bench, GOOD)
    change(bench, lambda obj: obj["spec"].update(paused=True))
    assert verdict(await roll_back(bench)) == (OutcomeKind.DEFERRED, "RolloutPaused")
    assert bench.writes == []


@pytest.mark.parametrize("where", ["deployment", "namespace", "everywhere"])
async def test_paused(bench: Bench, where: str) -> None:
    await ship(bench, GOOD)
    if where == "deployment":
        bench.change("deployment", **{"healer.dev/paused": "true"})
    elif where == "namespace":
        bench.lab.api.modify(
            NAMESPACES, "", NAMESPACE, lambda obj: obj["metadata"].update(annotations={"healer.dev/paused": "true"})
        )
        bench.look()
    else:
        bench.view.paused_everywhere = "by ann"
    assert verdict(await roll_back(bench)) == (OutcomeKind.DEFERRED, "Paused")
    assert bench.writes == []


async def test_a_spec_that_its_controller_has_not_seen_yet(bench: Bench) -> None:
    """The revision that the Deployment names is then the one before."""
    await ship(bench, GOOD)
    obj = deployment(bench.lab)
    obj["metadata"]["generation"] += 1
    bench.lab.faults.answer(200, body=obj, verb="get", resource="deployments")
    outcome = await roll_back(bench)
    assert verdict(outcome) == (OutcomeKind.DEFERRED, "RolloutInProgress")
    assert bench.writes == []


async def test_what_somebody_has_rolled_out_since_is_not_undone(bench: Bench) -> None:
    """The incident is about revision 2; 3 may be its cure, and the revision before 3 is the sick one."""
    await ship(bench, GOOD)
    await ship(bench, NEWER)
    outcome = await roll_back(bench, revision="2")
    assert verdict(outcome) == (OutcomeKind.DEFERRED, "NewRevision")
    assert bench.writes == []


async def test_what_somebody_has_rolled_back_by_hand_is_neither_healer_s_deed_nor_undone(bench: Bench) -> None:
    """It was about to do just that, and was stopped: the revision before is now the sick one."""
    await ship(bench, GOOD)
    await roll_back(bench, revision="2", wanted=lambda: Reason("Stopping", "healer is stopping"))
    assert bench.kept["to"] == "1"
    await ship(bench, FIRST)
    assert verdict(await roll_back(bench, revision="2")) == (OutcomeKind.DEFERRED, "NewRevision")
    assert bench.writes == []


async def test_changed_between_the_look_and_the_request(bench: Bench) -> None:
    await ship(bench, GOOD)
    outcome = await roll_back(bench, meanwhile=lambda: bench.change("deployment", **{"healer.dev/paused": "true"}))
    assert verdict(outcome) == (OutcomeKind.DEFERRED, "Changed")
    assert bench.writes == ["patch deployments"]
    assert image(bench.lab) == GOOD


async def test_replaced_between_the_look_and_the_request(bench: Bench) -> None:
    await ship(bench, GOOD)
    assert verdict(await roll_back(bench, meanwhile=lambda: replace(bench))) == (OutcomeKind.DEFERRED, "Changed")
    assert image(bench.lab) == GOOD


async def test_gone_between_the_look_and_the_request(bench: Bench) -> None:
    await ship(bench, GOOD)

    def remove() -> None:
        bench.lab.store.remove(DEPLOYMENT.stored_in, (NAMESPACE, NAME))

    assert verdict(await roll_back(bench, meanwhile=remove)) == (OutcomeKind.GONE, "AlreadyGone")


async def test_not_wanted_any_more(bench: Bench) -> None:
    await ship(bench, GOOD)
    outcome = await roll_back(bench, wanted=lambda: Reason("Resolved", "the alert is over"))
    assert verdict(outcome) == (OutcomeKind.RECOVERED, "Resolved")
    assert (bench.writes, bench.sent) == ([], [])


# what a cluster may answer


@pytest.mark.parametrize(
    ("code", "kind"),
    [(403, OutcomeKind.REFUSED), (422, OutcomeKind.REFUSED), (429, OutcomeKind.DEFERRED), (500, OutcomeKind.FAILED)],
)
async def test_other_answers(bench: Bench, code: int, kind: OutcomeKind) -> None:
    await ship(bench, GOOD)
    bench.lab.faults.answer(code, verb="patch", resource="deployments")
    assert (await roll_back(bench)).kind is kind
    assert bench.writes == ["patch deployments"]


@pytest.mark.parametrize(("verb", "resource"), [("get", "deployments"), ("list", "replicasets")])
@pytest.mark.parametrize(("code", "kind"), [(403, OutcomeKind.REFUSED), (429, OutcomeKind.DEFERRED), (500, OutcomeKind.DEFERRED)])
async def test_a_look_that_fails_is_no_try(bench: Bench, verb: str, resource: str, code: int, kind: OutcomeKind) -> None:
    await ship(bench, GOOD)
    bench.lab.faults.answer(code, verb=verb, resource=resource)
    assert (await roll_back(bench)).kind is kind
    assert bench.writes == []


@pytest.mark.parametrize(("verb", "resource"), [("get", "deployments"), ("list", "replicasets")])
async def test_an_answer_without_sense(bench: Bench, verb: str, resource: str) -> None:
    bench.lab.faults.answer(200, body={"items": [{}]}, verb=verb, resource=resource)
    assert verdict(await roll_back(bench)) == (OutcomeKind.DEFERRED, "Unreadable")


async def test_a_cut_connection_leaves_open_whether_it_happened(bench: Bench) -> None:
    await ship(bench, GOOD)
    bench.lab.faults.drop(verb="patch", resource="deployments")
    assert verdict(await roll_back(bench)) == (OutcomeKind.FAILED, "NoAnswer")
    assert verdict(await roll_back(bench)) == (OutcomeKind.DONE, "RolledBack"), "it had not: the next try looks, and acts"


async def test_revisions_that_are_no_numbers_count_for_nothing(bench: Bench) -> None:
    await ship(bench, GOOD)
    held = bench.lab.objects("replicasets", NAMESPACE)
    for replicaset in held:
        replicaset["metadata"]["annotations"][REVISION] = "one"
    bench.lab.faults.answer(200, body={"items": held}, verb="list", resource="replicasets")
    assert verdict(await roll_back(bench, healthy="x")) == (OutcomeKind.REFUSED, "NoEarlierRevision")


# what a rule may write


def test_the_parameters_of_a_rule() -> None:
    assert ACTIONS["rollback"].spec.params is RollbackParams
    assert RollbackParams.model_validate({"toRevision": 6, "evenIfManaged": True}) == RollbackParams(
        to_revision=6, even_if_managed=True
    )
    assert RollbackParams() == RollbackParams(to_revision=None, even_if_managed=False)


@pytest.mark.parametrize("written", [{"toRevision": 0}, {"toRevision": "6"}, {"toRevision": True}, {"revision": 6}])
def test_what_a_rule_may_not_write(written: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RollbackParams.model_validate(written)


def test_a_misspelt_parameter_is_named_as_a_rule_writes_it() -> None:
    spec = {"scope": {"namespaces": [NAMESPACE]}, "rules": [rule(heal=[{"rollback": {"toRevison": 6}}])]}
    text = yaml.safe_dump({"apiVersion": "healer.dev/v1alpha1", "kind": "RuleSet", "metadata": {"name": "test"}, "spec": spec})
    _, (problem,) = load(text, "f.yaml", vocabulary())
    assert (problem.message, problem.hint) == ("the action 'rollback' has no parameter 'toRevison'", "did you mean toRevision?")


def test_it_may_be_taken_while_a_rollout_is_in_progress() -> None:
    spec = ACTIONS["rollback"].spec
    assert (spec.in_rollout, spec.disrupts, spec.targets) == (True, False, frozenset({ActsOn.WORKLOAD}))
