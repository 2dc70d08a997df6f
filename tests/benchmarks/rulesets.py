"""What 1,000 RuleSets cost: to read them all, and to take the change of one. Times are those of the processor."""

import asyncio
import json
import logging
import time

import msgspec
import structlog

from healer.daemon.rulefiles import vocabulary
from healer.daemon.ruleset_reading import RuleSetReader
from healer.daemon.rulesets import RuleSets
from healer.model.ruleset import RuleSet
from healer.model.view import View
from healer.rules.grants import RuleSetSettings
from healer.rules.schema import Mode
from healer.workloads.registry import WORKLOADS
from tests.benchmarks.machine import Cores
from tests.benchmarks.report import Figure

NAMESPACES, EACH = 100, 10
NUMBER = NAMESPACES * EACH


def measured(cores: Cores, runs: int) -> list[Figure]:
    """In this process; each run reads them anew."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    seen = [asyncio.run(_life()) for _ in range(runs)]
    whole, change, hold = (tuple(run[part] for run in seen) for part in range(3))
    return [
        Figure(f"{NUMBER:,} RuleSets of a rule each, in {NAMESPACES} namespaces, read from nothing", "s of CPU", whole),
        Figure("one of them is changed: until its rule is in force", "ms of CPU", change),
        Figure("longest hold of the loop at that change, in its own CPU time", "ms", hold, ("<", 50)),
    ]


async def _life() -> tuple[float, float, float]:
    """Seconds for all, milliseconds for a change, and the longest turn of the loop in another change."""
    settings, view = RuleSetSettings(enabled=True), View(WORKLOADS)
    for number in range(NUMBER):
        view.put(_ruleset(number, 1))
    sets = RuleSets(view, settings, RuleSetReader(settings, vocabulary(), lambda _: [], Mode.ENFORCE, time.monotonic))
    began = time.process_time()
    await _looked(sets)
    whole = time.process_time() - began
    view.put(_ruleset(7, 2))
    began = time.process_time()
    await _looked(sets)
    change = time.process_time() - began
    view.put(_ruleset(7, 3))
    hold = await _longest_turn(sets)
    if len(sets.rules) != NUMBER:
        raise RuntimeError(f"{len(sets.rules)} rules are in force, and {NUMBER} were written")
    return whole, change * 1e3, hold * 1e3


async def _looked(sets: RuleSets) -> None:
    await sets.look([])
    while sets.more:
        await sets.look([])


async def _longest_turn(sets: RuleSets) -> float:
    """The longest CPU time of the loop's thread from one of its turns to the next."""
    looking = asyncio.create_task(_looked(sets))
    longest = 0.0
    while not looking.done():
        began = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - began)
    await looking
    return longest


def _ruleset(number: int, generation: int) -> RuleSet:
    namespace, name = f"team-{number % NAMESPACES}", f"serving-{number}"
    rule = {
        "name": "crash-loop",
        "when": {"pod": ["CrashLoopBackOff"], "if": f"pod.restarts >= {generation}", "for": "2m"},
        "heal": [{"evict": {}, "verify": {"within": "10m", "stable": "1m"}}],
        "limits": {"cooldown": "10m"},
    }
    scope = {"selector": {"matchLabels": {"app": name}}}
    head = {"name": name, "namespace": namespace, "uid": f"uid-{number}", "generation": generation}
    return msgspec.json.decode(json.dumps({"metadata": head, "spec": {"scope": scope, "rules": [rule]}}), type=RuleSet)
