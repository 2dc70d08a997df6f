"""A lab with a serving workload, incidents in it, and a daemon's HTTP server that the API server's proxy leads to."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from prometheus_client import CollectorRegistry

from healer.cluster.api import Api
from healer.http.access import TOKEN_HEADER
from healer.http.health import Check, Health
from healer.http.rules import RuleRow
from healer.http.server import Server
from healer.http.state import StateBody, StateRoutes
from healer.journal.codec import encode
from healer.journal.stored import SIGNATURE
from healer.lab import Lab, serving
from healer.lab.kinds import DEPLOYMENT, NAMESPACE, Kind
from healer.lab.objects import Object, is_ready
from healer.model.effects import Decision, Verb
from healer.model.incident import Entry, Incident, Reason, SickTarget, State, Symptom
from healer.model.target import Target
from healer.operate.objects import get, object_ref
from healer.settings.http import HttpSettings
from tests.support.processes import PATIENCE

SPACE = "production"
NAME = "tensorflow-serving"
RULE = "tensorflow-serving/crash-loop"
CRD = Path(__file__).parents[3] / "deploy/healer/crd.yaml"
SERVICE = "/api/v1/namespaces/healer/services/http:healer:8080/proxy"


@dataclass
class Front:
    """Stands before the lab as the API server's proxy subresources do: what is below a prefix goes to another server."""

    lab: Lab
    session: aiohttp.ClientSession
    url: str = ""
    proxied: dict[str, str] = field(default_factory=dict)
    """Prefix of a path -> base URL."""
    asked: list[str] = field(default_factory=list)
    """The paths that went through the proxy."""
    tokens: list[str] = field(default_factory=list)
    """The tokens that went through it."""

    async def handle(self, request: web.Request) -> web.Response:
        base, path = self.lab.url, request.path_qs
        if "/proxy/" in request.path:
            self.asked.append(request.path)
            self.tokens += request.headers.getall(TOKEN_HEADER, [])
        for prefix, url in self.proxied.items():
            if request.path.startswith(prefix):
                base, path = url, path.removeprefix(prefix)
        headers = {name: request.headers[name] for name in ("Content-Type", "Accept", "Authorization") if name in request.headers}
        async with self.session.request(request.method, base + path, data=await request.read(), headers=headers) as heard:
            return web.Response(body=await heard.read(), status=heard.status, content_type=heard.content_type)


@dataclass
class Place:
    """What a test works on."""

    lab: Lab
    front: Front
    api: Api
    home: Path
    pod: Target
    workload: Target
    now: float
    decisions: list[Decision]
    rules: list[RuleRow]
    """Those in force."""
    server: str
    """The daemon's own URL."""
    checks: list[Check] = field(default_factory=list)
    """What the daemon's probes say."""
    shown: dict[str, Any] = field(default_factory=dict)
    """What the daemon's state has, by its keys."""

    @property
    def kubeconfig(self) -> str:
        return str(self.home / "kubeconfig")

    def known_as(self, name: str) -> None:
        """Have the API server know the kubeconfig's user, alice, by that name."""
        self.lab.reviews.add_token("a-token", name)
        content = yaml.safe_load((self.home / "kubeconfig").read_text("utf-8"))
        content["users"][0]["user"]["token"] = "a-token"
        (self.home / "kubeconfig").write_text(yaml.safe_dump(content))

    def annotations(self, kind: str = "deployments", name: str = NAME) -> dict[str, str]:
        """Those of an object, as the cluster has them."""
        (obj,) = [obj for obj in self.lab.objects(kind) if obj["metadata"]["name"] == name]
        return dict(obj["metadata"].get("annotations") or {})

    def annotate(self, kind: Kind = DEPLOYMENT, name: str = NAME, *, annotations: dict[str, str]) -> None:
        """As somebody else does it."""

        def change(obj: Object) -> None:
            obj["metadata"]["annotations"] = (obj["metadata"].get("annotations") or {}) | annotations

        self.lab.api.modify(kind, "" if kind is NAMESPACE else SPACE, name, change)

    async def lead(self, holder: str = "") -> None:
        """A Lease, as a leader wrote it long ago."""
        spec = {"holderIdentity": holder, "leaseDurationSeconds": 10, "renewTime": "2026-08-01T09:00:00.000000Z"}
        await self.lab.apply(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": "healer", "namespace": "healer"},
                "spec": spec,
            }
        )

    def renew(self) -> None:
        """The leader renews its Lease."""

        def change(obj: Object) -> None:
            now = datetime.fromtimestamp(self.now, UTC)
            obj["spec"]["renewTime"] = now.isoformat(timespec="microseconds").replace("+00:00", "Z")

        self.lab.api.modify(self.lab.api.kinds.named("leases"), "healer", "healer", change)

    def incident(self, state: State, code: str = "Because", text: str = "so it is", **more: Any) -> Incident:
        """An incident on the pod, of a rule with two steps, opened a minute ago and in that state since ten seconds."""
        symptom = Symptom("pod", "CrashLoopBackOff", "1", self.now - 60)
        sick = SickTarget(self.pod, {f"{self.pod.uid}/CrashLoopBackOff": symptom}, self.now - 60, "CrashLoopBackOff")
        opened = Entry(self.now - 60, State.OPEN, Reason("CrashLoopBackOff", f"{self.pod} crash-loops"))
        reason = Reason(code, text)
        made = Incident(
            id="crash-loop-1",
            rule=RULE,
            workload=self.workload,
            severity="critical",
            mode="enforce",
            notify=(),
            opened_at=self.now - 60,
            changed_at=self.now - 10,
            state=state,
            reason=reason,
            targets={self.pod.uid: sick},
            steps=("evict", "rollback"),
            history=(opened, Entry(self.now - 10, state, reason, 0)),
        )
        return replace(made, **more)

    async def keep(self, *incidents: Incident, signed: bool = True) -> None:
        """Journal them, new or not; without `signed` as others than healer write them."""
        for incident in incidents:
            place = object_ref("Incident", SPACE, incident.id)
            spec, status = encode(incident)
            head = {"apiVersion": "healer.dev/v1alpha1", "kind": "Incident"}
            if await get(self.api, place) is None:
                made = head | {"metadata": {"name": incident.id}, "spec": spec}
                await self.api.request("POST", place.path.rpartition("/")[0], body=made)
            found = json.loads(await self.api.request("GET", place.path))
            status |= {SIGNATURE: found["metadata"]["uid"]} if signed else {}
            await self.api.request(
                "PATCH", f"{place.path}/status", body={"status": status}, content_type="application/merge-patch+json"
            )

    def decided(self, verb: Verb, code: str, text: str, *, ago: float = 5.0, **more: Any) -> Decision:
        """The daemon decides something on the pod."""
        decision = replace(Decision(self.now - ago, verb, Reason(code, text), self.pod, RULE), **more)
        self.decisions.append(decision)
        return decision


