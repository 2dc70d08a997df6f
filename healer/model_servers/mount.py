"""How the pods of a template read a ConfigMap: whether they mount it, and why they may not see a change.

Source: the Kubernetes documentation of ConfigMap volumes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def mounts(template: Mapping[str, Any], config_map: str) -> bool:
    """Whether a pod template has a volume of that ConfigMap."""
    return bool(_volumes(template, config_map))


def caveats(template: Mapping[str, Any], config_map: str) -> list[str]:
    """Why running pods of this template do not see a change of the ConfigMap, in words."""
    names = _volumes(template, config_map)
    mounted = [mount for container in _containers(template) for mount in container.get("volumeMounts") or []]
    if any(mount.get("subPath") or mount.get("subPathExpr") for mount in mounted if mount.get("name") in names):
        return ["it is mounted by subPath, which running pods never see change: they read it when they are restarted"]
    return []


def arguments(template: Mapping[str, Any]) -> str:
    """All arguments of its containers, and all values of their environment, because images make arguments of them."""
    return " ".join(_arguments(template))


def _volumes(template: Mapping[str, Any], config_map: str) -> set[str]:
    """The names of the volumes that hold it."""
    volumes = (template.get("spec") or {}).get("volumes") or []
    return {volume["name"] for volume in volumes if config_map in _sources(volume)}


def _sources(volume: Mapping[str, Any]) -> Iterator[str]:
    projected = (volume.get("projected") or {}).get("sources") or []
    for source in (volume, *projected):
        if (config_map := source.get("configMap")) is not None:
            yield config_map.get("name", "")


def _containers(template: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    spec = template.get("spec") or {}
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def _arguments(template: Mapping[str, Any]) -> Iterator[str]:
    for container in _containers(template):
        yield from container.get("command") or []
        yield from container.get("args") or []
        for variable in container.get("env") or []:
            yield variable.get("value") or ""
