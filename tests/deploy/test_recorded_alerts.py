"""The alerts of deploy/alerts against recorded pages of the servers: each fires on its page once that page tells of the trouble.

Names of metrics, labels, buckets and types come from the recordings in `expositions`, which say where each is from. An alert that
names a metric or a label that no recording has reads nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import program
from tests.support.promql import grouped, selected
from tests.support.promtool import documented, plain

ALERTS = Path(__file__).parents[2] / "deploy" / "alerts"
PAGES = Path(__file__).parent / "expositions"
OBJECTS = sorted(path for path in ALERTS.glob("*.yaml") if path.stem not in {"alertmanager", "kustomization"})
FROM_PROMETHEUS = frozenset({"up"})
FROM_THE_SCRAPE = frozenset({"namespace", "pod", "job", "instance"})
OWNERS = "kube-state-metrics"
MINUTES = 60

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Sample:
    """One line of a page."""

    name: str
    labels: Labels
    value: float


@cache
def recorded(page: str) -> tuple[Sample, ...]:
    """The samples of a page. Without its comments: of a counter without _total the parser makes one with it."""
    lines = [line for line in (PAGES / f"{page}.prom").read_text("utf-8").splitlines() if not line.startswith("#")]
    families = text_string_to_metric_families("\n".join(lines))
    return tuple(Sample(each.name, dict(each.labels), each.value) for family in families for each in family.samples)


@cache
def known() -> dict[str, frozenset[str]]:
    """All labels of each recorded metric."""
    found: dict[str, frozenset[str]] = {}
    for page in sorted(PAGES.glob("*.prom")):
        for each in recorded(page.stem):
            found[each.name] = found.get(each.name, frozenset()) | each.labels.keys()
    return found


def _rules() -> list[tuple[str, str]]:
    """The expression of each rule, by the rule's name."""
    rules = [rule for path in OBJECTS for rule in documented(path)]
    return [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules]


RECORDS = {rule["record"] for path in OBJECTS for rule in documented(path) if "record" in rule} | FROM_PROMETHEUS


def test_each_page_says_where_it_is_from() -> None:
    for page in PAGES.glob("*.prom"):
        assert page.read_text("utf-8").startswith("# Source: "), page.name


@pytest.mark.parametrize(("name", "expr"), _rules(), ids=lambda value: value if value.replace(":", "").isidentifier() else "")
def test_what_a_rule_reads_is_on_a_recorded_page(name: str, expr: str) -> None:
    """Each metric, each label that selects of it, and each label that it is summed by."""
    for metric, labels in chain(selected(expr), grouped(expr)):
        raw = [each for each in metric.split("|") if each not in RECORDS]
        assert known().keys() >= set(raw), f"{name} reads {metric}, which no page has"
        has = FROM_THE_SCRAPE.union(*(known()[each] for each in raw))
        assert not raw or labels <= has, f"{name} reads {metric} by {sorted(labels - has)}, which no page has"


Step = Callable[[Sample], str | None]
"""What becomes of a sample, as promtool's values; None leaves it as it is."""


def grows(metric: str, by: float, **labels: str) -> Step:
    """So much more each minute."""
    return lambda each: f"{each.value}+{by}x{MINUTES}" if _is(each, metric, labels) else None


def becomes(metric: str, value: float, **labels: str) -> Step:
    """That value after five minutes."""
    return lambda each: f"{each.value}x4 {value}x{MINUTES}" if _is(each, metric, labels) else None


def slow(histogram: str, above: float, each_takes: float) -> Step:
    """Sixty requests a minute, each of which takes so long, in the histogram's unit: it is in the buckets above."""

    def step(each: Sample) -> str | None:
        if each.name == f"{histogram}_bucket":
            return f"{each.value}+{60 if float(each.labels['le']) >= above else 0}x{MINUTES}"
        if each.name in (f"{histogram}_count", f"{histogram}_sum"):
            return f"{each.value}+{60 if each.name.endswith('_count') else 60 * each_takes}x{MINUTES}"
        return None

    return step


def _is(each: Sample, metric: str, labels: Labels) -> bool:
    return each.name == metric and labels.items() <= each.labels.items()


