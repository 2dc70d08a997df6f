"""The logs of containers, and the subresource `log` of a pod that reads them.

The API server checks the names (pkg/registry/core/pod/strategy.go), and the kubelet knows the containers
(validateContainerLogStatus in pkg/kubelet/kubelet_pods.go). `limitBytes` counts from the first line of the answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from healer.lab.apiserver import status
from healer.lab.objects import Object


class Logs:
    """What the containers have written, by the uid of their pod, their name and how often they had restarted before."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], list[str]] = defaultdict(list)

    def write(self, uid: str, container: str, text: str) -> None:
        """Have each run of a container write this, besides the line with which each begins."""
        self._lines[uid, container] += text.splitlines()

    def read(self, pod: Object, query: Mapping[str, str], *, lost: bool) -> str:
        """The answer to a GET of the subresource. `lost`: the kubelet of its node does not answer. Raises ApiRefusal."""
        name = _container(pod, query.get("container", ""))
        node = pod["spec"].get("nodeName")
        if not node:
            return ""
        if lost:
            where = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}/{name}"
            text = f'Get "https://127.0.0.1:10250/containerLogs/{where}": dial tcp 127.0.0.1:10250: i/o timeout'
            raise status.ApiRefusal(500, "InternalError", text)
        run = _run(pod, name, previous=query.get("previous") == "true")
        lines = [f"{name} starts for the {run + 1}. time", *self._lines[pod["metadata"]["uid"], name]]
        tail = int(query.get("tailLines", len(lines)))
        text = "".join(f"{line}\n" for line in lines[max(len(lines) - tail, 0) :])
        return text.encode()[: int(query.get("limitBytes", len(text.encode())))].decode(errors="ignore")


def _container(pod: Object, asked: str) -> str:
    spec, name = pod["spec"], pod["metadata"]["name"]
    names = [each["name"] for each in spec["containers"]]
    initial = [each["name"] for each in spec.get("initContainers") or []]
    if not asked and len(names) > 1:
        others = f" or one of the init containers: [{' '.join(initial)}]" if initial else ""
        text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]{others}"
        raise status.bad_request(text)
    if asked and asked not in names + initial:
        raise status.bad_request(f"container {asked} is not valid for pod {name}")
    return asked or names[0]


def _run(pod: Object, name: str, *, previous: bool) -> int:
    """How often the container had restarted before the run whose log is asked for. Raises ApiRefusal 400."""
    found = [*(pod["status"].get("containerStatuses") or []), *(pod["status"].get("initContainerStatuses") or [])]
    known = next((each for each in found if each["name"] == name), None)
    what = f'container "{name}" in pod "{pod["metadata"]["name"]}"'
    if known is None:
        raise status.bad_request(f"{what} is waiting to start: ContainerCreating")
    state, before = known.get("state") or {}, "terminated" in (known.get("lastState") or {})
    if previous and not before:
        raise status.bad_request(f'previous terminated container "{name}" in pod "{pod["metadata"]["name"]}" not found')
    restarts: int = known.get("restartCount", 0)
    if "waiting" in state:
        if not before:
            raise status.bad_request(f"{what} is waiting to start: {state['waiting'].get('reason', '')}")
        return restarts  # the run that ended last
    return restarts - 1 if previous else restarts
