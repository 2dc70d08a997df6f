"""The state of healer on a terminal: printed once by `healer status`, again and again by `healer top`."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from healer.engine.incidents.needed import needs_human
from healer.engine.matching.coverage import counted
from healer.http.state import CanaryMeasure, CanaryRow, LimitRow, UnitRow, WorkloadRow
from healer.model.duration import about
from healer.model.incident import Incident
from healer.operate.explain.show import cells, clean, table
from healer.operate.explain.words import step, takes_approval, when
from healer.operate.status import HealerStatus

_BAR = 12
"""Characters of a gauge."""
_UNITS = 40
"""Units of a workload that are drawn; of more, only the numbers are shown."""
_STATES = {"escalated": "bold red", "waiting": "yellow", "acting": "bold blue", "verifying": "blue", "healed": "green"}
_VERDICTS = {"GOOD": "green", "BAD": "bold red", "UNKNOWN": "yellow"}


def show_status(found: HealerStatus, screen: Console) -> None:
    """Print the state of healer."""
    for part in status_parts(found):
        screen.print(part)


def status_screen(found: HealerStatus, trouble: str = "") -> Group:
    """The same as one picture; `trouble` says why it is not of now."""
    parts = list(status_parts(found))
    if trouble:
        parts.insert(1, Text(clean(f"not of now, the cluster does not answer: {trouble}"), style="bold red"))
    return Group(*parts)


def status_parts(found: HealerStatus) -> Iterator[RenderableType]:
    """What is shown, from what a human must know first to what can wait."""
    yield Text(clean(_led(found)), style="bold green" if found.led else "bold red")
    yield from (Text(clean(f"note: {note}"), style="yellow") for note in found.notes)
    yield from (Text(clean(f"paused: {pause}"), style="magenta") for pause in found.pauses)
    if found.incidents is not None:
        yield from _of_humans([incident for incident in found.incidents if needs_human(incident)])
        yield from _of_incidents(found.incidents, found.at)
    if found.daemon is not None:
        yield from _of_workloads(found.daemon.workloads)
        yield from _of_canaries(found.daemon.canaries, found.at)
        yield from _of_limits(found.daemon.limits, found.at)
    if found.rules is not None:
        yield from _of_rules(found)


def _led(found: HealerStatus) -> str:
    leader = found.leader
    if found.alone:
        return "healer acts alone, without an election"
    if found.missing:
        return found.missing
    if leader is None or not leader.holder:
        return "nobody leads: healer acts nowhere, unless it runs without an election"
    age = leader.age(found.at)
    renewed = "at a time that cannot be read" if age is None else f"{about(age)} ago"
    if found.led:
        return f"{leader.holder} leads; its Lease was renewed {renewed}"
    return f"nobody leads: {leader.holder} held the Lease and renewed it {renewed}"


def _heading(text: str, style: str = "bold") -> Text:
    return Text(clean(f"\n{text}"), style=style)


def _of_humans(incidents: Iterable[Incident]) -> Iterator[RenderableType]:
    waiting = list(incidents)
    if not waiting:
        return
    yield _heading("a human is needed", "bold red")
    for incident in waiting:
        place = f"incident/{incident.id} -n {incident.workload.namespace}"
        command = f"healer approve {place}" if takes_approval(incident) else f"healer explain {place}"
        yield Text(clean(f"  {incident.workload} in {incident.workload.namespace}: {incident.reason.text}"), style="red")
        yield Text(clean(f"    {command}"), style="dim")


def _of_incidents(incidents: tuple[Incident, ...], now: float) -> Iterator[RenderableType]:
    yield _heading(f"{counted(len(incidents), 'incident')} not closed" if incidents else "no incident is open")
    rows = table("namespace", "incident", "workload", "state", "step", "opened", "reason")
    for incident in incidents:
        target, opened = incident.workload, when(incident.opened_at, now)
        texts = cells(target.namespace, incident.id, str(target), incident.state, step(incident), opened, incident.reason.text)
        texts[3].stylize(_STATES.get(incident.state, ""))
        rows.add_row(*texts)
    if incidents:
        yield rows


def _of_workloads(workloads: list[WorkloadRow]) -> Iterator[RenderableType]:
    if not workloads:
        return
    yield _heading(f"{counted(len(workloads), 'workload')} that rules are about")
    rows = table("namespace", "workload", "ready", "", "what else")
    for row in workloads:
        ready, namespace, name = f"{row.ready} of {row.desired}", row.target.namespace, str(row.target)
        why = "; ".join(dict.fromkeys(unit.why for unit in row.units if unit.why))
        also = "; ".join(filter(None, (row.paused, row.rollout, why)))
        namespace_, name_, ready_, also_ = cells(namespace, name, ready, also)
        ready_.stylize("green" if row.ready >= row.desired else "bold red")
        rows.add_row(namespace_, name_, ready_, _dots(row.units, row.more), also_)
    yield rows


def _dots(units: list[UnitRow], more: int) -> Text:
    """A dot for each unit: full when it serves. Those that do not, come first."""
    dots = Text()
    for ready, group in groupby(sorted(units, key=lambda unit: unit.ready)[:_UNITS], key=lambda unit: unit.ready):
        dots.append(("●" if ready else "○") * len(list(group)), style="green" if ready else "bold red")
    left = max(0, len(units) - _UNITS) + more
    return dots.append(f" +{left}") if left else dots


def _of_canaries(canaries: list[CanaryRow], now: float) -> Iterator[RenderableType]:
    if not canaries:
        return
    yield _heading(f"{counted(len(canaries), 'canary') if len(canaries) == 1 else f'{len(canaries)} canaries'} judged")
    rows = table("namespace", "route", "canary", "weight", "verdict", "measure", "evidence for BAD", "canary bad", "stable bad")
    for canary in canaries:
        for number, measure in enumerate(canary.measures or [None]):
            first = number == 0
            place = (
                canary.workload.namespace,
                canary.route,
                str(canary.workload),
                f"{100 * canary.weight:.4g} %",
                canary.verdict,
            )
            texts = cells(*(place if first else ("",) * len(place)))
            texts[4].stylize(_VERDICTS.get(canary.verdict, ""))
            rows.add_row(*texts, *_measured(measure, canary.text))
    yield rows


def _measured(measure: CanaryMeasure | None, text: str) -> list[Text]:
    if measure is None:
        return cells(text, "", "", "")
    evidence = _bar(measure.evidence, measure.needed).append(f" {measure.evidence:.3g} of {measure.needed:.3g}")
    sides = [_share(measure.canary.bad, measure.canary.requests)]
    sides.append("" if measure.stable is None else _share(measure.stable.bad, measure.stable.requests))
    name, canary, stable = cells(measure.name, *sides)
    return [name, evidence, canary, stable]


def _share(bad: float, requests: float) -> str:
    return f"{100 * bad / requests:.3g} % of {requests:.0f}" if requests else "no requests"


def _of_limits(limits: list[LimitRow], now: float) -> Iterator[RenderableType]:
    if not limits:
        return
    yield _heading("limits")
    rows = table("limit", "of", "used", "", "allows more")
    for limit in limits:
        of = [limit.rule, f"{limit.workload} in {limit.namespace}" if limit.workload is not None else limit.namespace]
        used = f"{about(limit.used)} of {about(limit.most)}" if limit.kind == "cooldown" else f"{limit.used:g} of {limit.most:g}"
        until = "now" if not limit.open else "when somebody approves" if limit.until is None else when(limit.until, now)
        kind, of_, used_, until_ = cells(limit.kind, ", ".join(filter(None, of)) or "the cluster", used, until)
        until_.stylize("bold red" if limit.open and limit.kind != "cooldown" else "")
        rows.add_row(kind, of_, used_, _bar(limit.used, limit.most), until_)
    yield rows


def _bar(used: float, most: float) -> Text:
    full = round(_BAR * min(1.0, max(0.0, used / most))) if most > 0 else 0
    return Text("█" * full, style="red" if full == _BAR else "cyan").append("░" * (_BAR - full), style="dim")


def _of_rules(found: HealerStatus) -> Iterator[RenderableType]:
    rules = found.rules or ()
    did = {} if found.daemon is None else {row.rule: row for row in found.daemon.activity}
    yield from _loaded(found, len(rules))
    rows: Table = table(
        "rule", "from", "mode", "trigger", "pods", "workloads", "cannot act on", "last week", "what keeps it from working"
    )
    for rule in rules:
        counts = ["?" if number is None else str(number) for number in (rule.pods, rule.workloads, rule.watched)]
        mode = f"{rule.mode} (its file says {rule.written}; healer's setting `mode` caps it)" if rule.written else rule.mode
        row = did.get(rule.name)
        week = "" if row is None else f"would have acted {_times(row.actions)}" if row.dry else f"acted {_times(row.actions)}"
        rows.add_row(*cells(rule.name, rule.origin, mode, rule.trigger, *counts, week, "; ".join(rule.doubts)))
    yield rows


def _loaded(found: HealerStatus, rules: int) -> Iterator[RenderableType]:
    """How many rules are in force since when, and what of files and RuleSets is not."""
    loaded = None if found.daemon is None else found.daemon.loaded
    if loaded is None or not loaded.at:
        yield _heading(f"{counted(rules, 'rule')} in force")
        return
    yield _heading(f"{counted(rules, 'rule')} in force since {when(loaded.at, found.at)} (digest {loaded.digest})")
    if loaded.problems:
        yield Text("  the rule files have errors: the last good rules stay in force", style="red")
    yield from (Text(clean(f"    {problem}"), style="red") for problem in loaded.problems)
    yield from (Text(clean(f"  RuleSet {refused}"), style="red") for refused in loaded.refused)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
