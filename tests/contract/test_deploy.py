"""What deploy/healer installs, on a real API server: it is accepted whole, and its admission policy judges as it says."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from healer.actions.registry import ACTIONS
from healer.daemon.rulefiles import load_rules, vocabulary
from healer.model.annotations import APPROVED_BY
from healer.operate.rbac import manifests, needed
from tests.contract.client import Answer, Client, Object
from tests.support.kustomize import KUBECTL

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / "deploy/healer"
_FIRST = ("-f", _FOLDER / "namespace.yaml", "-f", _FOLDER / "crd.yaml")
_HEALER = "system:serviceaccount:healer:healer"
_PEOPLE = {"Impersonate-User": "ann", "Impersonate-Group": "system:masters"}
_TRIES = 300


class Kubectl:
    """kubectl for one server."""

    def __init__(self, api: Client, kubeconfig: Path) -> None:
        api.write_kubeconfig(kubeconfig)
        self._kubeconfig = kubeconfig

    async def __call__(self, *arguments: str | Path, given: str = "") -> str:
        """What it prints. Raises AssertionError when it fails, or warns.

        It does not validate: some builds of the server give kubectl no OpenAPI. tests/deploy validates by the schemas.
        """
        unvalidated = ["--validate=false"] if arguments[0] == "apply" else []
        command = [str(KUBECTL), "--kubeconfig", str(self._kubeconfig), *map(str, arguments), *unvalidated]
        made = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=STDOUT)
        said = (await made.communicate(given.encode()))[0].decode()
        assert made.returncode == 0, f"{command}: {said}"
        assert "Warning" not in said, said
        return said


@pytest.fixture
def kubectl(whole: Client, tmp_path: Path) -> Kubectl:
    return Kubectl(whole, tmp_path / "kubeconfig")


@pytest.fixture
async def deployed(whole: Client, kubectl: Kubectl) -> AsyncIterator[Client]:
    """A server with all that README says to apply; taken away again, as docs/operating.md says."""
    await kubectl("apply", *_FIRST)
    await kubectl("wait", "--for=condition=Established", "crd/incidents.healer.dev")
    await kubectl("apply", "-k", _FOLDER)
    await _role(whole, lambda rules: _grants(rules, "incidents"))
    yield whole
    await kubectl("delete", "--ignore-not-found", "-k", _FOLDER)
    await kubectl("delete", *_FIRST)


async def _role(api: Client, holds: Callable[[list[Any]], object]) -> Any:
    """The ClusterRole of healer, once its rules are so: a controller adds them up, and nothing tells when."""
    for _ in range(_TRIES):
        answer = await api.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/healer")
        if answer.code == 200 and holds(answer.body.get("rules") or []):
            return answer.body
        await asyncio.sleep(0.1)
    pytest.fail("the rules of ClusterRole healer were never added up")


def _grants(rules: list[Any], resource: str) -> bool:
    return any(resource in rule["resources"] for rule in rules)


def _incidents(api: Client) -> str:
    return f"/apis/healer.dev/v1alpha1/namespaces/{api.namespace}/incidents"


def _incident(namespace: str) -> Object:
    target = {"kind": "Deployment", "namespace": namespace, "name": "serving", "uid": "u"}
    return {
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
    body = _incident(deployed.namespace)
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


async def test_an_upgrade_takes_back_nothing_that_healer_rbac_has_granted(deployed: Client, kubectl: Kubectl) -> None:
    """The role is the sum of those of the packs and of one's own rules; to apply it again does not even write it."""
    own = load_rules([_ROOT / "rules/nodes"], vocabulary())
    printed = yaml.safe_dump_all(manifests(needed(own, ACTIONS), "healer"))
    await kubectl("apply", "-f", "-", given=printed)
    before = await _role(deployed, lambda rules: _grants(rules, "nodes") and _grants(rules, "pods/eviction"))
    said = await kubectl("apply", *_FIRST) + await kubectl("apply", "-k", _FOLDER)
    assert "clusterrole.rbac.authorization.k8s.io/healer unchanged" in said
    after = await _role(deployed, bool)
    assert (after["rules"], after["metadata"]["resourceVersion"]) == (before["rules"], before["metadata"]["resourceVersion"])
    review = {"spec": {"user": _HEALER, "resourceAttributes": {"verb": "list", "resource": "nodes"}}}
    answer = await deployed.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer.body["status"]["allowed"] is True
    await kubectl("delete", "clusterrole", "healer-rules")


async def test_what_is_deleted_leaves_the_incidents_and_the_namespace(deployed: Client, kubectl: Kubectl) -> None:
    """With them the budgets, the notes of what can be undone, the Secret, and a pause of everything."""
    made = await deployed.post(_incidents(deployed), _incident(deployed.namespace), headers={"Impersonate-User": _HEALER})
    assert made.code == 201, made.body
    await kubectl("-n", "healer", "create", "secret", "generic", "healer", "--from-literal=webhook-token=t")
    await kubectl("delete", "-k", _FOLDER)
    assert (await deployed.get("/apis/apps/v1/namespaces/healer/deployments/healer")).code == 404
    assert (await deployed.get(f"{_incidents(deployed)}/crash-loop-1")).body["metadata"]["uid"] == made.body["metadata"]["uid"]
    assert (await deployed.get("/api/v1/namespaces/healer/secrets/healer")).code == 200
    await kubectl("apply", "-k", _FOLDER)
    assert (await deployed.get("/apis/apps/v1/namespaces/healer/deployments/healer")).code == 200
