"""Whether healer is paused for a target, checked once more right before acting."""

from healer.actions.base import Call
from healer.engine.safety.guards.stops import pause
from healer.model.action import Outcome, OutcomeKind
from healer.model.kube import Pod
from healer.model.workload import Workload


def paused(call: Call, *fresh: Pod | Workload) -> Outcome | None:
    """The outcome of not acting when healer is paused on one of these objects (just read), in their namespace, or everywhere."""
    veto = pause(call.view, call.act.target.namespace, fresh, call.api.clock.wall())
    return None if veto is None else Outcome(OutcomeKind.DEFERRED, veto.reason.code, veto.reason.text)
