"""Take a sick pod away from all that selects it, by its labels: another starts in its place, and it stays to be examined.

It is a disruption like an eviction, and honours PodDisruptionBudgets by itself, because no API does it here. healer does not see
a pod with the label any more (`healer.cluster.watch`). It is deleted at its expiry; `healer undo` gives it its labels back.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from pydantic import Field

from healer.actions.base import Call, Clients, Reversal
from healer.actions.shared.counted_budget import CountedBudget
from healer.actions.shared.recheck import look_again, recheck, rechecked
from healer.actions.shared.refusal import refusal, unread
from healer.actions.shared.rolling import rung
from healer.actions.shared.selecting import READS, Selecting, StillSelected, leaving, selecting
from healer.actions.shared.temporary import keep
from healer.actions.undo_quarantine import QUARANTINED_UNTIL, deletion, releases
from healer.cluster.api import Api, ApiError, ClusterError
from healer.cluster.resources import RESOURCES
from healer.model.action import ActionSpec, Outcome, OutcomeKind, permissions
from healer.model.annotations import QUARANTINED, QUARANTINED_FROM
from healer.model.duration import Duration, about
from healer.model.incident import Incident, Reason
from healer.model.kube import Pod, matches
from healer.model.target import ActsOn
from healer.model.temporary import TemporaryChange
from healer.model.view import View
from healer.rules.form import Model, Whole

_MOST = 5
"""Quarantined pods of one namespace."""


class QuarantineParams(Model):
    """How many, and for how long."""

    most: Annotated[Whole, Field(ge=1, le=5)] = 1
    """So many pods of one workload may be in quarantine at the same time; of a namespace, 5."""
    keep_for: Annotated[Duration, Field(ge=60, le=7 * 86400)] = 86400.0
    """How long the pod is kept. Then healer deletes it. It keeps its resources until then, a GPU as well."""


class _CountedBudgets(msgspec.Struct):
    items: list[CountedBudget] = []


class _QuarantinedPods(msgspec.Struct):
    items: list[Pod] = []


class Quarantine:
    """The action `quarantine`."""

    spec = ActionSpec(
        name="quarantine",
        params=QuarantineParams,
        targets=frozenset({ActsOn.POD}),
        disrupts=True,
        verb="quarantine",
        deletes=True,  # no budget can deny it, so that it is never used after an eviction was denied
        one_by_one=True,
        needs=lambda _: rechecked() | permissions("", "pods", "list patch delete") | READS,
        meaning=(
            "takes a pod of a ReplicaSet away from its owner and out of its Services, InferencePools and budgets, so that "
            "another starts, and keeps it to be examined; refused where a PodDisruptionBudget allows no disruption, and where "
            "something would select it still. Deleted after `keepFor`"
        ),
    )

    async def run(self, call: Call) -> Outcome:
        """Recheck, read what selects the pod and what guards it, journal its labels, and take them away."""
        params = call.act.params
        assert isinstance(params, QuarantineParams)
        pod = await recheck(call)
        if isinstance(pod, Outcome):
            return pod
        owner = pod.metadata.controller
        if owner is None or owner.kind != "ReplicaSet":
            whose = "nobody" if owner is None else f"a {owner.kind}"
            text = f"{call.act.target} belongs to {whose}: only a ReplicaSet starts another pod beside one that is kept"
            return Outcome(OutcomeKind.REFUSED, "NotReplaced", text)
        try:
            if (refused := await _bounded(call, params)) is not None:
                return refused
            budgets = await _budgets(call.api, pod.metadata.namespace)
            if (refused := _budgeted(call, pod, budgets)) is not None:
                return refused
            found = [*await selecting(call.api, pod, owner.name), *(what for what, _ in budgets)]
            removed = leaving(pod.metadata.labels, _marks(call.act.incident), found)
        except ClusterError as error:
            return unread(error, f"read what selects {call.act.target}")
        except StillSelected as still:
            text = (
                f"{still} would select {call.act.target} still, whatever labels it loses: nothing was done. Have its selector "
                "ask for a label (matchLabels, In or Exists)"
            )
            return Outcome(OutcomeKind.REFUSED, "StillSelected", text)
        return await _quarantine(call, params, pod, removed)

    async def reversal(self, clients: Clients, incident: Incident, key: str, change: TemporaryChange) -> Reversal:
        """See `Temporary`: at its expiry the pod is deleted."""
        return await deletion(clients.api, incident, key, change)

    async def reversals(self, api: Api, incident: Incident, namespace: str, kept: Mapping[str, str]) -> Sequence[Reversal]:
        """See `Undoable`: a person releases it."""
        return await releases(api, incident, namespace, kept)

    def hold(self, incident: Incident, change: TemporaryChange, view: View, beside: Sequence[Incident]) -> Reason | None:
        """See `Temporary`. The pod serves nobody."""
        return None


async def _bounded(call: Call, params: QuarantineParams) -> Outcome | None:
    """Why no further pod may be kept; None when one may. Raises ClusterError."""
    workload = call.act.incident.workload
    found = await call.api.get(RESOURCES[Pod].path(workload.namespace), _QuarantinedPods, {"labelSelector": QUARANTINED})
    mine = [each.metadata.name for each in found.items if each.metadata.labels.get(QUARANTINED_FROM) == workload.uid]
    if len(mine) < params.most and len(found.items) < _MOST:
        return None
    kept = sorted(mine or [each.metadata.name for each in found.items])
    text = f"{', '.join(kept[:3])} is in quarantine already: release or delete it (healer undo, kubectl delete)"
    return Outcome(OutcomeKind.REFUSED, "QuarantineLimit", text)


async def _budgets(api: Api, namespace: str) -> list[tuple[Selecting, CountedBudget]]:
    """The PodDisruptionBudgets of a namespace, without those that select no pods (a null selector). Raises ClusterError."""
    found = await api.get(f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets", _CountedBudgets)
    return [
        (Selecting(f"PodDisruptionBudget {each.metadata.name}", each.spec.selector), each)
        for each in found.items
        if each.spec.selector is not None
    ]


def _budgeted(call: Call, pod: Pod, budgets: Sequence[tuple[Selecting, CountedBudget]]) -> Outcome | None:
    """Why the PodDisruptionBudgets do not allow it now; None when they do."""
    mine = [budget for what, budget in budgets if matches(what.selector, pod.metadata.labels)]
    names = ", ".join(sorted(each.metadata.name for each in mine))
    if len(mine) > 1:
        text = f"more than one PodDisruptionBudget covers {call.act.target}: delete all but one of them ({names})"
        return Outcome(OutcomeKind.REFUSED, "TwoBudgets", text)
    for budget in mine:
        if not budget.allows(pod):
            text = f"PodDisruptionBudget {names} allows no disruption now, and healer does not go around it"
            return Outcome(OutcomeKind.DEFERRED, "BudgetRefused", text)
    return None


def _marks(incident: Incident) -> dict[str, str]:
    """The labels of a pod in quarantine."""
    return {QUARANTINED: incident.id, QUARANTINED_FROM: incident.workload.uid}


async def _quarantine(call: Call, params: QuarantineParams, pod: Pod, removed: Mapping[str, str]) -> Outcome:
    target, incident = call.act.target, call.act.incident
    until = call.api.clock.wall() + params.keep_for
    before = msgspec.json.encode(removed).decode()
    change = TemporaryChange(before, pod.metadata.uid, rung(call), until=until, with_incident=False)
    if not call.act.dry_run and (unkept := await keep(call, {f"pod/{target.name}": change})) is not None:
        return unkept
    if (unwanted := call.still_wanted(call.act, pod)) is not None:
        return Outcome(OutcomeKind.RECOVERED, unwanted.code, unwanted.text)
    labels = dict.fromkeys(removed) | _marks(incident)
    metadata = {
        "uid": pod.metadata.uid,
        "resourceVersion": pod.metadata.resource_version,
        "labels": labels,
        "annotations": {QUARANTINED_UNTIL: f"{until:.0f}"},
    }
    if (forbidden := call.sending()) is not None:
        return forbidden
    path, query = RESOURCES[Pod].path(target.namespace, target.name), {"dryRun": "All"} if call.act.dry_run else None
    form = "application/merge-patch+json"
    try:
        await call.api.request("PATCH", path, query=query, body={"metadata": metadata}, content_type=form)
    except ApiError as error:
        if error.is_not_found or error.status == 422:  # 422: the uid is another
            now = await look_again(call, f"a {error.status}")
            return now if isinstance(now, Outcome) else refusal(error, f"quarantine {target}")
        if error.is_conflict:
            return Outcome(OutcomeKind.DEFERRED, "Changed", f"{target} changed meanwhile: looking again ({error.message})")
        return refusal(error, f"quarantine {target}")
    except ClusterError as error:
        return refusal(error, f"quarantine {target}")
    if call.act.dry_run:
        text = f"{target} would be put in quarantine (observe: dry run, nothing was done)"
        return Outcome(OutcomeKind.DONE, "WouldQuarantine", text)
    text = (
        f"{target} is in quarantine for {about(params.keep_for)}, and keeps its resources (a GPU as well); waiting for its "
        f"replacement. healer undo incident/{incident.id} releases it"
    )
    return Outcome(OutcomeKind.DONE, "Quarantined", text, ready=pod.ready)
