"""The definition of RuleSets in the cluster (a CustomResourceDefinition), made from the models and the registries.

The API server takes structural schemas alone, so the JSON Schema is written out without references. What it cannot say there is
said as a rule in CEL, or is left to healer, whose answer stands in the status.

Unknown keys are kept. The API server would drop them before anybody sees them: a rule with a misspelt `if` would hold for more
than its author means. healer refuses them.
"""

from collections.abc import Iterable
from typing import Any

from healer.model.ruleset import ACCEPTED
from healer.rules.json_schema import Schema, json_schema
from healer.rules.schema import API_VERSION, Mode
from healer.rules.triggers import TRIGGERS
from healer.rules.vocabulary import Vocabulary

_NAME = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_DURATION = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"
"""As in the JSON Schema, without a look ahead, which the API server's regular expressions lack."""
_MOST_RULES, _MOST_STEPS, _MOST_ENTRIES = 100, 20, 50
"""Entries of lists: with them the API server knows what a rule in CEL costs at most."""
_LONGEST = 4096
"""Characters of a text."""
_KEPT = {"x-kubernetes-preserve-unknown-fields": True}
_INT32 = 2**31
_WORDS = {"type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "description"}
"""Keywords that mean the same in both."""


def definition(known: Vocabulary) -> dict[str, Any]:
    """The CustomResourceDefinition."""
    group, _, version = API_VERSION.partition("/")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"rulesets.{group}", "labels": {"app.kubernetes.io/name": "healer"}},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "rulesets", "singular": "ruleset", "kind": "RuleSet", "listKind": "RuleSetList"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(),
                    "schema": {"openAPIV3Schema": _whole(known)},
                }
            ],
        },
    }


def _columns() -> list[dict[str, Any]]:
    condition = f'.status.conditions[?(@.type=="{ACCEPTED}")]'
    return [
        {"name": "Accepted", "type": "string", "jsonPath": f"{condition}.status"},
        {"name": "Rules", "type": "integer", "jsonPath": ".status.rules"},
        {"name": "Mode", "type": "string", "jsonPath": ".status.mode"},
        {"name": "Last Fired", "type": "date", "jsonPath": ".status.lastFired"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Why", "type": "string", "jsonPath": f"{condition}.message", "priority": 1},
    ]


def _whole(known: Vocabulary) -> Schema:
    written = json_schema(known)
    writer = _Structural(written["$defs"])
    spec = writer.of({"$ref": "#/$defs/Spec"})
    return {
        "description": "Rules of one namespace, by the people whose namespace it is: they hold there alone. "
        "healer reads them as it reads rule files, and says in the status what it makes of them.",
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": [
            _rule(
                f"self.metadata.name.size() <= 63 && self.metadata.name.matches('^{_NAME}$')",
                "the name must have lower-case letters, digits and '-' alone, at most 63: its rules are named by it",
            )
        ],
        "properties": {"spec": spec, "status": _status()},
    }


def _status() -> Schema:
    condition = {
        "type": {"type": "string", "minLength": 1, "maxLength": 316},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "reason": {"type": "string", "maxLength": 1024},
        "message": {"type": "string", "maxLength": 32768},
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
    }
    return {
        "description": "What healer makes of it; healer alone writes it.",
        "type": "object",
        "properties": {
            "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
            "rules": {"type": "integer", "format": "int32", "minimum": 0, "description": "How many of its rules are in force."},
            "mode": {"type": "string", "enum": ["", *map(str, Mode)], "description": "The furthest mode of these."},
            "lastFired": {"type": "string", "format": "date-time", "description": "When one of them opened an incident last."},
            "conditions": {
                "type": "array",
                "maxItems": 8,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": {"type": "object", "required": ["type", "status"], "properties": condition},
            },
        },
    }


