"""An API server that costs next to nothing, so that what is measured is its client: `python -m tests.benchmarks.apiserver`.

Objects are bytes made beforehand; lists have pages, a watch sends each event as a chunk of its own, as Kubernetes does. It
accepts every eviction, notes when it came, and takes nothing down; what healer writes of its own is kept, unchecked.
The paths below /bench are for the benchmarks.

    GET  /bench/done        ends a burst, for clients that cannot evict
    GET  /bench/evictions   {"namespace/pod": seconds of the monotonic clock, which is one for all processes of a machine}
    POST /bench/burst       sends many pod events at once, then makes a pod of the namespace `bench` fail; answers when that pod's
                            eviction (or /bench/done) comes, with the seconds that it all took
    POST /bench/happen      sends a flood of Events; the last one has a pod of the namespace `bench` evicted; answers like burst
    POST /bench/background  sends pod events at a steady rate, 0 for none
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import msgspec

from tests.benchmarks.happenings import flood, happening
from tests.benchmarks.objects import REPLICAS, Health, Object, Workload, pod

_VERSIONS = 6
"""Events of a pod before its first state comes again."""
SENTINELS = 64
"""Workloads of the namespace `bench`, each good for one burst."""
_BLOCK = 16
"""Events given to the socket at once."""
_KINDS = {
    "namespaces": "/api/v1",
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1",
    "daemonsets": "/apis/apps/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "pods": "/api/v1",
    "events": "/apis/events.k8s.io/v1",
}


def health(number: int, version: int) -> Health:
    """Of the pod of that number: one in fifty is crashing every other time, and one in ten of the rest was restarted once."""
    if number % 50 == 0:
        return "crashing" if version % 2 else "restarted"
    return "restarted" if number % 10 == 1 else "well"


@dataclass(slots=True)
class State:
    """What a LIST holds by plural, what a GET answers by plural/namespace/name, and who watches pods and Events."""

    workloads: list[Workload]
    sentinels: list[Workload]
    lists: dict[str, list[bytes]] = field(default_factory=dict)
    named: dict[str, bytes] = field(default_factory=dict)
    watchers: list[asyncio.StreamWriter] = field(default_factory=list)
    hearers: list[asyncio.StreamWriter] = field(default_factory=list)
    watched: asyncio.Event = field(default_factory=asyncio.Event)
    kept: dict[str, Object] = field(default_factory=dict)
    evictions: dict[str, float] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    events: list[bytes] = field(default_factory=list)
    background: asyncio.Task[None] | None = None
    bursts: int = 0


def furnished(pods: int) -> State:
    """A cluster of that many pods, and the sentinels."""
    workloads = [Workload(f"tfs-{number:05}") for number in range(-(-pods // REPLICAS))]
    sentinels = [Workload(f"sentinel-{number:02}", "bench") for number in range(SENTINELS)]
    state = State(workloads, sentinels)
    for plural in _KINDS:
        state.lists[plural] = []
    state.lists["namespaces"] = [
        msgspec.json.encode({"metadata": {"name": name, "uid": name, "resourceVersion": "1"}}) for name in ("production", "bench")
    ]
    for number, workload in enumerate((*workloads, *sentinels)):
        for plural, obj in workload.objects():
            body = msgspec.json.encode(obj)
            state.lists[plural].append(body)
            state.named[f"{plural}/{workload.namespace}/{obj['metadata']['name']}"] = body
        for replica in range(REPLICAS):
            body = pod(workload, replica, 1, health(number * REPLICAS + replica, 0))
            state.lists["pods"].append(body)
            state.named[f"pods/{workload.namespace}/{workload.pod(replica)}"] = body
    state.events = [_chunk(b"MODIFIED", body) for body in _cycle(workloads)] if workloads else []
    return state


def _cycle(workloads: list[Workload]) -> list[bytes]:
    """Every pod in turn, in one state after the other; at most 12,000 events, for they are all held."""
    few = workloads[: 12_000 // (REPLICAS * _VERSIONS)]
    return [
        pod(workload, replica, 2 + version, health(number * REPLICAS + replica, version))
        for version in range(_VERSIONS)
        for number, workload in enumerate(few)
        for replica in range(REPLICAS)
    ]


def _keep(kept: dict[str, Object], method: str, path: str, body: bytes) -> tuple[str, bytes]:
    """What healer itself writes (incidents, its lease): kept by path as it is sent, under a new resourceVersion each time."""
    sent: Object = msgspec.json.decode(body) if body else {}
    name = path.removesuffix("/status")
    if method == "POST":
        sent.pop("status", None)  # a subresource: written by a PUT of its own
        name = f"{path}/{sent['metadata']['name']}"
        kept[name] = sent
    elif method == "GET" and path.endswith(("/incidents", "/leases")):
        return "200 OK", b'{"metadata":{"resourceVersion":"1"},"items":[]}'
    elif name not in kept:
        status = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": f"{path} not found"}
        return "404 Not Found", msgspec.json.encode(status)
    elif method == "PUT":
        kept[name] = kept[name] | sent
    elif method == "DELETE":
        return "200 OK", msgspec.json.encode(kept.pop(name))
    if method in ("POST", "PUT"):
        version = str(int(kept[name]["metadata"].get("resourceVersion") or 1) + 1)
        kept[name]["metadata"] = kept[name]["metadata"] | {"uid": name, "resourceVersion": version}
    return ("201 Created" if method == "POST" else "200 OK"), msgspec.json.encode(kept[name])


def _chunk(kind: bytes, body: bytes) -> bytes:
    line = b'{"type":"' + kind + b'","object":' + body + b"}\n"
    return b"%x\r\n%b\r\n" % (len(line), line)


class Server:
    """Serves a State over HTTP/1.1."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until the client closes it or turns it into a watch."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                now = time.monotonic()
                method, target, _ = head.split(b" ", 2)
                length = head.lower().partition(b"content-length:")[2].partition(b"\r")[0]
                body = await reader.readexactly(int(length)) if length else b""
                url = urlsplit(target.decode())
                query = {key: values[0] for key, values in parse_qs(url.query).items()}
                if query.get("watch", "").lower() in ("1", "true"):
                    await self._watch(url.path, reader, writer)
                    return
                code, answer = await self._answer(method.decode(), url.path, query, body, now)
                lines = f"HTTP/1.1 {code}\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
                writer.write(lines.encode() + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client has gone
        finally:
            writer.close()

    async def _watch(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        pods = path.endswith("/pods")
        if path.endswith("/events"):
            self._state.hearers.append(writer)
        if pods:
            self._state.watchers.append(writer)
            self._state.watched.set()
        try:
            await reader.read()  # until the client closes
        finally:
            if path.endswith("/events"):
                self._state.hearers.remove(writer)
            if pods:
                self._state.watchers.remove(writer)
                if not self._state.watchers:
                    self._state.watched.clear()

    async def _answer(self, method: str, path: str, query: dict[str, str], body: bytes, now: float) -> tuple[str, bytes]:
        state = self._state
        parts = path.strip("/").split("/")
        if path == "/bench/evictions":
            return "200 OK", json.dumps(state.evictions).encode()
        if path == "/bench/done":
            state.done.set()
            return "200 OK", b"{}"
        if path == "/bench/burst":
            return "200 OK", json.dumps(await self._burst(int(query["events"]))).encode()
        if path == "/bench/happen":
            return "200 OK", json.dumps(await self._happen(query["kind"])).encode()
        if path == "/bench/background":
            await self._steadily(float(query["rate"]))
            return "200 OK", b"{}"
        if method == "POST" and parts[-1] == "eviction":
            namespace, name = parts[-4], parts[-2]
            state.evictions.setdefault(f"{namespace}/{name}", now)
            if namespace == "bench":
                state.done.set()
            return "201 Created", b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}'
        if method == "GET" and parts[-1] in _KINDS:
            return "200 OK", self._page(parts[-1], query)
        if "dryRun" in query:
            return "201 Created", msgspec.json.encode(
                {key: value for key, value in msgspec.json.decode(body).items() if key != "status"}
            )
        found = state.named.get("/".join((parts[-2], parts[-3], parts[-1])))
        return ("200 OK", found) if found is not None else _keep(state.kept, method, path, body)

    def _page(self, plural: str, query: dict[str, str]) -> bytes:
        items, begin = self._state.lists[plural], int(query.get("continue", 0))
        end = begin + int(query.get("limit", len(items) or 1))
        rest = f',"continue":"{end}"' if end < len(items) else ""
        head = f'{{"kind":"List","apiVersion":"v1","metadata":{{"resourceVersion":"1"{rest}}},"items":['
        return head.encode() + b",".join(items[begin:end]) + b"]}"

    async def _burst(self, events: int) -> dict[str, float]:
        state = self._state
        sentinel = state.sentinels[state.bursts]
        state.bursts += 1
        failed = pod(sentinel, 0, 2, "failed")
        state.named[f"pods/bench/{sentinel.pod(0)}"] = failed
        state.done.clear()
        blocks = [b"".join(state.events[at : at + _BLOCK]) for at in range(0, len(state.events) - _BLOCK + 1, _BLOCK)]
        async with asyncio.timeout(60):
            await state.watched.wait()  # a client that has listed may not watch yet
            sent, begun = 0, time.monotonic()
            while sent < events:
                await self._send(blocks[sent // _BLOCK % len(blocks)])
                sent += _BLOCK
            await self._send(_chunk(b"MODIFIED", failed))
            await state.done.wait()
        return {"seconds": time.monotonic() - begun, "events": sent + 1}

    async def _happen(self, kind: str) -> dict[str, float]:
        state = self._state
        sentinel = state.sentinels[state.bursts]
        state.bursts += 1
        changes = [_chunk(verb.encode(), body) for verb, body in flood(kind, state.workloads)]
        last = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        changes.append(_chunk(b"ADDED", happening(sentinel, 0, "last", "Last", last)))
        state.done.clear()
        async with asyncio.timeout(60):
            begun = time.monotonic()
            for at in range(0, len(changes), _BLOCK):
                for hearer in list(state.hearers):
                    hearer.write(b"".join(changes[at : at + _BLOCK]))
                    await hearer.drain()
            await state.done.wait()
        return {"seconds": time.monotonic() - begun, "events": len(changes)}

    async def _steadily(self, rate: float) -> None:
        if self._state.background is not None:
            self._state.background.cancel()
        self._state.background = asyncio.create_task(self._trickle(rate)) if rate else None

    async def _trickle(self, rate: float) -> None:
        await self._state.watched.wait()
        begun, sent = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - begun) * rate)
            for number in range(sent, due):
                await self._send(self._state.events[number % len(self._state.events)])
            sent = due
            await asyncio.sleep(1 / rate)

    async def _send(self, data: bytes) -> None:
        for watcher in list(self._state.watchers):
            watcher.write(data)
            await watcher.drain()


async def main(pods: int) -> None:
    """Serve until standard input ends; says the port in a line of JSON first."""
    server = await asyncio.start_server(Server(furnished(pods)).serve, "127.0.0.1", 0, limit=1 << 20)
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
