"""Prints an explanation, and makes its JSON form."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from healer.model.effects import Decision
from healer.model.incident import Incident, State
from healer.operate.explain.facts import Guarding, SubjectFacts
from healer.operate.explain.story import last_by_rule, next_steps, verdict
from healer.operate.explain.words import clock, step, when

_DECISIONS = 30
"""The number of decisions that are printed. JSON has all."""
_STYLES = {
    "well": "bold green",
    "healed": "bold green",
    "seen": "bold cyan",
    "open": "bold yellow",
    "waiting": "bold yellow",
    "approval": "bold magenta",
    "healing": "bold blue",
    "escalated": "bold red",
    "unknown": "bold red",
}
_RULES = 10
"""The number of rules out of scope that are printed. JSON has all."""
_WIDE = 10_000


def console(*, error: bool = False) -> Console:
    """Return the console to print on: coloured and wrapped on a terminal, otherwise plain and without wrapped lines."""
    how: dict[str, Any] = {"stderr": error, "highlight": False, "markup": False, "emoji": False}
    screen = Console(**how)
    return screen if screen.is_terminal else Console(**how, width=_WIDE)


def clean(text: str) -> str:
    """Replace control characters by spaces: a reason may quote the output of a container, which could control the terminal."""
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)


def show_facts(facts: SubjectFacts, screen: Console) -> None:
    """Print the verdict, the incidents with their history, the decisions, and what happens next."""
    explanation = verdict(facts)
    screen.print(_head(facts))
    screen.print(clean(explanation.text), style=_STYLES[explanation.code])
    for note in facts.notes:
        screen.print(clean(f"note: {note}"), style="yellow")
    for pause in facts.pauses:
        screen.print(clean(f"paused: {pause}"), style="magenta")
    open_or_last = [i for i in facts.incidents if i.state is not State.CLOSED] or list(facts.incidents[-1:])
    for incident in facts.incidents:
        _incident(screen, incident, facts.at, whole=incident in open_or_last)
    if facts.guards is not None:
        _guards(screen, facts.guards)
    if facts.decisions:
        _decisions(screen, facts.decisions, facts.at)
    if lines := next_steps(facts):
        title(screen, "what happens next")
    for line in lines:
        screen.print(clean(f"  {line}"))


def _head(facts: SubjectFacts) -> str:
    head = f"{facts.subject} in {facts.subject.namespace}" + (f": {facts.condition}" if facts.condition else "")
    if facts.workload is not None and facts.workload != facts.subject:
        head += f"; belongs to {facts.workload}" if facts.subject.kind == "Pod" else f" on {facts.workload}"
    return clean(head)


def _incident(screen: Console, incident: Incident, now: float, *, whole: bool) -> None:
    traits = f"({incident.rule}, {incident.severity}, {incident.mode})"
    title(screen, f"incident {incident.id} {traits}: {incident.state}, {step(incident)}, opened {when(incident.opened_at, now)}")
    if not whole:
        screen.print(clean(f"  {incident.reason.text}"))
        return
    rows = table("time", "state", "step", "reason")
    for entry in incident.history:
        number = "" if entry.step is None else str(entry.step + 1)
        rows.add_row(*cells(clock(entry.at, now), entry.state, number, entry.reason.text))
    screen.print(rows)


def _guards(screen: Console, guards: tuple[Guarding, ...]) -> None:
    """Print the rules whose scope has the subject. If there are none, print for each rule why not."""
    inside = [guard.rule for guard in guards if not guard.differs]
    title(screen, "rules about it")
    for rule in inside:
        origin = f", {rule.origin}" if rule.origin else ""
        screen.print(clean(f"  {rule.name} ({rule.mode}{origin}): {rule.trigger} {', '.join(rule.names)}"))
        if rule.description:
            screen.print(Text(clean(f"    {' '.join(rule.description.split())}"), style="dim"))
    if inside:
        return
    screen.print("  none: no rule in force is about it" if guards else "  none: healer has no rules", style="yellow")
    for guard in guards[:_RULES]:
        screen.print(clean(f"  {guard.rule.name}: {guard.differs}"))


def _decisions(screen: Console, decisions: tuple[Decision, ...], now: float) -> None:
    title(screen, "rules considered")
    rows = table("rule", "at last", "why")
    for last in last_by_rule(decisions):
        rows.add_row(*cells(last.rule or "(none)", last.verb, last.reason.text))
    screen.print(rows)
    title(screen, "decisions")
    if len(decisions) > _DECISIONS:
        screen.print(f"  {len(decisions) - _DECISIONS} earlier ones: -o json")
    rows = table("time", "rule", "decision", "reason")
    for decision in decisions[-_DECISIONS:]:
        rows.add_row(*cells(clock(decision.at, now), decision.rule, decision.verb, decision.reason.text))
    screen.print(rows)


def title(screen: Console, text: str) -> None:
    """Print a heading."""
    screen.print(clean(f"\n{text}"), style="bold")


def table(*columns: str) -> Table:
    """Return a table without borders."""
    rows = Table(box=None, pad_edge=True, padding=(0, 2), header_style="dim")
    for column in columns:
        rows.add_column(column, overflow="fold")
    return rows


def cells(*texts: str) -> list[Text]:
    """Return cells whose text is printed without markup."""
    return [Text(clean(text)) for text in texts]
