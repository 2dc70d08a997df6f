"""A cluster to practise on: the lab with two workloads for people, until they end it, and its pods made sick."""

import asyncio
import signal
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import msgspec

from healer.cluster.api import Api
from healer.cluster.errors import ApiError, Unreadable
from healer.cluster.resources import RESOURCES
from healer.demo.kubeconfig import on_loopback, refuse_others, written
from healer.lab import Lab, serving
from healer.lab.apiserver.discovery import NAME
from healer.lab.kubelet.behaviour import ANNOTATION
from healer.lab.objects import Object, is_active, is_ready
from healer.model.kube import Pod
from healer.operate.objects import OperateError
from healer.operate.workload import listed

WORKLOADS = (("llm", "production", 3), ("ranker", "payments", 2))
"""The Deployments: name, namespace, replicas. All but one pod of each are to be ready, by a PodDisruptionBudget."""
_HOME = "healer"
"""The namespace for the manifests of deploy/healer."""
_IMAGE = "registry.example.com/model-server:1.0"
"""No container of it runs."""
SHOWN = {
    "crash": "crashes at each start",
    "oom": "is killed out of memory, again and again",
    "hang": "runs and is never ready",
    "image": "cannot pull its image",
    "invalid-image": "names an image that is no name of one",
    "never-pull": "may not pull its image, and its node has none",
    "config": "cannot be configured: a Secret or ConfigMap is missing",
    "create-error": "has a container that cannot be created",
    "run-error": "has a container that cannot be run",
    "initializing": "waits for its init containers",
    "init-oom": "has an init container that is killed out of memory",
    "creating": "is never done with creating its containers",
    "fail": "fails as a whole",
    "evicted": "is evicted by its kubelet",
    "complete": "ends as if its work were done",
    "ok": "is well",
}
"""What a pod can be made to do by people, in words. Further behaviours are for tests."""
_MERGE = "application/merge-patch+json"


def practise(
    kubeconfig: Path, definitions: Collection[str], say: Callable[[str], None], *, port: int = 0, speed: float = 1.0
) -> None:
    """Serve the cluster until SIGINT or SIGTERM, with its kubeconfig in that file; the file goes with the cluster, unless
    it is another one by then.

    `definitions` are manifests of custom resources. `speed`: Kubernetes' own times are so many times shorter. Raises OperateError
    for a file that belongs to another cluster, or to a lab that runs; OSError when it cannot be written or the port is taken.
    """
    asyncio.run(_serve(Lab(port=port, time_scale=1 / speed), kubeconfig.absolute(), definitions, say))


async def _serve(lab: Lab, kubeconfig: Path, definitions: Collection[str], say: Callable[[str], None]) -> None:
    await refuse_others(kubeconfig)
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    async with lab:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        for text in definitions:
            await lab.apply_yaml(text)
        await lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _HOME}})
        for workload in WORKLOADS:
            await lab.apply(_manifests(*workload))
        await lab.wait_for(_all_ready)
        await refuse_others(kubeconfig, own=lab.url)  # one that was written meanwhile
        with written(kubeconfig, lab.kubeconfig):
            for line in _preface(lab.url, kubeconfig):
                say(line)
            await ended.wait()


def _manifests(name: str, namespace: str, replicas: int) -> list[Object]:
    deployment, *others = serving(name, namespace, replicas=replicas, min_available=replicas - 1, image=_IMAGE)
    deployment["spec"]["template"]["spec"]["containers"][0]["name"] = name
    return [deployment, *others]


def _all_ready(lab: Lab) -> bool:
    return sum(map(is_ready, lab.objects("pods"))) == sum(replicas for _, _, replicas in WORKLOADS)


def _preface(url: str, kubeconfig: Path) -> Iterator[str]:
    yield f"A cluster for practice, the lab, serves the Kubernetes API at {url}. Its containers are simulated."
    for name, namespace, replicas in WORKLOADS:
        yield f"    {namespace}: deployment/{name} with {replicas} pods, and a PodDisruptionBudget that wants {replicas - 1}"
    yield f"Its kubeconfig is {kubeconfig}. In other terminals:"
    yield f"    export KUBECONFIG={kubeconfig}"
    yield "    healer lab sicken          # a pod crashes from now on"
    yield "Ctrl-C ends it."


async def sicken(api: Api, pod: str, namespace: str, how: str) -> str:
    """Have a pod of the lab behave so from now on, and return what was done. Without a name it is the first ready one.

    Raises OperateError where the cluster is no lab, and where there is no such pod or behaviour; ClusterError.
    """
    if how not in SHOWN:
        raise OperateError(f"a pod of the lab cannot be {how!r}; it can be {', '.join(SHOWN)}")
    if not await _is_lab(api):
        raise OperateError(f"{api.url} is no lab, and nothing is done there: `healer lab run` starts one and says its kubeconfig")
    path = RESOURCES[Pod].path(namespace)
    name = pod.removeprefix("pod/") or await _first_ready(api, path, namespace)
    change = {"metadata": {"annotations": {ANNOTATION: how}}}
    try:
        await api.request("PATCH", f"{path}/{name}", body=change, content_type=_MERGE)
    except ApiError as error:
        if error.is_not_found:
            raise OperateError(f"there is no pod {name} in {namespace}") from error
        raise
    return f"pod/{name} in {namespace} {SHOWN[how]} from now on"


async def _is_lab(api: Api) -> bool:
    """Whether the cluster is a lab on this machine. A server elsewhere is sent nothing."""
    if not on_loopback(api.url):
        return False
    try:
        return (await api.get(f"/{NAME}", dict[str, str])).get("kind") == "Lab"
    except (ApiError, Unreadable):
        return False


async def _first_ready(api: Api, path: str, namespace: str) -> str:
    found: list[Object] = [msgspec.json.decode(raw) for raw in await listed(api, path)]
    ready: list[str] = [each["metadata"]["name"] for each in found if is_ready(each) and is_active(each)]
    if not ready:
        raise OperateError(f"no pod in {namespace} is ready; name one")
    return min(ready)
