"""The pods of a workload, as `healer explain` reads them: of one without a selector too."""

from pathlib import Path

import msgspec
import pytest

from healer.cluster.api import Api
from healer.lab import Lab
from healer.lab.groups import LEADER_WORKER_SET, serving_groups
from healer.model.target import Target
from healer.model.view import View
from healer.operate.objects import object_ref
from healer.operate.workload import put_pods
from healer.workloads.registry import WORKLOADS

pytestmark = pytest.mark.slow


async def test_the_pods_of_a_leader_worker_set_are_found_by_its_label_and_their_owners(tmp_path: Path) -> None:
    async with Lab(start_delay=0, termination_delay=0) as lab:
        await lab.apply(serving_groups(groups=2, size=2))
        await lab.wait_for(lambda lab: len(lab.objects("pods", "production")) == 4)
        (lws,) = lab.objects(LEADER_WORKER_SET.resource, "production")
        kubeconfig = tmp_path / "kubeconfig"
        lab.write_kubeconfig(kubeconfig)
        api, view = await Api.connect(kubeconfig=str(kubeconfig)), View(WORKLOADS)
        try:
            await put_pods(api, object_ref("LeaderWorkerSet", "production", "vllm"), msgspec.json.encode(lws), view)
        finally:
            await api.aclose()
        found = view.pods_of(Target("LeaderWorkerSet", "production", "vllm", lws["metadata"]["uid"]))
        assert sorted(pod.metadata.name for pod in found) == ["vllm-0", "vllm-0-1", "vllm-1", "vllm-1-1"]
