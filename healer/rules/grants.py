"""What a namespace may write into RuleSets of its own, and what of one goes beyond it.

A RuleSet in the cluster is written by whoever may write into its namespace, and healer acts on it with rights of its own. So it
reaches its own namespace alone, and goes as far as the settings grant. Nothing is granted beyond the mode `observe` by default.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field, field_validator

from healer.model.action import Permission
from healer.rules.form import ANYWHERE
from healer.rules.messages import nearest
from healer.rules.positions import Document, Path, Problem, dotted
from healer.rules.schema import Mode, Rule, Step
from healer.rules.triggers import NODE, TRIGGERS
from healer.rules.vocabulary import Vocabulary, split_address
from healer.section import PREFIX, Section

_CAREFUL = list(Mode)
"""The modes, the most careful one first."""
_READS = frozenset({"get", "list", "watch"})
_SHARED = frozenset({("", "nodes"), ("", "namespaces")})
"""Objects that belong to no namespace."""
_NAMESPACE = r"^(\*|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)$"
_NOT_GRANTED = "is not granted in"
"""What each problem says that the settings could do away with."""
_OWN_TRIGGERS = ("pod", "event", "workload", "alert")
"""The triggers that look at the objects and alerts of one namespace alone, and ask no server for it."""


class Grant(Section):
    """What the rules of a namespace's own RuleSets may do."""

    mode: Mode = Mode.OBSERVE
    """The most that a rule may say in `mode`."""
    actions: tuple[str, ...] = ()
    """The actions that rules may name which go beyond `observe`. A rule that only observes does none of what it names."""
    triggers: tuple[str, ...] = _OWN_TRIGGERS
    """The triggers that rules may have. `query` and `canary` ask the Prometheus of all for any series, so they are not granted
    by default, and neither is `model`. `node` cannot be granted."""
    notify: tuple[str, ...] = ()
    """The addresses that rules may name in `notify` and in pages. A rule that names none is told at the default address."""
    rules: Annotated[int, Field(ge=1, le=1000)] = 50
    """The most rules that the RuleSets of the namespace may have together."""

    @field_validator("triggers")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        allowed = [name for name in TRIGGERS if name != NODE.name]
        for name in names:
            if name not in allowed:
                raise ValueError(f"there is no trigger {name} that can be granted: there are {', '.join(allowed)}")
        return names


@dataclass(frozen=True, slots=True)
class Tenant:
    """A namespace, with what it is granted."""

    namespace: str
    grant: Grant


def granted(grants: Mapping[str, Grant], namespace: str) -> Tenant:
    """The tenant of a namespace. `grants` are those of the settings, by namespace; "*" is for every other one."""
    return Tenant(namespace, grants.get(namespace) or grants.get(ANYWHERE) or Grant())


def named(document: Document, namespace: str = "") -> str:
    """The namespace whose RuleSet a document is: `namespace`, if given, else what its metadata has; "" for a rule file."""
    written = _mapping(document.data, "metadata").get("namespace", "")
    return namespace or (written if isinstance(written, str) else "")


def at_home(document: Document, tenant: Tenant) -> Document:
    """The document of an object in the cluster as a rule file has it: of its metadata the name alone, no status, and its own
    namespace as the scope where it says none."""
    data = document.data
    if not isinstance(data, dict):
        return document
    data = {key: value for key, value in data.items() if key != "status"}
    if isinstance(metadata := data.get("metadata"), dict):
        data["metadata"] = {key: value for key, value in metadata.items() if key == "name"}
    if isinstance(spec := data.get("spec"), dict):
        spec = spec | {"scope": _scoped(spec.get("scope", {}), tenant)}
        if isinstance(rules := spec.get("rules"), list):
            spec["rules"] = [_scoped_rule(rule, tenant) for rule in rules]
        data["spec"] = spec
    return replace(document, data=data)


