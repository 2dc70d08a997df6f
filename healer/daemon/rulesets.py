"""The RuleSets of the cluster: which of them are in force. A wrong one harms nothing but itself."""

import asyncio
import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

import msgspec
import structlog

from healer.daemon.ruleset_reading import RuleSetReader
from healer.model.ruleset import RuleSet
from healer.model.view import View
from healer.rules.grants import RuleSetSettings, granted
from healer.rules.positions import Problem
from healer.rules.rulebook import BoundRule
from healer.rules.schema import Mode

REFUSED, NAME_TAKEN, TOO_MANY, DELETED = "Refused", "NameTaken", "TooManyRules", "Deleted"
"""Why a RuleSet is not accepted: something is wrong in it, a rule file has its name, its namespace has too many rules, somebody
has deleted it and it waits for its finalizers."""
_NAMED = 20
"""RuleSets that are logged by their names when many are judged anew at once."""
_LEAST, _A_RULE = 100.0, 5.0
"""Milliseconds that the conditions of a namespace may take for one signal, as estimated: at least, and for each rule that it is
granted, if that is more. All of them may be asked about one signal in one go, which takes a fraction of it."""


@dataclass(frozen=True, slots=True)
class JudgedRuleSet:
    """A RuleSet, with what became of its `generation`; a later one may wait to be read. `reason` is "" when it is accepted.

    `rules` are those in force, of the generation `in_force`, whose spec has the digest.
    """

    object: RuleSet
    generation: int
    reason: str
    problems: tuple[Problem, ...]
    rules: tuple[BoundRule, ...] = ()
    in_force: int = 0
    digest: str = ""

    @property
    def mode(self) -> str:
        """The furthest mode that a rule in force has; "" where none is in force."""
        return max((bound.rule.mode for bound in self.rules), key=list(Mode).index, default="")


class _WrittenSpec(msgspec.Struct):
    """How many rules are written in a spec."""

    rules: list[msgspec.Raw] = []


