"""The rules in force: those of the rule files and those of the RuleSets of the cluster, put together in one place."""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Never

import structlog

from healer.clock import Clock
from healer.daemon.rulefiles import RuleFiles, vocabulary
from healer.daemon.ruleset_reading import RuleSetReader
from healer.daemon.rulesets import JudgedRuleSet, RuleSets, in_words
from healer.daemon.unusable import unusable
from healer.http.state import LoadedRules
from healer.model.redact import redact
from healer.model.text import cut
from healer.model.view import View
from healer.rules.grants import unknown_names
from healer.rules.positions import Problem
from healer.rules.rulebook import Rulebook
from healer.rules.schema import Mode
from healer.section import PREFIX
from healer.settings import Settings, SettingsError

_APART = 1.0
"""Seconds between two changes of the rules at least: who edits many RuleSets at once causes few changes."""


_SHOWN, _LONGEST = 20, 2000
"""Problems, and RuleSets that are refused, that people are shown; and the characters of each."""


class RulesInForce:
    """`rulebook` is what was loaded at the start. `every` is in seconds.

    Without `files` the rules of the start stay, without `rulesets` the cluster's are not looked at.
    """

    def __init__(
        self, rulebook: Rulebook, files: RuleFiles | None, rulesets: RuleSets | None, *, every: float, clock: Clock
    ) -> None:
        self._of_files = rulebook
        self._files = files
        self._rulesets = rulesets
        self._every = every
        self._clock = clock
        self._wake = asyncio.Event()
        self._said = False
        self._log = structlog.get_logger("healer.rules")
        self._used = rulebook  # the files' part of what is in force
        self.rulebook = rulebook
        """All of them."""
        self.loaded_at = clock.wall() if files is None else files.loaded_at
        """When they last changed, in seconds since the epoch."""

    @property
    def problems(self) -> list[Problem]:
        """Why the rule files, as they were last read, are not in force; empty when they are."""
        return [] if self._files is None else self._files.problems

    @property
    def rulesets(self) -> RuleSets | None:
        """The RuleSets of the cluster; None where the settings do not take them."""
        return self._rulesets

    @property
    def judged(self) -> tuple[JudgedRuleSet, ...]:
        """The RuleSets of the cluster, as they were last judged."""
        return () if self._rulesets is None else self._rulesets.judged

    @property
    def digest(self) -> str:
        """The digest of what is in force: two replicas with the same rules have the same."""
        parts = ("" if self._files is None else self._files.digest, "" if self._rulesets is None else self._rulesets.digest)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def shown(self) -> LoadedRules:
        """What people are shown of them as a whole."""
        refused = [each for each in self.judged if each.reason]
        said = [f"{each.object.full_name}: {'; '.join(map(in_words, each.problems))}" for each in refused[:_SHOWN]]
        more = [f"and {len(refused) - _SHOWN} more"] if len(refused) > _SHOWN else []
        problems = [redact(str(problem)) for problem in self.problems[:_SHOWN]]
        return LoadedRules(self.loaded_at, self.digest, problems, [redact(cut(each, _LONGEST)) for each in said] + more)

    def changed(self) -> None:
        """A RuleSet has changed: look soon."""
        self._wake.set()

    async def look(self) -> bool:
        """Read the files and the RuleSets that have changed; returns whether other rules are in force now.

        Call it when the view holds the RuleSets that there are. Of many RuleSets some may be left for another look.
        """
        if self._files is not None:
            await self._files.reload(self._take)
        changed = self._of_files is not self._used
        if self._rulesets is not None:
            changed |= await self._rulesets.look({bound.ruleset for bound in self._of_files.rules})
            if self._rulesets.more:
                self.changed()
        if changed:
            self._used = self._of_files
            self.rulebook = await asyncio.to_thread(self._together, self._of_files)
            self.loaded_at = self._clock.wall()
        if changed or not self._said:
            self._log.info("the digest of the rules in force", digest=self.digest, rules=len(self.rulebook.rules))
            self._said = True
        return changed

    async def begin(self) -> bool:
        """Look until all is read that may be read; returns whether other rules are in force now. For the start: an incident whose
        rule is not known yet would end."""
        changed = await self.look()
        while self._rulesets is not None and self._rulesets.more:
            changed |= await self.look()
        return changed

    async def run(self, use: Callable[[Rulebook], Awaitable[None]], read: Callable[[], None]) -> Never:
        """Look for changes, and call `use` with all rules when other ones are in force; until cancelled.

        `read` is called after that when other rule files were read, or what is wrong with them has changed.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._wake.wait()
            self._wake.clear()
            of_files, problems = self._of_files, self.problems
            if await self.look():
                await use(self.rulebook)
            if self._of_files is not of_files or self.problems != problems:
                read()
            await asyncio.sleep(min(_APART, self._every))

    def _take(self, rulebook: Rulebook) -> None:
        self._of_files = rulebook

    def _together(self, of_files: Rulebook) -> Rulebook:
        of_tenants = [] if self._rulesets is None else self._rulesets.rules
        return Rulebook([*of_files.rules, *of_tenants])


def rules_in_force(settings: Settings, rulebook: Rulebook, files: RuleFiles | None, view: View, clock: Clock) -> RulesInForce:
    """As the settings say. Raises SettingsError for grants that name what there is not."""
    rulesets = None
    if settings.rulesets.enabled:
        if wrong := list(unknown_names(settings.rulesets, vocabulary())):
            raise SettingsError("\n".join(f"{PREFIX}RULESETS__GRANTS: {each}" for each in wrong))
        objections = partial(unusable, settings=settings)
        reader = RuleSetReader(settings.rulesets, vocabulary(), objections, Mode(settings.mode), clock.steady)
        rulesets = RuleSets(view, settings.rulesets, reader)
    return RulesInForce(rulebook, files, rulesets, every=settings.rules_reload, clock=clock)
