"""How much of the rules, steps and guards tests have reached, and what not."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from healer.rehearsal.testing.running import GUARD_NAMES, ON_STORM, Reached
from healer.rules.rulebook import BoundRule


@dataclass(frozen=True, slots=True)
class RulesCoverage:
    """The coverage of rules by tests. Names are in the order of the files."""

    rules: int
    steps: int
    unopened: tuple[str, ...]
    """Rules of which no test has opened an incident."""
    unshown: tuple[str, ...]
    """What rules look for and no test has opened an incident with: "vllm/image-pull: ErrImagePull"."""
    untaken: tuple[str, ...]
    """Steps that no test has taken: "vllm/down: step 1 (evict)"."""
    unheld: tuple[str, ...]
    """Rules that no test has held back."""
    silent: tuple[str, ...]
    """Guards that have objected in no test."""

    @property
    def percent(self) -> float:
        """How many of the rules and of the steps were reached."""
        whole = self.rules + self.steps
        return 100.0 * (whole - len(self.unopened) - len(self.untaken)) / whole if whole else 100.0


def covered(rules: Iterable[BoundRule], reached: Reached) -> RulesCoverage:
    """What tests have reached of these rules."""
    known = list({bound.name: bound for bound in rules}.values())
    steps = [each for bound in known for each in _steps(bound)]
    return RulesCoverage(
        rules=len(known),
        steps=len(steps),
        unopened=tuple(bound.name for bound in known if bound.name not in reached.rules),
        unshown=tuple(
            f"{bound.name}: {name}"
            for bound in known
            for name in bound.rule.when.names
            if bound.name in reached.rules and (bound.name, name) not in reached.names
        ),
        untaken=tuple(said for key, said in steps if key not in reached.steps),
        unheld=tuple(bound.name for bound in known if bound.name not in reached.held),
        silent=tuple(name for name in GUARD_NAMES if name not in reached.guards),
    )


def _steps(bound: BoundRule) -> Iterator[tuple[tuple[str, int | str], str]]:
    """The steps of a rule, each as it is counted and in words."""
    for number, step in enumerate(bound.rule.heal):
        yield (bound.name, number), f"{bound.name}: step {number + 1} ({step.action})"
    if bound.rule.on_storm is not None:
        yield (bound.name, ON_STORM), f"{bound.name}: {ON_STORM} ({bound.rule.on_storm.action})"
