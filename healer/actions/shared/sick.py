"""Which revisions of a workload are sick: what changes a revision must not be done for the sins of another one."""

from healer.actions.base import Call
from healer.actions.shared.rolling import kind_of


def sick_revisions(call: Call) -> set[str]:
    """The revisions of what is sick: of the pods as they are labelled, of the workload as it was when the incident opened.

    They are named as `Workload.revision` names them. Pods that are gone, and revisions that are not known, are left out.
    """
    incident = call.act.incident
    pods = [pod for sick in incident.sick if (pod := call.view.pod(sick.target.uid)) is not None]
    found = {kind_of(call).pod_revision(call.view, pod) for pod in pods}
    if any(sick.target == incident.workload for sick in incident.sick):
        found.add(incident.revision)
    return found - {""}
