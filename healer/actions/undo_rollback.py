"""Undoing a rollback: give a workload the template again that healer took from it.

The marks of the rollback stay on the workload (`healer.model.annotations.ROLLED_BACK_FROM`), so that healer does not roll the
same template back once more: somebody wants it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from healer.actions.base import NotUndone
from healer.actions.shared.rolling import to_revision
from healer.actions.shared.temporary import TRIES
from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.model.incident import Incident
from healer.model.target import Target
from healer.workloads.base import Rollable
from healer.workloads.registry import WORKLOADS
from healer.workloads.revisions import History, Revision, number


@dataclass(frozen=True, slots=True)
class RollbackReversal:
    """One workload as it was read, and the revisions that a rollback of it was between. See `Reversal`."""

    target: Target
    incident: str
    whole: Rollable
    history: History
    left: str
    """The number of the revision that healer rolled back from."""
    holder: str
    """What keeps the revision that healer rolled back to."""
    to: str

    @property
    def group(self) -> str:
        """See `Reversal`."""
        return "rollbacks"

    @property
    def done(self) -> bool:
        """Whether it has the template from before."""
        return self.history.is_current(self.history.noted(self.left))

    def __str__(self) -> str:
        if self.done:
            return f"{self.target}: has the template of revision {self.left}, from which healer rolled back"
        return f"{self.target}: revision {self.history.current} (healer rolled back to {self.to}) -> the template of {self.left}"

    def plain(self) -> dict[str, Any]:
        """See `Reversal`."""
        name = {"kind": self.target.kind, "name": self.target.name}
        return {**name, "found": self.history.current, "setByHealer": self.to, "before": number(self.left) or self.left}

    def check(self, *, force: bool) -> None:
        """See `Reversal`."""
        self._goal(force)

    async def put_back(self, api: Api, *, force: bool) -> None:
        """Give the workload the template from before, unless somebody changes it meanwhile. Raises NotUndone, ClusterError."""
        now = self
        for left in reversed(range(TRIES)):
            goal = now._goal(force)
            if now.done:
                return
            change = to_revision(now.whole, goal, {})
            path = WORKLOADS[now.target.kind].resource.path(now.target.namespace, now.target.name)
            try:
                await api.request("PATCH", path, body=change.body, content_type=change.content_type)
                return
            except ApiError as error:
                if not (error.is_conflict and left):
                    raise
            now = await _read(api, self.target, self.incident, self.left, self.holder, self.to)

    def _goal(self, force: bool) -> Revision:
        """The revision to go back to. Raises NotUndone."""
        goal = self.history.noted(self.left)
        if goal is None:
            text = f"nothing was undone: revision {self.left} of {self.target} is not kept any more (revisionHistoryLimit)"
            raise NotUndone(f"{text}: roll it out from its source")
        if not self.done and not force and not self._unchanged():
            text = f"{self.target} is at revision {self.history.current}, and healer rolled it back to {self.to}"
            text += ": somebody has changed it since"
            raise NotUndone(f"nothing was undone: {text}. --force puts the template of revision {self.left} back anyway")
        return goal

    def _unchanged(self) -> bool:
        """Whether it is as healer left it: its template, and the marks of this very rollback."""
        marks = self.whole.metadata.annotations
        mine = (marks.rolled_back_by, marks.rolled_back_from) == (self.incident, self.left)
        return mine and self.history.is_current(self.history.of_holder(self.holder))


async def reversals(api: Api, incident: Incident, kept: Mapping[str, str]) -> Sequence[RollbackReversal]:
    """The rollback that an incident has noted, as its workload stands now. Raises NotUndone, ClusterError, ValueError."""
    left, holder = kept.get("from", ""), kept.get("replicaSet", "")
    if not left or not holder:
        raise ValueError(f"{dict(kept)} is no note of a rollback")
    return [await _read(api, incident.workload, incident.id, left, holder, kept.get("to", ""))]


async def _read(api: Api, target: Target, incident: str, left: str, holder: str, to: str) -> RollbackReversal:
    if target.kind not in WORKLOADS:
        raise NotUndone(f"nothing was undone: healer does not act on a {target.kind}")
    kind = WORKLOADS[target.kind]
    whole = await api.get(kind.resource.path(target.namespace, target.name), kind.whole)
    if whole.metadata.uid != target.uid:
        raise NotUndone(f"nothing was undone: {target} is now another object")
    return RollbackReversal(target, incident, whole, await kind.history(api, whole), left, holder, to)
