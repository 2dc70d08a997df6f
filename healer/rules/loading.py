"""Loads rule files: turns the text of YAML files into rules that are ready for use, or into all problems with them.

RuleSets of the cluster go the same way. Each is the rule set of a tenant, and has a document of its own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from healer.model.target import ActsOn
from healer.rules.condition import CelCondition, ConditionError
from healer.rules.condition_bounds import OF_FILES, OF_TENANTS, ConditionBounds
from healer.rules.form import ANYWHERE
from healer.rules.grants import Tenant, at_home, reaching_out, ungranted
from healer.rules.messages import worded
from healer.rules.positions import Document, Path, Problem, documents, dotted
from healer.rules.promql import promql_fault
from healer.rules.reach import unreachable
from healer.rules.rulebook import BoundRule
from healer.rules.schema import API_VERSION, Rule, RuleSet, Step
from healer.rules.triggers import MODEL, QUERY, TRIGGERS, Trigger
from healer.rules.vocabulary import Vocabulary

TenantOf = Callable[[Document], Tenant | None]
"""The tenant whose RuleSet a document is; None for one of healer's own rule files."""


def nobody(_: Document) -> Tenant | None:
    """No document is a tenant's."""
    return None


def load(text: str, file: str, known: Vocabulary) -> tuple[list[BoundRule], list[Problem]]:
    """The rules of one file, and every problem in it, by line. A document with a problem gives no rules."""
    return load_all({file: text}, known)


def load_all(
    files: Mapping[str, str], known: Vocabulary, tenant_of: TenantOf = nobody, most: int | None = None
) -> tuple[list[BoundRule], list[Problem]]:
    """The rules of several files (name -> text), and every problem in them, sorted; names must be unique across all of them.

    `most` bounds how many wrong keys and values of a document are put into words, where others must not wait for that.
    """
    rules: list[BoundRule] = []
    problems: list[Problem] = []
    seen: dict[str, str] = {}  # rule set -> where it was
    for file, text in files.items():
        found, wrong = documents(text, file)
        if not found and not wrong:
            wrong.append(Problem(file, 1, 1, "", "the file holds no rules", f"begin with apiVersion: {API_VERSION}"))
        for document in found:
            bound, faults = _read(_Source(document, file, known, tenant_of(document), most), seen, wrong)
            if not faults and not wrong:
                rules += bound
            wrong += faults
        problems += wrong
    return rules, sorted(set(problems))


@dataclass(frozen=True, slots=True)
class _Source:
    """A document, with what it is read by."""

    document: Document
    file: str
    known: Vocabulary
    tenant: Tenant | None
    most: int | None

    @property
    def prefix(self) -> str:
        """What the names of its rule sets begin with: a tenant's stand below its namespace, so that no two can be the same."""
        return "" if self.tenant is None else f"{self.tenant.namespace}/"

    @property
    def bounds(self) -> ConditionBounds:
        """Those of its conditions."""
        return OF_FILES if self.tenant is None else OF_TENANTS


def _read(source: _Source, seen: dict[str, str], wrong: list[Problem]) -> tuple[list[BoundRule], list[Problem]]:
    """The rules of a document, and the problems with it besides those that are known already (`wrong`)."""
    document, file, known, tenant = source.document, source.file, source.known, source.tenant
    faults = [] if tenant is None else [*ungranted(document, file, tenant)]
    document = document if tenant is None else at_home(document, tenant)
    source = replace(source, document=document)
    faults += [*_known_elsewhere(document, file, seen, source.prefix), *_document_faults(source)]
    try:
        ruleset = RuleSet.model_validate(document.data, context=known, by_alias=True, by_name=False)
    except ValidationError as error:
        if not any(fault.path in ("kind", "apiVersion") for fault in faults):
            said = {problem.path for problem in wrong}  # a missing value is reported already
            errors = worded(error.errors(include_url=False)[: source.most], document, file, known)
            faults += [fault for fault in errors if fault.path not in said]
        return [], faults
    bound, incomplete = _bound(ruleset, document, source)
    return bound, faults + incomplete


def remarks(rules: Iterable[BoundRule]) -> list[str]:
    """What is not wrong but may surprise, a sentence each."""
    return [f"{bound.where or bound.name}: {bound.name} {said}" for bound in rules for said in _remarks_on(bound)]


def _remarks_on(bound: BoundRule) -> Iterator[str]:
    rule = bound.rule
    if "mode" not in rule.model_fields_set:
        yield "has no mode, so it only observes; write mode: enforce to let it act"
    yield from unreachable(bound)
    yield from rule.when.trigger.remarks(rule.when.value)


