"""A metric is one declaration in the file that counts: the table of docs/operating.md follows."""

from pathlib import Path

import pytest

from tests.docs.metrics import Declared, declared, table

COUNTS = """
from prometheus_client import Counter, Histogram

from healer.daemon.metrics import Metrics


def count(metrics: Metrics) -> None:
    Counter("healer_greetings", "People that were greeted.", ["who"], registry=metrics.registry)
    Histogram("healer_greeting_seconds", "Seconds that a greeting took.", registry=metrics.registry, buckets=(0.1, 1))
"""


def test_a_new_metric_is_one_declaration(tmp_path: Path) -> None:
    (tmp_path / "greet.py").write_text(COUNTS, "utf-8")
    assert list(declared(tmp_path)) == [
        Declared("healer_greetings_total", "counter", ("who",), "People that were greeted."),
        Declared("healer_greeting_seconds", "histogram", (), "Seconds that a greeting took."),
    ]
    assert "| `healer_greetings_total` | counter | `who` | People that were greeted. |" in table(declared(tmp_path))


def test_a_metric_whose_meaning_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """Better no page than one that lacks a metric."""
    (tmp_path / "greet.py").write_text(COUNTS.replace('"People that were greeted."', "MEANING"), "utf-8")
    with pytest.raises(ValueError, match="malformed"):
        table(declared(tmp_path))
