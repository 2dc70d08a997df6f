"""`scale` over HTTP against the lab: how far, by whom the number is set, and the way back."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from healer.actions.base import Clients, NotUndone, NotYet, Reversal
from healer.actions.registry import ACTIONS
from healer.actions.scale import ScaleParams, ScaleWorkload
from healer.daemon.rulefiles import vocabulary
from healer.lab import Lab
from healer.lab.kinds import AUTOSCALER, DEPLOYMENT
from healer.lab.objects import Object
from healer.model.action import Outcome, OutcomeKind, Permission
from healer.model.incident import Incident, Reason
from healer.model.kube import Meta
from healer.model.target import Target
from healer.model.temporary import End, TemporaryChange, changes
from healer.model.view import View
from healer.rules.loading import load
from healer.workloads.registry import WORKLOADS
from healer.workloads.statefulset import StatefulRollingUpdate, StatefulSet, StatefulSetSpec, StatefulSetStatus, StatefulStrategy
from tests.integration.world import ruleset
from tests.support.world import rule
from tests.unit.actions.conftest import NAME, NAMESPACE, Bench
from tests.unit.actions.rollouts import BAD, deployment, ship, verdict

pytestmark = pytest.mark.slow

REPLICAS = "replicas"
HPA = "horizontalpodautoscaler/serving"


async def scale(bench: Bench, by: int | str = 2, most: int = 5, **how: Any) -> Outcome:
    """One attempt."""
    params = ScaleParams(by=by, max=most, even_if_managed=how.pop("even_if_managed", False))
    return await bench.attempt("scale", params=params, target=how.pop("target", bench.workload), **how)


def replicas(bench: Bench) -> int:
    """As the Deployment has them."""
    return int(deployment(bench.lab)["spec"]["replicas"])


def change(bench: Bench, **spec: Any) -> None:
    """Somebody changes the Deployment."""
    bench.lab.api.modify(DEPLOYMENT, NAMESPACE, NAME, lambda obj: obj["spec"].update(spec))


async def autoscaler(bench: Bench, least: int = 2, most: int = 6, name: str = "serving", **metadata: Any) -> None:
    """An autoscaler of the Deployment."""
    await bench.lab.apply(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name, "namespace": NAMESPACE, **metadata},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
                "minReplicas": least,
                "maxReplicas": most,
            },
        }
    )


def has(count: int) -> Callable[[Lab], bool]:
    """Whether so many pods are ready, and the Deployment has nothing left to write."""

    def holds(lab: Lab) -> bool:
        obj = deployment(lab)
        status = obj["status"]
        counts = [status.get(key) for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
        return status.get("observedGeneration") == obj["metadata"]["generation"] and counts == [count] * 4

    return holds


def least(bench: Bench) -> int:
    """The minimum of the autoscaler."""
    (found,) = bench.lab.objects("horizontalpodautoscalers", NAMESPACE)
    return int(found["spec"]["minReplicas"])


async def back(bench: Bench) -> Reversal:
    """The way back, as it stands now."""
    ((key, noted),) = changes(bench.kept).items()
    return await ScaleWorkload().reversal(Clients(bench.api), bench.incident(), key, noted)


@pytest.mark.parametrize(("by", "most", "wanted"), [(2, 9, 5), ("25%", 9, 4), ("100%", 9, 6), (5, 4, 4)])
async def test_so_many_more_but_not_beyond_the_bound(bench: Bench, by: int | str, most: int, wanted: int) -> None:
    """By one patch of the scale; what was there before is kept first."""
    outcome = await scale(bench, by, most)
    assert verdict(outcome) == (OutcomeKind.DONE, "Scaled")
    assert outcome.text == f"replicas of deployment/{NAME}: 3 -> {wanted}; taken back when the incident is healed"
    assert (replicas(bench), bench.writes) == (wanted, ["patch deployments/scale"])
    assert changes(bench.kept) == {REPLICAS: TemporaryChange("3", str(wanted), "0", lasts=600.0)}


async def test_a_dry_run_changes_and_keeps_nothing(bench: Bench) -> None:
    """The API server checks the patch all the same."""
    assert verdict(await scale(bench, dry_run=True)) == (OutcomeKind.DONE, "WouldScale")
    assert (replicas(bench), bench.kept, bench.writes) == (3, {}, ["patch deployments/scale"])


async def test_at_the_bound_nothing_is_added_nor_taken(bench: Bench) -> None:
    """A workload that has more than the rule may give it keeps what it has."""
    assert verdict(await scale(bench, most=3)) == (OutcomeKind.REFUSED, "AtMaximum")
    assert verdict(await scale(bench, most=2)) == (OutcomeKind.REFUSED, "AtMaximum")
    assert replicas(bench) == 3


async def test_a_try_whose_answer_was_lost_is_found_done(bench: Bench) -> None:
    """Not repeated on top of itself."""
    await scale(bench)
    assert verdict(await scale(bench)) == (OutcomeKind.DONE, "FoundDone")
    assert replicas(bench) == 5


async def test_a_further_step_goes_on_top_and_all_of_it_comes_back(bench: Bench) -> None:
    """What was there before the first step is what comes back: also when somebody came between the second and its request."""
    await scale(bench, 1)
    await bench.lab.wait_for(has(4))
    touched = lambda: bench.change("deployment", note="x")  # noqa: E731 - said where it happens
    assert verdict(await scale(bench, 1, step=1, meanwhile=touched)) == (OutcomeKind.DEFERRED, "Changed")
    assert changes(bench.kept)[REPLICAS] == TemporaryChange("3", "5", "1", base="4", lasts=600.0)
    (await back(bench)).check(force=False)
    assert verdict(await scale(bench, 1, step=1)) == (OutcomeKind.DONE, "Scaled")
    assert changes(bench.kept)[REPLICAS] == TemporaryChange("3", "5", "1", base="4", lasts=600.0)
    await (await back(bench)).put_back(bench.api, force=False)
    assert replicas(bench) == 3


async def test_what_somebody_set_between_two_steps_is_what_comes_back(bench: Bench) -> None:
    """Their number, and not the one from before it."""
    await scale(bench, 1)
    change(bench, replicas=6)
    await bench.lab.wait_for(has(6))
    await scale(bench, 1, 9, step=1)
    assert (changes(bench.kept)[REPLICAS].before, replicas(bench)) == ("6", 7)


async def test_during_a_rollout_that_hangs_it_is_scaled_all_the_same(bench: Bench) -> None:
    """It takes no pod: no ready one goes, whichever revision gets the new ones."""
    await ship(bench, BAD)
    assert verdict(await scale(bench)) == (OutcomeKind.DONE, "Scaled")
    assert ACTIONS["scale"].spec.in_rollout


async def test_a_step_waits_for_what_another_incident_has_added_on_top_of_it(bench: Bench) -> None:
    """Or its note would say that there were 6 before it, and 3 never came back."""
    await scale(bench, 1)
    change(bench, replicas=6)
    await bench.lab.wait_for(has(6))
    bench.earlier = [{REPLICAS: str(TemporaryChange("4", "6", "0"))}]
    assert verdict(await scale(bench, 1, 9, step=1)) == (OutcomeKind.DEFERRED, "OtherIncident")
    assert (changes(bench.kept)[REPLICAS].before, replicas(bench)) == ("3", 6)
    bench.earlier = [{REPLICAS: str(TemporaryChange("4", "6", "0", ended=End.LEFT_ALONE))}, {REPLICAS: "{"}]
    assert verdict(await scale(bench, 1, 9, step=1)) == (OutcomeKind.DONE, "Scaled")


async def test_another_object_of_the_same_name_is_not_scaled(bench: Bench) -> None:
    """It comes between the look at the workload and the look at its scale."""
    held = bench.lab.faults.delay(0.1, verb="get", resource="deployments/scale")
    attempt = asyncio.create_task(scale(bench))
    await held.used()
    other = deployment(bench.lab)
    other["metadata"]["uid"] = "another"
    bench.lab.store.put(DEPLOYMENT.stored_in, (NAMESPACE, NAME), other)
    assert verdict(await attempt) == (OutcomeKind.REFUSED, "WorkloadReplaced")
    assert (replicas(bench), bench.writes) == (3, [])


async def test_what_an_autoscaler_sets_by_now_is_left_to_it(bench: Bench) -> None:
    """It came after healer had raised the replicas, and another incident may have raised its minimum since."""
    await scale(bench)
    first, bench.kept = bench.kept, {}
    await autoscaler(bench)
    await scale(bench, most=9)
    second, bench.kept = bench.kept, first
    with pytest.raises(NotUndone, match=f"{HPA} sets the replicas of deployment/{NAME} now"):
        await back(bench)
    bench.kept = second
    await (await back(bench)).put_back(bench.api, force=False)
    assert (least(bench), replicas(bench)) == (2, 5)


async def test_the_way_back_looks_afresh_whether_the_workload_can_spare_them(bench: Bench) -> None:
    """The view may not have it (yet). A person may insist."""
    await scale(bench)
    await bench.lab.wait_for(has(5))
    for pod in bench.lab.objects("pods", NAMESPACE)[:3]:
        await bench.lab.behave(NAMESPACE, pod["metadata"]["name"], "hang")
    await bench.lab.wait_for(lambda lab: deployment(lab)["status"].get("readyReplicas") == 2)
    with pytest.raises(NotYet, match="2 of the 3 replicas from before are ready"):
        (await back(bench)).check(force=False)
    (await back(bench)).check(force=True)


async def test_with_an_autoscaler_only_its_minimum_is_raised(bench: Bench) -> None:
    """To so many more than run now; the Deployment is not touched."""
    await autoscaler(bench)
    outcome = await scale(bench, most=9)
    assert outcome.text == f"minReplicas of {HPA}: 2 -> 5; taken back when the incident is healed"
    assert (least(bench), replicas(bench), bench.writes) == (5, 3, ["patch horizontalpodautoscalers"])
    way = await back(bench)
    assert str(way) == f"minReplicas of {HPA}: 5 -> 2"
    await way.put_back(bench.api, force=False)
    assert (least(bench), replicas(bench)) == (2, 3)


async def test_never_beyond_the_autoscalers_own_maximum(bench: Bench) -> None:
    """At its maximum there is nothing to raise."""
    await autoscaler(bench, most=4)
    await scale(bench, most=9)
    assert least(bench) == 4
    bench.kept = {}
    change(bench, replicas=4)
    assert verdict(await scale(bench, most=9)) == (OutcomeKind.REFUSED, "AtMaximum")


async def test_an_autoscaler_of_another_namespace_is_none_of_the_workload(bench: Bench) -> None:
    """Its target is named without a namespace."""
    await autoscaler(bench, namespace="theirs")
    assert verdict(await scale(bench)) == (OutcomeKind.DONE, "Scaled")
    assert bench.writes == ["patch deployments/scale"]


async def test_two_autoscalers_are_left_to_people(bench: Bench) -> None:
    """Nobody knows which of them wins."""
    await autoscaler(bench)
    await autoscaler(bench, name="other")
    outcome = await scale(bench)
    assert verdict(outcome) == (OutcomeKind.REFUSED, "TwoAutoscalers")
    assert "(other, serving)" in outcome.text


async def test_what_is_switched_off_stays_so(bench: Bench) -> None:
    """Replicas of 0 are somebody's decision."""
    change(bench, replicas=0)
    assert verdict(await scale(bench)) == (OutcomeKind.REFUSED, "ScaledToZero")
    assert replicas(bench) == 0


