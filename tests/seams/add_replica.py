"""An action of the tests' own: a replica more, by the scale of a Deployment; and its way back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from pydantic import Field

from healer.actions.base import Call, NotUndone, Reversal
from healer.actions.shared.refusal import refusal, unread
from healer.cluster.api import Api, ClusterError
from healer.model.action import ActionSpec, Outcome, OutcomeKind, permissions
from healer.model.incident import Incident
from healer.model.target import ActsOn, Target
from healer.rules.form import Model, Whole


class AddReplicaParams(Model):
    """How many more."""

    by: Annotated[Whole, Field(ge=1)] = 1
    """So many replicas more than there are."""


class _ScaleSpec(msgspec.Struct):
    replicas: int = 0


class _Scale(msgspec.Struct):
    spec: _ScaleSpec


def _path(target: Target) -> str:
    return f"/apis/apps/v1/namespaces/{target.namespace}/deployments/{target.name}/scale"


async def _set(api: Api, target: Target, replicas: int) -> None:
    await api.request("PATCH", _path(target), body={"spec": {"replicas": replicas}}, content_type="application/merge-patch+json")


@dataclass(frozen=True, slots=True)
class ReplicaReversal:
    """One workload: how many replicas it has, was given, and had."""

    target: Target
    now: int
    given: int
    before: int

    @property
    def group(self) -> str:
        return "scales"

    @property
    def done(self) -> bool:
        return self.now == self.before

    def __str__(self) -> str:
        return f"{self.target}: {self.now} -> {self.before} replicas"

    def plain(self) -> dict[str, Any]:
        return {"name": self.target.name, "found": self.now, "before": self.before}

    def check(self, *, force: bool) -> None:
        if self.now not in (self.given, self.before) and not force:
            raise NotUndone(f"{self.target} has {self.now} replicas: somebody has changed that since")

    async def put_back(self, api: Api, *, force: bool) -> None:
        await _set(api, self.target, self.before)


class AddReplica:
    """The action `addReplica`."""

    spec = ActionSpec(
        name="addReplica",
        params=AddReplicaParams,
        targets=frozenset({ActsOn.WORKLOAD}),
        disrupts=False,
        verb="add a replica to",
        needs=lambda _: permissions("apps", "deployments/scale", "get patch"),
        meaning="gives the workload more replicas",
    )

    async def run(self, call: Call) -> Outcome:
        """Read the scale, keep it, and raise it."""
        target, params = call.act.target, call.act.params
        assert isinstance(params, AddReplicaParams)
        try:
            before = (await call.api.get(_path(target), _Scale)).spec.replicas
        except ClusterError as error:
            return unread(error, f"read the scale of {target}")
        after = before + params.by
        forbidden = await call.keep({"before": str(before), "after": str(after)}) or call.sending()
        if forbidden is not None:
            return forbidden
        try:
            await _set(call.api, target, after)
        except ClusterError as error:
            return refusal(error, f"scale {target}")
        return Outcome(OutcomeKind.DONE, "Scaled", f"{target} has {after} replicas")

    async def reversals(self, api: Api, incident: Incident, namespace: str, kept: Mapping[str, str]) -> Sequence[Reversal]:
        """See `Undoable`."""
        now = (await api.get(_path(incident.workload), _Scale)).spec.replicas
        return [ReplicaReversal(incident.workload, now, int(kept["after"]), int(kept["before"]))]
