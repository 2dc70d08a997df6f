"""What 1,000 rules cost against 10, when one rule is about the signal."""

import json
from typing import get_args

from tests.benchmarks.decisions import Relation
from tests.benchmarks.events import by_rules
from tests.benchmarks.machine import Cores, process
from tests.benchmarks.report import Figure


def many(cores: Cores, runs: int) -> list[Figure]:
    """A signal's whole life in the engine, and a pod event from the socket on."""
    figures: list[Figure] = []
    for relation in get_args(Relation):
        few, lots = ([_life(cores, count, relation) for _ in range(runs)] for count in (10, 1_000))
        if not figures:
            figures.append(Figure("a signal's life, firing to closed, 10 rules", "us", tuple(few)))
        ratios = tuple(many / ten for many, ten in zip(lots, few, strict=True))
        figures.append(Figure(f"a signal's life, 1,000 rules against 10: {relation}", "x", ratios, ("<=", 2)))
    return figures + by_rules(cores, runs)


def _life(cores: Cores, count: int, relation: Relation) -> float:
    with process(cores.measured, "-m", "tests.benchmarks.decisions", str(count), relation) as child:
        return float(json.loads(child.said()))