@dataclass(frozen=True)
class Trouble:
    """What makes alerts fire: how the pages of the sick pods change, and what those of the others do meanwhile."""

    fires: str
    file: str
    page: str
    sick: tuple[Step, ...] = ()
    well: tuple[Step, ...] = ()
    all_sick: bool = False
    down: bool = False
    """Prometheus does not reach the sick pods."""
    owners: tuple[Step, ...] = ()
    only: str = ""
    """The beginning of the names that this server shows, of a page of several."""
    anew: Mapping[str, str] = field(default_factory=dict)
    """After five minutes the series of the sick pod that have these labels end, and others begin, with these values of them."""
    shows: str = ""
    """The value of those."""
    one_pod: bool = False
    also: frozenset[str] = frozenset()
    """What fires too."""
    at: int = 45

    @property
    def pods(self) -> tuple[str, ...]:
        return ("a",) if self.one_pod else ("a", "b")


TFS, VLLM, SGL, NV, KN = ":tensorflow:serving:", "vllm:", "sglang:", "nv_inference_", "kn_serving_"
TF_OK = (grows(f"{TFS}request_count", 80, status="OK"),)
VLLM_OK = (grows(f"{VLLM}request_success_total", 80, finished_reason="length"),)
SGL_STEPS = (grows(f"{SGL}realtime_tokens_total", 600),)
SGL_OK = (*SGL_STEPS, grows(f"{SGL}http_responses_total", 80, status_code="200"))
NV_OK = (grows(f"{NV}request_success", 200),)
FAILS = {
    "tensorflow-serving": (grows(f"{TFS}request_count", 60, status="INTERNAL"),),
    "vllm": (grows(f"{VLLM}request_success_total", 60, finished_reason="error"),),
    "sglang": (*SGL_STEPS, grows(f"{SGL}http_responses_total", 60, status_code="500")),
    "triton": (grows(f"{NV}request_failure", 90, reason="BACKEND"),),
}
BUSY_VLLM = (
    grows(f"{VLLM}iteration_tokens_total_count", 90),
    becomes(f"{VLLM}num_requests_running", 8),
    becomes(f"{VLLM}num_requests_waiting", 20),
    becomes(f"{VLLM}kv_cache_usage_perc", 0.99),
)
BUSY_SGL = (*SGL_STEPS, becomes(f"{SGL}num_queue_reqs", 20), becomes(f"{SGL}token_usage", 0.95))
BUSY_NV = (
    becomes(f"{NV}pending_request_count", 40),
    grows(f"{NV}queue_duration_us", 900_000),
    grows(f"{NV}request_duration_us", 1_000_000),
)
TROUBLES = (
    *(
        Trouble(alert, file, page, FAILS[file], well)
        for alert, file, page, well in (
            ("TFServingErrorsHigh", "tensorflow-serving", "tensorflow-serving", TF_OK),
            ("VllmErrorsHigh", "vllm", "vllm-v1", VLLM_OK),
            ("SglangErrorsHigh", "sglang", "sglang-ranks", SGL_OK),
            ("TritonFailuresHigh", "triton", "triton", NV_OK),
        )
    ),
    *(
        Trouble(alert, file, page, FAILS[file], all_sick=True, also=frozenset({pods}))
        for alert, pods, file, page in (
            ("TFServingVersionFailing", "TFServingErrorsHigh", "tensorflow-serving", "tensorflow-serving"),
            ("VllmVersionFailing", "VllmErrorsHigh", "vllm", "vllm-v1"),
            ("SglangVersionFailing", "SglangErrorsHigh", "sglang", "sglang-ranks"),
            ("TritonVersionFailing", "TritonFailuresHigh", "triton", "triton"),
        )
    ),
    *(
        Trouble(f"{name}Down", file, page, well=well, down=True)
        for name, file, page, well in (
            ("TFServing", "tensorflow-serving", "tensorflow-serving", ()),
            ("Vllm", "vllm", "vllm-v1", ()),
            ("Sglang", "sglang", "sglang-ranks", SGL_OK),
            ("Triton", "triton", "triton", ()),
        )
    ),
    Trouble(
        "ModelServiceDown",
        "tensorflow-serving",
        "tensorflow-serving",
        down=True,
        owners=(becomes("kube_pod_status_ready", 1, condition="false"),),
        also=frozenset({"TFServingDown"}),
    ),
    Trouble(
        "TFServingLatencyHigh",
        "tensorflow-serving",
        "tensorflow-serving",
        (slow(f"{TFS}request_latency", 700_000, 700_000),),
    ),
    Trouble(
        "HighLatency",
        "tensorflow-serving",
        "tensorflow-serving",
        (slow(f"{TFS}request_latency", 1_500_000, 1_500_000),),
        also=frozenset({"TFServingLatencyHigh"}),
    ),
    *(Trouble("VllmEngineStalled", "vllm", page, (becomes(f"{VLLM}num_requests_running", 8),)) for page in ("vllm", "vllm-v1")),
    *(Trouble("VllmSaturated", "vllm", page, BUSY_VLLM, all_sick=True) for page in ("vllm", "vllm-v1")),
    *(Trouble("VllmPreemptionsHigh", "vllm", page, (grows(f"{VLLM}num_preemptions_total", 60),)) for page in ("vllm", "vllm-v1")),
    Trouble("VllmFirstTokenLate", "vllm", "vllm-v1", (slow(f"{VLLM}time_to_first_token_seconds", 20, 15),)),
    Trouble("SglangEngineStalled", "sglang", "sglang-ranks", (), SGL_STEPS),
    Trouble("SglangSaturated", "sglang", "sglang-ranks", BUSY_SGL, all_sick=True),
    Trouble(
        "SglangRetractionsHigh",
        "sglang",
        "sglang-ranks",
        (*SGL_STEPS, grows(f"{SGL}num_retracted_requests_total", 60)),
        SGL_STEPS,
    ),
    Trouble("SglangFirstTokenLate", "sglang", "sglang", (slow(f"{SGL}time_to_first_token_seconds", 15, 12),)),
    Trouble("TritonSaturated", "triton", "triton", BUSY_NV, all_sick=True),
    *(
        Trouble(alert, "kserve", "knative-queue-proxy", sick, well, all_sick, only=only, also=frozenset(also))
        for only, count, wrong, right, depth in (
            (
                "revision_",
                "revision_app_request_count",
                {"response_code": "503"},
                {"response_code": "200"},
                "revision_queue_depth",
            ),
            *(
                (
                    start,
                    f"{start}{name}_duration_seconds_count",
                    {"http_response_status_code": "503"},
                    {"http_response_status_code": "200"},
                    f"{start}{queue}",
                )
                for start, name, queue in (("kn_queueproxy_", "app", "depth"), (KN, "invocation", "queue_depth"))
            ),
        )
        for alert, sick, well, all_sick, also in (
            ("KServeErrorsHigh", (grows(count, 60, **wrong),), (grows(count, 80, **right),), False, ()),
            ("KServeVersionFailing", (grows(count, 60, **wrong),), (), True, ("KServeErrorsHigh",)),
            ("KServeQueueGrows", (becomes(depth, 40),), (), False, ()),
        )
    ),
    Trouble(
        "GpuXidError",
        "gpu",
        "dcgm-exporter",
        only="DCGM_FI_DEV_XID_ERRORS",
        anew={"err_code": "31", "err_msg": "MMU Error"},
        shows="31",
        one_pod=True,
        at=6,
    ),
    Trouble("GpuXidError", "gpu", "dcgm-exporter", (becomes("DCGM_EXP_XID_ERRORS_TOTAL", 2),), one_pod=True, at=6),
    Trouble(
        "GpuXidDevice",
        "gpu",
        "dcgm-exporter",
        only="DCGM_FI_DEV_XID_ERRORS",
        anew={"err_code": "79", "err_msg": "GPU has fallen off the bus"},
        shows="79",
        one_pod=True,
    ),
    Trouble("GpuRowRemapFailed", "gpu", "dcgm-exporter", (becomes("DCGM_FI_DEV_ROW_REMAP_FAILURE", 1),), one_pod=True),
)


