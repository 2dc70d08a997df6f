"""The RuleSets of the cluster: each is read as a rule file is, and a wrong one harms nothing but itself.

What was read is kept by the generation of the object, so that a change of one costs the reading of one. It is read in a thread.
A RuleSet whose new generation is wrong keeps the rules of its last good one, as rule files do, while this process runs.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

import msgspec
import structlog

from healer.model.ruleset import RuleSet
from healer.model.view import View
from healer.rules.grants import RuleSetSettings, granted
from healer.rules.loading import load_all
from healer.rules.positions import Problem
from healer.rules.rulebook import BoundRule, Rulebook, capped
from healer.rules.schema import API_VERSION, Mode
from healer.rules.vocabulary import Vocabulary

REFUSED, NAME_TAKEN, TOO_MANY = "Refused", "NameTaken", "TooManyRules"
"""Why a RuleSet is not accepted: something is wrong in it, a rule file has its name, its namespace has too many rules."""
_LARGEST = 64 * 1024
"""Bytes of a spec that is read: about a hundred rules. Reading more would take a tenant's RuleSet too long for the others."""
_TOLD = 100
"""Problems of one RuleSet that are kept."""
_NAMED = 20
"""RuleSets that are logged by their names when many are judged anew at once."""


@dataclass(frozen=True, slots=True)
class JudgedRuleSet:
    """A RuleSet, with what became of it. `reason` is "" when it is accepted.

    `rules` are those in force, of the generation `in_force`, whose spec has the digest.
    """

    object: RuleSet
    reason: str
    problems: tuple[Problem, ...]
    rules: tuple[BoundRule, ...] = ()
    in_force: int = 0
    digest: str = ""

    @property
    def mode(self) -> str:
        """The furthest mode that a rule in force has; "" where none is in force."""
        return max((bound.rule.mode for bound in self.rules), key=list(Mode).index, default="")


@dataclass(frozen=True, slots=True)
class _ReadRuleSet:
    """What the reading of one generation gave, and the rules of the last generation without a problem."""

    generation: int
    problems: tuple[Problem, ...]
    rules: tuple[BoundRule, ...]
    digest: str
    of: int
    """The generation of `rules`; 0 before there was a good one."""


