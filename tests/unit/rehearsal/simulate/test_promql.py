"""PromQL over the series of a simulation, held against what Prometheus makes of the same series."""

import asyncio
import json
import math
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Mapping
from pathlib import Path

import pytest

from healer.rehearsal.simulate.promql import PlayedQueries, ScrapedSeries, metrics, selects, unplayed
from healer.sources.prometheus.http import QueryFailed
from tests.support.processes import program

_STEP = 15
SERIES: dict[str, list[int | str | None]] = {
    'ok{namespace="n",pod="a",code="200"}': [0, 90, 181, 270, 362, 450, 540, 633, 720, 812],
    'ok{namespace="n",pod="b",code="200"}': [0, 60, 120, 40, 100, 161, 220, 282, 340, 400],
    'bad{namespace="n",pod="a",code="500"}': [0, 3, 5, 9, 9, 14, 16, 18, 21, 22],
    'bad{namespace="n",pod="b",code="503"}': [None, None, None, 2, 2, 2, 7, 7, 7, 8],
    'up{namespace="n",pod="a"}': [1] * 10,
    'up{namespace="n",pod="b"}': [1, 1, 1, 0, 1, 1, 1, 1, 1, 1],
    'twin{namespace="n",pod="a",code="200"}': [7] * 10,
    'odd{namespace="n",pod="a"}': ["NaN"] * 10,
    'odd{namespace="n",pod="b"}': [3] * 10,
    'odd{namespace="n",pod="c"}': [1] * 10,
    'ends{namespace="n",pod="a"}': ["Inf"] * 10,
    'ends{namespace="n",pod="b"}': ["-Inf"] * 10,
    'below{namespace="n",pod="a"}': [-4] * 10,
    'gone{namespace="n",pod="c"}': [4, 5, 6, "stale", None, None, None, None, None, None],
}
"""Samples each 15 s. A counter is reset, one begins late, and one ends."""

EXPRESSIONS = [
    "ok",
    'ok{pod="a"}',
    'ok{pod=~"a|x",code!="500"}',
    'bad{code!~"50[1-9]"}',
    '{__name__=~"ok|bad", pod="b"}',
    'ok{other=""}',
    "gone",
    "rate(ok[1m])",
    "increase(ok[2m])",
    "rate(bad[90s])",
    "increase(gone[2m])",
    "count_over_time(bad[2m])",
    "count_over_time(gone[10m])",
    "sum(rate(ok[1m]))",
    "sum by (pod) (rate(ok[1m]))",
    "sum without (code) (ok)",
    "group by (code) (ok or bad)",
    "count(up) + 1",
    "min(ok) - max(bad)",
    "avg by (namespace) (ok)",
    "sum by (pod) (rate(bad[1m])) / sum by (pod) (rate(ok[1m]))",
    "(sum by (pod) (rate(bad[30s])) or sum by (pod) (rate(ok[30s])) * 0) / (sum by (pod) (rate(ok[30s])) > 0.1)",
    "ok - on (pod) bad",
    "ok / ignoring (code) bad",
    "up == 1",
    "up > bool 0",
    "1 - up",
    "2 < ok",
    "ok and on (pod) up == 1",
    'ok unless on (pod) bad{code="500"}',
    "bad * 0 / 0",
    "ok > on (pod) bad",
    "ok > bool on (pod) bad",
    "ok >= ignoring (code) bad",
    'sum by (pod) (up{pod="a"} == on (namespace) below / below)',
    "min(odd) + max(odd)",
    "sum by (pod) (odd)",
    "group(sum(ends))",
    "group(avg(ends))",
    'count(count by (__name__) ({__name__=~"ok|bad"}))',
    "group(1 / (below * 0) < 0)",
    "group(1 / (below * 0) > 0)",
]


def _parts(series: str) -> dict[str, str]:
    name, _, labels = series.rstrip("}").partition("{")
    pairs = (pair.split("=", 1) for pair in labels.split(","))
    return {"__name__": name, **{key: value.strip('"') for key, value in pairs}}


def _scraped() -> list[ScrapedSeries]:
    found = []
    for series, values in SERIES.items():
        there = [
            (float(number * _STEP), float(value)) for number, value in enumerate(values) if value is not None and value != "stale"
        ]
        ended = next((float(number * _STEP) for number, value in enumerate(values) if value == "stale"), None)
        found.append(ScrapedSeries(_parts(series), [at for at, _ in there], [value for _, value in there], ended))
    return found


def _queries(*, answers: bool = True) -> PlayedQueries:
    return PlayedQueries(lambda fits: [each for each in _scraped() if fits(each.labels)], 300.0, lambda: answers)


