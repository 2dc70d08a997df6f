"""Reads RuleSets of the cluster, each once a generation, and none so often or so long that it keeps those of others waiting.

It is the loader of rule files that reads one, in a thread. A RuleSet whose new generation is wrong keeps the rules of its last
good one, as rule files do, while this process runs.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import msgspec

from healer.daemon.fair_turns import FairTurns
from healer.http.rate import Rates
from healer.model.ruleset import LARGEST_SPEC, RuleSet
from healer.model.text import cut
from healer.rules.grants import RuleSetSettings, granted
from healer.rules.loading import load_all
from healer.rules.positions import Problem
from healer.rules.rulebook import BoundRule, Rulebook, capped
from healer.rules.schema import API_VERSION, Mode
from healer.rules.vocabulary import Vocabulary

_TOLD = 100
"""Problems of one RuleSet that are kept."""
_LONGEST = 300
"""Characters of what is told of one problem: it may repeat what is written, which may be as long as a spec."""
_AT_ONCE = 1.0
"""Seconds for which RuleSets are read before what was read is put in force. One of them takes some tenths of a second at most."""
_PER_MINUTE, _BURST = 6, 10
"""How often one RuleSet is read: an edit at once, many edits in a row every ten seconds."""
_ALL_PER_MINUTE, _ALL_BURST = 1, 2
"""How often all that a namespace may have is read."""
_BYTES_A_RULE = 8 * 1024
"""Bytes that a namespace may have in its RuleSets for each rule that it is granted, if that is more than one RuleSet may have."""


@dataclass(frozen=True, slots=True)
class RuleSetReading:
    """What the reading of one generation gave, and the rules of the last generation without a problem."""

    generation: int
    problems: tuple[Problem, ...]
    rules: tuple[BoundRule, ...]
    digest: str
    of: int
    """The generation of `rules`; 0 before there was a good one."""


class RuleSetReader:
    """`objections` says what of rules that are right in themselves cannot be used by this healer; no rule goes further than the
    mode `most`. `clock` is in seconds."""

    def __init__(
        self,
        settings: RuleSetSettings,
        known: Vocabulary,
        objections: Callable[[Rulebook], list[Problem]],
        most: Mode,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._known = known
        self._objections = objections
        self._most = most
        self._clock = clock
        self._readings: dict[str, RuleSetReading] = {}
        self._turns = FairTurns[RuleSet](lambda found: found.metadata.namespace)
        self._each = Rates(_PER_MINUTE, _BURST, clock)
        self._all = Rates(_ALL_PER_MINUTE, _ALL_BURST, clock)
        self.hasty: frozenset[str] = frozenset()
        """What changes more often than it is read, by name: RuleSets, and namespaces with many of them."""

    def reading(self, found: RuleSet) -> RuleSetReading | None:
        """What the last reading gave, maybe of an earlier generation; None before the first."""
        return self._readings.get(found.metadata.uid)

    def forget_others(self, there: Collection[str]) -> None:
        """Forget all RuleSets but these, by uid."""
        for uid in self._readings.keys() - there:
            del self._readings[uid]

    async def read(self, objects: Collection[RuleSet]) -> bool:
        """Read those whose generation is new, as far as it is their turn; returns whether others can be read at once."""
        began = self._clock()
        hasty: set[str] = set()
        waiting = [each for each in objects if not self._is_read(each)]
        for each in self._turns.of(waiting):
            namespace, name = each.metadata.namespace, each.full_name
            if self._clock() - began >= _AT_ONCE:
                return True
            if namespace in hasty:
                continue
            if self._each.look(name):
                hasty.add(name)
            elif self._all.wait(namespace, self._share(each)):
                hasty.add(namespace)
            else:
                self._each.wait(name)
                self._readings[each.metadata.uid] = await asyncio.to_thread(self._read, each, self.reading(each))
        self.hasty = frozenset(hasty)
        return False

    def bytes_granted(self, namespace: str) -> int:
        """How many bytes the RuleSets of a namespace may have together."""
        return max(LARGEST_SPEC, granted(self._settings.grants, namespace).grant.rules * _BYTES_A_RULE)

    def _is_read(self, found: RuleSet) -> bool:
        known = self.reading(found)
        return known is not None and known.generation == found.metadata.generation

    def _share(self, found: RuleSet) -> float:
        """What part it is of all that its namespace may have, by rules and by bytes."""
        namespace = found.metadata.namespace
        rules, most = granted(self._settings.grants, namespace).grant.rules, self.bytes_granted(namespace)
        return (1 + len(found.spec_bytes) / _BYTES_A_RULE) / (rules + most / _BYTES_A_RULE)

    def _read(self, found: RuleSet, before: RuleSetReading | None) -> RuleSetReading:
        """Read one RuleSet by the loader of rule files, which takes YAML, and so JSON."""
        origin, generation = f"RuleSet {found.full_name}", found.metadata.generation
        head = json.dumps({"apiVersion": API_VERSION, "kind": "RuleSet", "metadata": {"name": found.metadata.name}})
        kept = before or RuleSetReading(0, (), (), "", 0)
        spec, problem = _plain(found)
        if problem is not None:
            return replace(kept, generation=generation, problems=(problem,))
        tenant = granted(self._settings.grants, found.metadata.namespace)
        rules, problems = load_all({origin: f'{head[:-1]}, "spec": {spec}}}'}, self._known, lambda _: tenant, _TOLD)
        rules = [replace(bound, where=origin) for bound in rules]
        if not problems:
            problems = self._objections(Rulebook(rules))
        if not problems:
            rules = list(capped(Rulebook(rules), self._most).rules)
            return RuleSetReading(generation, (), tuple(rules), hashlib.sha256(spec.encode()).hexdigest(), generation)
        return replace(kept, generation=generation, problems=tuple(map(_brief, problems[:_TOLD])))


def _brief(problem: Problem) -> Problem:
    """The problem without most of a long text that it repeats."""
    path, message, hint = (cut(text, _LONGEST) for text in (problem.path, problem.message, problem.hint))
    return replace(problem, path=path, message=message, hint=hint)


def _plain(found: RuleSet) -> tuple[str, Problem | None]:
    """The spec as JSON; or why it is not read at all."""
    origin = f"RuleSet {found.full_name}"
    if found.too_large:
        hint = "write the rules into several RuleSets"
        return "", Problem(origin, 0, 0, "spec", f"the spec is larger than {LARGEST_SPEC // 1024} KiB", hint)
    try:
        return msgspec.json.encode(msgspec.json.decode(found.spec_bytes)).decode(), None
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        return "", Problem(origin, 0, 0, "spec", f"the spec cannot be read: {error}", "write it as a rule file")