def _bound(ruleset: RuleSet, document: Document, source: _Source) -> tuple[list[BoundRule], list[Problem]]:
    """The rules that are ready for use, and the problems of steps with missing parameters that no trigger fills in."""
    file, known, tenant = source.file, source.known, source.tenant
    bound: list[BoundRule] = []
    faults: list[Problem] = []
    for index, rule in enumerate(ruleset.spec.rules):
        path: Path = ("spec", "rules", index)
        rule = _scoped(_completed(rule, path, document, file, known, faults), ruleset)
        if rule.scope is None:
            continue  # reported by _document_faults
        line, _ = document.at(path)
        faults += _ambiguous(rule, path, document, file, known)
        faults += _harmful(rule, path, document, file, known)
        try:
            expression, trigger = rule.when.condition, rule.when.trigger
            condition = None if expression is None else CelCondition(expression, trigger, source.bounds)
        except ConditionError:
            continue  # reported by _trigger_faults
        bound.append(BoundRule(source.prefix + ruleset.metadata.name, rule, condition, f"{file}:{line}"))
        faults += [] if tenant is None else reaching_out(rule, path, document, file, tenant, known)
    return bound, faults


def _completed(rule: Rule, path: Path, document: Document, file: str, known: Vocabulary, faults: list[Problem]) -> Rule:
    """The rule with the parameters that its actions take from its trigger."""

    def complete(step: Step, where: Path) -> Step:
        fill_in = known.actions[step.action].complete
        if fill_in is None:
            return step
        try:
            return step.model_copy(update={"params": fill_in(step.params, rule.when)})
        except ValueError as error:
            where = (*where, step.action)
            faults.append(Problem(file, *document.at_key(where), dotted(where), str(error)))
            return step

    heal = tuple(complete(step, (*path, "heal", number)) for number, step in enumerate(rule.heal))
    on_storm = None if rule.on_storm is None else complete(rule.on_storm, (*path, "onStorm"))
    return rule.model_copy(update={"heal": heal, "on_storm": on_storm})


def _ambiguous(rule: Rule, path: Path, document: Document, file: str, known: Vocabulary) -> Iterator[Problem]:
    """A query that names a workload is ambiguous unless the scope is one namespace."""
    query = rule.when.get(QUERY)
    if query is None or query.workload is None or rule.scope is None:
        return
    namespaces = rule.scope.namespaces
    if len(namespaces) == 1 and namespaces[0] != ANYWHERE:
        return
    word = next(word for word, kind in known.words.items() if kind == query.workload.kind)
    where = (*path, "when", "query", word)
    which = "every namespace" if ANYWHERE in namespaces else f"{len(namespaces)} namespaces"
    hint = "give the rule a scope of its own with one namespace, or have the series carry namespace and pod"
    message = f"{word} names {query.workload.name!r}, and the rule's scope is {which}: in which of them?"
    yield Problem(file, *document.at_key(where), dotted(where), message, hint)


def _harmful(rule: Rule, path: Path, document: Document, file: str, known: Vocabulary) -> Iterator[Problem]:
    """Steps that take down a pod that serves: a new process may not have the version that the old one serves."""
    model = rule.when.get(MODEL)
    conditions = {} if model is None else known.servers[model.server].conditions
    serving = [name for name in rule.when.names if name in conditions and conditions[name].serves]
    steps = [((*path, "heal", number), step) for number, step in enumerate(rule.heal)]
    steps += [] if rule.on_storm is None else [((*path, "onStorm"), rule.on_storm)]
    for place, step in steps:
        spec = known.actions[step.action]
        if serving and (spec.disrupts or spec.restarts):
            where = (*place, step.action)
            message = f"{step.action} takes down pods that serve: {serving[0]} says that an older version serves"
            hint = f"pin the version that serves, or page; give {serving[0]} a rule of its own"
            yield Problem(file, *document.at_key(where), dotted(where), message, hint)


def _scoped(rule: Rule, ruleset: RuleSet) -> Rule:
    return rule if rule.scope is not None else rule.model_copy(update={"scope": ruleset.spec.scope})


# problems that the models cannot find: looked for in the plain data, to be reported with all others


def _known_elsewhere(document: Document, file: str, seen: dict[str, str], prefix: str) -> Iterator[Problem]:
    path = ("metadata", "name")
    name = _dig(document.data, path)
    if not isinstance(name, str) or _dig(document.data, ("kind",)) in _PLAYED:
        return
    name = prefix + name
    line, column = document.at(path)
    if name in seen:
        hint = "give each rule set a name of its own: a rule is known by ruleset/rule"
        yield Problem(file, line, column, dotted(path), f"the rule set {name!r} is already in {seen[name]}", hint)
    else:
        seen[name] = f"{file}:{line}"


_PLAYED = {
    "RuleTest": "play it by `healer test`; in a folder, NAME.test.yaml is passed over",
    "Scenario": "play it by `healer simulate`; in a folder, NAME.scenario.yaml is passed over",
}
"""What files of other kinds are for."""