async def _as_promtool_has_it(expr: str, at: float) -> dict[str, object]:
    """What is expected, in thousandths and without names: promtool compares exactly, and knows no NaN."""
    samples = [each for each in await _queries().query(expr, at) if not math.isnan(each.value)]
    rounded = [(json_labels(each.labels), math.floor(each.value * 1000 + 0.5)) for each in samples]
    expected = [{"labels": labels, "value": value} for labels, value in rounded]
    return {"expr": f"round(({expr}) * 1000) > -Inf", "eval_time": f"{at:g}s", "exp_samples": expected}


def json_labels(labels: Mapping[str, str]) -> str:
    """Labels as promtool reads them, without the name."""
    return "{" + ",".join(f'{key}="{value}"' for key, value in labels.items() if key != "__name__") + "}"


@pytest.mark.slow
async def test_prometheus_answers_the_same(tmp_path: Path) -> None:
    """At four times between scrapes: on a scrape, Prometheus 2 has one more sample in a window than Prometheus 3."""
    expected = [await _as_promtool_has_it(expr, at) for expr in EXPRESSIONS for at in (46.0, 61.0, 97.0, 136.0)]
    assert sum(bool(each["exp_samples"]) for each in expected) > len(EXPRESSIONS)
    inputs = [
        {"series": series, "values": " ".join("_" if value is None else str(value) for value in values)}
        for series, values in SERIES.items()
    ]
    test = {"interval": f"{_STEP}s", "input_series": inputs, "promql_expr_test": expected}
    file = tmp_path / "test.json"  # which is YAML
    file.write_text(json.dumps({"rule_files": [], "evaluation_interval": f"{_STEP}s", "tests": [test]}), "utf-8")
    made = await asyncio.create_subprocess_exec(
        program("prometheus", "promtool"), "test", "rules", str(file), stdout=PIPE, stderr=STDOUT
    )
    said = (await made.communicate())[0].decode()
    assert made.returncode == 0, said


async def test_numbers_are_numbers() -> None:
    found = {
        expr: (await _queries().query(expr, 60.0))[0].value for expr in ("1 + 2 * 3", "(3 / 0)", "2 > bool 3", "2 <= bool 3")
    }
    assert found == {"1 + 2 * 3": 7.0, "(3 / 0)": math.inf, "2 > bool 3": 0.0, "2 <= bool 3": 1.0}


async def test_a_range_has_a_value_at_each_step() -> None:
    (series,) = await _queries().range('sum(ok{pod="a"})', 30.0, 60.0, 15.0)
    assert (series.labels, series.points) == ({}, {30.0: 181.0, 45.0: 270.0, 60.0: 362.0})


async def test_an_old_sample_is_not_seen() -> None:
    queries = PlayedQueries(lambda fits: [each for each in _scraped() if fits(each.labels)], 60.0, lambda: True)
    assert len(await queries.query("up", 135.0 + 59.0)) == 2
    assert await queries.query("up", 135.0 + 60.0) == []


async def test_in_a_gap_nothing_is_answered() -> None:
    with pytest.raises(QueryFailed, match="does not answer"):
        await _queries(answers=False).query("up", 60.0)


async def test_several_series_on_both_sides_cannot_be_matched() -> None:
    with pytest.raises(QueryFailed, match="many-to-many"):
        await _queries().query("ok / on (namespace) ok", 60.0)


async def test_two_series_with_the_same_labels_are_an_error() -> None:
    with pytest.raises(QueryFailed, match="same labelset"):
        await _queries().query('rate({__name__=~"ok|twin"}[1m])', 60.0)


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        ('ok{pod=~"[[:alpha:]]+"}', "the pattern '[[:alpha:]]+' is not played"),
        ('ok{pod=~"(?s)a.b"}', "the pattern '(?s)a.b' is not played"),
        ("sum(rate(ok[5m])) by (pod) > 0", ""),
        ("histogram_quantile(0.9, ok)", "histogram_quantile is not played"),
        ("topk(3, ok)", "topk is not played"),
        ("ok offset 5m", "offset, @ and `or` in a selector are not played"),
        ("ok * on (pod) group_left bad", "group_left and group_right are not played"),
        ("ok % 2", "the operator % is not played"),
        ("max_over_time(ok[5m])", "max_over_time is not played"),
        ("-ok", "subqueries, signs and strings are not played"),
        ("rate(ok[5m:1m])", "rate is not played"),
        ('ok{pod=~"\\\\pL+"}', "the pattern '\\\\pL+' is not played"),
    ],
)
async def test_what_is_not_played_says_so(expr: str, why: str) -> None:
    assert unplayed(expr) == why
    if why:
        with pytest.raises(QueryFailed, match="does not play"):
            await _queries().query(expr, 60.0)


def test_what_is_no_promql_is_not_played() -> None:
    assert unplayed("sum(") != ""


def test_the_metrics_of_an_expression_are_known() -> None:
    found = metrics('sum(rate(ok[1m])) / on (pod) {__name__=~"bad|worse"}')
    assert found == [("Equal", "ok"), ("Re", "bad|worse")]
    assert [selects(each, ["worse", "up"]) for each in found] == [False, True]
