"""A week of records of 500 pods, played to the shipped rules. What recording costs, `storm` measures."""

import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from healer.actions.base import specs
from healer.actions.registry import ACTIONS
from healer.clock import SYSTEM
from healer.daemon.changes import ClusterChanges
from healer.daemon.leader import tuning_of
from healer.daemon.recording.files import files_in
from healer.daemon.recording.recorded import RecordedEngine, RecordedSources, Recording
from healer.daemon.recording.writer import RecordWriter
from healer.daemon.rulefiles import load_rules, vocabulary
from healer.rehearsal.driver import Driver
from healer.rehearsal.replay.replaying import lines_of, replay
from healer.rehearsal.world import World
from healer.rules.rulebook import Rulebook
from healer.settings import Isolated
from healer.settings.sections import RecordSettings
from healer.sources.base import WatchContext
from healer.sources.watched import WatchedSources
from tests.benchmarks.machine import Cores
from tests.benchmarks.report import Figure

DEPLOYMENTS, PODS = 50, 10
DAYS = 7
CHANGES = 10
"""Times a day that a pod changes besides its troubles."""
TROUBLES = 4
"""Pods a day, of all, that crash-loop for ten minutes."""
_RULES = Path(__file__).parents[2] / "rules"


def measured(cores: Cores, runs: int) -> list[Figure]:
    """The record is made once; each run plays it anew."""
    with tempfile.TemporaryDirectory() as folder:
        rules = load_rules([_RULES], vocabulary())
        lines = _record(Path(folder), rules)
        size = sum(file.stat().st_size for file in files_in(Path(folder))) / 1e6
        took = []
        for _ in range(runs):
            began = time.process_time()
            replay(lines_of(Path(folder), 0.0, print), rules)
            took.append(time.process_time() - began)
    return [
        Figure(f"a record of {DAYS} days of {DEPLOYMENTS * PODS} pods: {lines:,} lines", "MB", (size,)),
        Figure("played to the shipped rules", "s of CPU", tuple(took), ("<", 60)),
        Figure("peak memory of this process", "MB", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,)),
    ]


def _record(folder: Path, rules: Rulebook) -> int:
    """Make the record; returns how many lines it has."""
    settings = Isolated()
    writer = RecordWriter(folder, RecordSettings(queue=100_000), SYSTEM)
    writer.start()
    world = World("production")
    apps = [world.serve(f"app-{number}", PODS, labels={"app": "tensorflow-serving"}) for number in range(DEPLOYMENTS)]
    recording = Recording(writer, settings, "healer", world.view, list)
    driver = Driver(rules, world, settings=settings)
    driver.engine = RecordedEngine(rules, specs(ACTIONS), tuning_of(settings, "healer"), recording)
    sources = WatchedSources.of(WatchContext(settings, world.view, lambda: rules))
    driver.changes = ClusterChanges(world.view, RecordedSources(sources, recording), lambda: driver.now)
    driver.restore([], set())
    chance = random.Random(7)
    names = [pod.metadata.name for kept in apps for pod in kept.pods.values()]
    began = driver.now
    for after, what, name in sorted(_life(chance, names)):
        driver.wait(began + after - driver.now)
        driver.effects.clear()
        driver.waiting.clear()
        (world.crash if what == "crash" else world.mend)(name)
        while writer.waiting > 50_000:
            time.sleep(0.01)
    recording.end(driver.now)
    writer.stop(120)
    return writer.counts.written


def _life(chance: random.Random, names: list[str]) -> Iterator[tuple[float, str, str]]:
    for day in range(DAYS):
        for name in names:
            yield from ((day * 86_400 + chance.random() * 86_400, "mend", name) for _ in range(CHANGES))
        for name in chance.sample(names, TROUBLES):
            at = day * 86_400 + chance.random() * 80_000
            yield at, "crash", name
            yield at + 600, "mend", name
