"""The JSON Schema of rule files, made from the models and the registries: editors complete and check by it.

It is looser than `healer check`, which also compiles CEL and PromQL, and knows what of a rule does not fit together.
"""

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from healer.model.duration import InSeconds, say
from healer.rules.form import InPercent, OneOf, OneOrMore
from healer.rules.named_workload import KEY, NamesWorkload
from healer.rules.portion import InReplicas
from healer.rules.probe import InShares
from healer.rules.schema import RuleSet, Step, Verify, When
from healer.rules.triggers import TRIGGERS
from healer.rules.vocabulary import KnownNames, Vocabulary

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DURATION: Schema = {
    "type": "string",
    "pattern": "^(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
    "description": "A duration: 500ms, 90s, 2m, 1h30m, 1d.",
}
_SHARE: Schema = {"type": "string", "pattern": r"^[0-9]{1,2}(\.[0-9]{1,6})?%$"}
_PERCENT: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?%$"}
_REPLICAS: Schema = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^([1-9][0-9]?|100)%$"}]}
_MARKED: Mapping[type, Schema] = {InSeconds: _DURATION, InShares: _SHARE, InReplicas: _REPLICAS, InPercent: _PERCENT}
"""The forms of values whose type in a file is another than in the model."""
_PLAIN: Mapping[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_SIZES = {"array": ("minItems", "maxItems"), "string": ("minLength", "maxLength"), "object": ("minProperties", "maxProperties")}


def json_schema(known: Vocabulary, model: type[BaseModel] = RuleSet, *, defaults: bool = False) -> Schema:
    """The schema of one document of a rule file, or of another kind of file by its model. `defaults`: for editors, which show
    them; an API server would write them into the objects."""
    writer = _Writer(known, defaults=defaults)
    whole = writer.reference(model)
    title = f"{model.__name__} of healer"
    return {"$schema": _DIALECT, "title": title, **whole, "$defs": dict(sorted(writer.definitions.items()))}


class _Writer:
    """Writes the schemas of models, each once, into `definitions`."""

    def __init__(self, known: Vocabulary, *, defaults: bool) -> None:
        self._known = known
        self._defaults = defaults
        self.definitions: dict[str, Schema] = {}

    def reference(self, model: type[BaseModel]) -> Schema:
        """The reference of a model's schema, which is written when it is needed for the first time."""
        name = model.__name__
        if name not in self.definitions:
            self.definitions[name] = {}  # a model may mention itself
            self.definitions[name] = self._mapping(model)
        return {"$ref": f"#/$defs/{name}"}

    def _mapping(self, model: type[BaseModel]) -> Schema:
        if issubclass(model, Step):
            return self._step()
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        named = fields.pop(KEY, None) if issubclass(model, NamesWorkload) else None
        properties = {key: self._field(field) for key, field in fields.items()}
        schema = _object(properties, [key for key, field in fields.items() if field.is_required()], (model.__doc__ or "").strip())
        if named is not None:
            properties |= {word: {"type": "string", "description": named.description} for word in self._known.words}
            if named.is_required():
                schema |= _exactly_one(self._known.words)
        if issubclass(model, When):
            schema |= _exactly_one(TRIGGERS)
        if model.model_config.get("extra") != "forbid":
            schema["additionalProperties"] = True
        return schema

    def _step(self) -> Schema:
        actions = self._known.actions
        properties: Schema = {
            name: {**self.reference(spec.params), "description": spec.meaning} for name, spec in actions.items()
        }
        properties["verify"] = self.reference(Verify)
        return _object(properties, [], (Step.__doc__ or "").strip()) | _exactly_one(actions)

    def _field(self, field: FieldInfo) -> Schema:
        schema = self._type(field.annotation, field.metadata)
        if self._defaults:
            schema = schema | _default(field)
        return {**schema, "description": " ".join(field.description.split())} if field.description else schema

    def _type(self, annotation: Any, metadata: list[Any]) -> Schema:
        if hasattr(annotation, "__metadata__"):
            return self._type(annotation.__origin__, [*annotation.__metadata__, *metadata])
        marks = list(_flat(metadata))
        for mark in marks:
            if type(mark) in _MARKED:
                return dict(_MARKED[type(mark)])
            if isinstance(mark, OneOf):
                return {"type": "string", "enum": list(mark.words)}
            if isinstance(mark, KnownNames):
                return {"type": "string", "enum": sorted({*mark.of(self._known)})}
        schema = self._plain(annotation, metadata)
        if any(isinstance(mark, OneOrMore) for mark in marks):
            return {"anyOf": [schema["items"], schema]}
        return schema | dict(_bounds(marks, schema.get("type", "")))

    def _plain(self, annotation: Any, metadata: list[Any]) -> Schema:
        origin = get_origin(annotation)
        arguments = [argument for argument in get_args(annotation) if argument not in (type(None), ...)]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return self.reference(annotation)
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            return {"type": "string", "enum": [member.value for member in annotation]}
        if origin is Literal:
            return {"enum": arguments}
        if origin in (tuple, list, set, frozenset):
            return {"type": "array", "items": self._type(arguments[0], [])}
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self._type(arguments[1], [])}
        if origin is not None and len(arguments) == 1:
            return self._type(arguments[0], metadata)
        if origin is not None and arguments:
            return {"anyOf": [self._type(argument, []) for argument in arguments]}
        return {"type": _PLAIN[annotation]} if annotation in _PLAIN else {}


def _default(field: FieldInfo) -> Schema:
    """The default of a plain value, as a file has it."""
    value, marks = field.default, {type(mark) for mark in _flat(field.metadata)}
    if isinstance(value, Enum):
        value = value.value
    if not isinstance(value, bool | int | float | str) or value == "":
        return {}
    if InSeconds in marks:
        return {"default": say(float(value))}
    if InPercent in marks:
        return {"default": f"{100 * float(value):g}%"}
    return {} if marks & _MARKED.keys() and not isinstance(value, str) else {"default": value}


def _object(properties: Schema, required: list[str], description: str) -> Schema:
    schema: Schema = {"type": "object", "description": " ".join(description.split()), "properties": properties}
    return schema | ({"required": required} if required else {}) | {"additionalProperties": False}


def _exactly_one(keys: Mapping[str, Any]) -> Schema:
    return {"oneOf": [{"required": [key]} for key in keys]}


def _flat(metadata: list[Any]) -> Iterator[Any]:
    for entry in metadata:
        yield from entry.metadata if isinstance(entry, FieldInfo) else (entry,)


def _bounds(marks: list[Any], kind: str) -> Iterator[tuple[str, Any]]:
    least, most = _SIZES.get(kind, ("", ""))
    for mark in marks:
        for name, keyword in _BOUNDS.items():
            if kind in ("integer", "number") and (limit := getattr(mark, name, None)) is not None:
                yield keyword, limit
        for keyword, size in ((least, getattr(mark, "min_length", None)), (most, getattr(mark, "max_length", None))):
            if keyword and size is not None:
                yield keyword, size


def written(known: Vocabulary, model: type[BaseModel] = RuleSet) -> str:
    """The schema as text."""
    return json.dumps(json_schema(known, model, defaults=True), indent=2, ensure_ascii=False)
