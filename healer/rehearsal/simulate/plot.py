"""Plots of a simulation as inline SVG: one line for each policy over the time of the scenario."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from healer.model.duration import about

_WIDTH, _HEIGHT = 960, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 26, 28
_TICKS = 4


@dataclass(frozen=True, slots=True)
class Plot:
    """What is drawn. `lines` are the points (time in seconds, value) of each policy; `marks` are the times of faults."""

    title: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    marks: Sequence[float]
    lasts: float
    low: float
    high: float
    said: Callable[[float], str]
    """A value as the axis has it."""


def svg(plot: Plot) -> str:
    """The picture. Colours are those of the page's style."""
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(plot.title)}">',
        *_axes(plot),
        *(f'<line class="fault" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>' for x in _marks(plot)),
    ]
    for number, (name, points) in enumerate(plot.lines.items()):
        path = " ".join(f"{_x(plot, at)},{_y(plot, value)}" for at, value in points)
        parts.append(f'<polyline class="series p{number % 4}" points="{path}"/>')
        x = _LEFT + 150 * number
        parts.append(f'<line class="series p{number % 4}" x1="{x}" x2="{x + 26}" y1="12" y2="12"/>')
        parts.append(f'<text class="p{number % 4}" x="{x + 32}" y="16">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])


def _axes(plot: Plot) -> list[str]:
    parts = []
    for tick in range(_TICKS + 1):
        value = plot.low + (plot.high - plot.low) * tick / _TICKS
        y = _y(plot, value)
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:g}" text-anchor="end">{escape(plot.said(value))}</text>')
    for tick in range(_TICKS * 2 + 1):
        at = plot.lasts * tick / (_TICKS * 2)
        anchor = "start" if tick == 0 else "end" if tick == _TICKS * 2 else "middle"
        parts.append(f'<text x="{_x(plot, at)}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{about(at)}</text>')
    return parts


def _marks(plot: Plot) -> list[float]:
    return sorted({_x(plot, at) for at in plot.marks})


def _x(plot: Plot, at: float) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * at / plot.lasts, 1)


def _y(plot: Plot, value: float) -> float:
    span = plot.high - plot.low or 1.0
    share = min(max((value - plot.low) / span, 0.0), 1.0)
    return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share, 1)
