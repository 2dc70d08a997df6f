"""`python -m tests.benchmarks`: measures, prints figures, asserts nothing."""

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import (
    alerts,
    events,
    happenings,
    judge,
    page,
    queries,
    readers,
    replays,
    rules,
    rulesets,
    simulation,
    storm,
    watch,
)
from tests.benchmarks.machine import Cores, Unmeasurable, describe
from tests.benchmarks.report import Figure, Report

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
PARTS: dict[str, tuple[str, Callable[[Cores, int], list[Figure]]]] = {
    "events": ("Pod events, socket to engine", events.throughput),
    "reaction": (f"Reaction, with {alerts.BACKGROUND:,} pod events/s in the background", alerts.reaction),
    "webhook": (f"Webhook, {alerts.CONNECTIONS} connections", alerts.intake),
    "happenings": ("Events of Kubernetes in a flood", happenings.floods),
    "storm": ("What one POST can do", storm.storm),
    "recording": ("What a record of that costs", storm.recording),
    "pods": ("10,000 pods", events.tracking),
    "rules": ("1,000 rules against 10", rules.many),
    "queries": (f"Pod events beside {queries.QUERIES} rules that ask Prometheus", queries.delays),
    "readers": (f"A state of {readers.WORKLOADS * readers.UNITS:,} units, followed by pages", readers.readers),
    "page": (f"The page with {page.FLEET} workloads and {page.INCIDENTS:,} incidents", page.turns),
    "start": ("Start, and memory when idle", events.starting),
    "replay": ("A week of records, played to other rules", replays.measured),
    "rulesets": (f"{rulesets.NUMBER:,} RuleSets in the cluster", rulesets.measured),
    "simulation": (simulation.TITLE, simulation.simulated),
    "judge": ("The canary judge against others", judge.measure),
}
WATCH = "watch"


def main() -> int:
    """Run what was asked for; 1 when it could not be measured, whatever the figures."""
    asked = _arguments()
    names = asked.part or [*PARTS, WATCH]
    try:
        cores, machine = Cores.choose(), describe()
        parts: dict[str, list[Figure]] = {}
        for name in names:
            if name in PARTS:
                title, run = PARTS[name]
                sys.stderr.write(f"measuring: {title} ...\n")
                parts[title] = run(cores, asked.runs)
        alone = _watch_alone() if WATCH in names and asked.output != "json" else ""
    except Unmeasurable as error:
        sys.stderr.write(f"benchmarks: {error}\n")
        return 1
    report = Report(machine, time.strftime("%Y-%m-%d"), asked.runs, parts, alone)
    if asked.output == "json":
        sys.stdout.write(report.json() + "\n")
    else:
        report.show()
    if asked.write:
        order = [title for title, _ in PARTS.values()]
        PAGE.write_text(report.into(PAGE.read_text("utf-8"), order) if asked.part else report.markdown(), "utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure healer on this machine.")
    parser.add_argument(
        "part", nargs="*", choices=[*PARTS, WATCH, []], help=f"what to measure: {', '.join([*PARTS, WATCH])}; all by default"
    )
    parser.add_argument("-r", "--runs", type=int, default=5, metavar="N", help="how often each is measured (5)")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table", help="json: with every run's value")
    parser.add_argument(
        "--write", action="store_true", help=f"also write {PAGE.parent.name}/{PAGE.name}, or its sections of these parts"
    )
    return parser.parse_args()


def _watch_alone() -> str:
    """The benchmark of the list-watch loop by itself prints its own table."""
    sys.stderr.write("measuring: the watch alone ...\n")
    with contextlib.redirect_stdout(io.StringIO()) as text:
        watch.main()
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main())