class RuleSets:
    """`objections` says what of rules that are right in themselves cannot be used by this healer; no rule goes further than the
    mode `most`."""

    def __init__(
        self,
        view: View,
        settings: RuleSetSettings,
        known: Vocabulary,
        objections: Callable[[Rulebook], list[Problem]],
        most: Mode,
    ) -> None:
        self._view = view
        self._settings = settings
        self._most = most
        self._known = known
        self._objections = objections
        self._readings: dict[str, _ReadRuleSet] = {}
        self._log = structlog.get_logger("healer.rules")
        self.judged: tuple[JudgedRuleSet, ...] = ()
        """All of them, by namespace and age, as they were last judged."""
        self.news = asyncio.Event()
        """Set when they were judged anew."""

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
        before = [(each.object.metadata.uid, each.in_force, each.rules) for each in self.judged]
        objects = sorted((each for each in self._view.objects(RuleSet) if isinstance(each, RuleSet)), key=_age)
        there = {each.metadata.uid for each in objects}
        for uid in self._readings.keys() - there:
            del self._readings[uid]
        for each in objects:
            known = self._readings.get(each.metadata.uid)
            if known is None or known.generation != each.metadata.generation:
                self._readings[each.metadata.uid] = await asyncio.to_thread(self._read, each, known)
        self._say({each.object.metadata.uid: each for each in self.judged}, judged := tuple(self._judge(objects, taken)))
        self.judged = judged
        self.news.set()
        return before != [(each.object.metadata.uid, each.in_force, each.rules) for each in judged]

    def _read(self, found: RuleSet, before: _ReadRuleSet | None) -> _ReadRuleSet:
        """Read one RuleSet by the loader of rule files, which takes YAML, and so JSON."""
        origin, generation = f"RuleSet {found.full_name}", found.metadata.generation
        head = json.dumps({"apiVersion": API_VERSION, "kind": "RuleSet", "metadata": {"name": found.metadata.name}})
        kept = before or _ReadRuleSet(0, (), (), "", 0)
        spec, problem = _plain(found)
        if problem is not None:
            return replace(kept, generation=generation, problems=(problem,))
        tenant = granted(self._settings.grants, found.metadata.namespace)
        rules, problems = load_all({origin: f'{head[:-1]}, "spec": {spec}}}'}, self._known, lambda _: tenant)
        rules = [replace(bound, where=origin) for bound in rules]
        if not problems:
            problems = self._objections(Rulebook(rules))
        if not problems:
            rules = list(capped(Rulebook(rules), self._most).rules)
            return _ReadRuleSet(generation, (), tuple(rules), hashlib.sha256(spec.encode()).hexdigest(), generation)
        return replace(kept, generation=generation, problems=tuple(problems[:_TOLD]))

    def _judge(self, objects: list[RuleSet], taken: Collection[str]) -> Iterator[JudgedRuleSet]:
        """Who is in force, of RuleSets by namespace and age: the older one has the place, and files come before all."""
        counts: dict[str, int] = {}
        for each in objects:
            reading, namespace, name = self._readings[each.metadata.uid], each.metadata.namespace, each.metadata.name
            most = granted(self._settings.grants, namespace).grant.rules
            if name in taken:
                message, hint = f"the rule set {name!r} is in healer's rule files", "give the RuleSet another name"
                yield _out(each, NAME_TAKEN, "metadata.name", message, hint)
            elif counts.get(namespace, 0) + len(reading.rules) > most:
                message = f"with it, the RuleSets of {namespace} have more than {most} rules"
                yield _out(each, TOO_MANY, "spec.rules", message, "delete rules, or an older RuleSet")
            else:
                counts[namespace] = counts.get(namespace, 0) + len(reading.rules)
                reason = REFUSED if reading.problems else ""
                yield JudgedRuleSet(each, reason, reading.problems, reading.rules, reading.of, reading.digest)

    def _say(self, before: dict[str, JudgedRuleSet], now: tuple[JudgedRuleSet, ...]) -> None:
        """Say what was refused that was not, or for another reason; and what is accepted again. Of many at once, say how many."""
        known = {uid: (each.problems, each.in_force) for uid, each in before.items()}
        news = [each for each in now if known.get(each.object.metadata.uid) != (each.problems, each.in_force)]
        for each in news[:_NAMED]:
            name, problems = each.object.full_name, [in_words(problem) for problem in each.problems]
            if each.reason:
                self._log.warning("a RuleSet is refused", ruleset=name, reason=each.reason, problems=problems)
            else:
                self._log.info("a RuleSet is accepted", ruleset=name, rules=len(each.rules))
        if left := news[_NAMED:]:
            refused = sum(bool(each.reason) for each in left)
            self._log.info("further RuleSets are judged", accepted=len(left) - refused, refused=refused)


def _plain(found: RuleSet) -> tuple[str, Problem | None]:
    """The spec as JSON; or why it is not read at all."""
    origin = f"RuleSet {found.full_name}"
    if len(bytes(found.spec)) > _LARGEST:
        hint = "write the rules into several RuleSets"
        return "", Problem(origin, 0, 0, "spec", f"the spec is larger than {_LARGEST // 1024} KiB", hint)
    try:
        return msgspec.json.encode(msgspec.json.decode(bytes(found.spec))).decode(), None
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        return "", Problem(origin, 0, 0, "spec", f"the spec cannot be read: {error}", "write it as a rule file")


def _out(found: RuleSet, reason: str, path: str, message: str, hint: str) -> JudgedRuleSet:
    problem = Problem(f"RuleSet {found.full_name}", 0, 0, path, message, hint)
    return JudgedRuleSet(found, reason, (problem,))


def _age(found: RuleSet) -> tuple[str, float, str]:
    created = found.metadata.creation_timestamp
    return found.metadata.namespace, 0.0 if created is None else created.timestamp(), found.metadata.name


def in_words(problem: Problem) -> str:
    """A problem of an object in one line: where in it, what, and what to do."""
    where = f"{problem.path}: " if problem.path else ""
    return f"{where}{problem.message}" + (f" ({problem.hint})" if problem.hint else "")
