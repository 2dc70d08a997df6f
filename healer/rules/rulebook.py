"""The rules in force, indexed by signal: the rules that a signal does not concern cost nothing."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from pydantic import BaseModel

from healer.model.duration import InSeconds
from healer.model.kube import matches
from healer.rules.condition import CelCondition
from healer.rules.form import ANYWHERE
from healer.rules.schema import Mode, Rule
from healer.rules.scope import Scope

M = TypeVar("M", bound=BaseModel)

_DECIDES = {"when", "heal", "on_storm", "limits", "mode"}
"""The parts of a rule that decide what is done. The scope is not one of them: it is checked again for each target."""


@dataclass(frozen=True)
class BoundRule:
    """A rule that is ready for use: its scope is settled, its condition compiled.

    Raises ValueError when the rule has no scope, which the loader fills in from its rule set.
    """

    ruleset: str
    rule: Rule
    condition: CelCondition | None = None
    where: str = ""
    """ "file:line" of its definition, for people."""
    written: Mode | None = None
    """The mode that its file says, where the setting `mode` caps it; None where it does not."""

    def __post_init__(self) -> None:
        if self.rule.scope is None:
            raise ValueError(f"rule {self.name} has no scope: say which namespaces")

    @cached_property
    def name(self) -> str:
        """The rule's full name, "ruleset/rule"."""
        return f"{self.ruleset}/{self.rule.name}"

    @property
    def scope(self) -> Scope:
        """The rule's scope."""
        assert self.rule.scope is not None  # __post_init__ has checked it
        return self.rule.scope

    @cached_property
    def digest(self) -> str:
        """The digest of the parts that decide what is done: an incident with another digest was opened by another rule.

        Defaults are left out, so that a newer healer, whose rules have further keys, computes the same digest.
        """
        said = self.rule.model_dump(mode="json", include=_DECIDES, exclude_defaults=True)
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    def scope_covers(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether an object of that namespace with these labels is in the rule's scope."""
        scope = self.scope
        return scope.covers(namespace) and (scope.selector is None or matches(scope.selector.struct, labels))


class Rulebook:
    """All rules in force. Raises ValueError when two have the same full name."""

    def __init__(self, rules: Iterable[BoundRule] = ()) -> None:
        self.rules: tuple[BoundRule, ...] = tuple(rules)
        self._by_name = {rule.name: rule for rule in self.rules}
        if len(self._by_name) < len(self.rules):
            raise ValueError("two rules have the same name")
        listed: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for number, rule in enumerate(self.rules):
            for name in rule.rule.when.names:
                for namespace in rule.scope.namespaces:
                    listed[rule.rule.when.trigger.name, name][namespace].append(number)
        self.names = frozenset((source, name) for source, name in listed)
        """The signals that rules look for: trigger and name."""
        self._index: dict[tuple[str, str, str], tuple[BoundRule, ...]] = {}
        for (source, name), by_namespace in listed.items():
            anywhere = by_namespace.get(ANYWHERE, [])
            for namespace, numbers in by_namespace.items():
                self._index[source, name, namespace] = tuple(self.rules[n] for n in sorted({*numbers, *anywhere}))

    @property
    def by_name(self) -> Mapping[str, BoundRule]:
        """The rules by full name."""
        return self._by_name

    def get(self, name: str) -> BoundRule | None:
        """The rule of that full name."""
        return self._by_name.get(name)

    def concerned(self, source: str, name: str, namespace: str, only: str = "") -> Sequence[BoundRule]:
        """The rules whose trigger and namespaces fit a signal, in order: at most two look-ups, however many rules there are.

        `only` is the full name of the rule that asked for the signal; "" when none did.
        """
        if only:
            rule = self._by_name.get(only)
            fits = rule is not None and name in rule.rule.when.names and rule.scope.covers(namespace)
            return (rule,) if rule is not None and fits else ()
        found = self._index.get((source, name, namespace))
        return self._index.get((source, name, ANYWHERE), ()) if found is None else found


def capped(rulebook: Rulebook, most: Mode) -> Rulebook:
    """The same rules with no mode beyond `most`: the more careful mode of the two holds."""
    careful = list(Mode)  # the most careful first

    def cap(bound: BoundRule) -> BoundRule:
        mode = min(bound.rule.mode, most, key=careful.index)
        if mode is bound.rule.mode:
            return bound
        return replace(bound, rule=bound.rule.model_copy(update={"mode": mode}), written=bound.rule.mode)

    return Rulebook(map(cap, rulebook.rules))


def scaled(rulebook: Rulebook, factor: float) -> Rulebook:
    """The same rules with every duration multiplied by `factor` (> 0): a demo's time runs faster.

    Durations in CEL expressions stay as they are.
    """
    return Rulebook(replace(bound, rule=_scaled(bound.rule, factor)) for bound in rulebook.rules)


def _scaled(model: M, factor: float) -> M:
    changed: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if any(isinstance(mark, InSeconds) for mark in field.metadata):
            changed[name] = value * factor
        elif isinstance(value, BaseModel):
            changed[name] = _scaled(value, factor)
        elif isinstance(value, tuple):
            changed[name] = tuple(_scaled(entry, factor) if isinstance(entry, BaseModel) else entry for entry in value)
    written = model.model_fields_set
    copy = model.model_copy(update=changed)
    copy.__pydantic_fields_set__ = set(written)
    return copy
