"""The timeline: it prints one line for each event of the demo at once."""

import asyncio
import io
import re
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.table import Table
from rich.text import Text

from healer.model.effects import Decision, Verb
from healer.model.incident import Incident, State
from healer.sinks.base import HistoryProgress

_STYLES = {
    "lab": "magenta",
    "signal": "yellow",
    "judge": "yellow",
    "guard": "cyan",
    "act": "bold blue",
    "verify": "blue",
    "healed": "bold green",
    "human": "bold red",
    "ignore": "dim",
    "closed": "dim",
}
_STATES = {
    State.OPEN: "signal",
    State.ACTING: "act",
    State.VERIFYING: "verify",
    State.HEALED: "healed",
    State.ESCALATED: "human",
    State.CLOSED: "closed",
}
_POD = re.compile(r"\b([a-z0-9-]+?)-[a-z0-9]{8,10}-([a-z0-9]{5})\b")
"""The name of a Deployment's pod. The hash of its template says nothing to people."""
_WIDTH = 170


def short(text: str) -> str:
    """A text in which names of pods are short."""
    return _POD.sub(r"\1-…\2", text)


def _line(cells: Sequence[Text]) -> Table:
    """A line of the SVG picture. Long text wraps within its own column."""
    grid = Table.grid()
    for cell in cells[:-1]:
        grid.add_column(no_wrap=True, min_width=cell.cell_len)
    grid.add_row(*cells)
    return grid


class Timeline:
    """A sink of incidents that also prints decisions. Colour on terminals only; `save` writes an SVG picture."""

    name = "timeline"

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._screen = Console(highlight=False)
        self._record = Console(record=True, file=io.StringIO(), width=_WIDTH, highlight=False, force_terminal=True)
        self._progress: dict[str, HistoryProgress] = {}
        self._pending: set[tuple[str, str]] = set()
        self._gone: set[tuple[str, str]] = set()
        self._incidents: dict[str, Incident] = {}
        self._changed = asyncio.Event()

    def say(self, who: str, text: str, rule: str = "") -> None:
        """Print one line. `who` is a key of _STYLES."""
        cells = (
            Text(f"{time.monotonic() - self._began:6.1f} s  ", "dim"),
            Text(f"{who:<7}", _STYLES[who]),
            Text(f"{rule:<15}", "dim"),
            Text(short(text)),
        )
        self._screen.print(Text.assemble(*cells), soft_wrap=True)
        self._record.print(_line(cells))

    def title(self, text: str) -> None:
        """Print a heading."""
        for console in (self._screen, self._record):
            console.print(text, style="bold", soft_wrap=console is self._screen)

    def lines(self, lines: list[str]) -> None:
        """Print lines unchanged."""
        for console in (self._screen, self._record):
            console.print("\n".join(lines), soft_wrap=console is self._screen)

    def table(self, table: Table) -> None:
        """Print a table."""
        for console in (self._screen, self._record):
            console.print(table)

    def save(self, path: Path) -> None:
        """Write everything printed so far to an SVG picture."""
        local = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)  # no font from the network
        self._record.save_svg(str(path), title="healer demo", code_format=local)

    def decided(self, decision: Decision) -> None:
        """Print a decision that no incident's history contains, or that a guard made."""
        rule = decision.rule.rpartition("/")[2]
        match decision.verb:
            case Verb.PEND if (rule, decision.target.uid) not in self._pending:
                self._pending.add((rule, decision.target.uid))
                self.say("signal", f"{decision.target}: {decision.reason.text}", rule)
            case Verb.IGNORE if decision.reason.code == "TargetGone" and (rule, decision.target.name) not in self._gone:
                self._gone.add((rule, decision.target.name))  # rules of several packs have the name
                self.say("ignore", decision.reason.text, rule)
            case Verb.JUDGE:
                self.say("judge", f"{decision.reason.code.upper()}: {decision.reason.text}", rule)
            case Verb.DEFER:
                self.say("guard", f"not now: {decision.reason.text}", rule)
            case Verb.REFUSE:
                self.say("guard", f"no: {decision.reason.text}", rule)

    def tell(self, incident: Incident) -> None:
        """Show the new lines of an incident's history."""
        self._incidents[incident.id] = incident
        self._changed.set()
        progress = self._progress.setdefault(incident.id, HistoryProgress())
        for entry in progress.unseen(incident.history):
            progress.advance(entry)
            if entry.state is not State.WAITING:
                self.say(_STATES[entry.state], entry.reason.text, incident.rule.rpartition("/")[2])

    def resume(self, incident: Incident) -> None:
        """Print the history of an incident that exists at the start, if the lab has one."""
        self.tell(incident)

    def reset(self) -> None:
        """Do nothing: printed lines stay."""

    async def until(self, predicate: Callable[[list[Incident]], bool]) -> None:
        """Return when the predicate holds for the incidents so far."""
        while not predicate(list(self._incidents.values())):
            self._changed.clear()
            await self._changed.wait()

    async def run(self) -> None:
        """Do nothing: lines are printed at once."""

    async def check(self, channels: Collection[str]) -> list[str]:
        """Report no problems: the screen shows every message."""
        return []

    async def flush(self, timeout: float) -> bool:  # noqa: ASYNC109 - the interface of a sink
        """Return True: everything is printed already."""
        return True
