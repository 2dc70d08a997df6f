"""Registered denials answer as webhooks and policies do, and controllers continue after a refusal of the API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from healer.lab import Lab, serving
from healer.lab.apiserver.status import ApiRefusal
from healer.lab.objects import Object, condition, is_ready


def ready(replicas: int, **labels: str) -> Callable[[Lab], bool]:
    def so(lab: Lab) -> bool:
        found = [p for p in lab.objects("pods", "production") if labels.items() <= p["metadata"]["labels"].items()]
        return sum(map(is_ready, found)) == replicas

    return so


async def _evict(lab: Lab, name: str) -> tuple[int, Object]:
    url = f"{lab.url}/api/v1/namespaces/production/pods/{name}/eviction"
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "production"}}
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        return response.status, await response.json()


@pytest.mark.parametrize(
    ("code", "reason", "message", "told"),
    [
        (400, "", "not at night", ": not at night"),
        (403, "Forbidden", "[no-evict] forbidden by the constraint", ": [no-evict] forbidden by the constraint"),
        (500, "InternalError", "", ": InternalError"),
        (400, "", "", " without explanation"),
    ],
)
async def test_a_webhook_denies_with_its_own_code_and_message(code: int, reason: str, message: str, told: str) -> None:
    async with Lab() as lab:
        await lab.apply(serving(min_available=None))
        await lab.wait_for(ready(3))
        name = lab.objects("pods", "production")[0]["metadata"]["name"]
        lab.admission.webhook(message, webhook="guard.acme.io", code=code, reason=reason, resource="pods/eviction")
        answered, body = await _evict(lab, name)
        assert "deletionTimestamp" not in lab.objects("pods", "production")[0]["metadata"]
    assert answered == code
    assert body["message"] == f'admission webhook "guard.acme.io" denied the request{told}'
    assert body.get("reason", "") == reason


@pytest.mark.parametrize(("reason", "code"), [("Invalid", 422), ("Forbidden", 403)])
async def test_a_policy_denies_as_forbidden_whatever_its_code(reason: str, code: int) -> None:
    async with Lab() as lab:
        await lab.apply(serving(min_available=None))
        await lab.wait_for(ready(3))
        name = lab.objects("pods", "production")[0]["metadata"]["name"]
        denial = lab.admission.policy(
            "freeze until Monday", policy="freeze", binding="all", reason=reason, resource="pods/eviction"
        )
        answered, body = await _evict(lab, name)
        assert denial.hits == 1
        lab.admission.allow(denial)
        assert (await _evict(lab, name))[0] == 201
    why = "ValidatingAdmissionPolicy 'freeze' with binding 'all' denied request: freeze until Monday"
    assert (answered, body["reason"], body["message"]) == (code, reason, f'pods "{name}" is forbidden: {why}')
    assert body["details"] == {"name": name, "kind": "pods", "causes": [{"message": why}]}


async def test_admission_checks_an_eviction_and_not_its_deletion() -> None:
    """The server itself deletes the pod of an eviction, so admission control checks only the eviction."""
    async with Lab(start_delay=0.01) as lab:
        await lab.apply(serving(min_available=None))
        await lab.wait_for(ready(3))
        name = lab.objects("pods", "production")[0]["metadata"]["name"]
        lab.admission.webhook("no", verb="delete", resource="pods", times=1)
        assert (await _evict(lab, name))[0] == 201


@pytest.mark.parametrize("verb", ["create", "delete"])
async def test_controllers_retry_after_a_refusal(verb: str) -> None:
    """A pod that may not be created, or whose deletion the kubelet may not confirm, does not block anything else."""
    async with Lab(start_delay=0.01, termination_delay=0.01) as lab:
        await lab.apply(serving("one", min_available=None))
        await lab.wait_for(ready(3, app="one"))
        first = lab.objects("pods", "production")[0]["metadata"]["name"]
        denial = lab.admission.webhook("not now", verb=verb, resource="pods", match=lambda asked: asked.name.startswith("one-"))
        assert (await _evict(lab, first))[0] == 201
        async with asyncio.timeout(10):
            await denial.met(3)
        await lab.apply(serving("two", min_available=None))
        await lab.wait_for(ready(3, app="two"))
        lab.admission.allow(denial)
        await lab.wait_for(lambda it: ready(3, app="one")(it) and first not in str(it.objects("pods", "production")))


async def test_a_deployment_reports_a_replicaset_that_is_refused() -> None:
    async with Lab() as lab:
        denial = lab.admission.webhook("no more", webhook="guard.acme.io", verb="create", resource="replicasets")
        await lab.apply(serving("one", min_available=None))
        await lab.wait_for(lambda it: condition(it.objects("deployments", "production")[0], "Progressing") is not None)
        progressing = condition(lab.objects("deployments", "production")[0], "Progressing")
        assert progressing is not None
        assert (progressing["status"], progressing["reason"]) == ("False", "ReplicaSetCreateError")
        assert progressing["message"].endswith('": admission webhook "guard.acme.io" denied the request: no more')
        lab.admission.allow(denial)
        await lab.wait_for(ready(3))


async def test_what_a_test_writes_itself_is_denied_too() -> None:
    async with Lab() as lab:
        lab.admission.webhook("no", verb="create", resource="configmaps", name="secret-plans")
        with pytest.raises(ApiRefusal, match="denied the request: no"):
            await lab.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "secret-plans"}})
        await lab.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plans"}})
