"""The tables of docs/rules.md, made from the models and the declared variables: the reference cannot lag behind the code."""

import re
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from healer.model.action import ActionSpec
from healer.model.duration import InSeconds, say
from healer.model.target import ActsOn
from healer.rules.condition import variables
from healer.rules.form import Model, OneOrMore
from healer.rules.named_workload import DEPLOYMENT, KEY, NamedWorkload, NamesWorkload
from healer.rules.node_remediators import KUBERNETES, REMEDIATORS
from healer.rules.pod_conditions import POD_CONDITIONS, PodConditionName
from healer.rules.pod_detectors import PodState
from healer.rules.portion import InReplicas
from healer.rules.probe import InShares
from healer.rules.schema import Step, models_by_path
from healer.rules.triggers import TRIGGERS, WORKLOAD
from healer.rules.vocabulary import Vocabulary
from healer.rules.workload_conditions import WORKLOAD_CONDITIONS, WorkloadConditionName
from healer.rules.xid import XIDS


def tables(known: Vocabulary) -> dict[str, str]:
    """The tables by their names on the page: one for each place of a rule file, and those of what the registries know."""
    by_model = {model.__name__: keys_of(model) for _, model in models_by_path()}
    return by_model | {
        "triggers": _triggers(),
        "variables": _variables(),
        "conditions": _conditions(),
        "workload_conditions": _workload_conditions(),
        "xids": _xids(),
        "remediators": _remediators(),
        "routers": _routers(known),
        "workloads": _workloads(known),
        "servers": _servers(known),
        "server_conditions": _server_conditions(known),
        "workload_actions": _workload_actions(known),
        "actions": _actions(known),
        "addresses": _addresses(known),
        "parameters": _parameters(known),
    }


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def keys_of(model: type[BaseModel]) -> str:
    """The keys of a model, as a table."""
    return _table(("key", "type", "default", "meaning"), _key_rows(model))


