"""The report of a simulation: one HTML file that needs nothing else, no script and no network."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import accumulate
from pathlib import Path

from healer.model.duration import about
from healer.rehearsal.simulate.life import Life
from healer.rehearsal.simulate.plot import Plot, svg
from healer.rehearsal.simulate.result import Simulation, actions, time_to_heal
from healer.rehearsal.timeline import TimelineLine, clock

_STYLE = Path(__file__).with_name("report.css")
_MOST = 2000
"""Lines of the timeline; a day with hundreds of faults has more than anybody reads."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html(simulation: Simulation) -> str:
    """The whole page."""
    name = escape(simulation.scenario.metadata.name)
    lives = list(simulation.lives.values())
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{name}: simulated by healer</title><style>{_STYLE.read_text('utf-8')}</style></head><body><main>",
        f"<h1>{name}</h1><p>{escape(simulation.scenario.spec.about)}</p>",
        f'<p class="quiet">{about(lives[0].lasts)} simulated, seed {simulation.seed}. Faults, traffic and alerts are modelled; '
        "the rules, the engine, the guards and the actions are healer's own.</p>",
        *_verdict(simulation),
        *(
            f'<p class="quiet">Rule {escape(rule)} finds nothing here: {escape(why)}.</p>'
            for rule, why in simulation.not_played.items()
        ),
        "<h2>Under each policy</h2>",
        _summary(lives),
        "<h2>Requests</h2>",
        *_plots(lives),
        "<h2>Faults</h2>",
        _faults(lives),
        *(part for life in lives for part in _timeline(life)),
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _verdict(simulation: Simulation) -> Iterable[str]:
    ruling = simulation.ruling
    if ruling is None:
        return
    expected = simulation.scenario.spec.expect.verdict
    yield f'<p class="verdict {"met" if ruling.met else "missed"}">{ruling.verdict} (expected: {expected})</p>'
    if ruling.faults:
        yield f"<ul>{''.join(f'<li>{escape(each)}</li>' for each in ruling.faults)}</ul>"


def _summary(lives: Sequence[Life]) -> str:
    rows = []
    for life in lives:
        median = time_to_heal(life)
        rows.append(
            [
                life.policy,
                f"{100 * life.availability:.4f} %",
                f"{life.failed:,.0f}",
                f"{life.requests:,.0f}",
                "-" if median is None else about(median),
                str(sum(strike.healed is None for strike in life.strikes)),
                ", ".join(f"{action} {count:,}" for action, count in actions(life).items()) or "none",
            ]
        )
    titles = ["policy", "availability", "requests failed", "requests", "median time to heal", "not healed", "actions"]
    return _table("What each policy comes to", titles, rows, numbers={1, 2, 3, 4, 5})


def _plots(lives: Sequence[Life]) -> Iterable[str]:
    """The share of the requests that is answered, and how many have failed so far, of all workloads together."""
    answered, failed = {}, {}
    for life in lives:
        columns = list(zip(*(service.samples for service in life.services.values()), strict=True))
        requests = [sum(sample.requests for sample in column) for column in columns]
        lost = [sum(sample.failed for sample in column) for column in columns]
        times = [column[0].at for column in columns]
        shares = [1 - bad / all_ if all_ else 1.0 for all_, bad in zip(requests, lost, strict=True)]
        answered[life.policy] = list(zip(times, shares, strict=True))
        failed[life.policy] = [(0.0, 0.0), *zip(times, accumulate(lost), strict=True)]
    marks, lasts = [strike.began for strike in lives[0].strikes], lives[0].lasts
    least = min((value for points in answered.values() for _, value in points), default=1.0)
    most = max((points[-1][1] for points in failed.values() if points), default=0.0)
    title = "Share of the requests that is answered, over time"
    least = min(least, 0.99)
    yield _figure(title, svg(Plot(title, "of all requests", answered, marks, lasts, least, 1.0, _percent)))
    title = "Requests that have failed so far"
    yield _figure(title, svg(Plot(title, "requests", failed, marks, lasts, 0.0, most or 1.0, lambda value: f"{value:,.0f}")))


def _percent(share: float) -> str:
    """As few digits as the value needs: 100 %, 99.8 %."""
    return f"{100 * share:.5g} %"


def _figure(title: str, picture: str) -> str:
    frame = f'<div class="wide" role="region" aria-label="{escape(title)}" tabindex="0">{picture}</div>'
    return f"<figure>{frame}<figcaption>{title}.</figcaption></figure>"


def _faults(lives: Sequence[Life]) -> str:
    titles = ["fault", "strikes at", *(f"healed after, {life.policy}" for life in lives)]
    known = {strike.id: strike for life in reversed(lives) for strike in life.strikes}
    healed = [{strike.id: strike for strike in life.strikes} for life in lives]
    rows = []
    for strike in sorted(known.values(), key=lambda each: (each.began, each.id)):
        after = [of.get(strike.id) for of in healed]
        said = ["-" if each is None or each.healed is None else about(each.healed - each.began) for each in after]
        rows.append([strike.id, clock(strike.began), *said])
    return _table("The faults", titles, rows, numbers=set(range(1, len(titles)))) if rows else "<p>None: this is a control.</p>"


def _timeline(life: Life) -> Iterable[str]:
    yield f"<section><h2>What happened: {escape(life.policy)}</h2>"
    if len(life.timeline) > _MOST:
        yield f'<p class="quiet">The first {_MOST} of {len(life.timeline)} lines.</p>'
    if not life.timeline:
        yield "<p>Nothing.</p></section>"
        return
    rows = "".join(map(_line, life.timeline[:_MOST]))
    head = _head(["time", "what", "workload", "rule", "reason", "in words"], set())
    name = f"only-{escape(life.policy)}"
    yield f'<input class="only" type="checkbox" id="{name}"><label for="{name}">only faults, alerts and acts</label>'
    yield _framed(f"What happened under {life.policy}", f'<table class="story">{head}<tbody>{rows}</tbody></table>')
    yield "</section>"


def _line(entry: TimelineLine) -> str:
    cells = (entry.workload, entry.rule, entry.code, entry.text)
    said = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr class="{entry.kind}"><td class="time">{clock(entry.at)}</td><td class="kind">{entry.kind}</td>{said}</tr>'


def _table(name: str, titles: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: set[int]) -> str:
    lines = []
    for row in rows:
        cells = (f"<td{_right(at, numbers)}>{escape(cell)}</td>" for at, cell in enumerate(row))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return _framed(name, f"<table>{_head(titles, numbers)}<tbody>{''.join(lines)}</tbody></table>")


def _head(titles: Sequence[str], numbers: set[int]) -> str:
    cells = (
        f'<th scope="col"{_right(at, numbers)}>{escape(title)}</th>' if title else "<td></td>" for at, title in enumerate(titles)
    )
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def _right(at: int, numbers: set[int]) -> str:
    return ' class="number"' if at in numbers else ""


def _framed(name: str, table: str) -> str:
    """A table that scrolls by itself where the window is narrow; the keyboard reaches it."""
    return f'<div class="wide" role="region" aria-label="{escape(name)}" tabindex="0">{table}</div>'
