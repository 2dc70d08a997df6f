"""The two ways out of quarantine: the pod is deleted at its expiry, or a person gives it its labels back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from healer.actions.base import NotUndone, Reversal
from healer.cluster.api import Api, ApiError
from healer.cluster.resources import RESOURCES
from healer.model.annotations import QUARANTINED, QUARANTINED_FROM
from healer.model.incident import Incident
from healer.model.kube import Pod
from healer.model.temporary import TemporaryChange, changes

QUARANTINED_UNTIL = "healer.dev/quarantined-until"
"""The annotation of a pod in quarantine: when healer deletes it, in seconds since the epoch."""
_KEY = "pod/"


@dataclass(frozen=True, slots=True)
class QuarantinedPod:
    """A pod as it was read, and what was noted of it. See `Reversal`."""

    pod: Pod
    change: TemporaryChange
    incident: str
    """The incident that has noted it: a note of another one leads to nothing."""
    releases: bool
    """Whether its way out is to get its labels back; else it is deleted."""
    group: str = field(default="pods")

    @property
    def key(self) -> str:
        """The key of its note."""
        return f"{_KEY}{self.pod.metadata.name}"

    @property
    def done(self) -> bool:
        """Whether it is not in quarantine (any more)."""
        meta = self.pod.metadata
        return meta.uid != self.change.after or meta.labels.get(QUARANTINED) != self.incident or self.pod.terminating

    def __str__(self) -> str:
        if self.done:
            return f"{self.key}: not in quarantine"
        if not self.releases:
            return f"{self.key}: in quarantine -> deleted"
        return f"{self.key}: in quarantine -> its labels from before (its ReplicaSet adopts it, and deletes one pod too many)"

    def plain(self) -> dict[str, Any]:
        """See `Reversal`."""
        return {"kind": "Pod", "name": self.pod.metadata.name, "labels": msgspec.json.decode(self.change.before)}

    def check(self, *, force: bool) -> None:
        """See `Reversal`."""

    async def put_back(self, api: Api, *, force: bool) -> None:
        """Release or delete it, if it is what was read. Raises ClusterError."""
        if self.done:
            return
        meta = self.pod.metadata
        path = RESOURCES[Pod].path(meta.namespace, meta.name)
        if not self.releases:
            await api.request("DELETE", path, body={"preconditions": {"uid": meta.uid, "resourceVersion": meta.resource_version}})
            return
        labels = msgspec.json.decode(self.change.before, type=dict[str, str]) | {QUARANTINED: None, QUARANTINED_FROM: None}
        metadata = {
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
            "labels": labels,
            "annotations": {QUARANTINED_UNTIL: None},
        }
        await api.request("PATCH", path, body={"metadata": metadata}, content_type="application/merge-patch+json")


async def deletion(api: Api, incident: Incident, key: str, change: TemporaryChange) -> QuarantinedPod:
    """The end of a quarantine that has expired. Raises ClusterError, ValueError."""
    return QuarantinedPod(await _read(api, incident.workload.namespace, key), change, incident.id, releases=False)


async def releases(api: Api, incident: Incident, namespace: str, kept: Mapping[str, str]) -> Sequence[Reversal]:
    """The releases of the pods that an incident has put in quarantine and that are in it still.

    Raises NotUndone, ClusterError, ValueError.
    """
    found: list[Reversal] = []
    for key, change in changes(kept).items():
        if change.ended is None:
            try:
                found.append(QuarantinedPod(await _read(api, namespace, key), change, incident.id, releases=True))
            except ApiError as error:
                if not error.is_not_found:
                    raise
                raise NotUndone(f"nothing was undone: {key} is gone") from error
    return found


async def _read(api: Api, namespace: str, key: str) -> Pod:
    name = key.removeprefix(_KEY)
    if name == key or not name or "/" in name:
        raise ValueError(f"{key} is no pod")
    return await api.get(RESOURCES[Pod].path(namespace, name), Pod)
