"""What the rules guard: said at the start and when the rules change, kept up to date for metrics and `healer explain`."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog
from prometheus_client import CollectorRegistry, Gauge

from healer.actions.registry import ACTIONS
from healer.engine.matching.coverage import Coverage, Covering, counted
from healer.http.rules import RuleRow
from healer.model.node import Node
from healer.model.view import View
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.schema import Mode
from healer.settings.sections import Cluster
from healer.sources.base import watched_resources

Missing = Callable[[BoundRule], Awaitable[str]]
"""What is wrong with the route that a rule names, in words; "" when nothing is."""

EVERY = 60.0
"""Seconds between two looks while the rules stay the same."""
_RESTS = 9
"""How many times as long as a look it waits before the next one: who edits rules over and over costs a tenth of a core."""
_NAMED = 10
"""Rules that the line at the start names."""


class RuleCoverage:
    """`watched`: what healer watches."""

    def __init__(self, view: View, rulebook: Rulebook, watched: Cluster, registry: CollectorRegistry) -> None:
        self._view = view
        self._rulebook = rulebook
        self._watched = watched
        self._changed = asyncio.Event()
        self._found: dict[str, Coverage] = {}
        self._made: dict[str, tuple[BoundRule, Coverage | None, RuleRow]] = {}
        self._doubted: set[str] = set()
        self._said: Rulebook | None = None
        self._log = structlog.get_logger("healer.rules")
        self._targets = Gauge("healer_rule_targets", "Pods that the steps of a rule can act on.", ["rule"], registry=registry)

    def use(self, rulebook: Rulebook) -> None:
        """Look at these rules from now on, and say what they cover."""
        self._rulebook = rulebook
        self._changed.set()

    def rows(self) -> list[RuleRow]:
        """The rules in force, with what they covered at the last look."""
        return [self._row(bound) for bound in self._rulebook.rules]

    def _row(self, bound: BoundRule) -> RuleRow:
        """The row of a rule, made anew only when the rule or what it covers is another: there may be thousands."""
        covered, made = self._found.get(bound.name), self._made.get(bound.name)
        if made is None or made[0] is not bound or made[1] is not covered:
            made = self._made[bound.name] = bound, covered, _row(bound, covered)
        return made[2]

    async def run(self, missing: Missing) -> None:
        """Look, for ever, and for a tenth of the time at most. The view must be whole."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            began = loop.time()
            await self.look(missing)
            await asyncio.sleep(min(EVERY, _RESTS * (loop.time() - began)))
            try:
                async with asyncio.timeout(EVERY):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def look(self, missing: Missing) -> None:
        """Look once; say what is new."""
        rulebook = self._rulebook
        found = await self._look(rulebook, missing)
        if rulebook is not self._said:
            self._log.info("rules in force", summary=summary(rulebook, found), rules=len(rulebook.rules))
            self._warn_of_unseen_nodes(rulebook)
            self._said = rulebook
        self._doubt(found)

    def _warn_of_unseen_nodes(self, rulebook: Rulebook) -> None:
        blind = [] if self._watched.nodes else blind_to_nodes(rulebook)
        if blind:
            self._log.warning(
                "pods may be taken from a node that somebody else treats: healer does not watch nodes",
                rules=blind[:_NAMED],
                hint="set HEALER_CLUSTER__NODES and grant what `healer rbac` prints with it, a ClusterRole "
                "(deploy/healer/components/nodes and the chart's value `nodes` have both): healer then waits for whoever drains "
                "or mends a node",
            )

    async def _look(self, rulebook: Rulebook, missing: Missing) -> list[Coverage]:
        """Others get their turn on the loop after each rule: a rule costs a look at each pod of its namespaces."""
        covering = Covering(self._view, self._watched.namespaces)
        found: list[Coverage] = []
        for bound in rulebook.rules:
            await asyncio.sleep(0)
            covered, route = covering.of(bound), await missing(bound)
            found.append(replace(covered, doubts=(*covered.doubts, route)) if route else covered)
        for rule in self._found.keys() - {each.rule for each in found}:
            self._targets.remove(rule)
        for each in found:
            self._targets.labels(each.rule).set(each.pods)
        self._found = {each.rule: each for each in found}
        self._made = {rule: made for rule, made in self._made.items() if rule in self._found}
        for bound in rulebook.rules:
            self._row(bound)
            await asyncio.sleep(0)
        return found

    def _doubt(self, found: Sequence[Coverage]) -> None:
        """Say once what keeps a rule from working, and once that nothing does any more."""
        doubts = {f"{each.rule}: {doubt}": (each.rule, doubt) for each in found for doubt in each.doubts}
        for key in doubts.keys() - self._doubted:
            rule, doubt = doubts[key]
            self._log.warning("a rule cannot work as it is written", rule=rule, reason=doubt)
        for rule in {key.partition(":")[0] for key in self._doubted} - {rule for rule, _ in doubts.values()}:
            self._log.info("a rule can work as it is written", rule=rule)
        self._doubted = set(doubts)


def blind_to_nodes(rulebook: Rulebook) -> list[str]:
    """The names of the rules that take pods, where no rule has healer watch nodes: it does not see who else treats a node."""
    if any(resource.kind is Node for resource in watched_resources(rulebook.rules)):
        return []
    acting = (bound for bound in rulebook.rules if bound.rule.mode is not Mode.OBSERVE)
    return [bound.name for bound in acting if any(ACTIONS[step.action].spec.disrupts for step in bound.rule.steps)]


def _row(bound: BoundRule, covered: Coverage | None) -> RuleRow:
    when = bound.rule.when
    return RuleRow(
        name=bound.name,
        mode=bound.rule.mode,
        trigger=when.trigger.name,
        names=list(when.names),
        scope=bound.scope.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        pods=None if covered is None else covered.pods,
        workloads=None if covered is None else covered.workloads,
        watched=None if covered is None else covered.watched,
        doubts=[] if covered is None else list(covered.doubts),
        description=bound.rule.description or "",
        written=bound.written or "",
        origin=bound.where,
    )


def summary(rulebook: Rulebook, found: Sequence[Coverage]) -> str:
    """ "12 rules (7 enforce, 5 observe); crash-loop covers 3 pods of 1 workload"."""
    modes = Counter(str(bound.rule.mode) for bound in rulebook.rules)
    by_mode = ", ".join(f"{modes[mode]} {mode}" for mode in ("enforce", "approve", "observe") if modes[mode])
    covered = [str(each) for each in found[:_NAMED]]
    more = [f"and {len(found) - _NAMED} more rules"] if len(found) > _NAMED else []
    return "; ".join([f"{counted(len(rulebook.rules), 'rule')} ({by_mode or 'none'})", *covered, *more])
