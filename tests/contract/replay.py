"""Plays the recorded exchanges of a real API server against a lab, in their order, and lists what differs.

Between the exchanges, `_BEFORE` does what the recorder did out of sight: it makes pods sick and well, changes budgets,
waits for rollouts. Names, uids, times and resourceVersions differ from run to run and are made equal first; what a
recorded answer holds, the lab's must hold as well (it may hold more: the kubelet was a stand-in there).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from healer.lab import Lab
from healer.lab.objects import is_ready
from tests.contract.comparison import WORKLOAD, compare, compare_watches

Object = dict[str, Any]

RECORDED = Path(__file__).parent / "kubernetes-1.36" / "exchanges.jsonl"
_TOKEN = "sekret"
_NAMESPACE = "production"
_POD = re.compile(rf"{WORKLOAD}-[a-z0-9]{{8,10}}-[a-z0-9]{{5}}(?![a-z0-9-])")
# Where the lab is known to differ, and why that is no matter.
_EXCUSED: dict[str, frozenset[str]] = {
    "pod: crashloop": frozenset({"message"}),
    "pod: oom": frozenset({"message"}),
    "pod: image": frozenset({"message", "phase"}),  # the stand-in made a running pod Pending, which no kubelet does
    "pods: half-failed rollout": frozenset({"message", "reason"}),  # ErrImagePull and ImagePullBackOff alternate
    "pdb: after an eviction that failed its uid precondition": frozenset({"currentHealthy"}),  # not yet recounted then
    "merge patch: annotation set, then removed by null": frozenset({"observedGeneration"}),  # lags as it pleases
    "merge patch: null removes": frozenset({"observedGeneration"}),
    "rollout restart": frozenset({"status", "resourceVersion"}),  # taken in the middle of a scaling
    "deployment: just after a template change": frozenset({"status", "deployment.kubernetes.io/revision"}),
    "events": frozenset({"items"}),  # the lab's controllers write none
    "cr: create named": frozenset({"status"}),  # the recorder's own later change shows in it
    "replicasets: after a rollout": frozenset({"annotations"}),  # one of them notes when the recorder had paused it
}


def exchanges() -> list[Object]:
    """The recorded exchanges."""
    return [json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]


async def replay() -> dict[str, list[str]]:
    """What differs, by the name of the exchange."""
    async with Lab(token=_TOKEN, start_delay=0.01, termination_delay=0.02) as lab, aiohttp.ClientSession() as session:
        player = _Player(lab, session)
        return {exchange["name"]: await player.play(exchange) for exchange in exchanges()}


class _Player:
    """Sends the recorded requests, with recorded names and uids turned into those of the lab's objects."""

    def __init__(self, lab: Lab, session: aiohttp.ClientSession) -> None:
        self.lab = lab
        self.session = session
        self.pods: dict[str, str] = {}
        self.swaps: dict[str, str] = {}
        self.token = _TOKEN
        self.watch: asyncio.Task[list[Object]] | None = None

    async def play(self, exchange: Object) -> list[str]:
        """One exchange: prepare, send, compare."""
        self._meet(exchange)
        prepare = _BEFORE.get(exchange["name"])
        if prepare is not None:
            await prepare(self, exchange)
        recorded, excused = exchange["response"], _EXCUSED.get(exchange["name"], frozenset())
        if "lines" in recorded:
            lines = await (self.watch or self.read_watch(exchange))
            self.watch = None
            return list(compare_watches(recorded["lines"], lines))
        code, body = await self.send(exchange["request"])
        self._learn(recorded["body"], body)
        if code != recorded["status"]:
            return [f"status {code}, recorded {recorded['status']}: {body}"]
        return list(compare(recorded["body"], body, excused))

    async def send(self, request: Object) -> tuple[int, Any]:
        """Send a recorded request."""
        headers = {"Authorization": f"Bearer {self.token}", **request["headers"]}
        body = request["body"]
        if body is not None:
            body = self._swapped(body if isinstance(body, str) else json.dumps(body))
        url = self.lab.url + self._swapped(request["path"])
        async with self.session.request(request["method"], url, data=body, headers=headers) as response:
            text = await response.text()
            return response.status, json.loads(text) if response.content_type == "application/json" else text

    async def read_watch(self, exchange: Object) -> list[Object]:
        """The events of a recorded watch, which is given less time."""
        path = re.sub(r"timeoutSeconds=\d+", "timeoutSeconds=3", self._swapped(exchange["request"]["path"]))
        async with self.session.get(self.lab.url + path, headers={"Authorization": f"Bearer {self.token}"}) as response:
            return [json.loads(line) async for line in response.content]

    async def write(self, path: str, change: Object) -> None:
        """A merge patch of the recorder's own."""
        headers = {"Authorization": f"Bearer {_TOKEN}", "Content-Type": "application/merge-patch+json"}
        async with self.session.patch(self.lab.url + path, data=json.dumps(change), headers=headers) as response:
            assert response.status == 200, await response.text()

    def pod_of(self, exchange: Object) -> str:
        """The lab's pod that stands for the one in the recorded path."""
        match = _POD.search(exchange["request"]["path"])
        assert match is not None
        return self.pods[match.group()]

    def _meet(self, exchange: Object) -> None:
        """Give every recorded pod that a request names a living one of the lab."""
        for name in _POD.findall(exchange["request"]["path"]):
            living = [
                pod["metadata"]["name"]
                for pod in self.lab.objects("pods", _NAMESPACE)
                if "deletionTimestamp" not in pod["metadata"]
            ]
            if self.pods.get(name) not in {pod["metadata"]["name"] for pod in self.lab.objects("pods", _NAMESPACE)}:
                free = [candidate for candidate in living if candidate not in self.pods.values()]
                self.pods[name] = free[0]
            uid = (
                ((exchange["request"]["body"] or {}).get("deleteOptions") or exchange["request"]["body"] or {})
                .get("preconditions", {})
                .get("uid", "")
            )
            if uid and not uid.startswith("00000000"):
                found = self.lab.api.store.get("pods", (_NAMESPACE, self.pods[name]))
                assert found is not None
                self.swaps[uid] = found["metadata"]["uid"]

    def _learn(self, recorded: Any, given: Any) -> None:
        """Remember what later requests quote from this answer: continue tokens, uids, resourceVersions."""
        if isinstance(recorded, dict) and isinstance(given, dict):
            old, new = recorded.get("metadata") or {}, given.get("metadata") or {}
            for field in ("continue", "uid", "resourceVersion"):
                if field in old and field in new:
                    self.swaps[old[field]] = new[field]

    def _swapped(self, text: str) -> str:
        for old, new in self.pods.items():
            text = text.replace(old, new)
        for old, new in self.swaps.items():
            if old.isdecimal():  # a resourceVersion: only where it is named as one
                text = re.sub(rf'(resourceVersion(?:=|": "))({old})(?!\d)', rf"\g<1>{new}", text)
            else:
                text = text.replace(old, new)
        return text