async def test_a_kind_without_a_scale_is_refused(bench: Bench) -> None:
    """A DaemonSet has a pod on each node, and no number; no permission is asked for it."""
    spec = deployment(bench.lab)["spec"]
    body = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agents", "namespace": NAMESPACE}}
    await bench.lab.apply(body | {"spec": {"selector": spec["selector"], "template": spec["template"]}})
    (made,) = bench.lab.objects("daemonsets", NAMESPACE)
    outcome = await scale(bench, target=Target("DaemonSet", NAMESPACE, "agents", made["metadata"]["uid"]))
    assert verdict(outcome) == (OutcomeKind.REFUSED, "NoScale")
    needs = ACTIONS["scale"].spec.needs(ScaleParams(max=5))
    assert Permission("apps", "deployments/scale", "patch") in needs
    assert Permission("apps", "daemonsets/scale", "patch") not in needs


@pytest.mark.parametrize("managed", ["the workload", "its autoscaler"])
async def test_what_git_manages_is_scaled_only_when_the_rule_says_so(bench: Bench, managed: str) -> None:
    """Argo CD would restore its own number."""
    argo = {"argocd.argoproj.io/instance": "serving"}
    if managed == "the workload":
        bench.lab.api.modify(DEPLOYMENT, NAMESPACE, NAME, lambda obj: obj["metadata"]["labels"].update(argo))
    else:
        await autoscaler(bench, labels=argo)
    assert verdict(await scale(bench)) == (OutcomeKind.REFUSED, "Managed")
    assert bench.writes == []
    assert verdict(await scale(bench, even_if_managed=True)) == (OutcomeKind.DONE, "Scaled")


