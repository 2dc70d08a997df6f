"""Each action that a rule may name is played to its end: it is done, or refused with its reason."""

from typing import Any

import pytest

from healer.actions.registry import ACTIONS
from healer.model.effects import Verb
from healer.rehearsal.timeline import ACT
from tests.unit.rehearsal.simulate.played import EVICT, play, scenario

SHOWS = {"pod": "hang", "alert": {"name": "Hangs"}}
HANG: dict[str, Any] = {"name": "hang", "at": "10m", "target": {"workload": "llm", "pods": 1}, "shows": SHOWS}
RULE = EVICT.replace("when: {pod: [NotReady, CrashLoopBackOff], for: 1m}", "when: {alert: [Never]}")
"""Only its rule on the alert finds something."""
ROUTE = "route: {kind: HTTPRoute, name: m}"
STEPS = {
    "job": "job: {template: mend}",
    "pinModelVersion": "pinModelVersion: {configMap: models, model: llm, version: 1}",
    "scale": "scale: {max: 4}",
    "shiftTraffic": f"shiftTraffic: {{to: 0, {ROUTE}, stable: {{deployment: m}}, canary: {{deployment: llm}}}}",
}
"""The steps that need parameters."""
WANTS = {
    "job": "NoTemplate",
    "rollback": "NoEarlierRevision",
    "pinModelVersion": "NotMounted",
    "shiftTraffic": "KindMissing",
    "cordon": "CordonOff",
}
"""Why those are refused for which the cluster of this scenario has nothing."""


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_is_done_or_refused_with_its_reason(action: str) -> None:
    text = RULE.replace("- evict: {}", f"- {STEPS.get(action, f'{action}: {{}}')}")
    life = play(scenario(faults=[HANG]), text=text)
    found = [each.code for each in life.timeline if each.kind in (ACT, Verb.REFUSE)]
    assert found[:1] == [WANTS.get(action, action)]
    assert [each.reason for each in life.not_done] == [WANTS[each] for each in [action] if each in WANTS]


def test_a_pod_in_quarantine_hurts_nobody_and_is_cured_when_its_replacement_is_ready() -> None:
    """Its replacement is ready after 10 s and 20 s."""
    life = play(scenario(faults=[HANG]), text=EVICT.replace("evict", "quarantine"))
    (at,) = [each.at for each in life.timeline if each.code == "quarantine"]
    assert [each.healed for each in life.strikes] == [pytest.approx(at + 30, abs=1)]
