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