def _scoped(scope: Any, tenant: Tenant) -> Any:
    return {"namespaces": [tenant.namespace]} | scope if isinstance(scope, dict) else scope


def _scoped_rule(rule: Any, tenant: Tenant) -> Any:
    return rule | {"scope": _scoped(rule["scope"], tenant)} if isinstance(rule, dict) and "scope" in rule else rule


def ungranted(document: Document, file: str, tenant: Tenant) -> Iterator[Problem]:
    """What is written in a document that its namespace may not write."""
    for path, message, hint in _ungranted(document.data, tenant):
        yield Problem(file, *document.at(path), dotted(path), message, hint)


_Finding = tuple[Path, str, str]


def _ungranted(data: Any, tenant: Tenant) -> Iterator[_Finding]:
    home, metadata, spec = tenant.namespace, _mapping(data, "metadata"), _mapping(data, "spec")
    if (other := metadata.get("namespace", home)) != home:
        yield ("metadata", "namespace"), f"the RuleSet is of the namespace {other}, not of {home}", "delete the line"
    yield from _elsewhere(_mapping(spec, "scope"), ("spec", "scope"), home)
    rules = spec.get("rules")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if isinstance(rule, dict):
            yield from _beyond(rule, ("spec", "rules", index), tenant)


def _beyond(rule: dict[str, Any], path: Path, tenant: Tenant) -> Iterator[_Finding]:
    """What of one rule goes beyond its grant."""
    grant, home = tenant.grant, tenant.namespace
    yield from _elsewhere(_mapping(rule, "scope"), (*path, "scope"), home)
    when = _mapping(rule, "when")
    for name in TRIGGERS.keys() & when.keys():
        if name not in grant.triggers:
            yield (*path, "when", name), f"the trigger {name} {_NOT_GRANTED} {home}", _list(grant.triggers)
    yield from _routes(when, (*path, "when"), home)
    mode = rule.get("mode", Mode.OBSERVE.value)
    acts = mode in (Mode.APPROVE.value, Mode.ENFORCE.value)
    if acts and _CAREFUL.index(Mode(mode)) > _CAREFUL.index(grant.mode):
        yield (*path, "mode"), f"the mode {mode} {_NOT_GRANTED} {home}", f"the most that is granted is {grant.mode}"
    for place, step in _steps(rule, path):
        for name in step:
            if acts and name != "verify" and name not in grant.actions:
                yield (*place, name), f"the action {name} {_NOT_GRANTED} {home}", _list(grant.actions)
            channels = _mapping(step, name).get("channels")
            yield from _addresses(channels, (*place, name, "channels"), tenant)
        yield from _routes(step, place, home)
    yield from _addresses(rule.get("notify"), (*path, "notify"), tenant)


def _elsewhere(scope: Mapping[str, Any], path: Path, home: str) -> Iterator[_Finding]:
    namespaces = scope.get("namespaces", [home])
    if namespaces != [home]:
        message = f"a RuleSet in the namespace {home} is for that namespace alone"
        yield (*path, "namespaces"), message, f"delete the line, or write [{home}]"


def _routes(written: Any, path: Path, home: str) -> Iterator[_Finding]:
    """Every key `namespace` below a trigger or a step that names another one."""
    if isinstance(written, list):
        for index, entry in enumerate(written):
            yield from _routes(entry, (*path, index), home)
    elif isinstance(written, dict):
        for key, value in written.items():
            if key == "namespace" and value != home:
                message = f"a RuleSet in the namespace {home} names nothing of another one"
                yield (*path, key), message, "delete the line"
            else:
                yield from _routes(value, (*path, key), home)


def _addresses(written: Any, path: Path, tenant: Tenant) -> Iterator[_Finding]:
    for index, address in enumerate(written if isinstance(written, list) else ()):
        if address not in tenant.grant.notify:
            message = f"the address {address} {_NOT_GRANTED} {tenant.namespace}"
            yield (*path, index), message, _list(tenant.grant.notify)


