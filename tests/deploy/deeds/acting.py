"""What healer does to workloads by the rules: evict, roll back, scale, pin a version, shift traffic."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from pydantic import BaseModel

from healer.actions.base import Clients, Temporary
from healer.actions.evict import EvictParams
from healer.actions.registry import ACTIONS
from healer.actions.rollback import RollbackParams
from healer.actions.scale import ScaleParams
from healer.actions.shift_traffic import ShiftTrafficParams
from healer.cluster.resources import AUTOSCALERS, EVENTS
from healer.lab import Lab, serving
from healer.lab.canary import CANARY, ROUTE, STABLE, versions
from healer.lab.custom import as_cloneset, as_rollout
from healer.lab.groups import serving_groups
from healer.lab.kinds import AUTOSCALER
from healer.lab.objects import Object, is_ready
from healer.model.action import OutcomeKind, Permissions, permissions
from healer.model.temporary import changes
from healer.model.view import View, target_of
from healer.routes.registry import ROUTERS
from healer.rules.named_workload import NamedWorkload
from healer.rules.probe import RouteRef, Side
from healer.workloads.registry import WORKLOADS, core_resources
from tests.deploy.deeds.always import watches
from tests.deploy.deeds.trials import Deed, Run, Trial
from tests.unit.actions.conftest import NAMESPACE, Bench
from tests.unit.actions.versions import standing
from tests.unit.routes.conftest import gateway, istio, route

NAME, CURE = "serving", "2.17.0"
SERVING = "tensorflow-serving"
"""The Deployment whose servers have versions of a model."""


# what it does


def _looked(trial: Trial, name: str, kind: str) -> Bench:
    """A bench with a view of the cluster as it is, the workload and the first of its pods."""
    view = View(WORKLOADS)
    for each in core_resources():
        for obj in trial.lab.objects(f"{each.plural}.{each.api_group}".rstrip(".")):
            view.put(msgspec.convert(obj, each.kind))
    found = view.workload_named(kind, NAMESPACE, name)
    assert found is not None
    workload = target_of(found)
    pod = min(view.pods_of(workload), key=lambda pod: pod.metadata.name)
    return Bench(trial.lab, trial.api, view, target_of(pod), workload, trial.kubeconfig)


def _serves(count: int, image: str = "") -> Callable[[Lab], bool]:
    def holds(lab: Lab) -> bool:
        pods = lab.objects("pods", NAMESPACE)
        right = [pod for pod in pods if is_ready(pod) and pod["spec"]["containers"][0]["image"].endswith(image)]
        return len(pods) == len(right) == count and "deletionTimestamp" not in str(pods)

    return holds


def manifests(kind: str) -> list[Object]:
    """A serving workload of the kind with two units."""
    (deployment, *_) = serving(NAME, NAMESPACE, replicas=2, min_available=None)
    match kind:
        case "Deployment":
            return [deployment]
        case "StatefulSet":
            return [deployment | {"kind": kind, "spec": {k: deployment["spec"][k] for k in ("replicas", "selector", "template")}}]
        case "DaemonSet":
            return [deployment | {"kind": kind, "spec": {k: deployment["spec"][k] for k in ("selector", "template")}}]
        case "Rollout":
            return [as_rollout(deployment)]
        case "CloneSet":
            return [as_cloneset(deployment)]
        case _:
            return serving_groups(NAME, NAMESPACE, groups=2, size=1)[1:]


def _has(kind: str, *, bad: bool = False) -> Run:
    """The workload serves; `bad`: with a new revision."""

    async def prepare(trial: Trial) -> str:
        lab = trial.lab
        await lab.apply(manifests(kind))
        await lab.wait_for(_serves(2))
        if bad and kind != "LeaderWorkerSet":
            served = lab.api.kinds.of(*(manifests(kind)[0][key] for key in ("apiVersion", "kind")))
            assert served is not None

            def ship(obj: Object) -> None:
                obj["spec"]["template"]["spec"]["containers"][0]["image"] = f"tensorflow/serving:{CURE}"

            lab.api.modify(served, NAMESPACE, NAME, ship)
            await lab.wait_for(_serves(2, CURE))
            await lab.wait_for(lambda _: _settled(trial, kind))
        return ""

    return prepare


def _settled(trial: Trial, kind: str) -> bool:
    found = _looked(trial, NAME, kind).view.workload_named(kind, NAMESPACE, NAME)
    return found is not None and found.rollout is None


async def _undone(bench: Bench, action: str) -> str:
    does = ACTIONS[action]
    assert isinstance(does, Temporary)
    for key, change in changes(bench.kept).items():
        way = await does.reversal(Clients(bench.api), bench.incident(), key, change)
        await way.put_back(bench.api, force=False)
    return ""


def _acts(
    action: str, kind: str, params: BaseModel | None = None, *, name: str = NAME, expected: str = "", pod: bool = False
) -> Run:
    async def run(trial: Trial) -> str:
        bench = _looked(trial, name, kind)
        outcome = await bench.attempt(action, params=params, target=bench.target if pod else bench.workload)
        if outcome.kind is not OutcomeKind.DONE and outcome.reason != expected:
            return f"{outcome.reason}: {outcome.text}"
        return await _undone(bench, action) if bench.kept and isinstance(ACTIONS[action], Temporary) else ""

    return run


async def _is_tainted(trial: Trial) -> str:
    await _has("Deployment")(trial)
    for node in trial.lab.objects("nodes"):
        trial.lab.taint_node(node["metadata"]["name"], "example.com/gpu-broken")
    return ""


async def _evicts_elsewhere(trial: Trial) -> str:
    """Its other permissions are those of "evict a pod", which the packs have."""
    of_nodes = trial.may
    trial.lab.authorize(lambda seen: seen.permission != "nodes" or of_nodes(seen))
    return await _acts("evict", "Deployment", EvictParams(elsewhere=True), pod=True)(trial)


async def _has_three(trial: Trial) -> str:
    await trial.lab.apply(serving(SERVING, NAMESPACE, replicas=3, min_available=None))
    await trial.lab.wait_for(_serves(3))
    return ""


async def _pins(trial: Trial) -> str:
    async with standing(_looked(trial, SERVING, "Deployment")) as stand:
        outcome = await stand.pin()
    return "" if outcome.kind is OutcomeKind.DONE else f"{outcome.reason}: {outcome.text}"


async def _has_an_autoscaler(trial: Trial) -> str:
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
        "minReplicas": 2,
        "maxReplicas": 6,
    }
    trial.lab.api.create(AUTOSCALER, NAMESPACE, {"metadata": {"name": NAME, "namespace": NAMESPACE}, "spec": spec})
    return await _has("Deployment")(trial)


def _has_a_canary(kind: str) -> Run:
    async def prepare(trial: Trial) -> str:
        await trial.lab.apply([gateway(), istio(), *versions(NAMESPACE), *route(kind)])
        await trial.lab.wait_for(_serves(4))
        return ""

    return prepare


def _side(name: str) -> Side:
    return Side(workload=NamedWorkload(name))


def _shifts(kind: str) -> Deed:
    params = ShiftTrafficParams(to=0, route=RouteRef(kind=kind, name=ROUTE), stable=_side(STABLE), canary=_side(CANARY))
    reads = permissions("discovery.k8s.io", "endpointslices", "list") | of("Deployment", "get")
    asks = reads | ROUTERS[kind].reads | ROUTERS[kind].writes
    return Deed(f"shift traffic by {kind}", asks, _acts("shiftTraffic", "Deployment", params, name=CANARY), _has_a_canary(kind))


def of(kind: str, verbs: str, subresource: str = "") -> Permissions:
    resource = WORKLOADS[kind].resource
    return permissions(resource.api_group, resource.plural + subresource, verbs)


def _rolls_back(kind: str) -> Deed:
    """A LeaderWorkerSet is read, and never rolled back."""
    never = "NoEarlierRevision" if kind == "LeaderWorkerSet" else ""
    asks = of(kind, "get" if never else "get patch") | WORKLOADS[kind].reads
    return Deed(f"roll a {kind} back", asks, _acts("rollback", kind, RollbackParams(), expected=never), _has(kind, bad=True))


def _scales(kind: str) -> Deed:
    asks = of(kind, "get") | of(kind, "get patch", "/scale") | permissions("autoscaling", "horizontalpodautoscalers", "list")
    return Deed(f"scale a {kind}", asks, _acts("scale", kind, ScaleParams(max=5)), _has(kind))


_HEALED = ("Deployment", "StatefulSet", "Rollout", "CloneSet", "LeaderWorkerSet")
_POD = permissions("", "pods", "get")

READ_NODE = Deed("evict a pod from a node that takes none", permissions("", "nodes", "get"), _evicts_elsewhere, _is_tainted)
PIN = Deed("pin a model version", permissions("", "configmaps", "get patch") | of("Deployment", "get"), _pins, _has_three)
EVICTIONS: tuple[Deed, ...] = tuple(
    Deed(
        f"evict a pod of a {kind}",
        _POD | of(kind, "get") | permissions("", "pods/eviction", "create"),
        _acts("evict", kind, pod=True),
        _has(kind),
    )
    for kind in _HEALED
)
_HPA = "horizontalpodautoscalers"
PACKS: tuple[Deed, ...] = (
    Deed(
        "evict a pod",
        _POD | of("Deployment", "get") | permissions("", "pods/eviction", "create"),
        _acts("evict", "Deployment", pod=True),
        _has("Deployment"),
    ),
    *(_rolls_back(kind) for kind in _HEALED),
    *(_scales(kind) for kind in _HEALED),
    Deed(
        "scale by an autoscaler",
        of("Deployment", "get") | of("Deployment", "get", "/scale") | permissions("autoscaling", _HPA, "get list patch"),
        _acts("scale", "Deployment", ScaleParams(max=5)),
        _has_an_autoscaler,
    ),
    watches(AUTOSCALERS),
    watches(EVENTS),
)
"""What the shipped rules have it do."""
SHIFTS = {kind: _shifts(kind) for kind in ("Ingress", "HTTPRoute", "VirtualService")}
