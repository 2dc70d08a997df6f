"""How long a simulated day takes on one core."""

import json

from tests.benchmarks.machine import Cores, process
from tests.benchmarks.report import Figure
from tests.benchmarks.simulated import FAULTS, HOURS, REPLICAS, WORKLOADS

TITLE = f"{HOURS} simulated hours of {WORKLOADS * REPLICAS} pods, {sum(FAULTS.values())} faults"


def simulated(cores: Cores, runs: int) -> list[Figure]:
    """The CPU seconds of a life with healer, of one without, and of both."""
    seen = [_seconds(cores) for _ in range(runs)]
    healer, none = (tuple(run[policy] for run in seen) for policy in ("healer", "none"))
    both = tuple(map(sum, zip(healer, none, strict=True)))
    return [
        Figure("with healer", "s of CPU", healer),
        Figure("without it", "s of CPU", none),
        Figure("both", "s of CPU", both, ("<", 20)),
    ]


def _seconds(cores: Cores) -> dict[str, float]:
    with process(cores.measured, "-m", "tests.benchmarks.simulated") as child:
        found: dict[str, float] = json.loads(child.said())
        return found
