"""The verb that plays fault scenarios in virtual time: simulate."""

import logging
import traceback
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer
from rich.progress import Progress
from rich.table import Table

from healer.cli.common import EXIT_PROBLEMS, EXIT_SETUP, Output, print_json
from healer.daemon.rulefiles import RulesError, load_rules, vocabulary
from healer.model.duration import about
from healer.operate.explain.show import clean, console
from healer.settings import SettingsError, isolated

if TYPE_CHECKING:
    from healer.rehearsal.simulate.result import Simulation
    from healer.rehearsal.simulate.scenario import Scenario
    from healer.rules.rulebook import Rulebook
    from healer.settings import Settings

app = typer.Typer()
_SHOWN = 10
"""Actions that were not done, which the text names."""


@app.command()
def simulate(
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO.yaml", help="A scenario (`healer schema scenario`).")],
    rules: Annotated[
        list[Path] | None,
        typer.Option(
            "--rules", metavar="DIR|FILE", help="In place of the rules that the scenario names. May be given several times."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Draws the faults, and which pods they strike. The same seed gives the same result.")
    ] = 1,
    hours: Annotated[
        float | None, typer.Option(min=0.1, max=720, help="How long to simulate, in place of what the scenario says.")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="healer, none, restart-at-once, delete-on-alert; by default healer and none."),
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a report, one HTML file.")] = None,
    output: Output = "text",
) -> None:
    """Play a whole fault scenario in virtual time: with healer, without it, and with simpler policies in its place.

    The engine, the rules, the guards and the actions are healer's own, and the cluster is the lab; traffic and faults are
    modelled (docs/rules-as-code.md). A day with 500 pods takes seconds.

    Exit code 1 when healer does harm, or not what the scenario expects. 2 when the scenario, the rules or the settings are not
    usable, or the simulation itself fails.
    """
    from healer.rehearsal.simulate.report import html
    from healer.rehearsal.simulate.result import HEALER, NONE, plain, simulate

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    wanted = list(dict.fromkeys(policy or (HEALER, NONE)))
    read, rulebook, settings = _read(scenario, rules or [], wanted)
    lasts = None if hours is None else hours * 3600
    found = _play(scenario, partial(simulate, read, rulebook, settings, policies=wanted, seed=seed, lasts=lasts), wanted)
    if report is not None:
        _write(report, html(found))
    if output == "json":
        print_json(plain(found))
    else:
        _show(found)
    if found.ruling is not None and not found.ruling.met:
        raise typer.Exit(EXIT_PROBLEMS)


def _read(file: Path, rules: list[Path], policies: list[str]) -> "tuple[Scenario, Rulebook, Settings]":
    """The scenario, its rules and its settings. What is wrong with any of them ends the program with exit code 2."""
    from healer.rehearsal.simulate.life import POLICIES
    from healer.rehearsal.simulate.loading import ScenarioError, load, rule_files

    try:
        if unknown := [name for name in policies if name not in POLICIES]:
            raise SettingsError(f"there is no policy {unknown[0]!r}: use {', '.join(POLICIES)}")
        scenario = load(file)
        settings = isolated(scenario.spec.settings, f"{file}: spec.settings")
        return scenario, load_rules(rules or rule_files(scenario, file), vocabulary()), settings
    except (ScenarioError, RulesError, SettingsError) as error:
        typer.echo(clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_SETUP) from error


def _play(scenario: Path, simulate: "Callable[..., Simulation]", policies: list[str]) -> "Simulation":
    """Simulate, and show how far it is. A failure of the simulation itself ends the program with exit code 2."""
    with Progress(console=console(error=True), transient=True, disable=not console(error=True).is_terminal) as bars:
        tasks = {name: bars.add_task(name, total=1) for name in policies}
        try:
            return simulate(progress=lambda name, share: bars.update(tasks[name], completed=share))
        except Exception as error:  # noqa: BLE001 - whatever fails in here is not what the rules do, which exit code 1 would say
            failure = _failure(error)
    typer.echo(
        clean(f"healer: {scenario}: the simulation itself has failed, which says nothing of the rules: {failure}"), err=True
    )
    raise typer.Exit(EXIT_SETUP)


def _failure(error: Exception) -> str:
    """What went wrong in the program, and where: for whoever mends it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    place = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{said} ({Path(place.filename).name}:{place.lineno}); report it with the scenario and the rules"


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        typer.echo(f"healer: the report cannot be written: {error}", err=True)
        raise typer.Exit(EXIT_SETUP) from error


def _counted(times: dict[str, int]) -> str:
    return ", ".join(f"{action} {count:,}" for action, count in times.items())


def _show(found: "Simulation") -> None:
    from healer.rehearsal.simulate.result import actions, time_to_heal

    screen = console()
    screen.print(clean(f"{found.scenario.metadata.name}: {found.scenario.spec.about}"), style="bold")
    table = Table(box=None, pad_edge=False)
    for title in ("policy", "availability", "requests failed", "requests", "time to heal", "not healed", "actions"):
        table.add_column(title, justify="left" if title in ("policy", "actions") else "right")
    for name, life in found.lives.items():
        median = time_to_heal(life)
        table.add_row(
            name,
            f"{100 * life.availability:.4f} %",
            f"{life.failed:,.0f}",
            f"{life.requests:,.0f}",
            "-" if median is None else about(median),
            str(sum(strike.healed is None for strike in life.strikes)),
            _counted(actions(life)) or "none",
        )
    screen.print(table)
    for name, life in found.lives.items():
        if life.would:
            screen.print(f"{name} would {_counted(dict(sorted(life.would.items())))} (rules observe)", style="yellow")
        if life.unready:
            screen.print(f"{name}: not whole when it began: {', '.join(life.unready)}", style="yellow")
        for failed, times in islice(life.not_done.items(), _SHOWN):
            often = f" ({times:,} times)" if times > 1 else ""
            said = f"{name}: {failed.action} on {failed.workload} was not done{often}: {failed.reason}: {failed.text}"
            screen.print(clean(said), style="yellow")
        if len(life.not_done) > _SHOWN:
            screen.print(f"{name}: {len(life.not_done) - _SHOWN} more actions were not done (-o json has all)", style="yellow")
    for remark in found.overloaded:
        screen.print(clean(remark), style="yellow")
    for rule in found.not_loaded:
        screen.print(clean(f"a fault shows itself to rule {rule}, which is not loaded or does not ask"), style="yellow")
    for rule, why in found.not_played.items():
        screen.print(clean(f"rule {rule} finds nothing here: {why}"), style="dim")
    if found.ruling is not None:
        met = "as the scenario expects" if found.ruling.met else "which is not as the scenario expects:"
        screen.print(f"{found.ruling.verdict}, {met}", style="green" if found.ruling.met else "bold red")
        for each in found.ruling.faults:
            screen.print(clean(f"  {each}"), style="red")
