"""Whether people can be told: what is said when healer starts, before the first incident."""

from pathlib import Path

import pytest

from healer.daemon.reach import addresses, delivery_problems
from healer.rules.loading import load
from healer.rules.rulebook import BoundRule
from healer.sinks.base import Severity
from healer.sinks.pagerduty import PagerDutySettings
from healer.sinks.slack.settings import SlackSettings
from tests.unit.rules.actions import VOCABULARY
from tests.unit.rules.test_errors import GOOD


def rules(extra: str = "") -> list[BoundRule]:
    found, problems = load(GOOD + extra, "f.yaml", VOCABULARY)
    assert problems == []
    return found


NOTIFY = '      notify: ["#ml-oncall"]\n      onStorm:\n        page: {channels: ["#sre"]}\n'


def test_the_addresses_of_rules_are_those_of_notify_and_of_pages() -> None:
    assert addresses(rules(NOTIFY)) == {"#ml-oncall", "#sre"}


def test_rules_that_name_channels_need_a_sink_that_reaches_people() -> None:
    (said,) = delivery_problems(rules(NOTIFY), {"slack": SlackSettings()}, reach_people=False)
    assert said.startswith("rules name #ml-oncall, #sre, and no sink but the log is set up")
    assert "HEALER_SLACK__TOKEN_FILE" in said
    assert (
        list(delivery_problems(rules(NOTIFY), {"slack": SlackSettings(token_file=Path("/t"), channel="#a")}, reach_people=True))
        == []
    )


@pytest.mark.parametrize("extra", ["", NOTIFY])
def test_a_channel_without_a_token_is_said(extra: str) -> None:
    said = list(delivery_problems(rules(extra), {"slack": SlackSettings(channel="#a")}, reach_people=False))
    assert said[0].startswith("HEALER_SLACK__CHANNEL is #a, and there is no token")


def test_rules_that_name_nobody_want_nobody_told() -> None:
    assert list(delivery_problems(rules(), {"slack": SlackSettings()}, reach_people=False)) == []


SERVICES = {"ml": Path("/key")}


@pytest.mark.parametrize(
    ("severity", "slack", "pager", "untold"),
    [
        ("critical", ("critical", "warning", "info"), (), False),
        ("critical", ("warning", "info"), ("critical",), False),
        ("warning", ("warning", "info"), ("critical",), False),
        ("critical", ("warning", "info"), (), True),
        ("info", ("warning",), ("critical",), True),
    ],
)
def test_a_severity_that_no_sink_tells_by_default_is_said(
    severity: Severity, slack: tuple[Severity, ...], pager: tuple[Severity, ...], untold: bool
) -> None:
    sections = {
        "slack": SlackSettings(token_file=Path("/t"), channel="#a", severities=slack),
        "pagerduty": PagerDutySettings(services=SERVICES, default="ml" if pager else "", severities=pager),
    }
    bound = rules(f"      severity: {severity}\n")
    said = list(delivery_problems(bound, sections, reach_people=True))
    assert [text.startswith(f"rules without notify have the severity {severity}, and no sink") for text in said] == [
        True
    ] * untold
    assert list(delivery_problems(rules(f"      severity: {severity}\n{NOTIFY}"), sections, reach_people=True)) == []


def test_a_pager_that_is_not_set_up_tells_nobody_by_default() -> None:
    sections = {
        "slack": SlackSettings(token_file=Path("/t"), channel="#a", severities=("info",)),
        "pagerduty": PagerDutySettings(),
    }
    (said,) = delivery_problems(rules("      severity: critical\n"), sections, reach_people=True)
    assert said.endswith("set a default target and its severities (HEALER_SLACK__SEVERITIES)")