@pytest.mark.parametrize("owned", ["the workload", "its autoscaler"])
async def test_what_an_operator_owns_is_never_fought(bench: Bench, owned: str) -> None:
    """KServe sets its Deployment's replicas, KEDA its autoscaler's bounds; whatever the rule says."""

    def own(obj: Object) -> None:
        owner = {"apiVersion": "x/v1", "kind": "Operator", "name": "op", "uid": "u", "controller": True}
        obj["metadata"]["ownerReferences"] = [owner]

    if owned == "the workload":
        bench.lab.api.modify(DEPLOYMENT, NAMESPACE, NAME, own)
    else:
        await autoscaler(bench)
        bench.lab.api.modify(AUTOSCALER, NAMESPACE, "serving", own)
    outcome = await scale(bench, even_if_managed=True)
    assert verdict(outcome) == (OutcomeKind.REFUSED, "Managed")
    assert "operator/op" in outcome.text


async def test_the_workload_is_looked_at_right_before(bench: Bench) -> None:
    """Paused, no longer wanted, changed between the look and the request, nothing kept: each is a reason."""
    bench.change("deployment", **{"healer.dev/paused": "true"})
    assert (await scale(bench)).reason == "Paused"
    bench.change("deployment", **{"healer.dev/paused": "false"})
    assert (await scale(bench, wanted=lambda: Reason("Resolved", "it has ended"))).reason == "Resolved"
    bench.kept = {}
    meanwhile = lambda: change(bench, replicas=4)  # noqa: E731 - said where it happens
    assert verdict(await scale(bench, meanwhile=meanwhile)) == (OutcomeKind.DEFERRED, "Changed")
    bench.unkept = Outcome(OutcomeKind.DEFERRED, "NotJournaled", "the API server is away")
    assert (await scale(bench)).reason == "NotJournaled"
    assert replicas(bench) == 4


