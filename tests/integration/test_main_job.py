"""The main job, all real but the cluster, the models and Slack: Prometheus scrapes, Alertmanager posts, healer heals."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import CHANNEL, NAMESPACE, SLOW, Floor, evictions, pods, ruleset, serve, serves, told, uid
from tests.support.healer import TOKEN, Healer
from tests.support.model_server import METRICS, ModelServers
from tests.support.processes import PATIENCE
from tests.support.prometheus import Monitor, alertmanager, prometheus
from tests.support.slack import FakeSlack

_P90 = "histogram_quantile(0.9, sum by (namespace, pod, le) (rate(:tensorflow:serving:request_latency_bucket[2s]))) / 1000 > 200"
_ALERTS = {
    "groups": [
        {
            "name": "tensorflow-serving",
            "rules": [
                {
                    "alert": "HighLatency",
                    "expr": _P90,
                    "for": "500ms",
                    "labels": {"severity": "warning"},
                    "annotations": {"summary": "p90 latency of {{ $labels.pod }} is {{ $value }} ms"},
                }
            ],
        }
    ]
}


@dataclass(frozen=True, slots=True)
class Monitored:
    """A daemon, the Prometheus that watches it and the model servers, and the names of their pods."""

    healer: Healer
    prometheus: Monitor
    pods: list[str]


def _prometheus(alerts: Path, targets: Path, alertmanager: str, healer: str) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "300ms", "scrape_timeout": "300ms", "evaluation_interval": "300ms"},
        "rule_files": [str(alerts)],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            {"job_name": "tensorflow-serving", "metrics_path": METRICS, "file_sd_configs": [{"files": [str(targets)]}]},
            {"job_name": "healer", "static_configs": [{"targets": [healer]}]},
        ],
    }


def _alertmanager(webhook: str, token: Path) -> dict[str, Any]:
    bearer = {"authorization": {"type": "Bearer", "credentials_file": str(token)}}
    return {
        "route": {
            "receiver": "healer",
            "group_by": ["alertname", "namespace"],
            "group_wait": "0s",
            "group_interval": "1s",
            "repeat_interval": "5m",
        },
        "receivers": [{"name": "healer", "webhook_configs": [{"url": webhook, "send_resolved": True, "http_config": bearer}]}],
    }


@pytest.fixture
async def monitored(lab: Lab, run: Run, tmp_path: Path) -> AsyncIterator[Monitored]:
    """Three pods with model servers, watched by Prometheus, whose alerts reach a daemon by way of Alertmanager."""
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(_ALERTS))
    names = await serve(lab)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ModelServers(lab, tmp_path / "targets.json"))
        healer = await run(ruleset(SLOW), HEALER_HTTP__WEBHOOK_TOKEN_FILE=tmp_path / "token")
        url = await healer.listens()
        config = _alertmanager(f"{url}/webhooks/alertmanager", tmp_path / "token")
        sender = await stack.enter_async_context(alertmanager(tmp_path / "alertmanager", config))
        config = _prometheus(tmp_path / "alerts.yml", tmp_path / "targets.json", sender.address, url.removeprefix("http://"))
        yield Monitored(healer, await stack.enter_async_context(prometheus(tmp_path / "prometheus", config)), names)


async def test_a_slow_pod_is_replaced_and_slack_reads_how(monitored: Monitored, lab: Lab, slack: FakeSlack) -> None:
    healer, (sick, *well) = monitored.healer, monitored.pods
    before, floor = uid(lab, sick), Floor(lab)
    await lab.behave(NAMESPACE, sick, "slow")

    await lab.wait_for(serves(3, without=before), PATIENCE)
    incident = (await healer.says("incident healed", rule="test/slow"))["incident"]
    await slack.wait_for(told("healed"), PATIENCE)

    assert evictions(lab) == [sick], "the sick pod, once, and no other"
    assert set(well) < set(pods(lab))
    assert floor.lowest == 2
    assert healer.history(incident) == ["open", "acting", "verifying", "healed"]
    (message,) = slack.messages[CHANNEL]
    assert ": healed: " in message.text
    assert any(": healer is on it: " in text for text in message.edits), "edited as it proceeded"
    assert len(slack.posted) == 1 + len(healer.lines_of(incident)), "all of its history is in the thread"
    assert sick in message.replies[0].text

    metrics = await healer.metrics()
    assert metrics["healer_signals_total{name=HighLatency,source=alert}"] >= 1, "its end may come later: what is gone is not sick"
    assert metrics["healer_decisions_total{decision=open,reason=HighLatency,rule=test/slow}"] == 1
    assert metrics["healer_actions_total{action=evict,outcome=done}"] == 1
    assert metrics["healer_incidents{mode=enforce,rule=test/slow,state=healed}"] == 1
    assert metrics["healer_reaction_seconds_count"] == 1
    assert metrics["healer_time_to_heal_seconds_count"] == 1
    assert metrics["healer_queue_depth"] == 0

    targets = (await monitored.prometheus.get("/api/v1/targets"))["data"]["activeTargets"]
    (scraped,) = [target for target in targets if target["labels"]["job"] == "healer"]
    assert (scraped["health"], scraped["lastError"]) == ("up", ""), "Prometheus understands what /metrics says"
