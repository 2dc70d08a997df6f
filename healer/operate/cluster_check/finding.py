"""One thing that was found, or that could not be looked at."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClusterFinding:
    """What would keep rules from working, in words that stand alone. `rules` are their full names; empty: it concerns all."""

    topic: str
    """The check that found it: budget, workload, object, permission, alert or metric."""
    text: str
    rules: tuple[str, ...] = ()
    unknown: bool = False
    """Nothing is known to be wrong: it could not be looked at, and the text says why."""

    def __str__(self) -> str:
        if not self.rules:
            return f"{self.topic}: {self.text}"
        named = self.rules[0] if len(self.rules) == 1 else f"{len(self.rules)} rules ({', '.join(self.rules)})"
        return f"{self.topic}: {named}: {self.text}"


def merged(found: Iterable[ClusterFinding]) -> list[ClusterFinding]:
    """The same text for several rules said once, in the order of the first."""
    rules: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for each in found:
        said = rules[each.topic, each.text, each.unknown]
        said += [rule for rule in each.rules if rule not in said]
    return [ClusterFinding(topic, text, tuple(names), unknown) for (topic, text, unknown), names in rules.items()]
