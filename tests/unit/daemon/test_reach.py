"""Whether people can be told: what is said when healer starts, before the first incident."""

from pathlib import Path

import pytest

from healer.daemon.reach import addresses, delivery_problems
from healer.rules.loading import load
from healer.rules.rulebook import BoundRule
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
