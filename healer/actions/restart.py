"""Restart a pod that no PodDisruptionBudget covers, by deleting exactly that pod; its controller creates the next one.

Under a budget this action refuses, because `evict` honours the budget. The engine never takes it after an eviction that was
denied (`healer.engine.safety.guards.target.not_denied`).
"""

import msgspec
from pydantic import BaseModel, ConfigDict

from healer.actions.base import Call
from healer.actions.shared.recheck import look_again, recheck, rechecked
from healer.actions.shared.refusal import refusal, unread
from healer.cluster.api import ApiError, ClusterError
from healer.cluster.resources import RESOURCES
from healer.model.action import ActionSpec, Outcome, OutcomeKind, permissions
from healer.model.kube import Pod, PodDisruptionBudget, matches
from healer.model.target import ActsOn
from healer.model.unit import Unit


class RestartParams(BaseModel):
    """No parameters: the pod's own grace period applies."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Budgets(msgspec.Struct):
    items: list[PodDisruptionBudget] = []


class Restart:
    """The action `restart`."""

    spec = ActionSpec(
        name="restart",
        params=RestartParams,
        targets=frozenset({ActsOn.POD}),
        disrupts=True,
        verb="restart",
        deletes=True,
        needs=lambda _: rechecked() | permissions("policy", "poddisruptionbudgets", "list") | permissions("", "pods", "delete"),
        meaning=(
            "deletes that very pod; refused where a PodDisruptionBudget covers it, and after an eviction of it that "
            "was not granted"
        ),
    )

    async def run(self, call: Call) -> Outcome:
        """Recheck, check that no budget covers the pod, then delete it by uid and resourceVersion."""
        pod = await recheck(call)
        if isinstance(pod, Outcome):
            return pod
        target = call.act.target
        try:
            budgets = await call.api.get(RESOURCES[PodDisruptionBudget].path(target.namespace), _Budgets)
        except ClusterError as error:
            return unread(error, f"read the PodDisruptionBudgets of {target.namespace}")
        unit = call.view.unit_of(pod).seen(pod)
        gone = (pod, *unit.replaced_with(pod.metadata.uid))
        covering = [
            budget.metadata.name
            for budget in budgets.items
            if budget.spec.selector and any(matches(budget.spec.selector, each.metadata.labels) for each in gone)
        ]
        if covering:
            whom = target if len(gone) <= 2 else f"{target} or what goes with it"
            text = f"PodDisruptionBudget {', '.join(sorted(covering))} covers {whom}: use evict, which honours it"
            return Outcome(OutcomeKind.REFUSED, "UnderBudget", text)
        if (unwanted := call.still_wanted(call.act, pod)) is not None:  # time has passed since the recheck
            return Outcome(OutcomeKind.RECOVERED, unwanted.code, unwanted.text)
        return await _delete(call, pod, unit)


async def _delete(call: Call, pod: Pod, unit: Unit) -> Outcome:
    target, along = call.act.target, unit.going_along(pod.metadata.uid)
    also = f"; {along}" if along else ""
    options: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version},
    }
    if call.act.dry_run:
        options["dryRun"] = ["All"]
    if (forbidden := call.sending()) is not None:
        return forbidden
    try:
        await call.api.request("DELETE", RESOURCES[Pod].path(target.namespace, target.name), body=options)
    except ApiError as error:
        if error.is_not_found:
            now = await look_again(call, "a 404")
            return now if isinstance(now, Outcome) else refusal(error, f"restart {target}")
        if error.is_conflict:
            return await _conflict(call, error)
        return refusal(error, f"restart {target}")
    except ClusterError as error:
        return refusal(error, f"restart {target}")
    if call.act.dry_run:
        return Outcome(
            OutcomeKind.DONE, "WouldRestart", f"{target} would be restarted{also} (observe: dry run, nothing was done)"
        )
    return Outcome(OutcomeKind.DONE, "Restarted", f"{target} is deleted; waiting for its replacement{also}", ready=unit.ready)


async def _conflict(call: Call, error: ApiError) -> Outcome:
    """The outcome of a 409: the pod changed since it was read. A pod that is terminating may have been deleted by this very
    request, because the HTTP client repeats a DELETE whose connection was cut."""
    target = call.act.target
    now = await look_again(call, "a conflict")
    if isinstance(now, Outcome):
        if now.reason == "AlreadyGone":
            return Outcome(OutcomeKind.FAILED, "Conflict", f"{target} is gone, by this request or by another")
        return now
    if now.terminating:
        return Outcome(OutcomeKind.FAILED, "Conflict", f"{target} is being deleted, by this request or by another")
    text = f"{target} changed between the last look and the restart: looking again ({error.message})"
    return Outcome(OutcomeKind.DEFERRED, "Changed", text)
