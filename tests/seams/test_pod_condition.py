"""The seam of pod conditions: one of the test's own, added from this file, can be named in rules and is healed."""

from pathlib import Path

import pytest

from healer.daemon.rulefiles import vocabulary
from healer.lab import Lab
from healer.model.incident import State
from healer.rules.loading import load, remarks
from healer.rules.pod_conditions import POD_CONDITIONS, PodCondition
from healer.rules.pod_detectors import Finding, ObservedPod, PodState
from healer.rules.reference import tables
from tests.integration.world import NAMESPACE, evictions, patch, rule, ruleset, serve
from tests.seams.house import house

pytestmark = pytest.mark.slow


def device_lost(seen: ObservedPod, before: bool) -> Finding | None:
    """A node agent has labelled the pod."""
    device = seen.pod.metadata.labels.get("example.com/lost-device")
    return None if device is None else Finding(f"its device {device} is gone")


DEVICE_LOST = PodCondition("DeviceLost", PodState.LIVING, device_lost, "an agent of its node has lost its device")


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one entry that the table needs."""
    monkeypatch.setitem(POD_CONDITIONS, DEVICE_LOST.name, DEVICE_LOST)


async def test_a_pod_with_a_new_condition_is_evicted(lab: Lab, tmp_path: Path) -> None:
    """It is ready all the time: nothing but the detector says that it is sick."""
    sick, *_ = await serve(lab)
    lost = rule("device-lost", when={"pod": [DEVICE_LOST.name], "for": "100ms"})
    async with house(lab, tmp_path, lost) as healer:
        await patch(
            lab, f"/api/v1/namespaces/{NAMESPACE}/pods/{sick}", {"metadata": {"labels": {"example.com/lost-device": "gpu0"}}}
        )
        healed = await healer.told.until(State.HEALED)
    assert evictions(lab) == [sick]
    (target,) = [each for each in healed.targets.values() if each.target.name == sick]
    assert "its device gpu0 is gone" in target.what


def test_a_new_condition_is_known_to_the_language() -> None:
    """A rule may name it, an `if` that can never be true of it is remarked on, and the page lists it."""
    text = ruleset(rule("device-lost", when={"pod": [DEVICE_LOST.name], "if": "pod.phase == 'Failed'"}))
    rules, problems = load(text, "rules.yaml", vocabulary())
    assert problems == []
    assert any("never matches DeviceLost" in remark for remark in remarks(rules))
    (problem,) = load(text.replace("DeviceLost", "DeviceLots"), "rules.yaml", vocabulary())[1]
    assert problem.hint == "did you mean DeviceLost?"
    assert "| `DeviceLost` | living | an agent of its node has lost its device |" in tables(vocabulary())["conditions"]