def _series(name: str, labels: Labels, values: str) -> dict[str, str]:
    written = ",".join(f"{key}={json.dumps(value)}" for key, value in sorted(labels.items()))
    return {"series": f"{name}{{{written}}}", "values": values}


def _told(trouble: Trouble) -> Iterator[dict[str, str]]:
    """All series that Prometheus has of both pods and of their owners, minute by minute."""
    for pod in trouble.pods:
        target = {"namespace": "production", "pod": pod}
        sick = pod == "a" or trouble.all_sick
        yield _series("up", target | {"job": trouble.file}, f"{0 if sick and trouble.down else 1}x{MINUTES}")
        for each in recorded(trouble.page):
            if each.name.startswith(trouble.only):
                labels = {**each.labels, **target, "job": trouble.file}
                changed = trouble.anew and trouble.anew.keys() <= each.labels.keys()
                yield _series(each.name, labels, f"{each.value}x4 stale" if changed else _values(each, trouble, sick))
                if changed:
                    yield _series(each.name, {**labels, **trouble.anew}, f"_x5 {trouble.shows}x{MINUTES}")
        for each in recorded(OWNERS):
            if "pod" in each.labels and each.name != "kube_pod_labels":
                steps = trouble.owners if sick else ()
                yield _series(each.name, {**each.labels, **target}, _first(each, steps))
    for each in recorded(OWNERS):
        if "pod" not in each.labels:
            yield _series(each.name, {**each.labels, "namespace": "production"}, f"{each.value}x{MINUTES}")


