"""An API server for pods, small and scripted, that misbehaves on command. It shares no code with healer or with the lab."""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

Json = dict[str, Any]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
END, CUT = object(), object()


def status(code: int, reason: str = "", message: str = "", *, retry_after: str = "", causes: tuple[str, ...] = ()) -> Answer:
    """A refusal, in the form of a real API server's."""

    async def answer(_: web.Request) -> web.StreamResponse:
        details = {"causes": [{"reason": cause} for cause in causes]}
        body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message, "details": details}
        return web.json_response(body, status=code, headers={"Retry-After": retry_after} if retry_after else None)

    return answer


class Server:
    """Holds pods, a history of their events, and the streams that are open.

    `faults["list"]` and `faults["watch"]` hold answers for the next requests of that sort, in place of the right ones.
    """

    def __init__(self) -> None:
        self.pods: dict[str, Json] = {}
        self.history: list[tuple[int, Json]] = []
        self.faults: dict[str, deque[Answer]] = {"list": deque(), "watch": deque()}
        self.seen: list[tuple[str, dict[str, str]]] = []
        """Each request: what it was ("list", "watch", "page", "get"), and its query."""
        self.tokens: set[str] = set()
        self.refused = 0
        self.port = 0
        self.muted = False
        self._version = 100
        self._born = 0
        self._compacted = 0
        self._streams: list[asyncio.Queue[Any]] = []
        self._connections: set[asyncio.Transport] = set()
        self._arrivals: Counter[str] = Counter()
        self._arrived = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    # what happens in the cluster

    def put(self, name: str, *, namespace: str = "default", padding: int = 0) -> str:
        """Create a pod, or change it; returns its uid."""
        self._version += 1
        verb = "MODIFIED" if name in self.pods else "ADDED"
        if verb == "ADDED":
            self._born += 1
        uid = self.pods[name]["metadata"]["uid"] if name in self.pods else f"uid-{self._born}"
        self.pods[name] = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid,
                "resourceVersion": str(self._version),
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"app": "serving"},
                "annotations": {"padding": "x" * padding},
            },
            "spec": {"containers": [{"name": "serving", "image": "serving:1"}]},
            "status": {"phase": "Running"},
        }
        self._happened(verb, self.pods[name])
        return uid

    def delete(self, name: str) -> None:
        """Delete a pod."""
        self._version += 1
        pod = self.pods.pop(name)
        self._happened("DELETED", {**pod, "metadata": {**pod["metadata"], "resourceVersion": str(self._version)}})

    def bookmark(self) -> str:
        """Send a bookmark to all streams; returns the resourceVersion in it."""
        self._version += 1
        self.inject(line({"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": str(self._version)}}}))
        return str(self._version)

    def compact(self) -> None:
        """Forget the history: what begins before now is too old."""
        self._version += 1
        self._compacted = self._version
        self.history.clear()

    def restore(self) -> None:
        """Come back from a backup of long ago: no pods, and resourceVersions that were in use already."""
        self.pods.clear()
        self.history.clear()
        self._version = 1

    @property
    def state(self) -> dict[str, str]:
        """uid -> resourceVersion, of all pods."""
        return {pod["metadata"]["uid"]: pod["metadata"]["resourceVersion"] for pod in self.pods.values()}

    def _happened(self, verb: str, pod: Json) -> None:
        event = {"type": verb, "object": pod}
        self.history.append((self._version, event))
        if not self.muted:
            self.inject(line(event))

    # what happens to the streams

    def inject(self, data: bytes) -> None:
        """Send raw bytes on all streams."""
        for stream in self._streams:
            stream.put_nowait(data)

    def end(self) -> None:
        """End all streams cleanly; what happens from now on they do not carry."""
        self._finish(END)

    def cut(self) -> None:
        """Cut the connections of all streams; what happens from now on they do not carry."""
        self._finish(CUT)

    def _finish(self, how: object) -> None:
        for stream in self._streams:
            stream.put_nowait(how)
        self._streams.clear()

    # what the test awaits

    async def asked(self, sort: str, times: int) -> None:
        """Until so many requests of that sort have arrived since the server was made."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: self._arrivals[sort] >= times)

    # the server

    async def start(self) -> None:
        """Listen; after a stop, on the same port."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/{path:.*}/pods", self._collection)
        app.router.add_get("/{path:.*}", self._object)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Cut all connections and stop listening."""
        self.cut()
        for connection in self._connections:
            connection.abort()
        self._connections.clear()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _collection(self, request: web.Request) -> web.StreamResponse:
        watching = request.query.get("watch") == "1"
        sort = "watch" if watching else "page" if "continue" in request.query else "list"
        await self._note(sort, request)
        if self.tokens and request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            self.refused += 1
            return await status(401, "Unauthorized", "Unauthorized")(request)
        faults = self.faults["watch" if watching else "list"]
        if faults:
            return await faults.popleft()(request)
        return await self._watch(request) if watching else self.list(request)

    async def _object(self, request: web.Request) -> web.StreamResponse:
        await self._note("get", request)
        faults = self.faults.setdefault("get", deque())
        return await (faults.popleft() if faults else status(404, "NotFound", "no such object"))(request)

    async def _note(self, sort: str, request: web.Request) -> None:
        assert request.transport is not None
        self._connections.add(request.transport)
        self.seen.append((sort, dict(request.query)))
        async with self._arrived:
            self._arrivals[sort] += 1
            self._arrived.notify_all()

    def list(self, request: web.Request) -> web.Response:
        """The right answer to a list."""
        prefix = "/namespaces/"
        namespace = request.path.partition(prefix)[2].partition("/")[0]
        pods = [pod for pod in self.pods.values() if namespace in ("", pod["metadata"]["namespace"])]
        start, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        more = str(start + limit) if start + limit < len(pods) else ""
        meta = {"resourceVersion": str(self._version), **({"continue": more} if more else {})}
        return web.json_response({"kind": "PodList", "metadata": meta, "items": pods[start : start + limit] or None})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        stream: asyncio.Queue[Any] = asyncio.Queue()
        since = int(request.query["resourceVersion"])
        if since < self._compacted:
            stream.put_nowait(line({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}))
            stream.put_nowait(END)
        else:
            for version, event in self.history:
                if version > since:
                    stream.put_nowait(line(event))
            self._streams.append(stream)
        await response.prepare(request)
        while (item := await stream.get()) not in (END, CUT):
            await response.write(item)
        if item is CUT:
            request.transport.abort()
        return response


def line(event: Json) -> bytes:
    """An event as it goes over the wire."""
    return json.dumps(event).encode() + b"\n"
