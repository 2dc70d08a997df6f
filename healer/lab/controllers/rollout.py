"""The Rollout controller of Argo Rollouts: canaries by steps of setWeight and pause, by replica counts or by a route.

It follows rollout/{canary,sync,restart}.go of argoproj/argo-rollouts. A route is an HTTPRoute, as with the plugin for the Gateway
API: the controller sets its weights at each reconciliation, whoever has changed them. Blue-green, analyses, experiments and
dynamicStableScale are not covered.
"""

from __future__ import annotations

from typing import Any

from healer.lab.apiserver import defaults, subresources
from healer.lab.apiserver.api import ObjectApi
from healer.lab.apiserver.status import ApiRefusal
from healer.lab.apiserver.store import Key, StoreEvent
from healer.lab.controllers.base import Controller
from healer.lab.controllers.canary_status import canary_status, step_due_in
from healer.lab.controllers.canary_steps import CanaryMoment, desired_counts
from healer.lab.controllers.deployment import template_hash
from healer.lab.custom import ROLLOUT
from healer.lab.kinds import POD, REPLICASET
from healer.lab.objects import Object, annotations_of, clone, controller_of, is_ready, labels_of, owner_reference

HASH = "rollouts-pod-template-hash"
REVISION = "rollout.argoproj.io/revision"
_IN_PROGRESS = "rollouts.argoproj.io/gatewayapi-canary"
_PLUGIN = "argoproj-labs/gatewayAPI"
_ROUTES = "httproutes.gateway.networking.k8s.io"
_RETRY = 0.1
"""Seconds until a restart is tried again that a disruption budget has held up (30 s in Argo Rollouts)."""


