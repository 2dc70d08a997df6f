"""What healer asks: queries, model servers, the judge of canaries. Each rule that asks is asked for at its own interval.

A rule on a query or a canary is played by its own probe (`real`), which asks the modelled Prometheus for the series of the
simulated traffic. The answers for others are modelled: such a rule finds what a fault names it for (`shows.probes`), in the pods
that are sick of the fault, or in their workload. In a gap of Prometheus neither a query nor a canary has an answer, which is
unknown and not well.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from healer.model.signal import Answered, Report, Signal, Unanswered
from healer.model.target import Target
from healer.model.view import View, target_of
from healer.rehearsal.simulate.cluster_spec import Gap
from healer.rehearsal.simulate.played import KINDS, PlayedCluster
from healer.rehearsal.simulate.scenario import ProbeSign, Scenario
from healer.rehearsal.simulate.strikes import Strike, Strikes
from healer.rules.probe import BAD_CANARY, QUERY_SIGNAL
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.triggers import CANARY, QUERY
from healer.sources.base import Probe
from healer.sources.probes import every_of

_OWN_NAMES = {QUERY.name: QUERY_SIGNAL, CANARY.name: BAD_CANARY}
"""The signals of the triggers whose rules name no condition."""
_SPREAD = 0.5
"""Probes run at this share of their interval."""


class ModelledProbes:
    """Answers the rules that ask. `report` takes what is found; `now` gives seconds from the beginning, `wall` the epoch's.
    `real` are the probes of those that are played, by the rule's full name."""

    def __init__(
        self,
        rulebook: Rulebook,
        real: Mapping[str, Probe],
        cluster: PlayedCluster,
        strikes: Strikes,
        view: View,
        gaps: Sequence[Gap],
        now: Callable[[], float],
        wall: Callable[[], float],
        report: Callable[[Sequence[Report]], Awaitable[object]],
    ) -> None:
        self._rules = {rule.name: rule for rule in rulebook.rules if rule.rule.when.trigger.asked}
        self._real = real
        self._cluster = cluster
        self._strikes = strikes
        self._view = view
        self._gaps = gaps
        self._now = now
        self._wall = wall
        self._report = report
        self._firing: dict[str, dict[str, Signal]] = {name: {} for name in self._rules}

    async def run(self) -> None:
        """Ask for each rule at its interval, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for rule in self._rules.values():
                group.create_task(self._ask_for(rule))

    async def again(self, rule: str) -> None:
        """Ask for a rule now; nothing for a rule that does not ask."""
        if rule in self._rules:
            await self._look(self._rules[rule])

    async def _ask_for(self, rule: BoundRule) -> None:
        every = every_of(rule.rule.when)
        await asyncio.sleep(every * _SPREAD)
        while True:
            await self._look(rule)
            await asyncio.sleep(every)

    async def _look(self, rule: BoundRule) -> None:
        probe = self._real.get(rule.name)
        reports = self._answer(rule) if probe is None else await probe(self._wall())
        if reports:
            await self._report(reports)

    def _answer(self, rule: BoundRule) -> list[Report]:
        """The signals that began or go on, the ends of the others, and that this is all."""
        trigger, firing = rule.rule.when.trigger, self._firing[rule.name]
        if trigger.name in _OWN_NAMES and any(gap.at <= self._now() < gap.at + gap.lasts for gap in self._gaps):
            return [Unanswered(rule.name, "Prometheus does not answer")]
        found = {signal.key: signal for signal in self._found(rule, trigger.name)}
        over = [self._signal(rule, each.source, each.name, each.target, each.message, firing=False) for each in firing.values()]
        ends = [signal for signal in over if signal.key not in found]
        self._firing[rule.name] = found
        return [*found.values(), *ends, Answered(rule.name, frozenset(found))]

    def _found(self, rule: BoundRule, source: str) -> Iterator[Signal]:
        for strike in self._strikes.all:
            for sign in strike.spec.shows.probes:
                if sign.rule == rule.name and not strike.over:
                    name = sign.condition or _OWN_NAMES.get(source, "")
                    for target in self._targets(strike, sign):
                        yield self._signal(rule, source, name, target, f"{strike.spec.name} shows", firing=True)

    def _targets(self, strike: Strike, sign: ProbeSign) -> Iterator[Target]:
        """What it is found in, as far as healer sees it."""
        if sign.of == "pod":
            for pod in self._strikes.sick(strike):
                seen = self._view.pod_named(pod["metadata"]["namespace"], pod["metadata"]["name"])
                if seen is not None:
                    yield target_of(seen)
            return
        for name in strike.workloads:
            spec = self._cluster.workloads[name]
            workload = self._view.workload_named(KINDS[spec.kind].kind, spec.namespace, spec.name)
            if workload is not None:
                yield workload.target

    def _signal(self, rule: BoundRule, source: str, name: str, target: Target, message: str, *, firing: bool) -> Signal:
        key = f"{source}/{rule.name}/{target.uid}/{name}"
        before = self._firing[rule.name].get(key)
        occurrence = before.occurrence if before is not None else f"{key}@{self._wall():.3f}"
        return Signal(source, name, target, firing, self._wall(), key, occurrence, message, rule=rule.name)


def not_loaded(scenario: Scenario, rulebook: Rulebook) -> list[str]:
    """The rules that a scenario's faults show themselves to and that are not there, or do not ask; by name."""
    named = {sign.rule for fault in scenario.spec.faults for sign in fault.shows.probes}
    return sorted(named - {rule.name for rule in rulebook.rules if rule.rule.when.trigger.asked})