def _key_rows(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        if model is Step and name in ("action", "params"):
            continue
        meaning = re.sub(r"\s+", " ", field.description or "")
        key = DEPLOYMENT.lower() if name == KEY and issubclass(model, NamesWorkload) else field.alias or name
        yield f"`{key}`", _type(field.annotation, field.metadata) + _bounds(field), _default(field), meaning
    if model is Step:
        yield "an action's name", "mapping", "**needed**", "What to do, and the action's parameters; `{}` when it has none."


def _type(annotation: Any, metadata: list[Any]) -> str:
    if annotation == PodConditionName:
        return "[condition](#conditions-of-pods)"
    if annotation == WorkloadConditionName:
        return "[condition](#conditions-of-workloads)"
    if any(isinstance(mark, InSeconds) for mark in metadata):
        return "duration"
    if any(isinstance(mark, InShares) for mark in metadata):
        return "percentage"
    if any(isinstance(mark, InReplicas) for mark in metadata):
        return "percentage or whole number"
    if annotation is NamedWorkload:
        return "text"
    if any(isinstance(mark, OneOrMore) for mark in metadata):
        return "text or list of text"
    if hasattr(annotation, "__metadata__"):
        return _type(annotation.__origin__, list(annotation.__metadata__))
    arguments = [argument for argument in get_args(annotation) if argument not in (type(None), ...)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(f"`{member.value}`" for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if get_origin(annotation) is tuple:
        return f"list of {_type(arguments[0], [])}"
    if get_origin(annotation) is not None and issubclass(_origin(annotation), Mapping):
        return (
            "mapping of text to text" if arguments[-1] is str or hasattr(arguments[-1], "__metadata__") else "mapping of mappings"
        )
    if arguments:
        return _type(arguments[0], [])
    return {int: "whole number", str: "text", float: "number", bool: "true or false", Any: "any"}[annotation]


def _origin(annotation: Any) -> type:
    origin = get_origin(annotation)
    return origin if isinstance(origin, type) else object


def _bounds(field: FieldInfo) -> str:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    if any(isinstance(mark, InShares) for mark in _marks(field.annotation, list(field.metadata))):
        return ""  # as every percentage
    timed = any(isinstance(mark, InSeconds) for mark in _marks(field.annotation, list(field.metadata)))
    bounds = [
        f"{word} {say(limit) if timed else limit}"
        for mark in _marks(field.annotation, list(field.metadata))
        for name, word in words.items()
        if (limit := getattr(mark, name, None)) is not None
    ]
    return f", {' and '.join(bounds)}" if bounds else ""


def _marks(annotation: Any, metadata: list[Any]) -> list[Any]:
    """What is said of a type, at the field and where the type is optional (`Annotated[...] | None`)."""
    inner = [mark for part in get_args(annotation) for mark in getattr(part, "__metadata__", ())]
    return [mark for entry in (*metadata, *inner) for mark in (getattr(entry, "metadata", None) or [entry])]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    value = field.default
    if value is None or value is PydanticUndefined or value == ():
        return "none"
    return f"`{_written(value, field)}`"


def _written(value: Any, field: FieldInfo) -> str:
    if isinstance(value, Model):
        parts = (
            f"{part.alias or name}: {_written(getattr(value, name), part)}" for name, part in type(value).model_fields.items()
        )
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(str(entry) for entry in value)}]"
    return say(value) if any(isinstance(mark, InSeconds) for mark in field.metadata) else str(value)


def _variables() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        triggers = [trigger for trigger in TRIGGERS.values() if not trigger.judged]  # whose judge has all conditions in itself
        every = {name: said for trigger in triggers for name, said in variables(trigger).items()}
        for name, (kind, meaning) in every.items():
            known = [trigger.name for trigger in triggers if name in variables(trigger)]
            yield f"`{name}`", str(kind.name()).lower(), ", ".join(known), meaning

    return _table(("variable", "type", "in rules on", "meaning"), rows())


def _conditions() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for condition in POD_CONDITIONS.values():
            states = condition.states
            living = ["living"] if PodState.LIVING in states else [_STATES[each] for each in states & PodState.LIVING]
            others = [_STATES[each] for each in states & ~PodState.LIVING]
            yield f"`{condition.name}`", ", ".join(living + others), condition.meaning

    return _table(("condition", "of pods that are", "meaning"), rows())


def _remediators() -> str:
    keys = ((each, ", ".join(f"`{key}`" for key in each.keys)) for each in (*REMEDIATORS, KUBERNETES))
    return _table(("who", "marks", "what it does"), ((each.name, marks, each.meaning) for each, marks in keys))


def _xids() -> str:
    rows = ((str(number), kind, meaning) for number, (kind, meaning) in sorted(XIDS.items()))
    return _table(("Xid", "class", "meaning"), rows)


def _workload_conditions() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for condition in WORKLOAD_CONDITIONS.values():
            read = "its HorizontalPodAutoscaler" if condition.of_autoscaler else "the workload"
            yield f"`{condition.name}`", read, condition.meaning

    return _table(("condition", "read off", "meaning"), rows())


_STATES = {
    PodState.PENDING: "pending",
    PodState.UNREADY: "not ready",
    PodState.READY: "ready",
    PodState.FINISHED: "finished",
    PodState.TERMINATING: "terminating",
}


def _routers(known: Vocabulary) -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for router in known.routers.values():
            whole = "the workloads" if router.of_owner and not router.pools else "Services"
            backends = [whole, *(["subsets of Services"] if router.subsets else [])]
            backends += ["InferencePools"] if router.pools else []
            where = "its own or another namespace" if router.other_namespace else "the namespace of the workloads"
            yield f"`{router.kind}`", router.meaning, ", ".join(backends), where

    return _table(("kind", "object", "backends", "namespace"), rows())


def _workloads(known: Vocabulary) -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for kind in known.workloads.values():
            covered = "only when `scope.kinds` names it" if kind.only_named else "yes"
            yield f"`{kind.kind}`", f"`{kind.word}`", kind.meaning, covered

    return _table(("kind", "word", "what is special", "covered"), rows())


def _servers(known: Vocabulary) -> str:
    rows = (
        (f"`{each.name}`", each.title, f"`{each.request}`", str(each.port), f"`{say(each.loading)}`")
        for each in known.servers.values()
    )
    return _table(("server", "name", "request", "default of `port`", "default of `loading`"), rows)


def _server_conditions(known: Vocabulary) -> str:
    rows = (
        (f"`{server.name}`", f"`{name}`", "yes" if condition.usual else "no", condition.meaning)
        for server in known.servers.values()
        for name, condition in server.conditions.items()
    )
    return _table(("server", "condition", "by default", "meaning"), rows)


def _triggers() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for trigger in TRIGGERS.values():
            own = ", ".join(f"`{name}`" for name in trigger.variables) or "none"
            yield f"`{trigger.name}`", _on(trigger.targets), trigger.origin, trigger.ends, own, trigger.needs or "nothing"

    return _table(("trigger", "its actions act on", "its signals are", "a signal ends", "variables of its own", "needs"), rows())


def _addresses(known: Vocabulary) -> str:
    rows = ((f"`{each.example}`", each.meaning) for each in known.addresses.values())
    return _table(("an address", "stands for"), rows)


def _actions(known: Vocabulary) -> str:
    rows = ((f"`{spec.name}`", _on(spec.targets), _fed_by(spec), spec.meaning) for spec in known.actions.values())
    return _table(("action", "acts on", "in rules on", "what it does"), rows)


def _workload_actions(known: Vocabulary) -> str:
    named = [f"`{spec.name}`" for spec in known.actions.values() if WORKLOAD.targets & spec.targets]
    return f"A rule on `workload` acts on the workload, and never on its pods, by one of these actions: {', '.join(named)}."


def _on(targets: Collection[ActsOn]) -> str:
    return " or ".join({ActsOn.POD: "a pod", ActsOn.WORKLOAD: "a workload"}[kind] for kind in sorted(targets))


def _fed_by(spec: ActionSpec) -> str:
    names = [f"`{trigger.name}`" for trigger in TRIGGERS.values() if trigger.targets & spec.targets]
    return "every trigger" if len(names) == len(TRIGGERS) else ", ".join(names)


def _parameters(known: Vocabulary) -> str:
    rows = ((f"`{spec.name}`", *row) for spec in known.actions.values() for row in _key_rows(spec.params))
    return _table(("action", "parameter", "type", "default", "meaning"), rows)
