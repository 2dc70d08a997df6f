"""The EndpointSlice controller. It writes the addresses of a Service's pods, and which pods take requests.

Each Service has one slice of IPv4 addresses. (Kubernetes makes several slices for more than a hundred endpoints, and for pods
that resolve a named port differently.) It follows staging/src/k8s.io/endpointslice (reconciler.go, utils.go).
"""

from __future__ import annotations

from healer.lab.apiserver.store import Key, StoreEvent
from healer.lab.controllers.base import Controller
from healer.lab.kinds import ENDPOINT_SLICE, POD, SERVICE
from healer.lab.objects import Object, is_ready, labels_of, owner_reference, timestamp

SERVICE_NAME = "kubernetes.io/service-name"
_MANAGED_BY = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
_HEADLESS = "service.kubernetes.io/headless"
_TRIGGERED = "endpoints.kubernetes.io/last-change-trigger-time"


class EndpointSliceController(Controller):
    """Keys are Services."""

    def observe(self, collection: str, change: StoreEvent) -> None:
        if collection == SERVICE.stored_in:
            self.enqueue(change.key)
        elif collection == ENDPOINT_SLICE.stored_in and change.type == "DELETED":
            self.enqueue((change.key[0], labels_of(change.now.object).get(SERVICE_NAME, "")))
        elif collection == POD.stored_in:
            if (
                change.type == "MODIFIED"
                and change.before is not None
                and _counts(change.before.object) == _counts(change.now.object)
            ):
                return
            states = [state.object for state in (change.before, change.now) if state is not None]
            for service in self.api.objects(SERVICE, change.key[0]):
                if any(_selects(service, pod) for pod in states):
                    self.enqueue((change.key[0], service["metadata"]["name"]))

    def reconcile(self, key: Key) -> float | None:
        service = self.api.store.get(SERVICE.stored_in, key)
        if service is None or not service["spec"].get("selector"):
            return None
        owned = self.api.store.owned(ENDPOINT_SLICE.stored_in, service["metadata"]["uid"])
        desired = self._desired(service)
        if not owned:
            owner = owner_reference("v1", "Service", service)
            metadata = {"generateName": f"{key[1]}-", "ownerReferences": [owner], "labels": _labels(service)}
            metadata["annotations"] = {_TRIGGERED: timestamp()}
            self.api.create(ENDPOINT_SLICE, key[0], {"metadata": metadata, "addressType": "IPv4", **desired})
            return None
        slice_ = owned[0]
        known = {field: slice_.get(field) for field in desired}
        if known != desired or labels_of(slice_) != _labels(service):
            self._write(slice_, desired, _labels(service))
        return None

    def _desired(self, service: Object) -> Object:
        namespace = service["metadata"]["namespace"]
        selector = {"matchLabels": service["spec"]["selector"]}
        pods = [pod for pod in self.api.selected(POD, namespace, selector) if _has_endpoint(pod)]
        early = bool(service["spec"].get("publishNotReadyAddresses"))
        endpoints = [_endpoint(pod, early) for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))]
        return {"endpoints": endpoints or None, "ports": _ports(service, pods[0]) or None if pods else None}

    def _write(self, slice_: Object, desired: Object, labels: dict[str, str]) -> None:
        def change(obj: Object) -> None:
            obj |= desired
            obj["metadata"]["labels"] = labels
            obj["metadata"]["annotations"] = {_TRIGGERED: timestamp()}

        self.api.modify(ENDPOINT_SLICE, slice_["metadata"]["namespace"], slice_["metadata"]["name"], change)


def _counts(pod: Object) -> tuple[object, ...]:
    """What of a pod the slices depend on (podEndpointsChanged of pkg/controller/util/endpoint)."""
    terminating = "deletionTimestamp" in pod["metadata"]
    spec, status = pod["spec"], pod["status"]
    return labels_of(pod), terminating, is_ready(pod), status.get("podIP"), _has_endpoint(pod), spec.get("nodeName")


def _selects(service: Object, pod: Object) -> bool:
    selector = service["spec"].get("selector")
    return bool(selector) and selector.items() <= labels_of(pod).items()


def _labels(service: Object) -> dict[str, str]:
    headless = {_HEADLESS: ""} if service["spec"].get("clusterIP") == "None" else {}
    return labels_of(service) | _MANAGED_BY | {SERVICE_NAME: service["metadata"]["name"]} | headless


def _has_endpoint(pod: Object) -> bool:
    """Whether the pod has an address and has not finished. A terminating pod keeps its endpoint (ShouldPodBeInEndpoints)."""
    return bool(pod["status"].get("podIP")) and pod["status"].get("phase") not in ("Succeeded", "Failed")


def _endpoint(pod: Object, early: bool) -> Object:
    """The endpoint of a pod. early: the Service publishes the addresses of pods that are not ready."""
    metadata, ready, terminating = pod["metadata"], is_ready(pod), "deletionTimestamp" in pod["metadata"]
    node = {"nodeName": pod["spec"]["nodeName"]} if pod["spec"].get("nodeName") else {}
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": early or (ready and not terminating), "serving": ready, "terminating": terminating},
        "targetRef": {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]},
        **node,
    }


def _ports(service: Object, pod: Object) -> list[Object]:
    """The ports of the Service as the pod listens on them. A named port that no container has is left out."""
    ports = []
    for port in service["spec"].get("ports") or []:
        number = _target(port, pod)
        if number is not None:
            app = {"appProtocol": port["appProtocol"]} if port.get("appProtocol") else {}
            ports.append({"name": port.get("name", ""), "protocol": port["protocol"], "port": number, **app})
    return ports


def _target(port: Object, pod: Object) -> int | None:
    if isinstance(port["targetPort"], int):
        return port["targetPort"]
    for container in pod["spec"]["containers"]:
        for open_port in container.get("ports") or []:
            if (open_port.get("name"), open_port.get("protocol", "TCP")) == (port["targetPort"], port["protocol"]):
                number: int = open_port["containerPort"]
                return number
    return None
