"""Values of a type of the model, for tests that try a field that is added without a change of theirs."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from healer.model.incident import Symptom
from healer.rules.triggers import TRIGGERS

TIMES = st.floats(0, 4e9).map(lambda seconds: round(seconds, 6))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a type of the model: so a field that is added is tried without a change here."""
    if hint is float:
        return TIMES
    if hint is str:
        return TEXTS
    if hint is bool:
        return st.booleans()
    if hint is int:
        return st.integers(0, 1_000)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    if hint is Symptom:
        return st.builds(Symptom, st.sampled_from(sorted(TRIGGERS)), TEXTS, TEXTS, TIMES)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return st.builds(hint, **{name: values(inner) for name, inner in get_type_hints(hint).items()})
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return st.sampled_from(arguments)
    if isinstance(hint, types.UnionType):
        return st.one_of(*(st.none() if each is types.NoneType else values(each) for each in arguments))
    if origin is Mapping:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=3)
    if origin is frozenset:
        return st.frozensets(values(arguments[0]), max_size=3)
    if origin is tuple and arguments[1:] == (...,):
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    raise TypeError(f"no values of {hint} are known here")


def example(hint: Any) -> Any:
    """One value of a type of the model in which nothing that may be there is left out."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, types.UnionType):
        return next(example(each) for each in arguments if each is not types.NoneType)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return hint(**{name: example(inner) for name, inner in get_type_hints(hint).items()})
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint))
    if origin is Mapping:
        return {example(arguments[0]): example(arguments[1])}
    if origin in (frozenset, tuple):
        return origin([example(arguments[0])])
    return {str: "text", int: 1, bool: True, float: 1e9}[hint]
