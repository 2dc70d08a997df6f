"""What an action is to the rest of healer: its declaration, the permissions that it needs, and the outcome of an attempt."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import BaseModel

from healer.model.target import ActsOn


class Permission(NamedTuple):
    """One thing that RBAC can allow. The core group is an empty string; a resource may be `pods` or `pods/eviction`."""

    group: str
    resource: str
    verb: str


Permissions = frozenset[Permission]


def permissions(group: str, resource: str, verbs: str) -> Permissions:
    """Those of one resource: `permissions("apps", "deployments", "get patch")`."""
    return frozenset(Permission(group, resource, verb) for verb in verbs.split())


def union(parts: Iterable[Permissions]) -> Permissions:
    """All of them."""
    return frozenset[Permission]().union(*parts)


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """The declaration of an action.

    `params` validates what a rule writes below the action's name. `targets`: pods or workloads. `disrupts` says that it
    takes a pod down, so that the floor and the one-disruption guard apply.
    """

    name: str
    params: type[BaseModel]
    targets: frozenset[ActsOn]
    disrupts: bool
    verb: str
    """How a message says it: "evict"."""
    changes: bool = True
    """Whether it changes anything in the cluster. What does not spends no budget, and waits for no rollout."""
    in_rollout: bool = False
    """Whether it may be taken while a rollout is in progress: to roll it back, or to take traffic off it."""
    complete: Callable[[Any, Any], BaseModel] | None = None
    """Fills in what the parameters leave to the rule's trigger, when rules are read. Raises ValueError: what is missing.

    It is called with the parameters and the rule's `healer.rules.schema.When`.
    """
    needs: Callable[[Any], Permissions] = lambda _: frozenset()
    """What it asks the API server for, with these parameters."""
    apart: Callable[[Any], Mapping[str, Permissions]] = lambda _: {}
    """The part of `needs` that is for objects in other namespaces than the target's, by namespace."""
    evicts: bool = False
    """It asks for an eviction, which may be denied: by a PodDisruptionBudget, an admission policy, missing rights."""
    deletes: bool = False
    """It takes a pod by a DELETE, about which nobody is asked: never after an eviction was denied."""
    diverts: bool = False
    """It takes traffic off the workload: what must be well afterwards is the side that serves instead, not the workload. What it
    keeps beside the incident are notes of the routes that it changed (`healer.routes.note`)."""
    adds: bool = False
    """It adds units for a time. What it has added need not get ready for the step to have helped; when it does not, a human is
    asked, and no stronger step is taken for that alone."""
    meaning: str = ""
    """What it does, for docs/rules.md."""


class OutcomeKind(StrEnum):
    """How an attempt to act ended."""

    DONE = "done"
    """The cluster accepted it."""
    GONE = "gone"
    """The target was gone, or another object has its name: nothing was done, nothing is left to do to it."""
    RECOVERED = "recovered"
    """The fresh read showed it no longer sick: nothing was done."""
    DEFERRED = "deferred"
    """Not now (a PDB's 429, API throttling): ask again later."""
    REFUSED = "refused"
    """Never, as things stand (403, two PDBs over one pod): the step cannot help."""
    FAILED = "failed"
    """It may or may not have happened (time-out, 500): look, then try again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt; `reason` is one CamelCase word for metrics, `text` says it in words.

    `retry_after` is in seconds, when the server named one. `denied`: an eviction was asked for, and not granted, for whatever
    reason, or nobody answered. `ready`: the pod that was taken was ready at the last look.
    """

    kind: OutcomeKind
    reason: str
    text: str
    retry_after: float | None = None
    denied: bool = False
    ready: bool = False