async def test_a_number_that_somebody_has_changed_since_stays_unless_forced(bench: Bench) -> None:
    """Also when they change it while it is shown."""
    await scale(bench)
    way = await back(bench)
    change(bench, replicas=4)
    with pytest.raises(NotUndone, match=r"replicas of .* are 4, and healer set 5: somebody has changed them since"):
        await way.put_back(bench.api, force=False)
    with pytest.raises(NotUndone, match="--force puts 3 back anyway"):
        (await back(bench)).check(force=False)
    await (await back(bench)).put_back(bench.api, force=True)
    assert replicas(bench) == 3


async def test_a_change_of_something_else_meanwhile_is_no_objection(bench: Bench) -> None:
    """The object is another version, and its number is the same."""
    await scale(bench)
    way = await back(bench)
    bench.change("deployment", note="x")
    await way.put_back(bench.api, force=False)
    assert replicas(bench) == 3


@pytest.mark.parametrize(("before", "after"), [("0", "5"), ("-1", "2"), ("5", "3"), ("x", "5")])
async def test_a_note_that_healer_did_not_write_takes_nothing(bench: Bench, before: str, after: str) -> None:
    """Whoever can write incidents does not thereby scale a workload down."""
    with pytest.raises(ValueError, match=r"is nothing that healer does|invalid literal"):
        await ScaleWorkload().reversal(Clients(bench.api), bench.incident(), REPLICAS, TemporaryChange(before, after, "0"))


