"""`healer replay --prometheus` against a real Prometheus, whose history promtool has made at once."""

import asyncio
import json
import re
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

    def count(self, name: str, labels: Mapping[str, str], first: int, last: int, each: float) -> None:
        """A counter that grows by so much a minute."""
        for minute in range(first, last + 1):
            self.add(name, labels, minute, minute, each * (minute - first))

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
        """As blocks of Prometheus, unless they are there."""
        folder.mkdir(exist_ok=True)
        if (folder / "data").exists():
            return
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
    """What `healer replay --prometheus` prints: as JSON is read, or the text of an error."""
    await asyncio.to_thread(past.write, tmp_path)
    (tmp_path / "rules.yaml").write_text(ruleset(*rules), "utf-8")
    span = ("--since", _moment(START), "--until", _moment(NOW), "--step", "60s")
    more = [each for name, value in options.items() for each in (f"--{name}", value)]
    async with prometheus(tmp_path, {"global": {"scrape_interval": "1m"}}) as monitor:
        url = f"http://{monitor.address}"
        rules_file = tmp_path / "rules.yaml"
        code, said = await verb("replay", "--prometheus", url, "--rules", rules_file, *span, *more, "-o", "json", home=tmp_path)
    assert code == expect, said
    return said if code == 2 else json.loads(said)


def acts_of(result: Any) -> list[tuple[str, str, str, str]]:
    """What is counted."""
    return [(act["rule"], act["action"], act["target"]["name"], act["at"]) for act in result["acts"] if not act["further"]]


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


