"""One ladder at a time on a workload: the guard, and which incidents keep others off theirs."""

from healer.engine.safety.guards.question import Question, Veto
from healer.engine.safety.ledger import made_good
from healer.model.incident import Incident, Reason, State
from healer.model.view import View
from healer.rules.schema import Mode


def one_ladder(q: Question) -> Veto | None:
    """One ladder climbing on a workload at a time, whichever rules are open. One that observes, or tells people, climbs nothing.

    Taking traffic off a workload takes none of its pods: those who are served by a bad version need not wait for another ladder.
    A ladder that waits for the replacement of the pod that it took does not keep others off that replacement.
    """
    for other in q.competing if q.action.changes and not q.action.diverts else ():
        if not _waits_for(other, q):
            return Veto(Reason("OtherIncident", f"{other.id} ({other.rule}) is {other.state} on {q.incident.workload}"))
    return None


def _waits_for(incident: Incident, q: Question) -> bool:
    """Whether an incident has nothing left but to see a pod ready that came after it acted, and the target is that pod; or to see
    the end of the pod that it took, and all else is well."""
    down = incident.disruption
    if incident.state is not State.VERIFYING or incident.any_sick or down is None or down.target.uid not in incident.treated:
        return False
    pod, taken = q.view.pod(q.target.uid), q.view.pod(down.target.uid)
    if taken is not None and taken.terminating and incident.stable_since is not None:
        return True
    return pod is not None and not pod.ready and pod.metadata.uid not in down.known


def competes(incident: Incident, view: View) -> bool:
    """Whether an incident keeps others off its workload: it acts, looks whether that helped, or does not know if it has acted."""
    if incident.mode == Mode.OBSERVE or (incident.state is State.VERIFYING and _found_nothing(incident, view)):
        return False
    return incident.state in (State.ACTING, State.VERIFYING) or incident.failures > 0


def _found_nothing(incident: Incident, view: View) -> bool:
    """Whether its step found nothing left to do on the pods that it was taken on, and all that earlier ones took is made good."""
    if incident.storming or incident.failures or incident.known or not incident.treated:
        return False
    return incident.workload.uid not in incident.treated and all(made_good(taken, view) for taken in incident.down)
