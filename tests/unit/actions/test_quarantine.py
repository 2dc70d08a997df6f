"""`quarantine` over HTTP against the lab: one patch, bounded, and the two ways out."""

from dataclasses import replace
from typing import Any

import pytest

from healer.actions.base import Clients
from healer.actions.quarantine import Quarantine, QuarantineParams
from healer.cluster.api import ApiError
from healer.lab import Lab
from healer.lab.custom import definition
from healer.lab.kinds import POD, Kind
from healer.lab.objects import Object, controller_of
from healer.model.action import Outcome, OutcomeKind
from healer.model.temporary import changes
from tests.unit.actions.conftest import NAMESPACE, Bench

LABEL = "healer.dev/quarantined"


async def attempt(bench: Bench, **how: Any) -> Outcome:
    return await bench.attempt("quarantine", params=QuarantineParams(), **how)


def verdict(outcome: Outcome) -> tuple[OutcomeKind, str]:
    return outcome.kind, outcome.reason


def labels(bench: Bench) -> dict[str, str]:
    pod = bench.pod()
    assert pod is not None
    return dict(pod["metadata"]["labels"])


async def released(bench: Bench) -> None:
    """The ReplicaSet has let it go."""
    await bench.lab.wait_for(lambda _: controller_of(bench.pod() or {"metadata": {}}) is None)


async def test_it_takes_the_labels_of_its_owner_and_its_services_and_no_others(bench: Bench) -> None:
    """The ReplicaSet lets go of it, and a person gets it back as it was."""
    bench.lab.api.modify(POD, NAMESPACE, bench.target.name, lambda obj: obj["metadata"]["labels"].update(team="search"))
    before = labels(bench)
    assert verdict(await attempt(bench)) == (OutcomeKind.DONE, "Quarantined")
    assert bench.writes == ["patch pods"]
    await released(bench)
    assert labels(bench) == {
        "team": "search",
        "version": "v1",
        LABEL: bench.incident().id,
        "healer.dev/quarantined-from": bench.workload.uid,
    }
    (back,) = await bench.ways_back("quarantine")
    assert not back.done
    await back.put_back(bench.api, force=False)
    assert labels(bench) == before
    (back,) = await bench.ways_back("quarantine")
    assert back.done


async def test_at_its_expiry_that_pod_is_deleted(bench: Bench) -> None:
    await attempt(bench)
    await released(bench)
    ((key, change),) = changes(bench.kept).items()
    assert not change.with_incident
    end = await Quarantine().reversal(Clients(bench.api), bench.incident(), key, change)
    await end.put_back(bench.api, force=False)
    await bench.lab.wait_for(lambda _: bench.pod() is None)


async def test_the_note_of_another_incident_lets_no_pod_go(bench: Bench) -> None:
    """Anybody may copy an incident: a note leads only to a pod that names the incident itself."""
    await attempt(bench)
    await released(bench)
    ((key, change),) = changes(bench.kept).items()
    before, copied = labels(bench), replace(bench.incident(), id="copied")
    end = await Quarantine().reversal(Clients(bench.api), copied, key, change)
    (back,) = await Quarantine().reversals(bench.api, copied, NAMESPACE, bench.kept)
    for each in (end, back):
        assert each.done
        await each.put_back(bench.api, force=True)
    assert labels(bench) == before


async def test_a_pod_that_a_person_releases_meanwhile_is_not_deleted(bench: Bench) -> None:
    """Its ReplicaSet may have adopted it, and it may serve: what was read is no longer so."""
    await attempt(bench)
    await released(bench)
    ((key, change),) = changes(bench.kept).items()
    end = await Quarantine().reversal(Clients(bench.api), bench.incident(), key, change)
    bench.lab.api.modify(POD, NAMESPACE, bench.target.name, lambda obj: obj["metadata"]["labels"].pop(LABEL))
    with pytest.raises(ApiError, match="409"):
        await end.put_back(bench.api, force=False)
    assert bench.pod() is not None


async def test_no_more_than_one_of_a_workload(bench: Bench) -> None:
    (other,) = [pod for pod in bench.view.pods() if pod.metadata.uid != bench.target.uid][:1]

    def mark(obj: Object) -> None:
        obj["metadata"]["labels"] = {LABEL: "earlier", "healer.dev/quarantined-from": bench.workload.uid}

    bench.lab.api.modify(POD, NAMESPACE, other.metadata.name, mark)
    assert verdict(await attempt(bench, min_ready=0)) == (OutcomeKind.REFUSED, "QuarantineLimit")
    assert bench.writes == []


