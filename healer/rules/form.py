"""The forms of values in the rule language: names, labels, lists; and the base of its models."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AllowInfNan, BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, Strict
from pydantic.alias_generators import to_camel
from pydantic.functional_validators import AfterValidator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

ANYWHERE = "*"
"""The namespace entry that means every namespace."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


Number = Annotated[float, Strict(), AllowInfNan(False)]
"""A finite number; no text and no boolean."""


def fault(message: str, hint: str = "", at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """An error with a hint and the path to the wrong value, relative to the model that raises it."""
    return PydanticCustomError("rule", "{message}", {"message": message, "hint": hint, "at": at})


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise fault(f"{text!r} is not a valid name", "lower-case letters, digits and '-', at most 63, as Kubernetes names are")
    return text


def _namespace(text: str) -> str:
    if text != ANYWHERE and not _NAME.fullmatch(text):
        hint = (
            'write each namespace in full, or ["*"] for every namespace'
            if "*" in text
            else "a namespace's name as Kubernetes has it"
        )
        raise fault(f"{text!r} is not a namespace", hint)
    return text


def _label_key(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    if not _LABEL_NAME.fullmatch(name) or (slash and not _SUBDOMAIN.fullmatch(prefix)):
        raise fault(f"{text!r} is not a valid label key", "[prefix/]name, the name at most 63 letters, digits, '-', '_' and '.'")
    return text


def _label_value(text: str) -> str:
    if text and not _LABEL_NAME.fullmatch(text):
        raise fault(
            f"{text!r} is not a valid label value", "at most 63 letters, digits, '-', '_' and '.', no such sign at the ends"
        )
    return text


def _no_repeats(values: tuple[str, ...]) -> tuple[str, ...]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise fault(f"{str(value)!r} is listed twice", "delete one", (index,))
    return values


class InPercent:
    """Marks a field that holds any percentage, for code that walks the models (the JSON Schema)."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """Marks a text that is one of these words, and checks it; also for code that walks the models (the JSON Schema)."""

    words: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """As pydantic wants it."""
        return core_schema.no_info_before_validator_function(self._checked, handler(source))

    def _checked(self, value: Any) -> Any:
        if value not in self.words:
            raise fault(f"{value!r} is not known", f"one of {', '.join(self.words)}")
        return value


def one_of(*words: str) -> OneOf:
    """A mark for a text that is one of these words."""
    return OneOf(words)


Text = Annotated[str, Field(min_length=1)]
Whole = Annotated[int, Strict()]
Listed = AfterValidator(_no_repeats)
Name = Annotated[str, AfterValidator(_name)]
Namespace = Annotated[str, AfterValidator(_namespace)]
LabelKey = Annotated[str, AfterValidator(_label_key)]
LabelValue = Annotated[str, AfterValidator(_label_value)]


class Model(BaseModel):
    """The base of all rule models: unknown keys are errors, and models are frozen."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
    )


class OneOrMore:
    """Marks a list that may be written as its only entry, for code that walks the models."""


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[Text, ...], BeforeValidator(_listed), Field(min_length=1), Listed, OneOrMore()]
"""A name, or a list of names."""