def _list(names: tuple[str, ...]) -> str:
    return f"granted are {', '.join(names)}" if names else "none is granted: those who run healer can grant it"


def _steps(rule: dict[str, Any], path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    ladder = rule.get("heal")
    for index, step in enumerate(ladder if isinstance(ladder, list) else ()):
        if isinstance(step, dict):
            yield (*path, "heal", index), step
    if isinstance(step := rule.get("onStorm"), dict):
        yield (*path, "onStorm"), step


def _mapping(data: Any, key: str) -> dict[str, Any]:
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def reaching_out(rule: Rule, path: Path, document: Document, file: str, tenant: Tenant, known: Vocabulary) -> Iterator[Problem]:
    """What a rule that is right in itself reaches outside of its namespace by its actions: other namespaces, and nodes."""
    steps: Iterable[tuple[Path, Step]] = [((*path, "heal", number), step) for number, step in enumerate(rule.heal)]
    if rule.on_storm is not None:
        steps = [*steps, ((*path, "onStorm"), rule.on_storm)]
    for place, step in steps:
        spec, where = known.actions[step.action], (*place, step.action)
        others = sorted(spec.apart(step.params).keys() - {tenant.namespace})
        shared = sorted({each.resource for each in spec.needs(step.params) if _changes_shared(each)})
        for what in (*others, *shared):
            message = f"{step.action} changes what is not of the namespace {tenant.namespace}: {what}"
            hint = "a RuleSet acts in its own namespace alone: ask those who run healer for a rule in its files"
            yield Problem(file, *document.at_key(where), dotted(where), message, hint)


def _changes_shared(needed: Permission) -> bool:
    return needed.verb not in _READS and (needed.group, needed.resource.partition("/")[0]) in _SHARED


class RuleSetSettings(Section):
    """RuleSets in the cluster, beside the rule files. The definition is `healer crd --rulesets`."""

    enabled: bool = False
    """Take rules from objects of the kind RuleSet, each for its own namespace. It needs the permission to watch them and to write
    their status (`deploy/healer/components/rulesets`)."""
    grants: dict[Annotated[str, Field(pattern=_NAMESPACE)], Grant] = Field({})
    """What the RuleSets of each namespace may do, by the namespace; "*" is for every other one. Where nothing is granted, their
    rules observe. The keys of a grant are `mode`, `actions`, `triggers`, `notify` and `rules`: see docs/rules-as-code.md."""


def ignored(settings: RuleSetSettings) -> Iterator[str]:
    """A sentence for grants that mean nothing, because no rules are taken from RuleSets."""
    if settings.grants and not settings.enabled:
        text = f"{PREFIX}RULESETS__GRANTS means nothing while {PREFIX}RULESETS__ENABLED is false"
        yield f"{text}: healer takes no rules from RuleSets; set it to true, or delete the grants"


def where_granted(problems: Iterable[Problem]) -> Iterator[str]:
    """A sentence that says where grants come from, if something is wrong only because it is not granted."""
    if any(_NOT_GRANTED in problem.message for problem in problems):
        yield (
            f"what a namespace is granted is read from {PREFIX}RULESETS__GRANTS in the environment, or from the settings file in "
            "--config: give this command the settings that the daemon has"
        )


def unknown_names(settings: RuleSetSettings, known: Vocabulary) -> Iterator[str]:
    """What grants name that there is not, a sentence each."""
    for namespace, grant in settings.grants.items():
        for action in grant.actions:
            if action not in known.actions:
                hint = nearest(action, known.actions) or f"the actions are {', '.join(sorted(known.actions))}"
                yield f"{namespace!r} is granted the action {action}, which there is not; {hint}"
        for text in grant.notify:
            kind, address = split_address(text)
            if kind not in known.addresses or not known.addresses[kind].valid(address):
                examples = ", ".join(each.example for each in known.addresses.values())
                yield f"{namespace!r} is granted the address {text}, which is none: write it as rules do ({examples})"
