"""Whether somebody has paused healer there, asked once more right before acting."""

from healer.actions.base import Call
from healer.model.action import Outcome, OutcomeKind
from healer.model.annotations import PAUSED
from healer.model.kube import Pod
from healer.model.view import target_of
from healer.model.workload import Workload


def paused(call: Call, *fresh: Pod | Workload) -> Outcome | None:
    """The outcome of not acting when healer is paused on one of these objects (just read), in their namespace, or everywhere."""
    if call.view.paused_everywhere:
        return Outcome(OutcomeKind.DEFERRED, "Paused", f"everything is paused ({call.view.paused_everywhere})")
    now = call.api.clock.wall()
    on = [f"{target_of(obj)}" for obj in fresh if obj.metadata.annotations.pauses(now)]
    namespace = call.view.namespace(call.act.target.namespace)  # no request of its own: the guard has just looked at the view
    if namespace is not None and namespace.metadata.annotations.pauses(now):
        on.append("the namespace")
    return Outcome(OutcomeKind.DEFERRED, "Paused", f'{PAUSED} is "true" on {on[0]}') if on else None
