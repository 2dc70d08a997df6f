"""What deploy/healer installs, on a real API server: it is accepted whole, and its admission policy judges as it says."""

from __future__ import annotations

import asyncio
import re
import shutil
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from aiohttp import web

from healer.actions.registry import ACTIONS
from healer.daemon.rulefiles import load_rules, vocabulary
from healer.journal.stored import SIGNATURE
from healer.lab.apiserver.discovery import OPENAPI, OPENAPI_PATH, OPENAPI_TYPE
from healer.model.annotations import APPROVED_BY, UNDONE_BY
from healer.operate.rbac import needed, rule_roles
from tests.contract.apiserver import NOBODY
from tests.contract.client import Answer, Client, Object
from tests.contract.routers import define
from tests.deploy.test_components import COMPONENTS, with_components
from tests.deploy.test_healer import ALL
from tests.support.healer import verb
from tests.support.helm import CHART, values
from tests.support.kustomize import KUBECTL, built
from tests.support.schemas import DEFINITIONS

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / "deploy/healer"
_FIRST = ("-f", _FOLDER / "namespace.yaml", "-f", _FOLDER / "crd.yaml")
_ACCOUNT = "system:serviceaccount:healer:healer"
_HEALER = {"Impersonate-User": _ACCOUNT}
_PEOPLE = {"Impersonate-User": "ann", "Impersonate-Group": "system:masters"}
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_PATCH = {"apiGroups": ["healer.dev"], "resources": ["incidents"], "verbs": ["patch"]}
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
    # Another test may have made the definition in another way; and the controller that adds roles up makes the sum anew when it
    # hears of its end too late.
    await kubectl("delete", "--ignore-not-found", "-f", _FOLDER / "crd.yaml")
    await kubectl("delete", "--ignore-not-found", "clusterrole", "healer")
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


async def _rbac(kubectl: Kubectl) -> None:
    """Grant what rules of one's own need, as `healer rbac rules/nodes --roles-only | kubectl apply -f -` does."""
    own = load_rules([_ROOT / "rules/nodes"], vocabulary())
    await kubectl("apply", "-f", "-", given=yaml.safe_dump_all(rule_roles(needed(own, ACTIONS), "healer")))


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


async def _opened(api: Client) -> str:
    """The path of an incident that waits for approval, as healer writes it."""
    made = await api.post(_incidents(api), _incident(api.namespace), headers=_HEALER)
    assert made.code == 201, made.body
    path = f"{_incidents(api)}/crash-loop-1"
    at, reason = "2026-01-01T00:00:01Z", {"code": "NeedsApproval", "text": "a human decides"}
    status = {"state": "waiting", "reason": reason, "changedAt": at, "askedAt": at, "targets": {}}
    signed = {"status": status | {SIGNATURE: made.body["metadata"]["uid"]}}
    written = await api.put(f"{path}/status", made.body | signed, headers=_HEALER)
    assert written.code == 200, written.body
    return path


async def _bind(api: Client, namespace: str, role: str, *users: str) -> None:
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user} for user in users]
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    body = {"metadata": {"generateName": "people-"}, "roleRef": ref, "subjects": subjects}
    await api.make(f"{_RBAC}/namespaces/{namespace}/rolebindings", body)


async def test_only_healer_writes_incidents(deployed: Client) -> None:
    """Of them people write who approves and undoes, and nothing else."""
    body = _incident(deployed.namespace)
    answer = await _refused(deployed, body)
    assert "incidents are opened by healer alone" in answer.body["message"]
    path = await _opened(deployed)
    reason = {"code": "Healed", "text": "all is well"}
    status = {"status": {"state": "healed", "reason": reason, "changedAt": "2026-01-01T00:00:01Z", "targets": {}}}
    assert (await deployed.patch(f"{path}/status", status, headers=_PEOPLE)).code == 403
    assert (await deployed.patch(path, {"metadata": {"labels": {"team": "ours"}}}, headers=_PEOPLE)).code == 403
    assert (await deployed.patch(path, {"metadata": {"annotations": {"healer.dev/uid": "x"}}}, headers=_PEOPLE)).code == 403
    assert (await deployed.delete(path, headers=_HEALER)).code == 200


