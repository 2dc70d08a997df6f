"""What rules ask of Prometheus, in words for people: the expressions, with their thresholds and units."""

from healer.model.duration import say
from healer.rules.probe import Canary, Measure, Query


def asked_by_query(query: Query) -> str:
    """The expression, and the threshold that its value must pass."""
    sign, edge = (">", query.above) if query.above is not None else ("<", query.below)
    return with_unit(f"{_line(query.expr)} {sign} {edge:.6g}", query.unit)


def asked_by_canary(canary: Canary) -> str:
    """The expressions of its measures."""
    return "; ".join(map(_measured, canary.measures))


def with_unit(text: str, unit: str | None) -> str:
    """The text of a number, with its unit if it has one."""
    return text if unit is None else f"{text} {unit}"


def _measured(measure: Measure) -> str:
    if measure.histogram is not None and measure.slower_than is not None:
        return f"{measure.name}: slower than {say(measure.slower_than)} of {_line(measure.histogram)}"
    return f"{measure.name}: {_line(measure.bad or '')} of {_line(measure.total or '')}"


def _line(promql: str) -> str:
    return " ".join(promql.split())
