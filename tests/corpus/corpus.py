"""Plays scenarios of the corpus under healer and under simpler policies, and sums up what each lost."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from healer.daemon.rulefiles import load_rules, vocabulary
from healer.rehearsal.simulate.judging import judge as judged_by
from healer.rehearsal.simulate.life import POLICIES
from healer.rehearsal.simulate.loading import load
from healer.rehearsal.simulate.result import HEALER, NONE, actions, simulate
from healer.rehearsal.simulate.scenario import Scenario
from healer.settings import isolated

FOLDER = Path(__file__).parent / "scenarios"
SCENARIOS = tuple(sorted(FOLDER.glob("*.yaml")))
SEED = 1


@dataclass(frozen=True, slots=True)
class Judged:
    """A scenario as it went. By policy: the requests that failed, and the actions."""

    name: str
    verdict: str
    met: bool
    faults: tuple[str, ...]
    requests: float
    failed: dict[str, float]
    actions: dict[str, int]
    control: bool
    """Nothing is wrong in it."""
    idle: bool
    """Whether somebody who does and says nothing would do what it expects."""


def judge(path: Path, policies: Sequence[str] = tuple(POLICIES)) -> Judged:
    """Play a scenario under each policy, and judge healer's life."""
    scenario = load(path)
    rules = load_rules([path.parent / each for each in scenario.spec.rules], vocabulary())
    settings = isolated(scenario.spec.settings, str(path))
    found = simulate(scenario, rules, settings, policies=policies, seed=SEED)
    ruling = found.ruling
    assert ruling is not None, "healer is one of the policies"
    return Judged(
        scenario.metadata.name,
        ruling.verdict,
        ruling.met,
        ruling.faults,
        found.lives[HEALER].requests,
        {name: life.failed for name, life in found.lives.items()},
        {name: sum(count for action, count in actions(life).items() if action != "page") for name, life in found.lives.items()},
        is_control(scenario),
        NONE in found.lives and judged_by(scenario.spec.expect, found.lives[NONE], None).met,
    )


def is_control(scenario: Scenario) -> bool:
    """Whether nothing is wrong in it, so that nothing is to be done or said."""
    return not (scenario.spec.faults or scenario.spec.expect.should or scenario.spec.expect.told)


def judge_all(paths: Iterable[Path] = SCENARIOS) -> Iterator[Judged]:
    """Each scenario, in their order, played by as many processes as there are cores."""
    with ProcessPoolExecutor() as pool:
        yield from pool.map(judge, paths)


def table(judged: Sequence[Judged]) -> Iterator[str]:
    """What `make corpus` prints: a line for each scenario, and the sums."""
    names = list(judged[0].failed)
    yield f"{'scenario':<30} {'verdict':<9}" + "".join(f"{name:>18}" for name in names)
    yield f"{'':<30} {'':<9}" + f"{'requests lost':>18}" * len(names)
    for each in judged:
        lost = "".join(f"{each.failed[name] / each.requests:>17.3%} " for name in names)
        yield f"{each.name:<30} {each.verdict:<9}{lost}" + ("" if each.met else "  NOT AS EXPECTED")
        yield from (f"    {fault}" for fault in each.faults)
    total = sum(each.requests for each in judged)
    yield f"{'all':<30} {'':<9}" + "".join(f"{sum(each.failed[name] for each in judged) / total:>17.3%} " for name in names)
    counts = {verdict: sum(each.verdict == verdict for each in judged) for verdict in ("healed", "held", "harmed")}
    others = len(judged) - sum(counts.values())
    yield (
        f"healer: {counts['healed']} healed, {counts['held']} rightly held, {counts['harmed']} harmed"
        + (f", {others} neither" if others else "")
        + f"; {sum(each.control for each in judged)} of {len(judged)} are controls, in which nothing is wrong"
    )
    for name in names:
        if name not in (HEALER, NONE):
            worse = sum(each.failed[name] > each.failed[NONE] + max(1.0, 0.001 * each.requests) for each in judged)
            yield f"{name}: loses more requests than doing nothing in {worse} of {len(judged)}; acts in {_acted(judged, name)}"


def _acted(judged: Sequence[Judged], name: str) -> int:
    return sum(each.actions[name] > 0 for each in judged)
