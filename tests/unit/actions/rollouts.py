"""Rollouts of the bench's Deployment: what a test makes happen before healer looks, and what it finds afterwards."""

from collections.abc import Callable
from typing import Any

from healer.actions.rollback import RollbackParams
from healer.lab import Lab
from healer.lab.kinds import DEPLOYMENT
from healer.lab.objects import Object, is_ready
from healer.model.action import Outcome, OutcomeKind
from tests.unit.actions.conftest import NAME, NAMESPACE, Bench

REVISION = "deployment.kubernetes.io/revision"
FIRST = "tensorflow/serving:2.16.1"
GOOD = "tensorflow/serving:2.17.0"
NEWER = "tensorflow/serving:2.18.0"
BAD = "tensorflow/serving:bad"
"""An image that cannot be pulled."""


def deployment(lab: Lab) -> Object:
    return lab.objects("deployments", NAMESPACE)[0]


def annotations(lab: Lab) -> dict[str, str]:
    found: dict[str, str] = deployment(lab)["metadata"]["annotations"]
    return found


def image(lab: Lab) -> str:
    found: str = deployment(lab)["spec"]["template"]["spec"]["containers"][0]["image"]
    return found


def settled(lab: Lab) -> bool:
    """All three pods are ready and of the current revision, and nothing is left of another."""
    obj = deployment(lab)
    status = obj["status"]
    counts = (status.get(key) for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"))
    pods = lab.objects("pods", NAMESPACE)
    seen = status.get("observedGeneration") == obj["metadata"]["generation"]
    return seen and all(count == 3 for count in counts) and len(pods) == 3 and all(map(is_ready, pods))


def change(bench: Bench, edit: Callable[[Object], None]) -> None:
    """Somebody edits the Deployment."""
    bench.lab.api.modify(DEPLOYMENT, NAMESPACE, NAME, edit)


async def ship(bench: Bench, what: str, cause: str = "") -> None:
    """Roll another image out, and wait until it serves; a BAD one: until its pod is there and fails."""

    def edit(obj: Object) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = what
        if cause:
            obj["metadata"]["annotations"]["kubernetes.io/change-cause"] = cause

    change(bench, edit)
    await bench.lab.wait_for(stuck if what == BAD else settled)
    bench.look()


def stuck(lab: Lab) -> bool:
    """A pod of the new revision cannot start, and the three old ones serve."""
    obj, pods = deployment(lab), lab.objects("pods", NAMESPACE)
    seen = obj["status"].get("observedGeneration") == obj["metadata"]["generation"]
    waiting = [pod for pod in pods if not is_ready(pod) and pod.get("status", {}).get("containerStatuses")]
    return bool(seen and len(pods) == 4 and len(waiting) == 1 and obj["status"].get("readyReplicas") == 3)


async def strategy(bench: Bench, **rolling: int | str) -> None:
    """Another strategy: RollingUpdate with these figures, or Recreate without any."""

    def edit(obj: Object) -> None:
        obj["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": rolling} if rolling else {"type": "Recreate"}

    change(bench, edit)
    await bench.lab.wait_for(settled)


async def roll_back(bench: Bench, *, to: int | None = None, even_if_managed: bool = False, **more: Any) -> Outcome:
    params = RollbackParams(to_revision=to, even_if_managed=even_if_managed)
    return await bench.attempt("rollback", params=params, target=bench.workload, **more)


def verdict(outcome: Outcome) -> tuple[OutcomeKind, str]:
    return outcome.kind, outcome.reason
