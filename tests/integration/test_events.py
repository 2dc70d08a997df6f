"""Rules on Events of Kubernetes, the real process against the lab."""

from typing import Any

from healer.lab import Lab
from healer.lab.kinds import EVENT
from healer.lab.objects import timestamp
from tests.integration.conftest import Run
from tests.integration.world import NAMESPACE, evictions, rule, ruleset, serve, uid

FLAPS = rule("mount", when={"event": {"reasons": ["FailedMount"]}})


def report(lab: Lab, pod: str, reason: str = "FailedMount", *, name: str = "e1", count: int = 1, kind: str = "Warning") -> None:
    """The kubelet reports an event about a pod, as it was seen so often."""
    now = timestamp()
    about = {"kind": "Pod", "namespace": NAMESPACE, "name": pod, "uid": uid(lab, pod), "apiVersion": "v1"}
    said: dict[str, Any] = {"reason": reason, "type": kind, "message": f"{reason} of {pod}", "source": {"component": "kubelet"}}
    times = {"firstTimestamp": now, "lastTimestamp": now, "count": count}
    if count > 1:
        lab.api.modify(EVENT, NAMESPACE, name, lambda obj: obj.update(times))
        return
    meta = {"name": name, "namespace": NAMESPACE}
    lab.api.create(EVENT, NAMESPACE, {"metadata": meta, "involvedObject": about} | said | times)


async def test_a_pod_that_an_event_is_about_is_evicted_once(lab: Lab, run: Run) -> None:
    """Events that nobody looks for, and those of before, are no reason; a repetition is the same event going on."""
    sick, other, _ = await serve(lab, min_available=None)
    report(lab, other, name="old")
    healer = await run(ruleset(FLAPS))
    report(lab, other, "Unhealthy", name="e2")
    report(lab, other, kind="Normal", name="e3")
    report(lab, sick)
    report(lab, sick, count=7)
    opened = await healer.says("open", rule="test/mount")
    assert opened["text"] == f"pod/{sick}: FailedMount of {sick}"
    await healer.says("incident healed", rule="test/mount")
    assert evictions(lab) == [sick]
    assert len(healer.find("open")) == 1


async def test_what_happened_before_is_not_told_again_when_the_watch_begins_anew(lab: Lab, run: Run) -> None:
    """Neither at the start nor after the past was compacted: the rule waits for as many as it asks for from now on."""
    sick, other, _ = await serve(lab, min_available=None)
    report(lab, other, name="old")
    report(lab, other, name="old", count=9)
    often = {"event": {"reasons": ["FailedMount"]}, "count": {"atLeast": 5, "within": "10m"}}
    healer = await run(ruleset(rule("often", when=often)))
    report(lab, sick)
    await healer.says("pend", rule="test/often", text="FailedMount seen 1 of 5 times within 10 m")
    lab.compact()
    listed = lab.faults.delay(0, verb="list", resource="events")
    lab.faults.end_watch(verb="watch", resource="events")
    await listed.used()
    again = lab.faults.delay(0, verb="watch", resource="events")
    await again.used()
    report(lab, sick, count=3)
    report(lab, sick, count=5)
    await healer.says("open", rule="test/often")
    assert [each["target"] for each in healer.find("open")] == [f"pod/{sick}"]
