"""A plain HTTP client of one API server, for tests that look at raw answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

Object = dict[str, Any]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True)
class Answer:
    """One answer: status code, headers, and the body, decoded when it is JSON."""

    code: int
    headers: dict[str, str]
    body: Any
    warnings: list[str] = field(default_factory=list)

    @property
    def causes(self) -> list[Object]:
        """The causes of a Status."""
        causes: list[Object] = self.body.get("details", {}).get("causes", [])
        return causes


@dataclass
class Client:
    """Requests to one server, in one namespace of the test's own.

    variant: "lab" or "kube-apiserver"; weaken(verb, resource): the headers of a user who may not do that.
    """

    variant: str
    url: str
    session: aiohttp.ClientSession
    namespace: str
    weaken: Callable[[str, str], dict[str, str]]
    compact: Callable[[], Awaitable[None]]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def core(self) -> str:
        """The path of the test's namespace in core/v1."""
        return f"/api/v1/namespaces/{self.namespace}"

    @property
    def apps(self) -> str:
        """The path of the test's namespace in apps/v1."""
        return f"/apis/apps/v1/namespaces/{self.namespace}"

    @property
    def policy(self) -> str:
        """The path of the test's namespace in policy/v1."""
        return f"/apis/policy/v1/namespaces/{self.namespace}"

    def write_kubeconfig(self, path: Path) -> None:
        """For programs that are to reach the same server as the same user."""
        server = {"server": self.url, "insecure-skip-tls-verify": self.url.startswith("https")}
        config = {
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": server}],
            "users": [{"name": "it", "user": {"token": self.headers["Authorization"].removeprefix("Bearer ")}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }
        path.write_text(yaml.safe_dump(config), encoding="utf-8")

    async def send(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, form: str = ""
    ) -> Answer:
        """Send one request; `body` is sent as JSON, or as it is when it is text."""
        text = body if isinstance(body, str | None) else json.dumps(body)
        sent = {**self.headers, **(headers or {})}
        if text is not None or form:
            sent["Content-Type"] = form or "application/json"
        async with self.session.request(method, self.url + path, data=text, headers=sent) as response:
            raw = await response.text()
            content = json.loads(raw) if response.content_type == "application/json" else raw
            return Answer(response.status, dict(response.headers), content, response.headers.getall("Warning", []))

    async def get(self, path: str, **options: Any) -> Answer:
        """GET."""
        return await self.send("GET", path, **options)

    async def post(self, path: str, body: Any, **options: Any) -> Answer:
        """POST."""
        return await self.send("POST", path, body, **options)

    async def put(self, path: str, body: Any, **options: Any) -> Answer:
        """PUT."""
        return await self.send("PUT", path, body, **options)

    async def patch(self, path: str, body: Any, form: str = MERGE, **options: Any) -> Answer:
        """PATCH, a merge patch unless told otherwise."""
        return await self.send("PATCH", path, body, form=form, **options)

    async def delete(self, path: str, body: Any = None, **options: Any) -> Answer:
        """DELETE."""
        return await self.send("DELETE", path, body, **options)

    async def make(self, path: str, body: Object) -> Object:
        """POST what must succeed."""
        answer = await self.post(path, body)
        assert answer.code == 201, answer
        made: Object = answer.body
        return made

    @asynccontextmanager
    async def watch(self, path: str) -> AsyncIterator[AsyncIterator[Object]]:
        """Open a watch; yields its events until it ends."""
        async with self.session.get(self.url + path, headers=self.headers) as response:
            assert response.status == 200, await response.text()

            async def events() -> AsyncIterator[Object]:
                async for line in response.content:
                    yield json.loads(line)

            yield events()

    async def until(self, path: str, predicate: Callable[[list[Object]], object], within: float = 30) -> list[Object]:
        """The objects of a collection, sorted by name, as soon as the predicate holds for them.

        Raises TimeoutError after so many seconds.
        """
        query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        found: dict[str, Object] = {}
        begun = False
        async with asyncio.timeout(within), self.watch(f"{path}?{query}") as events:
            async for event in events:
                metadata = event["object"]["metadata"]
                if event["type"] == "BOOKMARK":
                    begun = True
                elif event["type"] == "DELETED":
                    found.pop(metadata["name"], None)
                else:
                    found[metadata["name"]] = event["object"]
                objects = [found[name] for name in sorted(found)]
                if begun and predicate(objects):
                    return objects
        raise AssertionError(f"the watch of {path} ended")

    async def watched(self, path: str) -> list[Object]:
        """All events of a watch that ends by itself."""
        async with self.watch(path) as events:
            return [event async for event in events]


def pod(name: str = "", *, labels: dict[str, str] | None = None, **metadata: Any) -> Object:
    """A pod that is bound to a node, so that its deletion waits for a kubelet."""
    named = {"name": name} if name else {"generateName": "p-"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**named, "labels": labels or {"app": "serving"}, **metadata},
        "spec": {
            "nodeName": "node-0",
            "automountServiceAccountToken": False,
            "containers": [{"name": "c", "image": "tensorflow/serving:2.16.1"}],
        },
    }


def deployment(name: str = "serving", **spec: Any) -> Object:
    """A Deployment of one container."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name, "version": "v1"}},
                "spec": {"containers": [{"name": "c", "image": "tensorflow/serving:2.16.1"}]},
            },
            **spec,
        },
    }


def budget(name: str = "serving", **spec: Any) -> Object:
    """A PodDisruptionBudget over `app: serving`."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "serving"}}, **spec},
    }
