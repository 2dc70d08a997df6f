"""Which metrics an expression needs."""

import pytest

from healer.rules.promql_metrics import metrics


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("up", {"up"}),
        ('sum by (pod) (rate(a_total{code=~"5.."}[5m])) / clamp_min(sum(b:c), 1) > bool 3', {"a_total", "b:c"}),
        ("-max_over_time(d[1h:1m]) or (e offset 5m and on (pod) f) unless absent(g)", {"d", "e", "f", "g"}),
        ("histogram_quantile(0.9, sum by (le) (rate(h_bucket{pod='{{ pod }}'}[{{ window }}])))", {"h_bucket"}),
        ('{__name__=~"x|y"}', set()),
        ("vector(1)", set()),
    ],
)
def test_each_selector_has_its_name(text: str, names: set[str]) -> None:
    assert metrics(text) == frozenset(names)


def test_an_expression_that_only_its_server_knows_is_not_guessed_at() -> None:
    assert metrics("range_trend_zscore(a[5m]) default 0") is None