def _document_faults(source: _Source) -> Iterator[Problem]:
    document, file, known = source.document, source.file, source.known
    kind, version = _dig(document.data, ("kind",)), _dig(document.data, ("apiVersion",))
    for key, value, wanted in (("kind", kind, "RuleSet"), ("apiVersion", version, API_VERSION)):
        if value is not None and value != wanted:  # nothing else of the document can be checked
            message = f"{key} is {value!r}, not {wanted!r}"
            hint = _PLAYED.get(str(value), f"a rule file holds kind: RuleSet of {API_VERSION} alone")
            yield Problem(file, *document.at((key,)), key, message, hint)
            return
    rules = _dig(document.data, ("spec", "rules"))
    lines: dict[str, int] = {}
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        path: Path = ("spec", "rules", index)
        if isinstance(rule, dict):
            yield from _name_faults(rule, path, document, file, lines)
            if "scope" not in rule and _dig(document.data, ("spec", "scope")) is None:
                hint = 'say which namespaces, here or in spec.scope: scope: {namespaces: [production]}, or ["*"] for every one'
                yield Problem(file, *document.at(path), dotted(path), "the rule has no scope", hint)
            yield from _trigger_faults(rule, path, source)
            yield from _storm_faults(rule, path, document, file, known)


def _name_faults(rule: dict[str, Any], path: Path, document: Document, file: str, lines: dict[str, int]) -> Iterator[Problem]:
    name, path = rule.get("name"), (*path, "name")
    if not isinstance(name, str):
        return
    line, column = document.at(path)
    if name in lines:
        hint = f"the first is on line {lines[name]}: rename one"
        yield Problem(file, line, column, dotted(path), f"the rule name {name!r} is given twice", hint)
    lines.setdefault(name, line)


def _trigger_faults(rule: dict[str, Any], path: Path, source: _Source) -> Iterator[Problem]:
    document, file, known = source.document, source.file, source.known
    when = rule.get("when")
    given = [trigger for name, trigger in TRIGGERS.items() if isinstance(when, dict) and name in when]
    if len(given) != 1:
        return
    trigger, where = given[0], (*path, "when", "if")
    expression = _dig(when, ("if",))
    if isinstance(expression, str) and expression:
        try:
            CelCondition(expression, trigger, source.bounds)
        except ConditionError as error:
            position = document.inside(where, error.line, error.column)
            yield Problem(file, *position, dotted(where), str(error), error.hint)
    yield from _promql_faults(trigger, when, path, document, file)
    ladder = rule.get("heal")
    for index, step in enumerate(ladder if isinstance(ladder, list) else ()):
        for name in step if isinstance(step, dict) else ():
            spec = known.actions.get(name)
            if spec is not None and not spec.targets & trigger.targets:
                where = (*path, "heal", index, name)
                acts_on = " or a ".join(sorted(spec.targets))
                message = f"{name} acts on a {acts_on}, and a rule on {trigger.name!r} names none"
                fit = sorted(other.name for other in known.actions.values() if other.targets & trigger.targets)
                yield Problem(file, *document.at_key(where), dotted(where), message, f"actions that fit: {', '.join(fit)}")


def _promql_faults(trigger: Trigger[Any], when: Any, path: Path, document: Document, file: str) -> Iterator[Problem]:
    """Expressions that no server reads, with their positions."""
    written = when[trigger.name]
    for below, template in trigger.expressions(written):
        expression, where = _dig(written, below), (*path, "when", trigger.name, *below)
        if isinstance(expression, str) and expression and (found := promql_fault(expression, template=template)) is not None:
            position = document.inside(where, found.line, found.column)
            yield Problem(file, *position, dotted(where), f"this is no PromQL: {found.message}", found.hint)


def _storm_faults(rule: dict[str, Any], path: Path, document: Document, file: str, known: Vocabulary) -> Iterator[Problem]:
    step = rule.get("onStorm")
    for name in step if isinstance(step, dict) else ():
        spec = known.actions.get(name)
        if spec is not None and ActsOn.WORKLOAD not in spec.targets:
            where = (*path, "onStorm", name)
            message = f"{name} acts on a {' or a '.join(sorted(spec.targets))}, and onStorm is taken on the workload"
            fit = sorted(other.name for other in known.actions.values() if ActsOn.WORKLOAD in other.targets)
            yield Problem(file, *document.at_key(where), dotted(where), message, f"actions that fit: {', '.join(fit)}")


def _dig(data: Any, path: Path) -> Any:
    """The value at a path; None without one."""
    for part in path:
        if isinstance(part, int):
            data = data[part] if isinstance(data, list) and part < len(data) else None
        else:
            data = data.get(part) if isinstance(data, dict) else None
    return data
