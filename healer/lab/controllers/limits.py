"""The controllers of PodDisruptionBudgets and ResourceQuotas. Both compare pods with a limit."""

from __future__ import annotations

import math

from healer.lab.apiserver.api import ObjectApi
from healer.lab.apiserver.quota import counted, shown, used
from healer.lab.apiserver.selectors import label_selector
from healer.lab.apiserver.store import Key, StoreEvent
from healer.lab.apiserver.subresources import allowed_condition
from healer.lab.controllers.base import Controller
from healer.lab.kinds import DEPLOYMENT, DISRUPTION_BUDGET, POD, REPLICASET, RESOURCE_QUOTA, STATEFULSET
from healer.lab.objects import Object, clone, controller_of, is_ready, labels_of, seconds_since

DELETION_TIMEOUT = 120.0
"""Seconds after which an evicted pod that was not deleted counts again (pkg/controller/disruption)."""


class DisruptionController(Controller):
    """Keys are PodDisruptionBudgets."""

    def __init__(self, api: ObjectApi, time_scale: float) -> None:
        super().__init__(api)
        self._timeout = DELETION_TIMEOUT * time_scale

    def observe(self, collection: str, change: StoreEvent) -> None:
        if collection == DISRUPTION_BUDGET.stored_in:
            self.enqueue(change.key)
        elif collection == POD.stored_in:
            # As the real controller: a pod that loses the labels of a budget is counted until another pod of the budget changes.
            state = change.now or change.before
            for budget in self.api.objects(DISRUPTION_BUDGET, change.key[0]):
                if state is not None and _covers(budget, state.object):
                    self.enqueue((change.key[0], budget["metadata"]["name"]))
        elif collection in (DEPLOYMENT.stored_in, REPLICASET.stored_in, STATEFULSET.stored_in):
            for budget in self.api.objects(DISRUPTION_BUDGET, change.key[0]):
                self.enqueue((change.key[0], budget["metadata"]["name"]))

    def reconcile(self, key: Key) -> float | None:
        budget = self.api.store.get(DISRUPTION_BUDGET.stored_in, key)
        if budget is None:
            return None
        pods = self.api.selected(POD, key[0], budget["spec"].get("selector"))
        disrupted = self._still_disrupted(budget, pods)
        expected, desired = self._desired(budget, pods)
        healthy = sum(
            is_ready(pod) and "deletionTimestamp" not in pod["metadata"] and pod["metadata"]["name"] not in disrupted
            for pod in pods
        )
        fresh = clone(budget)
        fresh["status"] = {
            "observedGeneration": budget["metadata"]["generation"],
            **({"disruptedPods": disrupted} if disrupted else {}),
            "disruptionsAllowed": max(healthy - desired, 0) if expected > 0 else 0,
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "expectedPods": expected,
            "conditions": budget["status"].get("conditions") or [],
        }
        allowed_condition(fresh)
        self.api.update(DISRUPTION_BUDGET, key[0], key[1], fresh, subresource="status")
        ages = [seconds_since(since) for since in disrupted.values()]
        return max(self._timeout - max(ages), 0) + 0.01 if ages else None

    def _still_disrupted(self, budget: Object, pods: list[Object]) -> dict[str, str]:
        """The evicted pods that are not terminating yet and whose timeout has not passed."""
        known: dict[str, str] = budget["status"].get("disruptedPods") or {}
        return {
            pod["metadata"]["name"]: known[pod["metadata"]["name"]]
            for pod in pods
            if pod["metadata"]["name"] in known
            and "deletionTimestamp" not in pod["metadata"]
            and seconds_since(known[pod["metadata"]["name"]]) < self._timeout
        }

    def _desired(self, budget: Object, pods: list[Object]) -> tuple[int, int]:
        """The expected number of pods, and how many of them have to be healthy."""
        spec = budget["spec"]
        if "maxUnavailable" in spec:
            expected = self._scale(pods)
            return expected, max(expected - _share(spec["maxUnavailable"], expected), 0)
        min_available = spec.get("minAvailable", 1)
        expected = self._scale(pods) if isinstance(min_available, str) else len(pods)
        return expected, _share(min_available, expected)

    def _scale(self, pods: list[Object]) -> int:
        """The sum of the replicas of the pods' controllers. A pod without a controller counts as one."""
        asked: dict[str, int] = {}
        known: set[str] = set()
        for pod in pods:
            owner = controller_of(pod)
            if owner is not None and owner["uid"] in known:
                continue
            uid, replicas = self._top_owner(pod)
            asked[uid] = replicas
            if owner is not None:
                known.add(owner["uid"])
        return sum(asked.values())

    def _top_owner(self, pod: Object) -> tuple[str, int]:
        namespace = pod["metadata"]["namespace"]
        top, replicas = pod, 1
        for kinds in ({"ReplicaSet": REPLICASET, "StatefulSet": STATEFULSET}, {"Deployment": DEPLOYMENT}):
            owner = controller_of(top)
            kind = None if owner is None else kinds.get(owner["kind"])
            if owner is None or kind is None:
                break
            found = self.api.store.get(kind.stored_in, (namespace, owner["name"]))
            if found is None or found["metadata"]["uid"] != owner["uid"]:
                break
            top, replicas = found, found["spec"]["replicas"]
        return top["metadata"]["uid"], replicas


def _covers(budget: Object, pod: Object) -> bool:
    return label_selector(budget["spec"].get("selector"))(labels_of(pod))


def _share(value: int | str, whole: int) -> int:
    """An int-or-percentage of `whole`, rounded up."""
    return math.ceil(whole * int(value.rstrip("%")) / 100) if isinstance(value, str) else value


class QuotaController(Controller):
    """Keys are ResourceQuotas."""

    def observe(self, collection: str, change: StoreEvent) -> None:
        if collection == RESOURCE_QUOTA.stored_in and change.type != "DELETED":
            self.enqueue(change.key)
        elif collection == POD.stored_in:
            for quota in self.api.objects(RESOURCE_QUOTA, change.key[0]):
                self.enqueue((change.key[0], quota["metadata"]["name"]))

    def reconcile(self, key: Key) -> float | None:
        quota = self.api.store.get(RESOURCE_QUOTA.stored_in, key)
        if quota is None:
            return None
        hard, pods = quota["spec"].get("hard") or {}, self.api.objects(POD, key[0])
        status = {"hard": hard, "used": {name: shown(name, used(pods, name)) for name in hard if counted(name)}}

        def change(obj: Object) -> None:
            obj["status"] = status

        self.api.modify(RESOURCE_QUOTA, *key, change, subresource="status")
        return None