class _Structural:
    """Writes schemas without references."""

    def __init__(self, definitions: Schema) -> None:
        self._definitions = definitions

    def of(self, schema: Schema, within: tuple[str, ...] = ()) -> Schema:
        """The structural form of a schema. `within` are the definitions around it: one that mentions itself is left open."""
        if (reference := schema.get("$ref")) is not None:
            name = str(reference).rpartition("/")[2]
            if name in within:
                return {"type": "object", **_KEPT}
            described = {key: value for key, value in schema.items() if key == "description"}
            return self._particular(name, self.of(self._definitions[name], (*within, name))) | described
        if "anyOf" in schema:
            return _described(schema, {"x-kubernetes-int-or-string": True})
        found = {key: value for key, value in schema.items() if key in _WORDS}
        if found.get("pattern", "").startswith("^(?="):
            found |= {"pattern": _DURATION, "minLength": 2, "maxLength": 64}
        if "enum" in found:
            found["type"] = "string"
        match found.get("type"):
            case "object":
                found |= self._object(schema, within)
            case "array":
                found["items"] = self.of(schema["items"], within)
                found.setdefault("maxItems", _MOST_ENTRIES)
            case "string":
                found.setdefault("maxLength", _LONGEST)
            case "integer" | "number":
                found |= _bounds(schema)
        return found

    def _object(self, schema: Schema, within: tuple[str, ...]) -> Schema:
        values = schema.get("additionalProperties")
        if isinstance(values, dict):
            return {"additionalProperties": self.of(values, within), "maxProperties": _MOST_ENTRIES}
        properties = {key: self.of(value, within) for key, value in schema.get("properties", {}).items()}
        required = [key for key in schema.get("required", ()) if key != "namespaces"]  # a tenant's scope is its own namespace
        return {"properties": properties, **({"required": required} if required else {}), **_KEPT}

    def _particular(self, name: str, schema: Schema) -> Schema:
        """What holds of a model beside the forms of its values."""
        properties = schema.get("properties", {})
        match name:
            case "Rule":
                for key, value in (("name", {"pattern": f"^{_NAME}$", "maxLength": 63}), ("heal", {"maxItems": _MOST_STEPS})):
                    properties[key] |= value
            case "Scope":
                every = {"type": "string", "pattern": f"^{_NAME}$", "maxLength": 63}
                properties["namespaces"] |= {"items": every, "maxItems": 1}
            case "When":
                schema["x-kubernetes-validations"] = [*_when(TRIGGERS)]
            case "Step":
                actions = [key for key in properties if key != "verify"]
                schema["x-kubernetes-validations"] = [_one_of(actions, "a step names exactly one action")]
            case "Spec":
                properties["rules"] |= {
                    "maxItems": _MOST_RULES,
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                }
        return schema


def _described(schema: Schema, form: Schema) -> Schema:
    return {**form, **({"description": schema["description"]} if "description" in schema else {})}


def _bounds(schema: Schema) -> Schema:
    """Bounds as OpenAPI 3.0 has them: an exclusive one is the bound with a mark."""
    found: Schema = {}
    for key, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in schema:
            found |= {key: schema[exclusive], exclusive: True}
    if schema.get("type") == "integer":
        found["format"] = "int64"
        if found.get("maximum", 0) >= 2**63:  # it is what the format allows
            del found["maximum"], found["exclusiveMaximum"]
    return found


def _when(triggers: Iterable[str]) -> Iterable[Schema]:
    yield _one_of(triggers, f"exactly one of {', '.join(triggers)} is needed")
    yield _rule("!(has(self.count) && has(self.__for__))", "for and count exclude each other")  # a reserved word is written so
    yield _rule("!has(self.labels) || has(self.alert)", "labels are those of an alert, and this is no alert trigger")


def _one_of(keys: Iterable[str], message: str) -> Schema:
    listed = ", ".join(f"has(self.{key})" for key in keys)
    return _rule(f"[{listed}].filter(each, each).size() == 1", message)


def _rule(expression: str, message: str) -> Schema:
    return {"rule": expression, "message": message}
