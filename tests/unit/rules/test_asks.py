"""What a rule asks of Prometheus, for people; and how an incident carries it."""

from typing import Any

import pytest

from healer.engine.incidents.opening import background
from healer.model.incident import Background
from healer.model.signal import Signal
from healer.model.target import Target
from tests.support.world import rule, rulebook

POD = Target("Pod", "production", "serving-1", "pod-1")
QUERY = {"expr": "sum by (namespace, pod) (\n  rate(errors[5m]))", "above": 0.2}
SIDES = {
    "route": {"kind": "Ingress", "name": "ab"},
    "stable": {"deployment": "v1"},
    "canary": {"deployment": "v2"},
}


def asks(when: dict[str, Any]) -> str:
    (bound,) = rulebook(rule(when=when, heal=[{"page": {}}])).rules
    return background(bound, Signal("any", "Any", POD, True, 0.0, "k")).asks


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (QUERY, "sum by (namespace, pod) ( rate(errors[5m])) > 0.2"),
        (QUERY | {"unit": "errors/s"}, "sum by (namespace, pod) ( rate(errors[5m])) > 0.2 errors/s"),
        ({"expr": "up", "below": 1}, "up < 1"),
    ],
)
def test_a_query_is_said_with_its_threshold_and_its_unit(query: dict[str, Any], said: str) -> None:
    assert asks({"query": query}) == said


def test_a_canary_is_said_with_all_its_measures() -> None:
    errors = {"name": "errors", "total": 'n{pod=~"{{ pods }}"}', "bad": 'n{pod=~"{{ pods }}",code="500"}'}
    slow = {"name": "slow", "histogram": 'd_bucket{pod=~"{{ pods }}"}', "slowerThan": "250ms"}
    said = asks({"canary": SIDES | {"measures": [errors, slow]}})
    assert said == (
        'errors: n{pod=~"{{ pods }}",code="500"} of n{pod=~"{{ pods }}"}; slow: slower than 250ms of d_bucket{pod=~"{{ pods }}"}'
    )


def test_a_rule_that_asks_nothing_has_its_description_alone() -> None:
    (bound,) = rulebook(rule(description="Evict:\n  a crash loop.\n")).rules
    alert = Signal("pod", "CrashLoopBackOff", POD, True, 0.0, "k", links={"runbook": "https://r.example.com", "alert": "no link"})
    assert background(bound, alert) == Background("Evict: a crash loop.", "", {"runbook": "https://r.example.com"})
