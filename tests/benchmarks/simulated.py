"""`python -m tests.benchmarks.simulated`: a day of 500 pods, with healer and without; prints the CPU seconds of each."""

import json
import logging
import sys
import time

import structlog
import yaml

from healer.daemon.rulefiles import vocabulary
from healer.rehearsal.simulate.life import live
from healer.rehearsal.simulate.loading import parse
from healer.rules.loading import load
from healer.rules.rulebook import Rulebook
from healer.settings import isolated

WORKLOADS, REPLICAS, HOURS = 10, 50, 24
FAULTS = {"crash": 40, "hang": 20, "deaf": 20}
"""Faults of a day, by their names."""
_SHOWS = {
    "crash": {"pod": "crash"},
    "hang": {"pod": "hang"},
    "deaf": {"answers": {"fail": "100%"}, "alert": {"name": "Deaf"}},
}


def scenario() -> str:
    """The scenario as a file has it."""
    workloads = [
        {
            "name": f"model-{number}",
            "replicas": REPLICAS,
            "minAvailable": "90%",
            "traffic": {"rate": 8.0 * REPLICAS, "daily": "20%"},
        }
        for number in range(WORKLOADS)
    ]
    faults = [
        {"name": name, "perDay": often, "target": {"pods": 1}, "shows": _SHOWS[name], "human": "4h"}
        for name, often in FAULTS.items()
    ]
    cluster = {"nodes": 50, "zones": ["zone-a", "zone-b", "zone-c"], "workloads": workloads}
    spec = {"about": "A day.", "lasts": f"{HOURS}h", "cluster": cluster, "faults": faults}
    head = {"apiVersion": "healer.dev/v1alpha1", "kind": "Scenario", "metadata": {"name": "day"}}
    return yaml.safe_dump({**head, "spec": spec}, sort_keys=False)


def rules() -> str:
    """Rules that heal all of it."""
    heal = [{"evict": {}, "verify": {"within": "5m", "stable": "1m"}}]
    found = [
        {"name": "sick", "when": {"pod": ["CrashLoopBackOff", "NotReady"], "for": "1m"}, "heal": heal, "mode": "enforce"},
        {"name": "deaf", "when": {"alert": ["Deaf"]}, "heal": heal, "mode": "enforce"},
    ]
    spec = {"scope": {"namespaces": ["production"]}, "rules": found}
    head = {"apiVersion": "healer.dev/v1alpha1", "kind": "RuleSet", "metadata": {"name": "day"}}
    return yaml.safe_dump({**head, "spec": spec}, sort_keys=False)


def main() -> None:
    """Play both lives."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    bound, problems = load(rules(), "rules.yaml", vocabulary())
    assert not problems, problems
    took: dict[str, float] = {}
    for policy in ("healer", "none"):
        begun = time.process_time()
        live(parse(scenario(), "day.yaml"), Rulebook(bound), isolated({}, "day.yaml"), policy=policy, seed=1)
        took[policy] = time.process_time() - begun
    sys.stdout.write(json.dumps(took) + "\n")


if __name__ == "__main__":
    main()
