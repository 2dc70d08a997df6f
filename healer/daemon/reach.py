"""The check whether people can be told: it runs at the start and when the rules change, and logs problems before an incident."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Never

import structlog

from healer.rules.rulebook import BoundRule, Rulebook
from healer.section import PREFIX
from healer.sinks.base import SinkSettings
from healer.sinks.group import Sinks
from healer.sinks.registry import missing


class Reach:
    """Logs each problem once while it lasts."""

    def __init__(self, sinks: Sinks, sections: Mapping[str, SinkSettings], rulebook: Rulebook) -> None:
        self._sinks = sinks
        self._sections = sections
        self._rulebook = rulebook
        self._changed = asyncio.Event()
        self._said: set[str] = set()
        self._log = structlog.get_logger("healer.sinks")

    def use(self, rulebook: Rulebook) -> None:
        """Check again, for these rules."""
        self._rulebook = rulebook
        self._changed.set()

    @property
    def problems(self) -> list[str]:
        """Why people may not be told, as it was last checked."""
        return sorted(self._said)

    async def run(self) -> Never:
        """Check now and at each change, until cancelled."""
        while True:
            self._changed.clear()
            problems = [*delivery_problems(self._rulebook.rules, self._sections, reach_people=self._sinks.reach_people)]
            problems += await self._sinks.check(sorted(addresses(self._rulebook.rules)))
            for problem in problems:
                if problem not in self._said:
                    self._log.warning("people may not be told", problem=problem)
            self._said = set(problems)
            await self._changed.wait()


def addresses(rules: Iterable[BoundRule]) -> set[str]:
    """The addresses that rules name, those of their pages included."""
    return {address for bound in rules for address in (*bound.rule.notify, *bound.rule.paged)}


def delivery_problems(rules: Iterable[BoundRule], sections: Mapping[str, SinkSettings], *, reach_people: bool) -> Iterator[str]:
    """What the settings lack to tell people, a sentence each; `reach_people`: whether any sink but the log is set up."""
    yield from (section.incomplete for section in sections.values() if section.incomplete)
    rules = list(rules)
    yield from _untold(rules, sections)
    named = sorted(addresses(rules))
    few = ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
    for sink, required in missing(sections, named):
        knobs = " and ".join(f"{PREFIX}{sink}__{field}".upper() for field in required)
        if reach_people:
            yield f"rules name {few}, and the sink {sink} is not set up: nobody is told there; set {knobs}"
        else:
            yield f"rules name {few}, and no sink but the log is set up: incidents are logged and nobody is told; set {knobs}"


def _untold(rules: Iterable[BoundRule], sections: Mapping[str, SinkSettings]) -> Iterator[str]:
    """Rules that name nobody, while the sinks that are set up take their severity from none such."""
    sections = {name: section for name, section in sections.items() if section.enabled and section.reaches_people}
    if not sections:
        return
    told = {severity for section in sections.values() for severity in section.by_default}
    for severity in sorted({str(bound.rule.severity) for bound in rules if not bound.rule.notify} - told):
        knobs = ", ".join(f"{PREFIX}{name}__SEVERITIES".upper() for name in sections)
        yield (
            f"rules without notify have the severity {severity}, and no sink tells it by default: nobody is told; name "
            f"somebody in their notify, or set a default target and its severities ({knobs})"
        )
