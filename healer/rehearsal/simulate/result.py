"""The result of a simulation: the lives under each policy, and the verdict; as JSON the same bytes for the same seed."""

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from healer.rehearsal.simulate.asking import PlayedRules
from healer.rehearsal.simulate.judging import Ruling, judge
from healer.rehearsal.simulate.life import Life, live
from healer.rehearsal.simulate.probing import not_loaded
from healer.rehearsal.simulate.scenario import Scenario
from healer.rehearsal.timeline import ACT
from healer.rules.rulebook import Rulebook
from healer.settings import Settings

HEALER, NONE = "healer", "none"


@dataclass(frozen=True, slots=True)
class Simulation:
    """A scenario, its lives by policy, and the verdict on healer's (None when it was not played)."""

    scenario: Scenario
    seed: int
    lives: Mapping[str, Life]
    ruling: Ruling | None
    not_loaded: Sequence[str] = ()
    """The rules that faults show themselves to and that are not there, or do not ask."""
    not_played: Mapping[str, str] = field(default_factory=dict)
    """The rules that ask and find nothing here, because the simulation has no answer to what they ask; and why."""

    @property
    def overloaded(self) -> list[str]:
        """The workloads that cannot answer their requests when all is well, a sentence each."""
        spec = self.scenario.spec.cluster
        said = []
        for each in spec.workloads:
            pods = spec.nodes if each.kind == "DaemonSet" else each.replicas if each.autoscale is None else each.autoscale.max
            peak, able = each.traffic.rate * (1 + each.traffic.daily), pods * each.capacity
            if peak > able:
                when = " at its peak" if each.traffic.daily else ""
                gets = f"{each.name} gets {peak:g} requests a second{when} and can answer {able:g}"
                said.append(
                    f"{gets} ({pods} pods of {each.capacity:g}): the others fail under every policy; set its replicas or capacity"
                )
        return said


def simulate(
    scenario: Scenario,
    rulebook: Rulebook,
    settings: Settings,
    *,
    policies: Sequence[str],
    seed: int,
    lasts: float | None = None,
    progress: Callable[[str, float], None] = lambda _policy, _share: None,
) -> Simulation:
    """Play the scenario under each policy. `progress` is given the policy and the share (0 to 1) of its life that has passed."""
    lives = {
        name: live(
            scenario,
            rulebook,
            settings,
            policy=name,
            seed=seed,
            lasts=lasts,
            progress=partial(progress, name),
        )
        for name in policies
    }
    ruling = judge(scenario.spec.expect, lives[HEALER], lives.get(NONE)) if HEALER in lives else None
    asking = PlayedRules(scenario, rulebook)
    return Simulation(scenario, seed, lives, ruling, not_loaded(scenario, rulebook), asking.unplayed)


def plain(simulation: Simulation) -> dict[str, Any]:
    """For programs."""
    return {
        "scenario": simulation.scenario.metadata.name,
        "about": simulation.scenario.spec.about,
        "seed": simulation.seed,
        "verdict": None if simulation.ruling is None else asdict(simulation.ruling),
        "rulesNotLoaded": list(simulation.not_loaded),
        "rulesNotPlayed": dict(simulation.not_played),
        "policies": {name: _life(life) for name, life in simulation.lives.items()},
    }


def _life(life: Life) -> dict[str, Any]:
    return {
        "seconds": life.lasts,
        "requests": _round(life.requests),
        "failed": _round(life.failed),
        "availability": _round(life.availability, 9),
        "actions": actions(life),
        "actionsObserved": dict(sorted(life.would.items())),
        "actionsNotDone": [asdict(each) | {"times": times} for each, times in life.not_done.items()],
        "timeToHeal": _round(time_to_heal(life)),
        "unhealed": [strike.id for strike in life.strikes if strike.healed is None],
        "unreadyAtStart": life.unready,
        "workloads": {
            name: {
                "requests": _round(service.requests),
                "failed": _round(service.failed),
                "availability": _round(service.availability, 9),
                "degradedSeconds": _round(service.degraded),
            }
            for name, service in life.services.items()
        },
        "faults": [
            {"name": each.id, "began": _round(each.began), "healed": _round(each.healed), "workloads": list(each.workloads)}
            for each in life.strikes
        ],
        "timeline": [each.plain() for each in life.timeline],
    }


def actions(life: Life) -> dict[str, int]:
    """How often each action was done, by name."""
    return dict(sorted(Counter(each.code for each in life.timeline if each.kind == ACT).items()))


def time_to_heal(life: Life) -> float | None:
    """The median, in seconds, of those faults that were healed; None without any."""
    took = [strike.healed - strike.began for strike in life.strikes if strike.healed is not None]
    return statistics.median(took) if took else None


def _round(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)
