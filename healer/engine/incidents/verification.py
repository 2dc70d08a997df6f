"""Whether a workload is as it should be: what "healed" means."""

from healer.model.incident import Incident, Reason
from healer.model.target import Target
from healer.model.view import View


def unhealthy(view: View, workload: Target) -> Reason | None:
    """Why the workload is not at its desired ready count on its current revision; None when it is.

    Both the pods as watched and the workload's status must say so: either may lag behind the other.
    """
    now = view.workload(workload.uid)
    if now is None:
        return Reason("WorkloadGone", f"{workload} is gone")
    if now.rollout is not None:
        return now.rollout
    ready = min(sum(unit.ready for unit in view.units_of(workload)), now.ready)
    if ready < now.desired:
        units, failure = "replicas" if now.group is None else now.units, f"; {now.failure}" if now.failure else ""
        return Reason("NotEnoughReady", f"{ready} of {now.desired} {units} are ready{failure}")
    return None


def unhealed(view: View, incident: Incident, serving: Target | None) -> Reason | None:
    """Why the incident is not healed: a signal still fires, or the workload that serves is not well; None when all is well.

    `serving` is None where the incident is about no workload's health: a record of a finished pod is healed when it is gone.
    """
    if sick := incident.sick:
        named = ", ".join(f"{'the new ' if incident.is_newer(s.target) else ''}{s.target} ({s.what})" for s in sick[:3])
        state = "sick as well" if all(incident.is_newer(s.target) for s in sick) else "still sick"
        more = f" and {len(sick) - 3} more" if len(sick) > 3 else ""
        workload = None if serving is None else view.workload(serving.uid)
        failure = "" if workload is None else workload.failure
        return Reason("StillSick", f"{state}: {named}{more}" + (f"; {failure}" if failure else ""))
    return None if serving is None else unhealthy(view, serving)