async def test_those_with_the_verb_approve_and_undo_each_in_the_own_name(deployed: Client) -> None:
    """ann has the shipped role in this namespace, bob may patch incidents and no more, eve has the role in another namespace."""
    await _refused(deployed, _incident(deployed.namespace))
    path = await _opened(deployed)
    await _bind(deployed, deployed.namespace, "healer-approver", "ann")
    await deployed.make(f"{_RBAC}/clusterroles", {"metadata": {"name": "patches"}, "rules": [_PATCH]})
    await _bind(deployed, deployed.namespace, "patches", "bob", "eve")
    await _bind(deployed, "default", "healer-approver", "eve")

    async def writes(user: str, name: str | None) -> Answer:
        annotation = {"metadata": {"annotations": {key: name}}}
        return await deployed.patch(path, annotation, headers={"Impersonate-User": user})

    for word, key in (("approve", APPROVED_BY), ("undo", UNDONE_BY)):
        for user in ("bob", "eve"):
            refused = await writes(user, user)
            assert (refused.code, f"takes the verb {word} on incidents" in refused.body["message"]) == (403, True), refused.body
        refused = await writes("ann", "bob")
        assert (refused.code, f"{key} can only become ann" in refused.body["message"]) == (403, True), refused.body
        written = await writes("ann", "ann")
        assert (written.code, written.body["metadata"]["annotations"]) == (200, {key: "ann"}), written.body
        assert (await writes("bob", None)).code == 403
        assert (await writes("ann", None)).code == 200
    await deployed.delete(f"{_RBAC}/clusterroles/patches")
    await deployed.delete(f"{_RBAC}/namespaces/default/rolebindings")
    await deployed.delete(path, headers=_HEALER)


async def test_an_approval_by_kubectl_gets_the_name_of_its_writer(deployed: Client, kubectl: Kubectl) -> None:
    """By components/approver-name, which needs Kubernetes 1.36; to take the annotation away stays possible."""
    policies = _FOLDER / "components/approver-name/policy.yaml"
    await kubectl("apply", "-f", policies)
    path = await _opened(deployed)
    await _bind(deployed, deployed.namespace, "healer-approver", "ann")
    for key in (APPROVED_BY, UNDONE_BY):
        for _ in range(_TRIES):
            body = {"metadata": {"annotations": {key: "x"}}}
            answer = await deployed.patch(f"{path}?dryRun=All", body, headers={"Impersonate-User": "ann"})
            if answer.code == 200 and answer.body["metadata"]["annotations"] == {key: "ann"}:
                break
            await asyncio.sleep(0.2)
        else:
            pytest.fail(f"the name was never written: {answer.body}")
        for name, stored in (("bob", {key: "ann"}), ("ann", {key: "ann"}), (None, None)):
            given: Object = {"metadata": {"annotations": {key: name}}}
            answer = await deployed.patch(path, given, headers={"Impersonate-User": "ann"})
            assert (answer.code, answer.body["metadata"].get("annotations")) == (200, stored), answer.body
    await kubectl("delete", "-f", policies)
    await deployed.delete(path, headers=_HEALER)


async def test_healer_approve_signs_with_the_name_that_the_server_knows(deployed: Client, tmp_path: Path) -> None:
    """Whatever the kubeconfig calls its user; to those who may not it says what to ask for."""
    await _refused(deployed, _incident(deployed.namespace))
    path = await _opened(deployed)
    deployed.write_kubeconfig(tmp_path / "admin")
    replace(deployed, headers={"Authorization": f"Bearer {NOBODY}"}).write_kubeconfig(tmp_path / "mallory")
    what = ("approve", "crash-loop-1", "-n", deployed.namespace)
    code, said = await verb(*what, "--by", "ann", home=tmp_path, KUBECONFIG=tmp_path / "admin")
    assert (code, "can only become admin" in said, "without --by" in said) == (2, True, True), said
    role = {"metadata": {"name": "patches"}, "rules": [{**_PATCH, "verbs": ["get", "patch"]}]}
    await deployed.make(f"{_RBAC}/clusterroles", role)
    for bound in ("", "patches"):
        if bound:
            await _bind(deployed, deployed.namespace, bound, "mallory")
        code, said = await verb(*what, home=tmp_path, KUBECONFIG=tmp_path / "mallory")
        assert (code, f"--clusterrole=healer-approver --user=YOU --namespace={deployed.namespace}" in said) == (2, True), said
    assert "takes the verb approve" in said
    code, said = await verb(*what, home=tmp_path, KUBECONFIG=tmp_path / "admin")
    assert (code, "approved by admin" in said) == (0, True), said
    assert (await deployed.get(path)).body["metadata"]["annotations"] == {APPROVED_BY: "admin"}
    await deployed.delete(f"{_RBAC}/clusterroles/patches")
    await deployed.delete(path, headers=_HEALER)


async def test_an_upgrade_takes_back_nothing_that_healer_rbac_has_granted(deployed: Client, kubectl: Kubectl) -> None:
    """The role is the sum of those of the packs and of one's own rules; to apply it again does not even write it."""
    await _rbac(kubectl)
    before = await _role(deployed, lambda rules: _grants(rules, "nodes") and _grants(rules, "pods/eviction"))
    said = await kubectl("apply", *_FIRST) + await kubectl("apply", "-k", _FOLDER)
    assert "clusterrole.rbac.authorization.k8s.io/healer unchanged" in said
    after = await _role(deployed, bool)
    assert (after["rules"], after["metadata"]["resourceVersion"]) == (before["rules"], before["metadata"]["resourceVersion"])
    review = {"spec": {"user": _ACCOUNT, "resourceAttributes": {"verb": "list", "resource": "nodes"}}}
    answer = await deployed.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer.body["status"]["allowed"] is True
    await kubectl("delete", "clusterrole", "healer-rules")


