"""What a sick pod says is kept before it is evicted, the real process against the lab; what cannot be read holds nothing up."""

from typing import Any

import pytest
import yaml

from healer.lab import Lab
from healer.lab.objects import Object
from tests.integration.conftest import Run
from tests.integration.test_scale import history, says
from tests.integration.world import NAMESPACE, evictions, pods, rule, ruleset, serve, serves, told, uid
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack

SECRET = "hf_abcdefghijklmnopqrstuvwx"


def before_evict(**more: Any) -> str:
    """The rule: collect, then evict at once; a verification of `collect` would take longer than the test waits."""
    steps = [
        {"collect": {}, "verify": {"within": "1h"}},
        {"evict": {}, "verify": {"within": "30s", "stable": "300ms"}},
    ]
    return ruleset(rule("crash-loop", when={"pod": ["CrashLoopBackOff"], "for": "300ms"}, heal=steps, **more))


def kept(lab: Lab) -> list[Object]:
    """The ConfigMaps of what was collected."""
    found = lab.objects("configmaps", NAMESPACE)
    return [each for each in found if (each["metadata"].get("labels") or {}).get("healer.dev/collected") == "true"]


async def test_the_logs_and_events_of_a_pod_are_kept_before_it_is_evicted(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """In a ConfigMap that goes with its incident, redacted; the thread says where it is and how the log ends."""
    sick, *_ = await serve(lab)
    was = uid(lab, sick)
    lab.log(NAMESPACE, sick, f"loading\nHF_TOKEN={SECRET}\nCUDA error: out of memory")
    await lab.apply(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "backing-off", "namespace": NAMESPACE},
            "involvedObject": {"kind": "Pod", "namespace": NAMESPACE, "name": sick, "uid": was},
            "type": "Warning",
            "reason": "BackOff",
            "message": "Back-off restarting failed container",
            "count": 4,
            "lastTimestamp": "2026-11-29T09:00:00Z",
        }
    )
    await run(before_evict())
    await lab.behave(NAMESPACE, sick, "crash")
    await lab.wait_for(serves(3, without=was), PATIENCE)
    await slack.wait_for(told("healed"), PATIENCE)

    (found,) = kept(lab)
    (incident,) = lab.objects("incidents.healer.dev", NAMESPACE)
    data = found["data"]
    container = "tensorflow-serving"
    assert found["metadata"]["ownerReferences"][0]["uid"] == incident["metadata"]["uid"]
    assert "CUDA error: out of memory" in data[f"{sick}.{container}.log"]
    assert SECRET not in str(data)
    assert "Warning BackOff x4: Back-off restarting failed container" in data[f"{sick}.events.txt"]
    assert yaml.safe_load(data[f"{sick}.pod.yaml"])["metadata"]["uid"] == was
    assert yaml.safe_load(data["workload.yaml"])["kind"] == "Deployment"
    assert yaml.safe_load(data[f"{sick}.node.yaml"])["status"]["conditions"][0]["type"] == "Ready"
    codes = history(lab)
    assert codes.index("Collected") < codes.index("Evicted") < codes.index("Healed")
    assert len(incident["status"]["actedAt"]) == 1, "to collect spends no budget"
    assert evictions(lab) == [sick]
    await slack.wait_for(says(f"configmap/{found['metadata']['name']}"), PATIENCE)
    await slack.wait_for(says("CUDA error: out of memory"), PATIENCE)


@pytest.mark.parametrize("missing", ["the right to read logs", "the right to keep them"])
async def test_what_may_not_be_read_or_kept_holds_nothing_up(lab: Lab, run: Run, slack: FakeSlack, missing: str) -> None:
    """It is said, and the pod is evicted."""
    sick, *_ = await serve(lab)
    lab.forbid(*(("get", "pods/log") if missing == "the right to read logs" else ("create", "configmaps")))
    await run(before_evict())
    await lab.behave(NAMESPACE, sick, "crash")
    await slack.wait_for(told("healed"), PATIENCE)
    assert ("Collected" if missing == "the right to read logs" else "NotCollected") in history(lab)
    assert evictions(lab) == [sick]
    await slack.wait_for(says("not read: " if missing == "the right to read logs" else "could not be kept"), PATIENCE)
    assert len(kept(lab)) == (1 if missing == "the right to read logs" else 0)


async def test_a_rule_that_observes_keeps_nothing_and_says_what_both_steps_would_do(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """It goes on from the step that only looks."""
    sick, *_ = await serve(lab)
    await run(before_evict(mode="observe"))
    await lab.behave(NAMESPACE, sick, "crash")
    await slack.wait_for(says("would be kept in configmap/"), PATIENCE)
    await slack.wait_for(says("would be evicted (observe"), PATIENCE)
    assert kept(lab) == []
    assert sick in pods(lab)