# What the recorder did out of sight.

_Step = Callable[[_Player, Object], Awaitable[None]]
_BUDGET = f"/apis/policy/v1/namespaces/{_NAMESPACE}/poddisruptionbudgets/{WORKLOAD}"
_DEPLOYMENT = f"/apis/apps/v1/namespaces/{_NAMESPACE}/deployments/{WORKLOAD}"


async def _set_up(player: _Player, exchange: Object) -> None:
    labels = {"app": WORKLOAD, "version": "v1"}
    container = {"name": WORKLOAD, "image": "tensorflow/serving:2.16.1", "ports": [{"containerPort": 8501}]}
    selector = {"matchLabels": {"app": WORKLOAD}}
    metadata = {"name": WORKLOAD, "namespace": _NAMESPACE}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "labels": {"app": WORKLOAD}},
        "spec": {"replicas": 3, "selector": selector, "template": template},
    }
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {**metadata, "annotations": {}},
        "spec": {"minAvailable": 2, "selector": selector},
    }
    await player.lab.apply([deployment, budget])
    await _all_well(player, exchange)


async def _all_well(player: _Player, exchange: Object) -> None:
    """Every pod well, and the budget counted so."""
    for pod in player.lab.objects("pods", _NAMESPACE):
        await player.lab.behave(_NAMESPACE, pod["metadata"]["name"], "ok")
    await _counted(player, healthy=3)


