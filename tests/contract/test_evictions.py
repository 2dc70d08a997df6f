"""Evictions: every answer that healer must understand, and what each leaves behind.

There are no controllers here: the tests write the statuses of pods and budgets themselves.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.client import Answer, Client, Object, budget, pod

ANOTHER_UID = "00000000-0000-0000-0000-000000000000"
REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."


async def _pod(api: Client, *, ready: bool = True, phase: str = "Running", name: str = "a") -> Object:
    await api.make(f"{api.core}/pods", pod(name))
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    answer = await api.patch(f"{api.core}/pods/{name}/status", {"status": {"phase": phase, "conditions": [condition]}})
    assert answer.code == 200, answer
    made: Object = answer.body
    return made


async def _budget(api: Client, *, allowed: int, healthy: int, name: str = "serving", observed: int = 1, **spec: Any) -> None:
    await api.make(f"{api.policy}/poddisruptionbudgets", budget(name, **spec))
    counts = {
        "observedGeneration": observed,
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": 2,
        "expectedPods": 3,
    }
    path = f"{api.policy}/poddisruptionbudgets/{name}/status"
    assert (await api.patch(path, {"status": counts})).code == 200


async def _status(api: Client) -> Object:
    status: Object = (await api.get(f"{api.policy}/poddisruptionbudgets/serving")).body["status"]
    return status


async def _evict(api: Client, target: Object, **options: Any) -> Answer:
    name = target["metadata"]["name"]
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": api.namespace},
        "deleteOptions": {"preconditions": {"uid": target["metadata"]["uid"]}, **options},
    }
    return await api.post(f"{api.core}/pods/{name}/eviction", body)


async def _is_terminating(api: Client, name: str = "a") -> bool:
    return "deletionTimestamp" in (await api.get(f"{api.core}/pods/{name}")).body["metadata"]


async def test_accepted_spends_the_budget(api: Client) -> None:
    target = await _pod(api)
    await _budget(api, allowed=1, healthy=3)
    answer = await _evict(api, target)
    assert answer.code == 201
    assert answer.body == {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    spent = await _status(api)
    assert spent["disruptionsAllowed"] == 0
    assert list(spent["disruptedPods"]) == ["a"]
    condition = next(item for item in spent["conditions"] if item["type"] == "DisruptionAllowed")
    assert (condition["status"], condition["reason"]) == ("False", "InsufficientPods")
    evicted = (await api.get(f"{api.core}/pods/a")).body
    assert "deletionTimestamp" in evicted["metadata"]
    target_condition = next(item for item in evicted["status"]["conditions"] if item["type"] == "DisruptionTarget")
    assert target_condition["reason"] == "EvictionByEvictionAPI"


async def test_a_dry_run_spends_nothing(api: Client) -> None:
    target = await _pod(api)
    await _budget(api, allowed=1, healthy=3)
    assert (await _evict(api, target, dryRun=["All"])).code == 201
    assert not await _is_terminating(api)
    status = await _status(api)
    assert status["disruptionsAllowed"] == 1
    assert "disruptedPods" not in status


@pytest.mark.parametrize("dry_run", [[], ["All"]])
async def test_a_spent_budget_refuses(api: Client, dry_run: list[str]) -> None:
    target = await _pod(api)
    await _budget(api, allowed=0, healthy=2)
    answer = await _evict(api, target, dryRun=dry_run)
    assert (answer.code, answer.body["reason"], answer.body["message"]) == (429, "TooManyRequests", REFUSED)
    assert "Retry-After" not in answer.headers
    assert "retryAfterSeconds" not in answer.body["details"]
    message = "The disruption budget serving needs 2 healthy pods and has 2 currently"
    assert answer.causes == [{"reason": "DisruptionBudget", "message": message}]
    assert not await _is_terminating(api)


async def test_a_budget_not_counted_yet_asks_to_wait(api: Client) -> None:
    target = await _pod(api)
    await _budget(api, allowed=1, healthy=3, observed=0)
    answer = await _evict(api, target)
    assert (answer.code, answer.headers["Retry-After"]) == (429, "10")
    assert answer.body["details"]["retryAfterSeconds"] == 10
    message = "The disruption budget serving is still being processed by the server."
    assert answer.causes == [{"reason": "DisruptionBudget", "message": message}]


@pytest.mark.parametrize(
    ("healthy", "policy", "code"),
    [
        (2, None, 201),
        (2, "IfHealthyBudget", 201),
        (1, None, 429),
        (1, "IfHealthyBudget", 429),
        (1, "AlwaysAllow", 201),
        (0, "AlwaysAllow", 201),
    ],
)
async def test_an_unready_pod(api: Client, healthy: int, policy: str | None, code: int) -> None:
    target = await _pod(api, ready=False)
    spec: dict[str, Any] = {"unhealthyPodEvictionPolicy": policy} if policy else {}
    await _budget(api, allowed=0, healthy=healthy, **spec)
    answer = await _evict(api, target)
    assert answer.code == code
    assert "disruptedPods" not in await _status(api), "an unready pod costs the budget nothing"


async def test_always_allow_does_not_let_ready_pods_go(api: Client) -> None:
    target = await _pod(api)
    await _budget(api, allowed=0, healthy=2, unhealthyPodEvictionPolicy="AlwaysAllow")
    assert (await _evict(api, target)).code == 429


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed"])
async def test_phases_that_no_budget_protects(api: Client, phase: str) -> None:
    target = await _pod(api, ready=False, phase=phase)
    await _budget(api, allowed=0, healthy=0)
    assert (await _evict(api, target)).code == 201


async def test_a_terminating_pod_may_be_evicted_again(api: Client) -> None:
    target = await _pod(api)
    await api.delete(f"{api.core}/pods/a")
    await _budget(api, allowed=0, healthy=2)
    assert (await _evict(api, target)).code == 201


async def test_another_uid_is_refused_and_yet_spends(api: Client) -> None:
    target = await _pod(api)
    await _budget(api, allowed=1, healthy=3)
    wrong = {"metadata": target["metadata"] | {"uid": ANOTHER_UID}}
    answer = await _evict(api, wrong)
    uid = target["metadata"]["uid"]
    assert (answer.code, answer.body["reason"]) == (409, "Conflict")
    assert answer.body["details"] == {"name": "a", "kind": "Pod"}
    assert answer.body["message"] == (
        f'Operation cannot be fulfilled on Pod "a": the UID in the precondition ({ANOTHER_UID}) does not match the '
        f"UID in record ({uid}). The object might have been deleted and then recreated"
    )
    assert not await _is_terminating(api)
    spent = await _status(api)
    assert spent["disruptionsAllowed"] == 0
    assert list(spent["disruptedPods"]) == ["a"]


async def test_two_budgets_are_a_server_error(api: Client) -> None:
    target = await _pod(api)
    await _budget(api, allowed=1, healthy=3)
    await _budget(api, allowed=1, healthy=3, name="other")
    answer = await _evict(api, target)
    assert answer.code == 500
    assert "reason" not in answer.body
    assert answer.body["message"].startswith("This pod has more than one PodDisruptionBudget")
    assert "disruptedPods" not in await _status(api)


async def test_no_budget_no_question(api: Client) -> None:
    target = await _pod(api)
    await _budget(api, allowed=0, healthy=0, selector={"matchLabels": {"app": "another"}})
    assert (await _evict(api, target)).code == 201
    assert await _is_terminating(api)


async def test_no_such_pod(api: Client) -> None:
    answer = await _evict(api, {"metadata": {"name": "nope", "uid": ANOTHER_UID}})
    assert (answer.code, answer.body["reason"]) == (404, "NotFound")
    assert answer.body["message"] == 'pods "nope" not found'


async def test_the_url_and_the_body_name_one_pod(api: Client) -> None:
    await _pod(api)
    answer = await api.post(f"{api.core}/pods/a/eviction", {"metadata": {"name": "b"}})
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")


async def test_an_old_resource_version_is_a_conflict(api: Client) -> None:
    target = await _pod(api)
    answer = await _evict(api, target, preconditions={"resourceVersion": "1"})
    assert (answer.code, answer.body["reason"]) == (409, "Conflict")


async def test_forbidden(api: Client) -> None:
    await _pod(api)
    headers = api.weaken("create", "pods/eviction")
    answer = await api.post(f"{api.core}/pods/a/eviction", {"metadata": {"name": "a"}}, headers=headers)
    assert (answer.code, answer.body["reason"]) == (403, "Forbidden")
    assert answer.body["details"] == {"name": "a", "kind": "pods"}
    assert answer.body["message"].startswith('pods "a" is forbidden: User ')
    assert answer.body["message"].endswith(
        f'cannot create resource "pods/eviction" in API group "" in the namespace "{api.namespace}"'
    )
