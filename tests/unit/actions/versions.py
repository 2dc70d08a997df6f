"""The bench with a file of versions, and model servers in its pods that say which they have: for pins."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from healer.actions.pin_model_version import PinModelVersion, PinModelVersionParams
from healer.lab.kinds import DEPLOYMENT, Kind
from healer.lab.objects import Object
from healer.model.action import Outcome
from healer.model_servers.tensorflow_serving.config import find
from healer.model_servers.versions import ConfiguredModel
from tests.support.tensorflow_serving import StatusServers, status_servers
from tests.unit.actions.conftest import NAME, NAMESPACE, Bench, three_ready

MAP = "models"
FILE = """\
model_config_list {
  config {
    name: "ranker"  # the home page
    base_path: "/models/ranker"
    model_version_policy { specific { versions: 41 versions: 42 } }
    version_labels { key: "stable" value: 41 }
    version_labels { key: "canary" value: 42 }
  }
  config { name: "free" base_path: "/models/free" }
  config { name: "every" base_path: "/models/every" model_version_policy { all {} } }
}
"""
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
FLAGS = ["--model_config_file_poll_wait_seconds=30", "--allow_version_labels_for_unavailable_models"]


class Stand:
    """The bench, the ConfigMap in it, and the servers in its pods."""

    def __init__(self, bench: Bench, servers: StatusServers) -> None:
        self.bench = bench
        self.servers = servers

    async def pin(self, model: str = "ranker", *, step: int = 0, more: dict[str, Any] | None = None, **how: Any) -> Outcome:
        """One attempt on the Deployment; keys of the action in `more`, those of the attempt in `how`."""
        keys: dict[str, Any] = {"version": 41} if not more or not more.keys() & {"version", "label"} else {}
        params = PinModelVersionParams(config_map=MAP, model=model, port=self.servers.port, **keys, **(more or {}))
        return await self.bench.attempt(PinModelVersion.spec.name, target=self.bench.workload, params=params, step=step, **how)

    def all_say(self, *versions: tuple[Any, ...]) -> None:
        for address in ADDRESSES:
            self.servers.say(address, *versions)

    @property
    def map(self) -> Object:
        (found,) = [one for one in self.bench.lab.objects("configmaps", NAMESPACE) if one["metadata"]["name"] == MAP]
        return found

    @property
    def text(self) -> str:
        return str(self.map["data"]["models.config"])

    def served(self, model: str = "ranker") -> ConfiguredModel:
        return find(self.text, model)

    def modify(self, kind: Kind, name: str, change: Any) -> None:
        self.bench.lab.api.modify(kind, NAMESPACE, name, change)

    def modify_map(self, change: Any) -> None:
        self.modify(self.bench.lab.api.kinds.named("configmaps"), MAP, change)

    def template(self, change: Any) -> None:
        self.modify(DEPLOYMENT, NAME, lambda obj: change(obj["spec"]["template"]["spec"]))


def place_pods(bench: Bench, ready: int = 3) -> None:
    """The pods of the view have the servers' addresses; those after the first `ready` are not ready."""
    bench.look()
    for number, pod in enumerate(bench.view.pods_of(bench.workload)):
        status = msgspec.structs.replace(pod.status, pod_ip=ADDRESSES[number % 3])
        if number >= ready:
            status = msgspec.structs.replace(status, conditions=())
        bench.view.put(msgspec.structs.replace(pod, status=status))


@asynccontextmanager
async def standing(bench: Bench) -> AsyncIterator[Stand]:
    """All servers have 41 and 42; the pods of the view have the servers' addresses."""
    await bench.lab.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": MAP, "namespace": NAMESPACE},
            "data": {"models.config": FILE, "monitoring.config": "prometheus_config { enable: true }"},
        }
    )
    async with status_servers(*ADDRESSES) as servers:
        stand = Stand(bench, servers)

        def mount(spec: Object) -> None:
            spec["volumes"] = [{"name": "config", "configMap": {"name": MAP}}]
            spec["containers"][0]["args"] = FLAGS

        stand.template(mount)
        await bench.lab.wait_for(three_ready)
        place_pods(bench)
        stand.all_say((41, "AVAILABLE"), (42, "AVAILABLE"))
        yield stand
