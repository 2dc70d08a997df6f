"""Incidents for the tests of the journals."""

from dataclasses import replace

from healer.model.incident import Entry, Incident, Reason, SickTarget, State, Symptom
from healer.model.target import Target

NOW = 1_790_000_000.25
POD = Target("Pod", "production", "serving-7b5b8c9d4-xyz12", "11111111-2222-3333-4444-555555555555")


def incident(name: str = "crash-loop-1", namespace: str = "production", *, opened_at: float = NOW) -> Incident:
    """One that was just opened; each has a workload of its own."""
    opened = Entry(opened_at, State.OPEN, Reason("CrashLoopBackOff", "pod/serving-xyz12 is sick: CrashLoopBackOff"))
    pod = replace(POD, namespace=namespace)
    symptom = Symptom("pod", "CrashLoopBackOff", "1", opened_at)
    return Incident(
        id=name,
        rule="tensorflow-serving/crash-loop",
        workload=Target("Deployment", namespace, f"serving-{name}", f"uid-of-{name}"),
        severity="critical",
        mode="enforce",
        notify=("#ml-oncall",),
        opened_at=opened_at,
        changed_at=opened_at,
        state=State.OPEN,
        reason=opened.reason,
        targets={pod.uid: SickTarget(pod, {f"{pod.uid}/CrashLoopBackOff": symptom}, opened_at, "CrashLoopBackOff")},
        steps=("evict", "rollback"),
        history=(opened,),
    )


def then(before: Incident, state: State, text: str = "so it is", *, attempt: int | None = None, later: float = 1) -> Incident:
    """The incident a second later."""
    at = before.changed_at + later
    reason = Reason("Because", text)
    return replace(
        before,
        changed_at=at,
        state=state,
        reason=reason,
        attempt=before.attempt if attempt is None else attempt,
        ended_at=at if state is State.CLOSED else before.ended_at,
        history=(*before.history, Entry(at, state, reason, before.step)),
    )
