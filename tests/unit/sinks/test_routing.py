"""Who is told by severity: all sinks together, as the settings of a cluster have them."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from healer.sinks.base import SinkMeters
from healer.sinks.registry import build
from tests.support.pagerduty import KEY, FakePagerDuty
from tests.support.receiver import Receiver
from tests.support.slack import TOKEN, FakeSlack
from tests.unit.sinks.benches import escalated


@pytest.mark.parametrize(
    ("severity", "notify", "slack", "paged", "posted"),
    [
        ("critical", (), set(), 1, 0),
        ("warning", (), {"#home"}, 0, 0),
        ("info", (), {"#home"}, 0, 0),
        ("critical", ("#ml",), {"#ml"}, 0, 0),
        ("info", ("pagerduty:ml", "webhook:bus"), set(), 1, 1),
        ("critical", ("#ml", "webhook:bus"), {"#ml"}, 0, 1),
    ],
)
async def test_critical_pages_the_rest_is_in_slack_and_who_is_named_is_told_alone(
    severity: str, notify: tuple[str, ...], slack: set[str], paged: int, posted: int, tmp_path: Path
) -> None:
    await asyncio.to_thread((tmp_path / "token").write_text, TOKEN)
    await asyncio.to_thread((tmp_path / "key").write_text, KEY)
    async with FakeSlack() as chat, FakePagerDuty() as pager, Receiver() as bus:
        wanted: dict[str, dict[str, object]] = {
            "slack": {
                "token_file": tmp_path / "token",
                "channel": "#home",
                "base_url": chat.url,
                "severities": ["warning", "info"],
            },
            "pagerduty": {"services": {"ml": tmp_path / "key"}, "default": "ml", "url": pager.enqueue},
            "webhook": {"targets": {"bus": {"url": bus.url}}},
        }
        sinks = build(wanted, SinkMeters(CollectorRegistry()))
        task = asyncio.create_task(sinks.run())
        sinks.tell(replace(escalated(*notify), severity=severity))
        assert await sinks.flush(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (set(chat.messages), len(pager.alerts), len(bus.taken)) == (slack, paged, posted)