class RolloutController(Controller):
    """Keys are Rollouts."""

    def __init__(self, api: ObjectApi, time_scale: float) -> None:
        super().__init__(api)
        self._time_scale = time_scale

    def observe(self, collection: str, change: StoreEvent) -> None:
        namespace, name = change.key
        if collection == ROLLOUT.stored_in:
            self.enqueue(change.key)
        elif collection == REPLICASET.stored_in:
            owner = controller_of(change.now.object)
            if owner is not None and owner["kind"] == ROLLOUT.kind:
                self.enqueue((namespace, owner["name"]))
        elif collection == _ROUTES:
            for rollout in self.api.objects(ROLLOUT, namespace):
                if _route(rollout) == name:
                    self.enqueue((namespace, rollout["metadata"]["name"]))

    def reconcile(self, key: Key) -> float | None:
        rollout = self.api.store.get(ROLLOUT.stored_in, key)
        if rollout is None or "deletionTimestamp" in rollout["metadata"]:
            return None
        if not rollout["spec"].get("template"):
            return None  # its definition lets such a one through, and the controller rolls nothing out (InvalidSpec)
        owned = self._owned(rollout)
        current = self._current(rollout, owned)
        canary = CanaryMoment.of(rollout, pod_hash(current), {pod_hash(each): each for each in [*owned, current]})
        due = self._restart(rollout, canary)
        scaled = not canary.halted and self._scale(canary)
        self._route(rollout, canary)
        if not scaled:
            canary.advance(self._time_scale)
        self._write_status(key, rollout, canary)
        return min(filter(None, (due, step_due_in(canary, self._time_scale))), default=None)

    def _owned(self, rollout: Object) -> list[Object]:
        return sorted(self.api.store.owned(REPLICASET.stored_in, rollout["metadata"]["uid"]), key=_revision)

    def _current(self, rollout: Object, owned: list[Object]) -> Object:
        """The ReplicaSet of the present template, which is created where there is none, with the newest revision number."""
        template = clone(rollout["spec"]["template"])
        template.setdefault("metadata", {})
        defaults.pod_spec(template["spec"])  # as in ReplicaSets: both forms of a template are the same one
        digest = template_hash(template)
        newest = max((_revision(each) for each in owned if pod_hash(each) != digest), default=0) + 1
        found = next((each for each in owned if pod_hash(each) == digest), None)
        found = self._create(rollout, template, digest, newest) if found is None else self._numbered(found, newest)
        number = annotations_of(found)[REVISION]
        if annotations_of(rollout).get(REVISION) != number:
            marks = annotations_of(rollout) | {REVISION: number}
            namespace, name = rollout["metadata"]["namespace"], rollout["metadata"]["name"]
            self.api.modify(ROLLOUT, namespace, name, lambda obj: obj["metadata"].update(annotations=marks))
        return found

    def _create(self, rollout: Object, template: Object, digest: str, revision: int) -> Object:
        metadata, selector = rollout["metadata"], clone(rollout["spec"]["selector"])
        template["metadata"]["labels"] = labels_of(template) | {HASH: digest}
        selector["matchLabels"] = (selector.get("matchLabels") or {}) | {HASH: digest}
        replicaset = {
            "metadata": {
                "name": f"{metadata['name']}-{digest}",
                "labels": template["metadata"]["labels"],
                "annotations": {REVISION: str(revision)},
                "ownerReferences": [owner_reference(ROLLOUT.api_version, ROLLOUT.kind, rollout)],
            },
            "spec": {"replicas": 0, "selector": selector, "template": template},
        }
        return self.api.create(REPLICASET, metadata["namespace"], replicaset)

    def _numbered(self, replicaset: Object, newest: int) -> Object:
        if _revision(replicaset) >= newest:
            return replicaset
        history = f"{REVISION}-history"
        former = ",".join(filter(None, (annotations_of(replicaset).get(history, ""), str(_revision(replicaset)))))
        marks = annotations_of(replicaset) | {REVISION: str(newest), history: former}
        return self._modified(replicaset, lambda obj: obj["metadata"].update(annotations=marks))

    def _modified(self, replicaset: Object, change: Any) -> Object:
        return self.api.modify(REPLICASET, replicaset["metadata"]["namespace"], replicaset["metadata"]["name"], change)

    def _scale(self, canary: CanaryMoment) -> bool:
        """Scale the ReplicaSets towards their counts. Returns whether one was scaled."""
        scaled = False
        for digest, count in desired_counts(canary).items():
            replicaset = canary.replicasets[digest]
            if replicaset["spec"]["replicas"] != count:
                canary.replicasets[digest] = self._modified(replicaset, lambda obj, n=count: obj["spec"].update(replicas=n))
                scaled = True
        return scaled

    def _restart(self, rollout: Object, canary: CanaryMoment) -> float | None:
        """Evict the pods that are older than spec.restartAt, as many at once as may be unavailable, at least one."""
        at = rollout["spec"].get("restartAt")
        if not at or at == canary.status.get("restartedAt"):
            return None
        uids = [each["metadata"]["uid"] for each in canary.replicasets.values()]
        owned = [pod for uid in uids for pod in self.api.store.owned(POD.stored_in, uid)]
        old = [pod for pod in owned if pod["metadata"]["creationTimestamp"] < at]
        if not old:
            canary.status["restartedAt"] = f"{at[:19]}Z"  # a metav1.Time has whole seconds
            return None
        total = max(canary.replicas, sum(each["spec"]["replicas"] for each in canary.replicasets.values()))
        available = sum(is_ready(pod) and "deletionTimestamp" not in pod["metadata"] for pod in owned)
        spare = available - (total - max(canary.unavailable, 1))
        for pod in [pod for pod in old if "deletionTimestamp" not in pod["metadata"]][: max(spare, 0)]:
            namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            try:
                subresources.evict(self.api, namespace, name, {"metadata": {"name": name}})
            except ApiRefusal as error:
                self.refused = error
        return _RETRY

    def _route(self, rollout: Object, canary: CanaryMoment) -> None:
        """Set the weights of the HTTPRoute, and note them in the status."""
        name, namespace = _route(rollout), rollout["metadata"]["namespace"]
        if not name:
            return
        strategy, weight = rollout["spec"]["strategy"]["canary"], canary.traffic
        sides = {strategy["stableService"]: 100 - weight, strategy["canaryService"]: weight}

        def change(obj: Object) -> None:
            labels = {key: value for key, value in labels_of(obj).items() if key != _IN_PROGRESS}
            obj["metadata"]["labels"] = labels | ({_IN_PROGRESS: "in-progress"} if canary.in_progress else {})
            for rule in obj["spec"]["rules"]:
                for backend in rule["backendRefs"]:
                    backend["weight"] = sides.get(backend["name"], backend.get("weight", 1))

        kind = self.api.kinds.named(_ROUTES)
        before = self.api.store.get(kind.stored_in, (namespace, name))
        if before is not None:
            after = clone(before)
            change(after)
            if after != before:
                self.api.modify(kind, namespace, name, change)
        canary.status.setdefault("canary", {})["weights"] = {
            side: {"weight": share, "serviceName": service, "podTemplateHash": digest}
            for side, (service, share), digest in zip(
                ("stable", "canary"), sides.items(), (canary.stable or canary.current, canary.current), strict=True
            )
        }

    def _write_status(self, key: Key, rollout: Object, canary: CanaryMoment) -> None:
        status = canary_status(rollout, canary, self._time_scale)
        if status != rollout.get("status"):
            self.api.modify(ROLLOUT, *key, lambda obj: obj.update(status=status), subresource="status")


def pod_hash(replicaset: Object) -> str:
    """The hash of a ReplicaSet's template, from its label."""
    return labels_of(replicaset)[HASH]


def _revision(replicaset: Object) -> int:
    return int(annotations_of(replicaset).get(REVISION, 0))


def _route(rollout: Object) -> str:
    routing = rollout["spec"]["strategy"].get("canary", {}).get("trafficRouting") or {}
    return str((routing.get("plugins") or {}).get(_PLUGIN, {}).get("httpRoute", ""))