def _values(each: Sample, trouble: Trouble, sick: bool) -> str:
    if sick and trouble.down:
        return f"{each.value}x4 stale"
    return _first(each, trouble.sick if sick else trouble.well)


def _first(each: Sample, steps: tuple[Step, ...]) -> str:
    return next((values for step in steps if (values := step(each)) is not None), f"{each.value}x{MINUTES}")


def firing(trouble: Trouble, folder: Path, at: int) -> set[str]:
    """The alerts of the file that fire at that minute, as the real Prometheus evaluates them: promtool objects to each."""
    for name in ("owners", trouble.file):
        (folder / f"{name}.json").write_text(json.dumps(plain(ALERTS / f"{name}.yaml")), "utf-8")
    names = [rule["alert"] for rule in documented(ALERTS / f"{trouble.file}.yaml") if "alert" in rule]
    asked = [
        {"expr": f"group(ALERTS{{alertname='{name}', alertstate='firing'}})", "eval_time": f"{at}m", "exp_samples": []}
        for name in names
    ]
    test: dict[str, Any] = {"interval": "1m", "input_series": [*_told(trouble)], "promql_expr_test": asked}
    files = ["owners.json", f"{trouble.file}.json"]
    (folder / "test.json").write_text(json.dumps({"rule_files": files, "evaluation_interval": "1m", "tests": [test]}), "utf-8")
    done = subprocess.run(
        [program("prometheus", "promtool"), "test", "rules", str(folder / "test.json")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    found = set(re.findall(r"alertname='(\w+)'", said))
    assert bool(found) is bool(done.returncode), said
    return found


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda each: f"{each.fires}-{each.only or each.page}")
def test_an_alert_fires_once_a_recorded_page_tells_of_its_trouble(trouble: Trouble, tmp_path: Path) -> None:
    """It alone, and what always comes with it; and not before."""
    assert firing(trouble, tmp_path, at=2) == set()
    assert firing(trouble, tmp_path, at=trouble.at) == {trouble.fires, *trouble.also}


def test_each_alert_is_tried_on_a_recorded_page() -> None:
    rules = [rule for path in OBJECTS for rule in documented(path)]
    assert {each.fires for each in TROUBLES} == {rule["alert"] for rule in rules if "alert" in rule}


def test_the_kinds_of_alert_files_are_all_tried() -> None:
    tried = {each.file for each in TROUBLES} | {"owners"}
    assert tried == {path.stem for path in OBJECTS if yaml.safe_load(path.read_text("utf-8"))}
