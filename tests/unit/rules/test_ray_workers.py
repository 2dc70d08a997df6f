"""Workers of a Ray cluster, which KubeRay keeps unready while they have no replica of Ray Serve."""

from typing import Any

import msgspec
import pytest

from healer.model.kube import Pod
from healer.rules.pod_detectors import ObservedPod, PodsSettings, not_ready


def unready(kind: str = "RayCluster", node: str = "worker", **status: Any) -> Pod:
    """A pod that runs and is not ready, unless its status says otherwise."""
    owner = {"kind": kind, "name": "llm", "uid": "1", "controller": True}
    metadata = {"name": "llm-a", "uid": "2", "labels": {"ray.io/node-type": node}, "ownerReferences": [owner]}
    given = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]} | status
    return msgspec.convert({"metadata": metadata, "status": given}, Pod)


@pytest.mark.parametrize(
    ("pod", "sick"),
    [
        (unready(), False),
        (unready(node="head"), True),
        (unready("ReplicaSet"), True),
        (unready(phase="Unknown", reason="NodeLost"), True),
    ],
    ids=["worker", "head", "other", "lost"],
)
def test_a_worker_may_be_unready(pod: Pod, sick: bool) -> None:
    """That alone is no sickness of a worker; of the head it is, and so is a node that no longer reports it."""
    assert (not_ready(ObservedPod(pod, 100.0, PodsSettings(), {}, {}), False) is not None) is sick