@pytest.mark.parametrize("bench", [3], indirect=True)
async def test_a_budget_that_allows_none_is_not_gone_around(bench: Bench) -> None:
    assert verdict(await attempt(bench)) == (OutcomeKind.DEFERRED, "BudgetRefused")
    assert bench.writes == []


async def give(bench: Bench, **more: str) -> None:
    """Further labels of the pod."""
    bench.lab.api.modify(POD, NAMESPACE, bench.target.name, lambda obj: obj["metadata"]["labels"].update(more))


async def select(bench: Bench, selector: Object) -> None:
    """A PodDisruptionBudget with that selector, as its controller has counted it."""
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "wide", "namespace": NAMESPACE}}
    await bench.lab.apply([budget | {"spec": {"minAvailable": 0, "selector": selector}}])
    await bench.lab.wait_for(lambda lab: counted(lab)["disruptionsAllowed"] > 0)


def counted(lab: Lab) -> Object:
    (budget,) = lab.objects("poddisruptionbudgets", NAMESPACE)
    return {"disruptionsAllowed": 0} | dict(budget.get("status") or {})


async def test_it_leaves_a_budget_that_selects_it_by_a_label_of_its_own(bench: Bench) -> None:
    """Else the budget counts a pod in quarantine as one that serves; a release brings it back."""
    await give(bench, team="search", tier="gold")
    selector = {"matchLabels": {"team": "search"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]}
    await select(
        bench, selector | {"matchExpressions": [*selector["matchExpressions"], {"key": "no", "operator": "DoesNotExist"}]}
    )
    before = labels(bench)
    assert verdict(await attempt(bench)) == (OutcomeKind.DONE, "Quarantined")
    assert not {"team", "tier"} & labels(bench).keys()
    (back,) = await bench.ways_back("quarantine")
    await back.put_back(bench.api, force=False)
    assert labels(bench) == before


@pytest.mark.parametrize(
    "selector",
    [
        {},
        {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]},
        {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["other"]}]},
    ],
    ids=["empty", "what it lacks", "what it is not"],
)
async def test_a_budget_that_no_change_of_labels_leaves_is_a_refusal(bench: Bench, selector: Object) -> None:
    await select(bench, selector)
    outcome = await attempt(bench)
    assert verdict(outcome) == (OutcomeKind.REFUSED, "StillSelected")
    assert outcome.text.startswith("PodDisruptionBudget wide would select")
    assert bench.writes == []


NEWER = Kind(group="inference.networking.k8s.io", plural="inferencepools", kind="InferencePool", custom=True)
OLDER = replace(NEWER, group="inference.networking.x-k8s.io", version="v1alpha2")


@pytest.mark.parametrize(("kind", "selector"), [(OLDER, {"pool": "llm"}), (NEWER, {"matchLabels": {"pool": "llm"}})])
async def test_it_leaves_an_inference_pool_of_either_api(bench: Bench, kind: Kind, selector: Object) -> None:
    """The pool's endpoint picker sends requests to every pod that it selects, whoever owns it."""
    await give(bench, pool="llm")
    pool = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "llm", "namespace": NAMESPACE}}
    await bench.lab.apply([definition(kind), pool | {"spec": {"selector": selector}}])
    assert verdict(await attempt(bench)) == (OutcomeKind.DONE, "Quarantined")
    assert "pool" not in labels(bench)


async def test_an_inference_pool_that_may_not_be_read_holds_it_back(bench: Bench) -> None:
    """A pod that still gets requests is not in quarantine."""
    await bench.lab.apply([definition(NEWER)])
    bench.lab.forbid("list", "inferencepools")
    outcome = await attempt(bench)
    assert verdict(outcome) == (OutcomeKind.REFUSED, "Forbidden")
    assert bench.writes == []


async def test_only_a_replica_set_replaces_a_pod_that_is_kept(bench: Bench) -> None:
    """The name of a StatefulSet's pod would be taken."""
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "x", "uid": "x", "controller": True}
    bench.lab.api.modify(POD, NAMESPACE, bench.target.name, lambda obj: obj["metadata"].update(ownerReferences=[owner]))
    assert verdict(await attempt(bench)) == (OutcomeKind.REFUSED, "NotReplaced")
    assert bench.writes == []


async def test_a_dry_run_changes_and_keeps_nothing(bench: Bench) -> None:
    before = labels(bench)
    assert verdict(await attempt(bench, dry_run=True)) == (OutcomeKind.DONE, "WouldQuarantine")
    assert labels(bench) == before
    assert bench.kept == {}
