"""`healer replay --prometheus` against a real Prometheus, whose history promtool has made at once."""

import asyncio
import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from healer.rehearsal.replay.said import moment
from tests.integration.world import CRASH_LOOP, SLOW, rule, ruleset
from tests.support.healer import verb
from tests.support.processes import program
from tests.support.prometheus import prometheus

pytestmark = pytest.mark.slow

STEP = 60
HOURS = 30
NOW = int(time.time()) // 7200 * 7200
"""The end of the history: whole blocks of two hours."""
START = NOW - HOURS * 3600
APP = {"namespace": "production"}


@dataclass
class Past:
    """Series by their minutes: what kube-state-metrics and Prometheus itself would have stored."""

    series: dict[str, dict[int, float]] = field(default_factory=dict)

    def add(self, name: str, labels: Mapping[str, str], first: int, last: int, value: float = 1.0) -> None:
        """A value from one minute to another, both included."""
        said = ",".join(f"{key}={json.dumps(each)}" for key, each in sorted(labels.items()))
        points = self.series.setdefault(f"{name}{{{said}}}", {})
        points.update(dict.fromkeys(range(first, last + 1), value))

    def pod(self, name: str, first: int, last: int) -> None:
        """A ready pod of the ReplicaSet serving-rs."""
        of = APP | {"pod": name, "uid": f"uid-{name}"}
        info = {"node": "node-1", "created_by_kind": "ReplicaSet", "created_by_name": "serving-rs"}
        self.add("kube_pod_info", of | info, first, last)
        self.add("kube_pod_labels", of | {"label_app": "tensorflow-serving"}, first, last)
        self.add("kube_pod_status_ready", of | {"condition": "true"}, first, last)
        self.add("kube_pod_status_phase", of | {"phase": "Running"}, first, last)
        self.add("kube_pod_container_status_restarts_total", of | {"container": "serving"}, first, last, 0.0)

    def crash(self, name: str, first: int, last: int) -> None:
        """It crash-loops."""
        of = APP | {"pod": name, "uid": f"uid-{name}"}
        self.add("kube_pod_status_ready", of | {"condition": "true"}, first, last, 0.0)
        self.add("kube_pod_container_status_restarts_total", of | {"container": "serving"}, first, last, 5.0)
        self.add(
            "kube_pod_container_status_waiting_reason", of | {"container": "serving", "reason": "CrashLoopBackOff"}, first, last
        )
        self.add("kube_deployment_status_replicas_ready", APP | {"deployment": "serving"}, first, last, 2.0)

    def deployment(self, last: int) -> None:
        of = APP | {"deployment": "serving"}
        for name in ("spec_replicas", "status_replicas", "status_replicas_ready", "status_replicas_updated"):
            self.add(f"kube_deployment_{name}", of, 0, last, 3.0)
        owner = {"replicaset": "serving-rs", "owner_kind": "Deployment", "owner_name": "serving", "owner_is_controller": "true"}
        self.add("kube_replicaset_owner", APP | owner, 0, last)
        self.add("up", {"job": "kube-state-metrics"}, 0, last)

    def silence(self, first: int, last: int) -> None:
        """Nothing was scraped."""
        for points in self.series.values():
            for minute in range(first, last + 1):
                points.pop(minute, None)

    def write(self, folder: Path) -> None:
        """As blocks of Prometheus."""
        text = folder / "past.om"
        with text.open("w") as file:
            for series, points in sorted(self.series.items()):
                file.writelines(f"{series} {points[minute]:g} {START + minute * STEP}\n" for minute in sorted(points))
            file.write("# EOF\n")
        command = [
            program("prometheus", "promtool"),
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            str(text),
            str(folder / "data"),
        ]
        subprocess.run(command, check=True, capture_output=True)


def the_past() -> Past:
    """Thirty hours: a pod crash-loops for an hour, an alert fires for half an hour, and for an hour nothing is scraped."""
    past = Past()
    end = HOURS * 60 - 1
    past.deployment(end)
    for name in ("serving-1", "serving-2", "serving-3"):
        past.pod(name, 0, end)
    past.crash("serving-2", 600, 660)
    past.add("ALERTS", APP | {"alertname": "HighLatency", "alertstate": "firing", "pod": "serving-1"}, 1200, 1230)
    past.silence(900, 960)
    return past


async def replayed(past: Past, tmp_path: Path, *rules: Any, expect: int = 0, **options: str) -> Any:
    """What `healer replay --prometheus` prints."""
    await asyncio.to_thread(past.write, tmp_path)
    (tmp_path / "rules.yaml").write_text(ruleset(*rules), "utf-8")
    async with prometheus(tmp_path, {"global": {"scrape_interval": "1m"}}) as monitor:
        code, said = await verb(
            "replay",
            "--prometheus",
            f"http://{monitor.address}",
            "--rules",
            tmp_path / "rules.yaml",
            "--since",
            _moment(START),
            "--until",
            _moment(NOW),
            "--step",
            "60s",
            "-o",
            "json",
            home=tmp_path,
            **options,
        )
    assert code == expect, said
    return json.loads(said)


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


async def test_these_rules_would_have_acted_and_here_is_each(tmp_path: Path) -> None:
    evict = [{"evict": {}, "verify": {"within": "5m"}}]
    ten = rule("crash-loop", when={"pod": ["CrashLoopBackOff"], "for": "10m"}, heal=evict)
    result = await replayed(the_past(), tmp_path, ten, SLOW)
    acts = [(act["rule"], act["action"], act["target"]["name"], act["at"]) for act in result["acts"] if not act["further"]]
    assert acts == [
        ("test/crash-loop", "evict", "serving-2", _moment(START + 610 * STEP)),
        ("test/slow", "evict", "serving-1", _moment(START + 1200 * STEP)),
    ]
    assert result["unjudged"] == []
    (gap,) = [remark for remark in result["remarks"] if "nothing was seen" in remark]
    assert f"to {moment(START + 960 * STEP)}" in gap  # when it begins depends on how long a sample counts


async def test_without_kube_state_metrics_it_says_what_cannot_be_judged(tmp_path: Path) -> None:
    past = Past()
    past.add("up", {"job": "x"}, 0, 600)
    past.add("ALERTS", APP | {"alertname": "HighLatency", "alertstate": "firing", "pod": "serving-1"}, 60, 90)
    result = await replayed(past, tmp_path, CRASH_LOOP, SLOW)
    assert result["acts"] == []
    assert {each["rule"] for each in result["unjudged"]} == {"test/crash-loop", "test/slow"}
    assert "there is no kube-state-metrics: pods, workloads and nodes are not known" in result["remarks"]
