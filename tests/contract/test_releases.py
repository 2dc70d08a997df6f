"""A pod whose labels no longer match is let go and replaced; and taken back with its labels, when one pod is too many."""

from __future__ import annotations

from tests.contract.client import Client, Object
from tests.contract.owners import names, owner


async def test_a_replicaset_lets_go_of_a_pod_and_adopts_it_again(managed: Client) -> None:
    """By a merge patch of what was read: the uid and the resourceVersion are preconditions."""
    await managed.make(f"{managed.apps}/replicasets", owner("serving", {"replicas": 2}))
    first, *_ = await managed.until(f"{managed.core}/pods", lambda found: len(found) == 2)
    meta = first["metadata"]
    path = f"{managed.core}/pods/{meta['name']}"
    apart = {"labels": {"app": None, "healer.dev/quarantined": "incident"}}
    refused = await managed.patch(path, {"metadata": apart | {"uid": "00000000-0000-0000-0000-000000000000"}})
    assert refused.code in (409, 422)  # a real server says 422: a patch has no precondition of the uid, which cannot change
    stale = await managed.patch(path, {"metadata": apart | {"uid": meta["uid"], "resourceVersion": "1"}})
    assert (stale.code, stale.body["reason"]) == (409, "Conflict")
    answer = await managed.patch(path, {"metadata": apart | {"uid": meta["uid"]}})
    assert answer.code == 200

    def apart_and_replaced(pods: list[Object]) -> bool:
        orphans = [pod for pod in pods if not pod["metadata"].get("ownerReferences")]
        return len(pods) == 3 and names(orphans) == [meta["name"]]

    await managed.until(f"{managed.core}/pods", apart_and_replaced)

    await managed.patch(path, {"metadata": {"labels": {"app": "serving", "healer.dev/quarantined": None}}})
    left = await managed.until(
        f"{managed.core}/pods",
        lambda pods: (
            len([pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]) == 2
            and all(pod["metadata"].get("ownerReferences") for pod in pods)
        ),
    )
    assert all(pod["metadata"]["labels"] == {"app": "serving"} for pod in left)


async def test_a_budget_counts_a_pod_by_its_labels_whoever_owns_it(managed: Client) -> None:
    """A pod that its ReplicaSet has let go counts until it loses the label that the budget asks for, and another pod changes."""
    serving = owner("serving", {"replicas": 2})
    serving["spec"]["template"]["metadata"]["labels"] = {"app": "serving", "team": "search"}
    await managed.make(f"{managed.apps}/replicasets", serving)
    first, second = await managed.until(f"{managed.core}/pods", lambda found: len(found) == 2)
    budget = {"metadata": {"name": "team"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"team": "search"}}}}
    await managed.make(f"{managed.policy}/poddisruptionbudgets", budget)

    async def counts(pods: int) -> None:
        def so(found: list[Object]) -> bool:
            return bool(found) and found[0]["status"].get("expectedPods") == pods

        await managed.until(f"{managed.policy}/poddisruptionbudgets", so)

    await counts(2)
    path = f"{managed.core}/pods/{first['metadata']['name']}"
    await managed.patch(path, {"metadata": {"labels": {"app": None}}})
    await counts(3)
    await managed.patch(path, {"metadata": {"labels": {"team": None}}})
    await managed.patch(f"{managed.core}/pods/{second['metadata']['name']}", {"metadata": {"labels": {"touched": "true"}}})
    await counts(2)
