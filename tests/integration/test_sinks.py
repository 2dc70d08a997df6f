"""The sinks beside Slack with the real daemon and its journal: a pager and a webhook, across a restart."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import rule, ruleset, serve
from tests.support.healer import alert
from tests.support.pagerduty import KEY, FakePagerDuty
from tests.support.processes import PATIENCE
from tests.support.receiver import Receiver

pytestmark = pytest.mark.slow

STEP = {"page": {"channels": ["pagerduty:ml", "webhook:bus"]}, "verify": {"within": "1s", "stable": "300ms"}}
PAGES = rule("slow", when={"alert": ["HighLatency"]}, heal=[STEP])


async def test_a_pager_hears_each_thing_once_across_a_restart(lab: Lab, run: Run, tmp_path: Path) -> None:
    """The first healer pages and ends; the next one reads in the journal what was told, and resolves the same alert."""
    await asyncio.to_thread((tmp_path / "key").write_text, KEY)
    sick, *_ = await serve(lab)
    async with FakePagerDuty() as pager, Receiver() as bus:
        set_up: dict[str, Any] = {
            "HEALER_LEADER__ENABLED": "false",
            "HEALER_PAGERDUTY__SERVICES": json.dumps({"ml": str(tmp_path / "key")}),
            "HEALER_PAGERDUTY__URL": pager.enqueue,
            "HEALER_WEBHOOK__TARGETS": json.dumps({"bus": {"url": bus.url}}),
            "HEALER_SITE__CLUSTER": "lab",
        }
        first = await run(ruleset(PAGES), **set_up)
        assert (await first.post(alert("HighLatency", pod=sick)))[0] == 200
        await pager.wait_for(lambda pager: len(pager.taken) == 1, PATIENCE)
        await bus.wait_for(lambda bus: any(each.json["state"] == "verifying" for each in bus.taken), PATIENCE)
        first.send(signal.SIGTERM)
        assert await first.ended() == 0

        posted = len(bus.taken)
        second = await run(ruleset(PAGES), **set_up)
        assert (await second.post(alert("HighLatency", pod=sick, resolved=True)))[0] == 200
        await pager.wait_for(lambda pager: len(pager.taken) == 2, PATIENCE)
        await bus.wait_for(lambda bus: len(bus.taken) > posted and bus.taken[-1].json["endedAt"] is not None, PATIENCE)
        (trigger, key), (resolve, same) = pager.events
        assert (trigger, resolve, same) == ("trigger", "resolve", key)
        assert key.startswith("healer/lab/production/")
        assert pager.alerts[key].event["payload"]["severity"] == "critical"
        ids = [posting.headers["webhook-id"] for posting in bus.taken]
        assert len(ids) == len(set(ids)), "no state is posted twice"