async def _counted(player: _Player, healthy: int) -> None:
    def holds(lab: Lab) -> bool:
        [budget] = lab.objects("poddisruptionbudgets", _NAMESPACE)
        pods = lab.objects("pods", _NAMESPACE)
        counts = (budget["status"]["currentHealthy"], sum(map(is_ready, pods)), len(pods))
        observed = budget["status"].get("observedGeneration") == budget["metadata"]["generation"]
        return counts == (healthy, healthy, 3) and observed

    await player.lab.wait_for(holds)


def _behaving(behaviour: str, reason: str, last: str = "") -> _Step:
    async def step(player: _Player, exchange: Object) -> None:
        name = player.pod_of(exchange)
        await player.lab.behave(_NAMESPACE, name, behaviour)

        def shows(lab: Lab) -> bool:
            pod = next(pod for pod in lab.objects("pods", _NAMESPACE) if pod["metadata"]["name"] == name)
            [container] = pod["status"]["containerStatuses"]
            waiting = container["state"].get("waiting", {}).get("reason", "")
            ended = container["lastState"].get("terminated", {}).get("reason", "")
            return bool((waiting, ended) == (reason, last) and not is_ready(pod))

        await player.lab.wait_for(shows)

    return step


async def _changes_under_watch(player: _Player, exchange: Object) -> None:
    player.watch = asyncio.create_task(player.read_watch(exchange))
    name = player.lab.objects("pods", _NAMESPACE)[0]["metadata"]["name"]
    path = f"/api/v1/namespaces/{_NAMESPACE}/pods/{name}"
    await player.write(path, {"metadata": {"annotations": {"touched": "1"}}})
    await player.write(path, {"metadata": {"labels": {"version": "v2"}}})
    await player.write(path, {"metadata": {"labels": {"version": "v1"}}})


async def _watch_begins(player: _Player, exchange: Object) -> None:
    """The eviction that comes next is seen by a watch that was recorded after it."""
    await _all_well(player, exchange)
    watch = next(one for one in exchanges() if one["name"] == "watch: an eviction")
    begun = player.lab.faults.delay(0, verb="watch")
    player.watch = asyncio.create_task(player.read_watch(watch))
    await begun.used()


async def _budget_spent(player: _Player, exchange: Object) -> None:
    await _counted(player, healthy=3)
    target = player.pod_of(exchange)
    other = next(pod["metadata"]["name"] for pod in player.lab.objects("pods", _NAMESPACE) if pod["metadata"]["name"] != target)
    player.pods[f"{WORKLOAD}-6c98d79dd6-j2kdj"] = other  # the pod that the recorder made sick
    await player.lab.behave(_NAMESPACE, other, "hang")
    await _counted(player, healthy=2)


async def _budget_broken(player: _Player, exchange: Object) -> None:
    sick = player.pod_of(exchange)
    other = next(pod["metadata"]["name"] for pod in player.lab.objects("pods", _NAMESPACE) if pod["metadata"]["name"] != sick)
    await player.lab.behave(_NAMESPACE, other, "hang")
    await _counted(player, healthy=1)


async def _always_allow(player: _Player, exchange: Object) -> None:
    await player.write(_BUDGET, {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}})
    await _counted(player, healthy=1)


async def _second_budget(player: _Player, exchange: Object) -> None:
    [budget] = player.lab.objects("poddisruptionbudgets", _NAMESPACE)
    metadata = {"name": "second", "namespace": _NAMESPACE}
    await player.lab.apply({**budget, "metadata": metadata})


async def _one_budget_again(player: _Player, exchange: Object) -> None:
    url = f"{player.lab.url}/apis/policy/v1/namespaces/{_NAMESPACE}/poddisruptionbudgets/second"
    async with player.session.delete(url, headers={"Authorization": f"Bearer {_TOKEN}"}) as response:
        assert response.status == 200
    await _all_well(player, exchange)


async def _lingering(player: _Player, exchange: Object) -> None:
    await player.lab.behave(_NAMESPACE, player.pod_of(exchange), "refuse-to-terminate")


async def _gone_at_last(player: _Player, exchange: Object) -> None:
    for pod in player.lab.objects("pods", _NAMESPACE):
        await player.lab.behave(_NAMESPACE, pod["metadata"]["name"], "ok")
    await _complete(player, exchange)


