"""Plots of a simulation as inline SVG: one line for each policy over the time of the scenario."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from healer.model.duration import about

_WIDTH, _HEIGHT = 960, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 20, 44, 46
_MOST_TICKS = 6
_TIMES = (60, 300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600, 43200, 86400, 172800, 432000)
"""Seconds from one tick to the next."""
_MOST_TIMES = 9


@dataclass(frozen=True, slots=True)
class Plot:
    """What is drawn. `lines` are the points (time in seconds, value) of each policy; `marks` are the times of faults."""

    title: str
    unit: str
    """What the values are, beside their axis."""
    lines: Mapping[str, Sequence[tuple[float, float]]]
    marks: Sequence[float]
    lasts: float
    low: float
    high: float
    said: Callable[[float], str]
    """A value as the axis has it."""

    @property
    def ticks(self) -> list[float]:
        """Round values that cover the range, each a multiple of 1, 2 or 5."""
        span = (self.high - self.low) or 1.0
        rough = span / (_MOST_TICKS - 1)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough * (1 - 1e-9))
        first, last = math.floor(self.low / step + 1e-9), math.ceil(self.high / step - 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]


def svg(plot: Plot) -> str:
    """The picture, with what it shows in words. Colours are those of the page's style."""
    ends = "; ".join(f"{name} ends at {plot.said(points[-1][1])}" for name, points in plot.lines.items() if points)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(f"{plot.title}: {ends}")}">',
        *_axes(plot),
        *(f'<line class="fault" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>' for x in _marks(plot)),
    ]
    for number, (name, points) in enumerate(plot.lines.items()):
        path = " ".join(f"{_x(plot, at)},{_y(plot, value)}" for at, value in points)
        parts.append(f'<polyline class="series p{number % 4}" points="{path}"/>')
        x = _LEFT + 150 * number + 90
        parts.append(f'<line class="series p{number % 4}" x1="{x}" x2="{x + 26}" y1="12" y2="12"/>')
        parts.append(f'<text class="p{number % 4}" x="{x + 32}" y="16">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])


def _axes(plot: Plot) -> Iterator[str]:
    for value in plot.ticks:
        y = _y(plot, value)
        yield f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:g}" text-anchor="end">{escape(plot.said(value))}</text>'
    step = next((each for each in _TIMES if plot.lasts / each < _MOST_TIMES), _TIMES[-1])
    for number in range(math.floor(plot.lasts / step) + 1):
        x, at = _x(plot, number * step), number * step
        yield f'<line class="axis" x1="{x}" x2="{x}" y1="{_HEIGHT - _BOTTOM}" y2="{_HEIGHT - _BOTTOM + 5}"/>'
        yield f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 19}" text-anchor="middle">{about(at) if at else "0"}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text class="unit" x="{middle:g}" y="{_HEIGHT - 6}" text-anchor="middle">time from the beginning</text>'
    yield f'<text class="unit" x="{_LEFT - 64}" y="{_TOP - 14}">{escape(plot.unit)}</text>'
    yield f'<text x="{_LEFT}" y="16">policy:</text>'
    if plot.marks:
        x = _WIDTH - _RIGHT - 70
        yield f'<line class="fault" x1="{x}" x2="{x}" y1="5" y2="19"/><text x="{x + 8}" y="16">a fault</text>'


def _marks(plot: Plot) -> list[float]:
    return sorted({_x(plot, at) for at in plot.marks})


def _x(plot: Plot, at: float) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * at / plot.lasts, 1)


def _y(plot: Plot, value: float) -> float:
    low, high = plot.ticks[0], plot.ticks[-1]
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share, 1)