async def test_what_is_deleted_leaves_the_incidents_and_the_namespace(deployed: Client, kubectl: Kubectl) -> None:
    """With them the budgets, the notes of what can be undone, the Secret, and a pause of everything."""
    made = await deployed.post(_incidents(deployed), _incident(deployed.namespace), headers=_HEALER)
    assert made.code == 201, made.body
    await kubectl("-n", "healer", "create", "secret", "generic", "healer", "--from-literal=webhook-token=t")
    await kubectl("delete", "-k", _FOLDER)
    assert (await deployed.get("/apis/apps/v1/namespaces/healer/deployments/healer")).code == 404
    assert (await deployed.get(f"{_incidents(deployed)}/crash-loop-1")).body["metadata"]["uid"] == made.body["metadata"]["uid"]
    assert (await deployed.get("/api/v1/namespaces/healer/secrets/healer")).code == 200
    await kubectl("apply", "-k", _FOLDER)
    assert (await deployed.get("/apis/apps/v1/namespaces/healer/deployments/healer")).code == 200


@asynccontextmanager
async def _with_openapi(api: Client) -> AsyncIterator[str]:
    """The URL of the server with an OpenAPI document: without one Helm applies nothing, and some builds have none in protobuf."""

    async def forward(request: web.Request) -> web.Response:
        if request.path == OPENAPI_PATH:
            return web.Response(body=OPENAPI, content_type=OPENAPI_TYPE)
        headers = {name: value for name, value in request.headers.items() if name in ("Accept", "Content-Type")}
        url, body = f"{api.url}{request.path_qs}", await request.read()
        async with api.session.request(request.method, url, data=body or None, headers=headers | api.headers) as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), headers={"Content-Type": answer.headers["Content-Type"]}
            )

    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_helm_installs_upgrades_and_uninstalls_the_same(whole: Client, kubectl: Kubectl, tmp_path: Path) -> None:
    """As the chart's README has it: it takes back nothing that `healer rbac` has granted, and leaves the incidents."""
    chart = Path(shutil.copytree(CHART, tmp_path / "chart"))
    said = (chart / "Chart.yaml").read_text("utf-8")
    (chart / "Chart.yaml").write_text(re.sub(r"kubeVersion:.*\n", "", said), "utf-8")  # some builds of the server have no version
    await kubectl("apply", "-f", _FOLDER / "namespace.yaml")
    async with _with_openapi(whole) as url:
        with helm_python.Config(kube_apiserver=url, namespace="healer") as helm:
            await asyncio.to_thread(helm.install, str(chart), "healer", values("observe"), namespace="healer")
            await _role(whole, lambda rules: _grants(rules, "incidents"))
            await _rbac(kubectl)
            await _role(whole, lambda rules: _grants(rules, "nodes"))
            made = await whole.post(_incidents(whole), _incident(whole.namespace), headers=_HEALER)
            assert made.code == 201, made.body
            await asyncio.to_thread(helm.upgrade, str(chart), "healer", values("production"), namespace="healer")
            assert _grants((await _role(whole, bool))["rules"], "nodes")
            deployment = (await whole.get("/apis/apps/v1/namespaces/healer/deployments/healer")).body
            (container,) = deployment["spec"]["template"]["spec"]["containers"]
            assert "HEALER_MODE" not in {entry["name"] for entry in container["env"]}
            await asyncio.to_thread(helm.uninstall, "healer")
    assert (await whole.get("/apis/apps/v1/namespaces/healer/deployments/healer")).code == 404
    assert (await whole.get(f"{_incidents(whole)}/crash-loop-1")).code == 200
    await kubectl("delete", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/name=healer")
    await kubectl("delete", *_FIRST)


@pytest.fixture
async def defined(real: Client) -> Client:
    """A server with the definitions of all custom resources, and the namespaces that the overlays name."""
    for path in sorted(DEFINITIONS.glob("*.yaml")):
        await define(real, path.stem)
    for name in ("healer", "production"):
        made = await real.post("/api/v1/namespaces", {"metadata": {"name": name}})
        assert made.code in (201, 409), made.body
    return real


@pytest.mark.parametrize("name", [*ALL, "all components"])
async def test_a_server_would_create_every_object(name: str, defined: Client, tmp_path: Path) -> None:
    """Of each kustomization, examples/guarded among them, with unknown fields as errors and without a warning."""
    objects = with_components("observe", COMPONENTS, tmp_path) if name == "all components" else built(_FOLDER / name)
    for manifest in objects:
        version, kind, namespace = manifest["apiVersion"], manifest["kind"], manifest["metadata"].get("namespace")
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        listed = (await defined.get(root)).body["resources"]
        (plural,) = [each["name"] for each in listed if each["kind"] == kind and "/" not in each["name"]]
        within = f"/namespaces/{namespace}" if namespace else ""
        answer = await defined.post(f"{root}{within}/{plural}?dryRun=All&fieldValidation=Strict", manifest)
        assert answer.code == 201, (kind, manifest["metadata"]["name"], answer.body)
        assert answer.warnings == []
