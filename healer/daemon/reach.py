"""Whether people can be told: looked at when healer starts and when the rules change, and said before the first incident."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Never

import structlog

from healer.rules.rulebook import BoundRule, Rulebook
from healer.settings.sections import PREFIX, Slack
from healer.sinks.registry import Sinks


class Reach:
    """Says each thing once for as long as it stands."""

    def __init__(self, sinks: Sinks, slack: Slack, rulebook: Rulebook) -> None:
        self._sinks = sinks
        self._slack = slack
        self._rulebook = rulebook
        self._changed = asyncio.Event()
        self._said: set[str] = set()
        self._log = structlog.get_logger("healer.sinks")

    def use(self, rulebook: Rulebook) -> None:
        """Look again, for these rules."""
        self._rulebook = rulebook
        self._changed.set()

    async def run(self) -> Never:
        """Look now and at each change, until cancelled."""
        while True:
            self._changed.clear()
            problems = [*unheard(self._rulebook.rules, self._slack, reach_people=self._sinks.reach_people)]
            problems += await self._sinks.check(sorted(channels(self._rulebook.rules)))
            for problem in problems:
                if problem not in self._said:
                    self._log.warning("people may not be told", problem=problem)
            self._said = set(problems)
            await self._changed.wait()


def channels(rules: Iterable[BoundRule]) -> set[str]:
    """The channels that rules name, those of their steps included."""
    return {channel for bound in rules for channel in (*bound.rule.notify, *bound.rule.paged)}


def unheard(rules: Iterable[BoundRule], slack: Slack, *, reach_people: bool) -> Iterator[str]:
    """What the settings lack to tell people, a sentence each."""
    if slack.token_file is None and slack.channel:
        yield (
            f"{PREFIX}SLACK__CHANNEL is {slack.channel}, and there is no token: nothing is sent to Slack; "
            f"name the token's file in {PREFIX}SLACK__TOKEN_FILE"
        )
    named = sorted(channels(rules))
    if named and not reach_people:
        few = ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
        yield (
            f"rules name {few}, and no sink but the log is set up: incidents are logged and nobody is told; "
            f"set {PREFIX}SLACK__TOKEN_FILE and {PREFIX}SLACK__CHANNEL"
        )
