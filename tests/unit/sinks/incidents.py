"""Incidents for the tests of the sinks."""

from dataclasses import replace

from healer.model.incident import Entry, Incident, Reason, SickTarget, State, Symptom
from healer.model.target import Target

POD = Target("Pod", "production", "tensorflow-serving-7b5b8c9d4-xyz12", "uid-1")
WORKLOAD = Target("Deployment", "production", "tensorflow-serving", "uid-d")


def incident(name: str = "crash-loop-1", *, notify: tuple[str, ...] = ("#ml-oncall",)) -> Incident:
    """One that was just opened."""
    opened = Entry(1000.0, State.OPEN, Reason("Matched", "CrashLoopBackOff for 2 min"))
    return Incident(
        id=name,
        rule="tensorflow-serving/crash-loop",
        workload=WORKLOAD,
        severity="critical",
        mode="enforce",
        notify=notify,
        opened_at=1000.0,
        changed_at=1000.0,
        state=State.OPEN,
        reason=opened.reason,
        targets={
            POD.uid: SickTarget(
                POD, {"k": Symptom("pod", "CrashLoopBackOff", "1", 990.0)}, 990.0, "CrashLoopBackOff: back-off 5m0s"
            )
        },
        steps=("evict", "rollback"),
        history=(opened,),
    )


def then(before: Incident, state: State, text: str, *, step: int = 0, code: str = "Because") -> Incident:
    """The incident one line of history later."""
    at = before.changed_at + 1
    reason = Reason(code, text)
    return replace(
        before, changed_at=at, state=state, reason=reason, step=step, history=(*before.history, Entry(at, state, reason, step))
    )