def _up(lab: Lab) -> bool:
    pods = lab.objects("pods", SPACE)
    status = lab.objects("deployments", SPACE)[0].get("status") or {}
    return len(pods) == 3 and all(map(is_ready, pods)) and status.get("readyReplicas") == 3


NOTHING: dict[str, Any] = {
    name: False if name in ("leads", "control") else "" if name in ("version", "cluster", "mode", "leader", "paused") else []
    for name in StateBody.__struct_fields__
    if name != "loaded"
}
"""The state of a daemon that knows of nothing."""


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """Three replicas, nothing wrong, no Lease."""
    decisions: list[Decision] = []
    rules: list[RuleRow] = []
    checks: list[Check] = []
    shown: dict[str, Any] = {}

    async def state() -> StateBody:
        return StateBody(**(NOTHING | {"at": time.time(), "rules": list(rules)} | shown))

    server = Server(
        settings=HttpSettings(host="127.0.0.1", port=0),
        webhooks={},
        health=lambda: Health(ready=checks),
        registry=CollectorRegistry(),
        decisions=lambda: decisions,
        rules=lambda: rules,
        state=StateRoutes(state, lambda namespace, name: None),
    )
    async with (
        Lab(start_delay=0.005, termination_delay=0.005) as lab,
        server,
        aiohttp.ClientSession() as session,
    ):
        front = Front(lab, session)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", front.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        front.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        url = f"http://127.0.0.1:{server.port}"
        front.proxied[SERVICE] = url
        await lab.apply(yaml.safe_load(CRD.read_text()))
        await lab.apply(serving(NAME, SPACE))
        await lab.wait_for(_up, PATIENCE)
        (tmp_path / "kubeconfig").write_text(_kubeconfig(front.url))
        api = await Api.connect(kubeconfig=str(tmp_path / "kubeconfig"))
        try:
            pod = lab.objects("pods", SPACE)[0]["metadata"]
            deployment = lab.objects("deployments", SPACE)[0]["metadata"]
            yield Place(
                lab,
                front,
                api,
                tmp_path,
                Target("Pod", SPACE, pod["name"], pod["uid"]),
                Target("Deployment", SPACE, NAME, deployment["uid"]),
                time.time(),
                decisions,
                rules,
                url,
                checks,
                shown,
            )
        finally:
            await api.aclose()
            await runner.cleanup()


def _kubeconfig(url: str) -> str:
    return yaml.safe_dump(
        {
            "current-context": "it",
            "clusters": [
                {"name": "it", "cluster": {"server": url}},
                {"name": "away", "cluster": {"server": "http://127.0.0.1:1"}},
            ],
            "users": [{"name": "alice", "user": {}}],
            "contexts": [
                {"name": "it", "context": {"cluster": "it", "user": "alice", "namespace": SPACE}},
                {"name": "away", "context": {"cluster": "away", "user": "bob"}},
            ],
        }
    )