class RuleSets:
    """Those of the view. `reader` reads them."""

    def __init__(self, view: View, settings: RuleSetSettings, reader: RuleSetReader) -> None:
        self._view = view
        self._settings = settings
        self._reader = reader
        self._written: dict[str, tuple[int, int]] = {}  # uid -> generation, rules that are written in it
        self._log = structlog.get_logger("healer.rules")
        self._hasty: frozenset[str] = frozenset()
        self.judged: tuple[JudgedRuleSet, ...] = ()
        """All of them that were read, or need not be read, by namespace and age, as they were last judged."""
        self.news = asyncio.Event()
        """Set when they were judged anew."""
        self.more = False
        """Whether some are left that can be read at once: look again soon."""

    @property
    def rules(self) -> list[BoundRule]:
        """Their rules that are in force."""
        return [bound for each in self.judged for bound in each.rules]

    @property
    def digest(self) -> str:
        """The digest of what they hold in force; "" where they hold nothing."""
        parts = [f"{each.object.full_name} {each.digest}" for each in self.judged if each.rules]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest() if parts else ""

    async def look(self, taken: Collection[str]) -> bool:
        """Judge all RuleSets of the view; returns whether other rules are in force now. `taken`: the rule sets of the files."""
        found = [each for each in self._view.objects(RuleSet) if isinstance(each, RuleSet)]
        objects, out = await asyncio.to_thread(self._left_out, found, taken)
        self.more = await self._reader.read([each for each in objects if each.metadata.uid not in out])
        before = self.judged
        judged, news, changed = await asyncio.to_thread(self._judge_all, objects, out, before)
        self._say(news)
        self.judged = judged
        self.news.set()
        return changed

    def _left_out(self, found: list[RuleSet], taken: Collection[str]) -> tuple[list[RuleSet], dict[str, JudgedRuleSet]]:
        """All by namespace and age; and those that are not even read, by uid.

        The older one of a namespace has the place, and files come before all. What is written counts, so that one that is wrong
        keeps its place, and no namespace has much read that is wrong.
        """
        objects = sorted(found, key=_age)
        there = {each.metadata.uid for each in objects}
        self._reader.forget_others(there)
        self._written = {uid: known for uid, known in self._written.items() if uid in there}
        out: dict[str, JudgedRuleSet] = {}
        rules: dict[str, int] = {}
        size: dict[str, int] = {}
        for each in objects:
            namespace = each.metadata.namespace
            with_it, large = rules.get(namespace, 0) + self._rules_of(each), size.get(namespace, 0) + len(each.spec_bytes)
            if (left_out := self._refusal(each, taken, with_it, large)) is not None:
                out[each.metadata.uid] = left_out
            else:
                rules[namespace], size[namespace] = with_it, large
        return objects, out

    def _refusal(self, found: RuleSet, taken: Collection[str], rules: int, size: int) -> JudgedRuleSet | None:
        """Why it is not even read; `rules` and `size` are of its namespace with it."""
        namespace, name = found.metadata.namespace, found.metadata.name
        most, largest = granted(self._settings.grants, namespace).grant.rules, self._reader.bytes_granted(namespace)
        if found.metadata.deletion_timestamp is not None:
            message, hint = "the RuleSet is being deleted", "its finalizers keep it: see metadata.finalizers"
            return _out(found, DELETED, "metadata.deletionTimestamp", message, hint)
        if name in taken:
            message, hint = f"the rule set {name!r} is in healer's rule files", "give the RuleSet another name"
            return _out(found, NAME_TAKEN, "metadata.name", message, hint)
        if rules > most:
            message = f"with it, the RuleSets of {namespace} have more than {most} rules"
            return _out(found, TOO_MANY, "spec.rules", message, "delete rules, or an older RuleSet")
        if size > largest and not found.too_large:
            message = f"with it, the RuleSets of {namespace} have more than {largest // 1024} KiB"
            return _out(found, TOO_MANY, "spec", message, "delete rules, or an older RuleSet")
        return None

    def _judge_all(
        self, objects: list[RuleSet], out: dict[str, JudgedRuleSet], before: tuple[JudgedRuleSet, ...]
    ) -> tuple[tuple[JudgedRuleSet, ...], list[JudgedRuleSet], bool]:
        """What became of all of them; of which that is news; and whether other rules are in force."""
        there = {each.metadata.uid for each in objects} - out.keys()
        kept = {each.object.metadata.uid: each for each in before if each.rules and each.object.metadata.uid in there}
        took: dict[str, float] = {}
        for each in kept.values():
            namespace = each.object.metadata.namespace
            took[namespace] = took.get(namespace, 0.0) + _longest(each.rules)
        judged = tuple(each for found in objects for each in self._judge(found, out, kept, took))
        known = {each.object.metadata.uid: (each.problems, each.in_force) for each in before}
        news = [each for each in judged if known.get(each.object.metadata.uid) != (each.problems, each.in_force)]
        return judged, news, _in_force(before) != _in_force(judged)

    def _rules_of(self, found: RuleSet) -> int:
        """How many rules it has: those that are written, or those that are in force while it is wrong; one at least."""
        uid, generation = found.metadata.uid, found.metadata.generation
        known, reading = self._written.get(uid), self._reader.reading(found)
        if known is None or known[0] != generation:
            known = self._written[uid] = generation, _rules_written(found)
        return max(1, known[1], 0 if reading is None else len(reading.rules))

    def _judge(
        self, found: RuleSet, out: dict[str, JudgedRuleSet], kept: dict[str, JudgedRuleSet], took: dict[str, float]
    ) -> Iterator[JudgedRuleSet]:
        """What became of it, once it was read. `kept`: what is in force; `took`: what the conditions of each namespace may take.

        What is in force stays so; what would take its namespace over the bound is refused, and its last good rules are kept.
        """
        uid, namespace, known = found.metadata.uid, found.metadata.namespace, self._reader.reading(found)
        if (left_out := out.get(uid)) is not None:
            yield left_out
        elif known is not None:
            now, last = took.get(namespace, 0.0), kept.get(uid)
            with_it = now - (0.0 if last is None else _longest(last.rules)) + _longest(known.rules)
            most = max(_LEAST, _A_RULE * granted(self._settings.grants, namespace).grant.rules)
            if with_it > max(most, now):
                of = f"the conditions (if) of the RuleSets of {namespace}"
                message = f"with it, {of} may take more than {most:.0f} ms for one signal"
                refused = _out(found, TOO_MANY, "spec.rules", message, "shorten the patterns of matches(), or delete rules")
                same = last or refused
                yield replace(refused, rules=same.rules, in_force=same.in_force, digest=same.digest)
            else:
                took[namespace] = with_it
                reason = REFUSED if known.problems else ""
                yield JudgedRuleSet(found, known.generation, reason, known.problems, known.rules, known.of, known.digest)

    def _say(self, news: list[JudgedRuleSet]) -> None:
        """Say what was refused that was not, or for another reason; and what is accepted again. Of many at once, say how many."""
        for each in news[:_NAMED]:
            name, problems = each.object.full_name, [in_words(problem) for problem in each.problems[:_NAMED]]
            if each.reason:
                self._log.warning("a RuleSet is refused", ruleset=name, reason=each.reason, problems=problems)
            else:
                self._log.info("a RuleSet is accepted", ruleset=name, rules=len(each.rules))
        if left := news[_NAMED:]:
            refused = sum(bool(each.reason) for each in left)
            self._log.info("further RuleSets are judged", accepted=len(left) - refused, refused=refused)
        if new := sorted(self._reader.hasty - self._hasty):
            self._log.warning("RuleSets change too often: healer reads them later", of=new[:_NAMED], more=len(new[_NAMED:]))
        self._hasty = self._reader.hasty


def _in_force(judged: tuple[JudgedRuleSet, ...]) -> list[tuple[str, int, tuple[BoundRule, ...]]]:
    return [(each.object.metadata.uid, each.in_force, each.rules) for each in judged if each.rules]


def _longest(rules: Iterable[BoundRule]) -> float:
    """How many milliseconds their conditions may take for one signal."""
    return sum(bound.condition.longest for bound in rules if bound.condition is not None)


def _rules_written(found: RuleSet) -> int:
    try:
        return len(msgspec.json.decode(found.spec_bytes, type=_WrittenSpec).rules)
    except (ValueError, RecursionError):  # the reading says what is wrong
        return 0


def _out(found: RuleSet, reason: str, path: str, message: str, hint: str) -> JudgedRuleSet:
    problem = Problem(f"RuleSet {found.full_name}", 0, 0, path, message, hint)
    return JudgedRuleSet(found, found.metadata.generation, reason, (problem,))


def _age(found: RuleSet) -> tuple[str, float, str]:
    created = found.metadata.creation_timestamp
    return found.metadata.namespace, 0.0 if created is None else created.timestamp(), found.metadata.name


def in_words(problem: Problem) -> str:
    """A problem of an object in one line: where in it, what, and what to do."""
    where = f"{problem.path}: " if problem.path else ""
    return f"{where}{problem.message}" + (f" ({problem.hint})" if problem.hint else "")
