"""`python -m tests.coverage FILE`: how many of each room's branches the tests ran, from the JSON report of coverage.py.

Exit code 1 when fewer than `FLOOR` of the branches of a room ran, and then the lines of the others.
"""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FLOOR = 0.95


def rooms(report: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """For each room how many branches ran, and how many there are."""
    ran: Counter[str] = Counter()
    known: Counter[str] = Counter()
    for name, file in report["files"].items():
        ran[_room(name)] += file["summary"]["covered_branches"]
        known[_room(name)] += file["summary"]["num_branches"]
    return {room: (ran[room], known[room]) for room in sorted(known)}


def missing(report: Mapping[str, Any], room: str) -> list[str]:
    """The branches of a room that did not run, as `file:line to line`, or `to the end` of the function."""
    return [
        f"{name}:{start} to {end if end > 0 else 'the end'}"
        for name, file in sorted(report["files"].items())
        if _room(name) == room
        for start, end in file["missing_branches"]
    ]


def _room(name: str) -> str:
    return Path(name).parts[1].removesuffix(".py")


def main(path: Path) -> int:
    """Print the figures; returns the exit code."""
    report = json.loads(path.read_text("utf-8"))
    measured = rooms(report)
    low = [room for room, (ran, known) in measured.items() if ran < FLOOR * known]
    lines = ["room      branches     ran"]
    lines += [f"{room:<10}{known:>8}{ran / known:>8.1%}" for room, (ran, known) in measured.items()]
    for room in low:
        lines += [
            "",
            f"fewer than {FLOOR:.0%} of the branches of healer/{room} ran. Write a test of a decision for each of these:",
        ]
        lines += missing(report, room)
    sys.stdout.write("\n".join([*lines, ""]))
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
