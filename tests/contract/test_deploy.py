"""What deploy/healer installs, on a real API server: it is accepted whole, and its admission policy judges as it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from healer.model.annotations import APPROVED_BY
from tests.contract.client import Answer, Client, Object
from tests.support.kustomize import read

_FOLDER = Path(__file__).parents[2] / "deploy/healer"
_HEALER = "system:serviceaccount:healer:healer"
_PEOPLE = {"Impersonate-User": "ann", "Impersonate-Group": "system:masters"}
_PLURALS = {"NetworkPolicy": "networkpolicies", "ValidatingAdmissionPolicy": "validatingadmissionpolicies"}
_TRIES = 300


def _collection(manifest: Object) -> str:
    group, kind = manifest["apiVersion"], manifest["kind"]
    plural = _PLURALS.get(kind, f"{kind.lower()}s")
    root = f"/apis/{group}" if "/" in group else f"/api/{group}"
    namespace = manifest["metadata"].get("namespace")
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"


def _first(manifest: Object) -> int:
    order = ("Namespace", "CustomResourceDefinition")
    return order.index(manifest["kind"]) if manifest["kind"] in order else len(order)


@pytest.fixture
async def deployed(real: Client) -> AsyncIterator[Client]:
    """A server with all that the kustomization has; taken away again."""
    made: list[str] = []
    try:
        for manifest in sorted(read(_FOLDER), key=_first):
            answer = await real.post(_collection(manifest), manifest)
            if answer.code == 404 and manifest["apiVersion"].startswith("monitoring.coreos.com/"):
                continue  # the Prometheus operator's kinds are not installed here
            assert answer.code == 201, (manifest["kind"], answer.body)
            assert answer.warnings == []
            made.append(f"{_collection(manifest)}/{manifest['metadata']['name']}")
        yield real
    finally:
        for path in reversed(made):
            await real.delete(path)


def _incidents(api: Client) -> str:
    return f"/apis/healer.dev/v1alpha1/namespaces/{api.namespace}/incidents"


async def _refused(api: Client, body: Object) -> Answer:
    """A policy is in force a moment after it was written, and nothing tells when: people's tries are dry runs until it is."""
    for _ in range(_TRIES):
        answer = await api.post(f"{_incidents(api)}?dryRun=All", body, headers=_PEOPLE)
        if answer.code == 403:
            return answer
        assert answer.code == 201, answer.body
        await asyncio.sleep(0.2)
    pytest.fail("the policy never refused people's incidents")


async def test_only_healer_writes_incidents_and_people_approve(deployed: Client) -> None:
    target = {"kind": "Deployment", "namespace": deployed.namespace, "name": "serving", "uid": "u"}
    body: Object = {
        "apiVersion": "healer.dev/v1alpha1",
        "kind": "Incident",
        "metadata": {"name": "crash-loop-1"},
        "spec": {
            "rule": "serving/crash-loop",
            "workload": target,
            "severity": "warning",
            "mode": "approve",
            "notify": [],
            "steps": ["evict"],
            "openedAt": "2026-01-01T00:00:00Z",
        },
    }
    answer = await _refused(deployed, body)
    assert "incidents are opened by healer alone" in answer.body["message"]
    healer = {"Impersonate-User": _HEALER}
    made = await deployed.post(_incidents(deployed), body, headers=healer)
    assert made.code == 201, made.body
    path = f"{_incidents(deployed)}/crash-loop-1"
    reason = {"code": "Healed", "text": "all is well"}
    status = {"status": {"state": "healed", "reason": reason, "changedAt": "2026-01-01T00:00:01Z", "targets": {}}}
    assert (await deployed.patch(f"{path}/status", status, headers=_PEOPLE)).code == 403
    assert (await deployed.patch(path, {"metadata": {"labels": {"team": "ours"}}}, headers=_PEOPLE)).code == 403
    assert (await deployed.patch(path, {"metadata": {"annotations": {"healer.dev/uid": "x"}}}, headers=_PEOPLE)).code == 403
    written = await deployed.put(f"{path}/status", made.body | status, headers=healer)
    assert written.code == 200, written.body["message"]
    approved = await deployed.patch(path, {"metadata": {"annotations": {APPROVED_BY: "ann"}}}, headers=_PEOPLE)
    assert approved.code == 200, approved.body["message"]
    assert (await deployed.delete(path, headers=healer)).code == 200