async def _complete(player: _Player, exchange: Object) -> None:
    """The Deployment is complete, and all its ReplicaSets have said so."""

    def holds(lab: Lab) -> bool:
        [deployment] = lab.objects("deployments", _NAMESPACE)
        wanted, status = deployment["spec"]["replicas"], deployment["status"]
        counts = [status.get(name) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        quiet = status["terminatingReplicas"] == 0 and len(lab.objects("pods", _NAMESPACE)) == wanted
        settled = all(not item["status"]["terminatingReplicas"] for item in lab.objects("replicasets", _NAMESPACE))
        current = status["observedGeneration"] == deployment["metadata"]["generation"]
        return bool(current and counts == [wanted] * 3 and quiet and settled)

    await player.lab.wait_for(holds)


async def _scaled_back(player: _Player, exchange: Object) -> None:
    await _complete(player, exchange)
    await player.write(_DEPLOYMENT, {"spec": {"replicas": 3}})


async def _short_deadline(player: _Player, exchange: Object) -> None:
    await player.write(_DEPLOYMENT, {"spec": {"progressDeadlineSeconds": 2}})
    await _complete(player, exchange)


async def _deadline_passed(player: _Player, exchange: Object) -> None:
    def holds(lab: Lab) -> bool:
        [deployment] = lab.objects("deployments", _NAMESPACE)
        return any(item["reason"] == "ProgressDeadlineExceeded" for item in deployment["status"]["conditions"])

    await player.lab.wait_for(holds)


async def _undone(player: _Player, exchange: Object) -> None:
    template = {"spec": {"containers": [{"name": WORKLOAD, "image": "tensorflow/serving:2.16.1"}]}}
    [deployment] = player.lab.objects("deployments", _NAMESPACE)
    container = deployment["spec"]["template"]["spec"]["containers"][0] | template["spec"]["containers"][0]
    await player.write(_DEPLOYMENT, {"spec": {"template": {"spec": {"containers": [container]}}}})
    await _complete(player, exchange)


async def _served(player: _Player, exchange: Object) -> None:
    await player.lab.wait_for(lambda lab: lab.api.kinds.find("example.dev", "v1alpha1", "tests") is not None)


async def _stranger(player: _Player, exchange: Object) -> None:
    player.token = "wrong"


async def _weak(player: _Player, exchange: Object) -> None:
    player.token = _TOKEN
    player.lab.forbid("list", "pods")
    player.lab.forbid("create", "pods/eviction")


async def _strong(player: _Player, exchange: Object) -> None:
    player.lab.allow("list", "pods")
    player.lab.allow("create", "pods/eviction")


async def _three_config_maps(player: _Player, exchange: Object) -> None:
    for name in ("kube-apiserver-legacy-service-account-token-tracking", "one", "two"):
        await player.lab.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": "kube-system"},
                "data": {"since": "2026-11-22"},
            }
        )


async def _compacted(player: _Player, exchange: Object) -> None:
    player.lab.compact()


_BEFORE: dict[str, _Step] = {
    "version": _set_up,
    "watch: change, label leaves selector, bookmark at the end": _changes_under_watch,
    "pod: crashloop": _behaving("crash", "CrashLoopBackOff", "Error"),
    "pod: oom": _behaving("oom", "CrashLoopBackOff", "OOMKilled"),
    "pod: image": _behaving("image", "ImagePullBackOff"),
    "pod: notready": _behaving("hang", ""),
    "evict: dry run": _all_well,
    "evict: accepted": _watch_begins,
    "evict: healthy pod, budget spent": _budget_spent,
    "evict: crash-looping pod, budget broken, IfHealthyBudget": _budget_broken,
    "evict: crash-looping pod, budget broken, AlwaysAllow": _always_allow,
    "evict: two budgets": _second_budget,
    "evict: another uid": _one_budget_again,
    "delete: another uid": _lingering,
    "merge patch with an old resourceVersion": _gone_at_last,
    "rollout restart": _scaled_back,
    "replicasets: after a rollout": _complete,
    "bad image rolled out": _short_deadline,
    "deployment: ProgressDeadlineExceeded": _deadline_passed,
    "deployment: after kubectl rollout undo": _undone,
    "cr: create": _served,
    "unauthorized": _stranger,
    "forbidden": _weak,
    "not found": _strong,
    "list page 1 (before compaction)": _three_config_maps,
    "list: expired continue": _compacted,
}
