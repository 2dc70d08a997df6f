"""Whether somebody has paused healer there, asked once more right before acting."""

import time

from healer.actions.base import Call
from healer.model.action import Outcome, OutcomeKind
from healer.model.annotations import PAUSED
from healer.model.kube import Deployment, Pod


def paused(call: Call, *fresh: Pod | Deployment) -> Outcome | None:
    """The outcome of not acting when healer is paused on one of these objects (just read), in their namespace, or everywhere."""
    if call.view.paused_everywhere:
        return Outcome(OutcomeKind.DEFERRED, "Paused", f"everything is paused ({call.view.paused_everywhere})")
    now = time.time()
    on = [f"{_named(obj)}" for obj in fresh if obj.metadata.annotations.pauses(now)]
    namespace = call.view.namespace(call.act.target.namespace)  # no request of its own: the guard has just looked at the view
    if namespace is not None and namespace.metadata.annotations.pauses(now):
        on.append("the namespace")
    return Outcome(OutcomeKind.DEFERRED, "Paused", f'{PAUSED} is "true" on {on[0]}') if on else None


def _named(obj: Pod | Deployment) -> str:
    return f"{'pod' if isinstance(obj, Pod) else 'deployment'}/{obj.metadata.name}"
