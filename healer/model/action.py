"""The declaration of an action, the permissions that it needs, and the outcome of an attempt."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import BaseModel

from healer.model.target import ActsOn


class Permission(NamedTuple):
    """One permission of RBAC. The core group is an empty string. A resource may be `pods` or `pods/eviction`."""

    group: str
    resource: str
    verb: str


Permissions = frozenset[Permission]


def permissions(group: str, resource: str, verbs: str) -> Permissions:
    """The permissions for several verbs on one resource: `permissions("apps", "deployments", "get patch")`."""
    return frozenset(Permission(group, resource, verb) for verb in verbs.split())


def union(parts: Iterable[Permissions]) -> Permissions:
    """The union of several sets of permissions."""
    return frozenset[Permission]().union(*parts)


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """The declaration of an action.

    `params` validates the parameters that a rule gives the action. `targets` are pods or workloads. `disrupts` means that the
    action takes a pod down, so that the floor and the one-disruption guard apply.
    """

    name: str
    params: type[BaseModel]
    targets: frozenset[ActsOn]
    disrupts: bool
    verb: str
    """The verb for messages: "evict"."""
    changes: bool = True
    """Whether it changes anything in the cluster. An action that does not spends no budget and waits for no rollout."""
    heals: bool = True
    """Whether anything can be healed by it. After one that only looks, the ladder goes on at once."""
    in_rollout: bool = False
    """Whether it is allowed during a rollout: it rolls the rollout back, or takes traffic off the new revision."""
    complete: Callable[[Any, Any], BaseModel] | None = None
    """Completes the parameters from the rule's trigger, when rules are read. Raises ValueError that says what is missing.

    It is called with the parameters and the rule's `healer.rules.schema.When`.
    """
    needs: Callable[[Any], Permissions] = lambda _: frozenset()
    """The permissions that it needs with given parameters."""
    apart: Callable[[Any], Mapping[str, Permissions]] = lambda _: {}
    """The part of `needs` for objects outside the target's namespace, by namespace."""
    restarts: bool = False
    """It replaces the workload's pods by others of the same revision, at the pace of a rollout."""
    evicts: bool = False
    """It requests an eviction, which a PodDisruptionBudget, an admission policy or missing permissions can deny."""
    elsewhere: Callable[[Any], bool] = lambda _: False
    """Whether it is taken, with given parameters, only where a replacement of the pod cannot come to the same node."""
    deletes: bool = False
    """It deletes a pod, which no PodDisruptionBudget can deny. It is never used after an eviction was denied."""
    diverts: bool = False
    """It takes traffic off the workload. The verification then checks the workload that serves instead. The action stores
    notes of the routes that it changed with the incident (`healer.routes.note`)."""
    one_by_one: bool = False
    """Attempts of it are made one after the other: what bounds it is counted in the cluster."""
    requires: str = ""
    """The setting that must be set for rules to use it: "alerts.url"; "" for none."""
    adds: bool = False
    """It adds units for a time. The step can help even when the new units do not get ready. In that case a human is asked, and no
    stronger step follows from it alone."""
    meaning: str = ""
    """The description for docs/rules.md."""


class OutcomeKind(StrEnum):
    """How an attempt to act ended."""

    DONE = "done"
    """The cluster accepted it."""
    GONE = "gone"
    """The target no longer exists, or another object has its name. Nothing was done, and nothing remains to be done."""
    RECOVERED = "recovered"
    """A fresh read showed that the target is no longer sick. Nothing was done."""
    DEFERRED = "deferred"
    """Not possible now (a PDB's 429, API throttling): retry later."""
    REFUSED = "refused"
    """Not possible at all (403, two PDBs for one pod): the step cannot help."""
    FAILED = "failed"
    """The action may or may not have taken effect (timeout, 500): check, then retry."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt. `reason` is one CamelCase word for metrics; `text` explains it.

    `retry_after` is in seconds; None when the server gave none. `denied`: an eviction was requested and was not granted, or the
    server did not answer. `ready`: the pod that was taken down was ready when it was last read.
    """

    kind: OutcomeKind
    reason: str
    text: str
    retry_after: float | None = None
    denied: bool = False
    ready: bool = False
    begun: bool = False
    """With DEFERRED: something was done, and is not over. Should the signals end meanwhile, it counts as done."""