async def test_a_note_about_something_else_takes_nothing(bench: Bench) -> None:
    """An autoscaler of another workload, and what is neither."""
    await autoscaler(bench, name="other")
    bench.lab.api.modify(AUTOSCALER, NAMESPACE, "other", lambda obj: obj["spec"]["scaleTargetRef"].update(name="x"))
    note = TemporaryChange("2", "5", "0")
    with pytest.raises(NotUndone, match="does not scale"):
        await ScaleWorkload().reversal(Clients(bench.api), bench.incident(), "horizontalpodautoscaler/other", note)
    with pytest.raises(ValueError, match="is nothing that healer scales"):
        await ScaleWorkload().reversal(Clients(bench.api), bench.incident(), "secret/x", note)


async def test_replicas_are_taken_only_from_a_workload_that_can_spare_them(bench: Bench) -> None:
    """No other incident, no rollout, and as many ready as before."""
    incident = bench.incident()

    def hold(*beside: Incident, before: int = 3) -> str:
        found = ScaleWorkload().hold(incident, TemporaryChange(f"{before}", "5", "0"), bench.view, beside)
        return "" if found is None else found.code

    assert hold() == ""
    assert hold(incident) == "OtherIncident"
    assert hold(before=4) == "NotEnoughReady"
    await ship(bench, BAD)
    assert hold() == "RolloutInProgress"
    bench.view = View(WORKLOADS)
    assert hold() == "", "a workload that is gone has nothing to lose"


@pytest.mark.parametrize(
    "params", [{}, {"max": 1}, {"max": 5, "by": 0}, {"max": 5, "by": "0%"}, {"max": 5, "by": -1}, {"max": 2000}]
)
def test_parameters_that_bound_nothing_are_errors(params: dict[str, Any]) -> None:
    """The bound is needed, and more is more than nothing."""
    with pytest.raises(ValidationError):
        ScaleParams.model_validate(params)


def test_the_error_of_a_rule_says_what_to_write() -> None:
    """With its line, and a hint."""
    _, (problem,) = load(ruleset(rule(heal=[{"scale": {"by": 0, "max": 5}}])), "f.yaml", vocabulary())
    assert (problem.message, problem.hint) == ("0 is too few", "write how many more: at least 1, or a percentage")


@pytest.mark.parametrize(("partition", "updated", "held"), [(3, 2, False), (2, 2, True)])
async def test_a_partition_is_no_rollout(bench: Bench, partition: int, updated: int, held: bool) -> None:
    """It keeps replicas of the older revision for good; below it they are still to be replaced."""
    status = StatefulSetStatus(replicas=5, updated_replicas=updated, ready_replicas=5, current_revision="a", update_revision="b")
    strategy = StatefulStrategy(rolling_update=StatefulRollingUpdate(partition=partition))
    view = View(WORKLOADS)
    view.put(StatefulSet(Meta("db", "db", NAMESPACE), StatefulSetSpec(replicas=5, update_strategy=strategy), status))
    incident = replace(bench.incident(), workload=Target("StatefulSet", NAMESPACE, "db", "db"))
    found = ScaleWorkload().hold(incident, TemporaryChange("3", "5", "0"), view, ())
    assert (found is not None and found.code == "RolloutInProgress") is held


@pytest.mark.parametrize(("ready", "held"), [(3, True), (5, False)])
async def test_replicas_with_numbers_are_taken_back_only_when_all_are_ready(bench: Bench, ready: int, held: bool) -> None:
    """A StatefulSet loses those with the highest numbers, which may be the only ones that are ready."""
    status = StatefulSetStatus(replicas=5, updated_replicas=5, ready_replicas=ready, current_revision="a", update_revision="a")
    view = View(WORKLOADS)
    view.put(StatefulSet(Meta("db", "db", NAMESPACE), StatefulSetSpec(replicas=5), status))
    incident = replace(bench.incident(), workload=Target("StatefulSet", NAMESPACE, "db", "db"))
    found = ScaleWorkload().hold(incident, TemporaryChange("3", "5", "0"), view, ())
    assert (found is not None and found.code == "NotEnoughReady") is held
