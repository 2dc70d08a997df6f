"""What a real Prometheus has beside a `bad` that selects nothing: which of it is a reason to doubt the expression."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from healer.sources.canary.doubt import doubt
from tests.unit.sources.conftest import Points, remembering

pytestmark = pytest.mark.slow

AT = float(round(time.time()) - 600)


def series(*selectors: str) -> dict[str, Points]:
    """These, `name{label="value"}`, of a pod of each side."""
    return {
        each.replace("{", f'{{pod="{pod}",'): {AT - ago: 100.0 for ago in (60, 30, 0)}
        for each in selectors
        for pod in ("v1", "v2")
    }


def ours(selector: str) -> str:
    """The template of an expression."""
    return selector.replace("{", '{pod=~"{{ pods }}",')


async def doubted(folder: Path, there: Sequence[str], total: str, bad: str, *others: str) -> str:
    """Why `bad` is doubted while these series are there."""
    sides = [lambda text, pod=pod: text.replace("{{ pods }}", pod) for pod in ("v2", "v1")]
    async with remembering(folder, series(*there)) as prometheus:
        ask = partial(prometheus.query, at=AT)
        return await doubt(ours(total), ours(bad), sides, ask, [ours(each) for each in others])


@pytest.mark.parametrize(
    ("there", "other", "excused"),
    [
        (['sidecar{code="200"}'], 'sidecar{code=~"5.."}', False),
        (['cache{code="miss"}'], 'cache{code!="hit"}', False),
        (['r{path="/healthz",code="500"}'], 'r{path="/healthz",code=~"5.."}', False),
        ([], 'r{path="/predict",code=~"5.."}', True),
        ([], 'r{code!="200"}', True),
        ([], 'r{code="503"}', False),
        (['r{path="/predict",code="503"}'], 'r{code="503"}', False),
    ],
)
async def test_another_measure_excuses_the_very_series_that_it_selects(
    tmp_path: Path, there: list[str], other: str, excused: bool
) -> None:
    always = ['r{path="/predict",code="200"}', 'r{path="/predict",code="500"}']
    why = await doubted(tmp_path, [*always, *there], "r{}", 'r{code="5xx"}', other)
    assert ('r with code="500" are there' in why) == (not excused), why


async def test_measures_excuse_together_what_none_of_them_does_alone(tmp_path: Path) -> None:
    there = ['r{path="/a",code="200"}', 'r{path="/a",code="500"}', 'r{path="/b",code="500"}']
    measures = ['r{path="/a",code=~"5.."}', 'r{path="/b",code=~"5.."}']
    assert await doubted(tmp_path, there, "r{}", 'r{code="5xx"}', *measures) == ""


@pytest.mark.parametrize("fixed_by_total", [True, False])
@pytest.mark.parametrize(
    ("place", "besides"),
    [
        ('model_name="fraud"', 'model_name="spam",code="INTERNAL"'),
        ('model_name="fraud"', 'model_name="error-correction",code="503"'),
        ('model="fraud"', 'model="unknown-intent",code="200"'),
        ('model=~"fraud|fraud-v2"', 'model="spam",code="503"'),
        ('handler="/predict"', 'handler="/internal/health",code="200"'),
        ('handler="/predict"', 'handler="/metadata",code="503"'),
        ('path="/v1/models/resnet50"', 'path="/v1/models/top500",code="200"'),
        ('grpc_method="Predict"', 'grpc_method="InternalState",code="200"'),
        ('tenant="a"', 'tenant="error",code="error"'),
    ],
)
async def test_what_another_place_has_is_no_doubt(tmp_path: Path, place: str, besides: str, fixed_by_total: bool) -> None:
    """The rule means one model, one handler, whether `total` says so or `bad` alone."""
    value = place.partition("|")[0].replace("=~", "=").rstrip('"') + '"'
    there = [f'r{{{value},code="200"}}', f"r{{{besides}}}"]
    total = f"r{{{place}}}" if fixed_by_total else "r{}"
    assert await doubted(tmp_path, there, total, f'r{{{place},code=~"5..|[A-Z]+"}}') == ""


@pytest.mark.parametrize("total", ['r{model="fraud"}', "r{}"])
@pytest.mark.parametrize("bad", ['code="5xx"', 'code="500"'])
async def test_a_misspelling_at_the_rules_own_place_is_doubted(tmp_path: Path, total: str, bad: str) -> None:
    """Also when another place has what `bad` asks for."""
    there = ['r{model="fraud",code="200"}', 'r{model="fraud",code="503"}', 'r{model="spam",code="500"}']
    why = await doubted(tmp_path, there, total, f'r{{model="fraud",{bad}}}')
    assert 'r with code="503" are there' in why


async def test_two_misspelt_labels_are_doubted(tmp_path: Path) -> None:
    there = ['r{method="POST",code="200"}', 'r{method="POST",code="503"}']
    assert 'code="503" are there' in await doubted(tmp_path, there, "r{}", 'r{method="Post",code="5xx"}')


@pytest.mark.parametrize(
    ("total", "bad", "failure"),
    [
        ('good{model="a"}', 'errors{model="a",reason="timeot"}', 'errors with reason="timeout"'),
        ('good{model="a"} + errors{model="a"}', 'errors{model="a",reason="timeot"}', 'errors with reason="timeout"'),
        ('r{code="200"} + r{code="5xx"}', 'r{code="5xx"}', 'r with code="503"'),
    ],
)
async def test_a_total_of_another_metric_or_of_a_sum_hides_no_failure(tmp_path: Path, total: str, bad: str, failure: str) -> None:
    there = ['good{model="a"}', 'errors{model="a",reason="timeout"}', 'r{code="200"}', 'r{code="503"}']
    assert f"series of {failure} are there" in await doubted(tmp_path, there, total, bad)


async def test_a_failure_of_another_model_in_a_metric_of_errors_is_no_doubt(tmp_path: Path) -> None:
    there = ['good{model="a"}', 'errors{model="a",reason="canceled"}', 'errors{model="b",reason="timeout"}']
    assert await doubted(tmp_path, there, 'good{model="a"}', 'errors{model="a",reason="internal"}') == ""
