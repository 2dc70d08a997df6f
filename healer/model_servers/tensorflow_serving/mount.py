"""How the pods of a template read a ConfigMap with a models.config: whether at all, and what keeps them from seeing a change.

Source: tensorflow_serving/model_servers/{main,server,server_core}.cc; the Kubernetes documentation of ConfigMap volumes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_POLL = "model_config_file_poll_wait_seconds"
_UNAVAILABLE = "allow_version_labels_for_unavailable_models"


def mounts(template: Mapping[str, Any], config_map: str) -> bool:
    """Whether a pod template has a volume of that ConfigMap."""
    return bool(_volumes(template, config_map))


def caveats(template: Mapping[str, Any], config_map: str, *, labels: bool) -> list[str]:
    """What people must know of pods of this template, in words; `labels`: whether the file has version labels."""
    found = []
    names = _volumes(template, config_map)
    mounted = [mount for container in _containers(template) for mount in container.get("volumeMounts") or []]
    if any(mount.get("subPath") or mount.get("subPathExpr") for mount in mounted if mount.get("name") in names):
        found.append("it is mounted by subPath, which running pods never see change: they read it when they are restarted")
    said = " ".join(_said(template))
    if _POLL not in said:
        found.append(f"no container is told --{_POLL}: they read the file only when they start (there is no /reload)")
    if labels and _UNAVAILABLE not in said:
        found.append(f"no container is told --{_UNAVAILABLE}: a server that starts refuses a file with labels, and ends")
    return found


def takes_any_label(template: Mapping[str, Any]) -> bool:
    """Whether a container of it is told to take labels of versions that are not AVAILABLE."""
    return _UNAVAILABLE in " ".join(_said(template))


def _volumes(template: Mapping[str, Any], config_map: str) -> set[str]:
    """The names of the volumes that hold it."""
    volumes = (template.get("spec") or {}).get("volumes") or []
    return {volume["name"] for volume in volumes if config_map in _sources(volume)}


def _sources(volume: Mapping[str, Any]) -> Iterator[str]:
    projected = (volume.get("projected") or {}).get("sources") or []
    for source in (volume, *projected):
        if (held := source.get("configMap")) is not None:
            yield held.get("name", "")


def _containers(template: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    spec = template.get("spec") or {}
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def _said(template: Mapping[str, Any]) -> Iterator[str]:
    """Every argument, and every value of the environment: images make arguments of it."""
    for container in _containers(template):
        yield from container.get("command") or []
        yield from container.get("args") or []
        for variable in container.get("env") or []:
            yield variable.get("value") or ""