async def test_these_rules_would_have_acted_and_here_is_each(tmp_path: Path) -> None:
    evict = [{"evict": {}, "verify": {"within": "5m"}}]
    ten = rule("crash-loop", when={"pod": ["CrashLoopBackOff"], "for": "10m"}, heal=evict)
    result = await replayed(the_past(), tmp_path, ten, SLOW)
    assert acts_of(result) == [
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


EVICT = [{"evict": {}, "verify": {"within": "5m"}}]
FAILING = rule("failing", when={"query": {"expr": "errors_ratio", "above": 0.5, "every": "1m"}, "for": "3m"}, heal=EVICT)


async def test_queries_and_canaries_are_judged_by_what_prometheus_has(tmp_path: Path) -> None:
    """By their own PromQL, as the daemon asks. What is not there is said, rule by rule."""
    past = the_past()
    end = HOURS * 60 - 1
    for name in ("serving-1", "serving-2", "serving-3"):
        past.add("errors_ratio", APP | {"pod": name}, 0, end, 0.01)
    past.add("errors_ratio", APP | {"pod": "serving-3"}, 300, 320, 0.9)
    past.add("errors_ratio", APP | {"pod": "serving-1"}, 400, 401, 0.9)  # not long enough
    past.add("errors_ratio", APP | {"pod": "serving-1"}, 500, 520, float("nan"))
    past.add("errors_ratio", APP | {"pod": "serving-1"}, 905, 950, 0.9)  # nothing was scraped, kube-state-metrics too
    past.add("late_ratio", APP | {"pod": "serving-1"}, 1100, 1200, 0.1)
    for side, bad in (("stable", 0.1), ("canary", 30.0)):
        labels = APP | {"deployment": side}
        for name in ("spec_replicas", "status_replicas", "status_replicas_ready", "status_replicas_updated"):
            past.add(f"kube_deployment_{name}", labels, 0, end, 1.0)
        past.add("kube_deployment_labels", labels | {"label_app": "tensorflow-serving"}, 0, end)
        owner = {"replicaset": f"{side}-rs", "owner_kind": "Deployment", "owner_name": side}
        past.add("kube_replicaset_owner", APP | owner, 0, end)
        of = APP | {"pod": f"{side}-1", "uid": f"uid-{side}-1"}
        past.add("kube_pod_info", of | {"created_by_kind": "ReplicaSet", "created_by_name": f"{side}-rs"}, 0, end)
        past.add("kube_pod_labels", of | {"label_app": "tensorflow-serving"}, 0, end)
        past.add("kube_pod_status_ready", of | {"condition": "true"}, 0, end)
        past.count("requests", {"pod": f"{side}-1", "status": "good"}, 0, 800, 100.0)
        past.count("requests", {"pod": f"{side}-1", "status": "bad"}, 700, 800, bad)
    canary = {
        "route": {"kind": "Ingress", "name": "r"},
        "stable": {"deployment": "stable"},
        "canary": {"deployment": "canary"},
        "every": "1m",
        "measures": [
            {"name": "errors", "total": 'requests{pod=~"{{ pods }}"}', "bad": 'requests{pod=~"{{ pods }}",status="bad"}'}
        ],
    }
    rules = (
        FAILING,
        rule("bad-canary", when={"canary": canary}, heal=[{"page": {}}]),
        rule("wrong", when={"query": {"expr": "errors_ratio * on (pod) group_left () requests", "above": 1, "every": "10m"}}),
        rule("nothing", when={"query": {"expr": "no_such_metric", "above": 1, "every": "10m"}}),
        rule("late", when={"query": {"expr": "late_ratio", "above": 1, "every": "10m"}}),
        rule("events", when={"event": {"reasons": ["FailedMount"]}}),
        rule("model", when={"model": {"server": "tensorflow", "name": "m", "conditions": ["ModelNotAvailable"]}}),
    )
    result = await replayed(past, tmp_path, *rules)
    failing, page = acts_of(result)
    assert failing == ("test/failing", "evict", "serving-3", _moment(START + 303 * STEP))
    assert page[:3] == ("test/bad-canary", "page", "canary")
    assert _moment(START + 700 * STEP) < page[3] < _moment(START + 730 * STEP)
    assert {each["rule"]: each["why"] for each in result["unjudged"]} == {
        "test/events": "the history has no Events",
        "test/model": "the history has no answers of model servers",
    }
    remarks = "\n".join(result["remarks"])
    assert "rule test/nothing: no look has found a series" in remarks
    assert "rule test/late" not in remarks
    assert re.search(r"rule test/wrong: \d+ of 181 looks had no answer that could be used, the first at .*many-to-many", remarks)
    assert "the weights of routes are not in the history" in remarks


async def test_rules_are_compared_by_their_queries_too(tmp_path: Path) -> None:
    """One name, two thresholds: each is asked for by itself, and the reason is that of the moment."""
    past = the_past()
    past.add("errors_ratio", APP | {"pod": "serving-3"}, 300, 320, 0.6)
    (tmp_path / "old.yaml").write_text(ruleset(FAILING), "utf-8")
    stricter = FAILING | {"when": {"query": {"expr": "errors_ratio", "above": 0.7, "every": "1m"}, "for": "3m"}}
    result = await replayed(past, tmp_path, stricter, expect=1, diff=str(tmp_path / "old.yaml"))
    (less,) = result["differences"]
    assert (less["how"], less["before"]["target"]["name"]) == ("less", "serving-3")
    assert less["before"]["at"] == _moment(START + 303 * STEP)
    assert "nothing that test/failing looks for" in less["why"]


def with_two_kube_state_metrics(past: Past, gone: int) -> Past:
    """Each series twice, by two replicas of which one ends at that minute; the labels of the objects are `exported_`."""
    found = Past()
    for series, points in past.series.items():
        name, _, labels = series.partition("{")
        if not name.startswith("kube_"):
            found.series[series] = points
            continue
        for label in ("namespace", "pod", "container"):
            labels = labels.replace(f'{label}="', f'exported_{label}="') if labels.startswith(f'{label}="') else labels
            labels = labels.replace(f',{label}="', f',exported_{label}="')
        for replica in ("a", "b"):
            own = f'{name}{{instance="{replica}:8080",job="ksm",namespace="monitoring",pod="ksm-{replica}",{labels}'
            found.series[own] = {minute: value for minute, value in points.items() if replica == "a" or minute < gone}
    return found


async def test_two_kube_state_metrics_and_labels_of_the_scrape_change_nothing(tmp_path: Path) -> None:
    """Nor do values that are no number. When one replica ends, no pod is gone."""
    ten = rule("crash-loop", when={"pod": ["CrashLoopBackOff"], "for": "10m"}, heal=EVICT)
    plain = await replayed(the_past(), tmp_path / "plain", ten, SLOW)
    past = the_past()
    of = APP | {"deployment": "serving"}
    past.add("kube_deployment_spec_replicas", of, 100, 110, float("nan"))
    past.add("kube_deployment_spec_replicas", of, 200, 210, float("inf"))
    past.add(
        "kube_pod_container_status_restarts_total",
        APP | {"pod": "serving-1", "uid": "uid-serving-1", "container": "serving"},
        300,
        310,
        float("-inf"),
    )
    result = await replayed(with_two_kube_state_metrics(past, 605), tmp_path / "two", ten, SLOW)
    assert acts_of(result) == acts_of(plain)
    assert len(acts_of(result)) == 2
    assert result["unjudged"] == []


async def test_several_clusters_in_one_prometheus_are_an_error_until_one_is_named(tmp_path: Path) -> None:
    past = Past()
    for series, points in the_past().series.items():
        name, _, labels = series.partition("{")
        for cluster in ("east", "west"):
            if cluster == "east" or not name.startswith(("ALERTS", "kube_pod_container")):
                past.series[f'{name}{{cluster="{cluster}",{labels}'] = points
    said = await replayed(past, tmp_path, SLOW, expect=2)
    assert """Prometheus has the pods of 2 clusters (east, west): name one, as --match 'cluster="east"'""" in said
    result = await replayed(past, tmp_path, SLOW, match='cluster="east"')
    assert [act[:3] for act in acts_of(result)] == [("test/slow", "evict", "serving-1")]
    assert acts_of(await replayed(past, tmp_path, SLOW, match='cluster="west"')) == []
