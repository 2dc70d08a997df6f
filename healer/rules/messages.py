"""Turns the errors that pydantic finds in a rule file into problems for people: where, what, and what may have been meant."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from healer.model.duration import InSeconds, say
from healer.rules.form import Model
from healer.rules.named_workload import DEPLOYMENT, KEY, NamesWorkload
from healer.rules.positions import Document, Path, Problem, dotted
from healer.rules.schema import RuleSet, Step, models_of
from healer.rules.vocabulary import Vocabulary

_HINTS = {
    "minReady": "healer never takes the last ready replica",
    "atLeast": "seen once is what a rule without count asks for",
    "actions": "to do nothing, write mode: observe",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def worded(
    errors: Iterable[Mapping[str, Any]],
    document: Document,
    file: str,
    known: Vocabulary,
    around: Path = (),
    root: type[Model] = RuleSet,
) -> Iterator[Problem]:
    """The problems of pydantic's errors. `around` is the path that their locations are relative to; `root` the model of the
    whole document."""
    for error in errors:
        path = _as_written((*around, *error["loc"]), error["type"], document, known, root)
        context = error.get("ctx", {})
        at_key = path[-1:] == ("[key]",)
        if at_key:
            path = path[:-1]
        match error["type"]:
            case "several":
                yield from worded(context["errors"], document, file, known, path, root)
                continue
            case "extra_forbidden" | "unknown_action":
                at_key = True
                message, hint = _unknown(path, known, root)
            case "missing" if _misspelt(path, document, known, root):
                continue  # reported as an unknown key
            case "missing":
                message, hint = _missing(path, known, root)
                yield Problem(file, *_home(document, path[:-1]), dotted(path), message, hint)
                continue
            case "rule" | "duration":
                path = (*path, *context.get("at", ()))
                message, hint = error["msg"], context.get("hint", "")
                at_key = at_key or not document.is_scalar(path)
            case "too_short" if document.holds_entries(path):
                continue  # pydantic counts the valid entries; the errors of the others are reported
            case _:
                message, hint = _wrong_value(error, path, document, known, root)
        yield Problem(file, *(_home(document, path) if at_key else document.at(path)), dotted(path), message, hint)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, as a hint; empty when none is near."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"did you mean {by_lower[near[0]]}?" if near else ""


def _home(document: Document, path: Path) -> tuple[int, int]:
    """The position of a problem with a mapping or a list as a whole: that of its key, or of the entry that it is."""
    return document.at_key(path) if path and isinstance(path[-1], str) else document.at(path)


def _unknown(path: Path, vocabulary: Vocabulary, root: type[Model]) -> tuple[str, str]:
    key, actions = str(path[-1]), vocabulary.actions
    model = _model_at(path[:-1], root)
    if model is None:  # below an action: its parameters
        spec = actions.get(str(path[-2])) if len(path) > 1 else None
        known = _keys_of(spec.params, vocabulary) if spec else []
        if key == "verify":
            return f"the action {path[-2]!r} has no parameter 'verify'", f"verify stands beside {path[-2]}, not below it"
        hint = nearest(key, known) or (f"it takes {', '.join(sorted(known))}" if known else "it takes none: write {}")
        return f"the action {path[-2]!r} has no parameter {key!r}", hint
    if model is Step:
        hint = nearest(key, actions) or f"the actions are {', '.join(sorted(actions))}"
        return f"there is no action {key!r}", hint
    known = _keys_of(model, vocabulary)
    if key == "<<":
        return "merge keys (<<) are not supported", "write the keys out"
    return f"unknown key {key!r}", nearest(key, known) or f"the keys here are {', '.join(known)}"


def _model_at(path: Path, root: type[Model]) -> type[Model] | None:
    return models_of(root).get(tuple("*" if isinstance(part, int) else part for part in path))


def _keys_of(model: type[BaseModel], known: Vocabulary) -> list[str]:
    words = list(known.words) if issubclass(model, NamesWorkload) else []
    keys = [words if words and name == KEY else [field.alias or name] for name, field in model.model_fields.items()]
    return [key for some in keys for key in some]


def _as_written(path: Path, kind: str, document: Document, known: Vocabulary, root: type[Model]) -> Path:
    """The path of an error of that kind, with the word that the file has in place of the field that holds a workload."""
    holder = _model_at(path[: path.index(KEY)], root) if KEY in path else None
    if holder is None or not issubclass(holder, NamesWorkload):
        return path
    if path[-2:] == (KEY, "name"):
        path = path[:-1]
    elif path[-1:] != (KEY,) or kind != "missing":
        return path
    written = (word for word in known.words if (*path[:-1], word) in document.keys)
    return (*path[:-1], next(written, DEPLOYMENT.lower()))


def _misspelt(path: Path, document: Document, vocabulary: Vocabulary, root: type[Model]) -> bool:
    """Whether the missing key is there under a name that is nearly the same."""
    model = _model_at(path[:-1], root)
    if model is None:
        return False
    known = _keys_of(model, vocabulary)
    others = [str(other[-1]) for other in document.keys if other[:-1] == path[:-1] and other[-1] not in known]
    meant = vocabulary.words if path[-1] in vocabulary.words and issubclass(model, NamesWorkload) else (path[-1],)
    return any(nearest(other, known) == f"did you mean {word}?" for other in others for word in meant)


_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
"""A link of docs/rules.md: in a terminal its words alone are of use."""


def _missing(path: Path, vocabulary: Vocabulary, root: type[Model]) -> tuple[str, str]:
    key = str(path[-1])
    if path[-2:] == ("route", "kind"):
        return f"the key {key!r} is missing", "; ".join(f"{each.kind}: {each.meaning}" for each in vocabulary.routers.values())
    model = _model_at(path[:-1], root)
    fields = {} if model is None else {field.alias or name: field for name, field in model.model_fields.items()}
    if model is not None and issubclass(model, NamesWorkload):
        fields |= dict.fromkeys(vocabulary.words, fields[KEY])
    meaning = re.sub(r"\s+", " ", fields[key].description or "") if key in fields else ""
    meaning = _LINK.sub(r"\1", meaning)
    if key in fields and any(isinstance(each, InSeconds) for each in fields[key].metadata):
        meaning = f"write a time, such as `{key}: 1h`: {meaning}"
    return f"the key {key!r} is missing", (
        'say which: [production], or ["*"] for every namespace' if key == "namespaces" else meaning
    )


def _limit(bound: float, written: Any) -> str:
    """A bound, in the form in which the value is written."""
    if isinstance(written, str):
        return f"{100 * bound:g}%" if written.endswith("%") else say(bound)
    return str(bound)


def _wrong_value(
    error: Mapping[str, Any], path: Path, document: Document, vocabulary: Vocabulary, root: type[Model]
) -> tuple[str, str]:
    kind, context = error["type"], error.get("ctx", {})
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    written = document.written(path)
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        bound = context[name]
        return f"{key} must be {words} {_limit(bound, error['input'])}, not {written}", _HINTS.get(key, "")
    match kind:
        case "enum" | "literal_error":
            known = [word.strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
            return f"{key} {written!r} is not known" if written else f"{key} must be one of {', '.join(known)}", (
                nearest(written, known) or f"one of {', '.join(known)}"
            )
        case "string_type" | "string_unicode":
            if isinstance(error["input"], bool | int | float):
                return f"{written} is not a text", f'YAML takes it for a {_type(error["input"])}; write "{written}", in quotes'
            return f"{key} must be a text, not a {_type(error['input'])}", ""
        case "int_type" | "int_parsing" | "int_from_float":
            if isinstance(error["input"], str):
                return f"{key} must be a whole number, not the text {written!r}", "numbers stand without quotes"
            return f"{key} must be a whole number, not {written or 'a ' + _type(error['input'])}", ""
        case "finite_number":
            return f"{key} must be a finite number, not {written}", "no value is beyond infinity, and nothing compares with nan"
        case "float_type":
            if isinstance(error["input"], str):
                return f"{key} must be a number, not the text {written!r}", "numbers stand without quotes and without a unit: 0.5"
            return f"{key} must be a number, not {written or 'a ' + _type(error['input'])}", ""
        case "tuple_type":
            entry = written or next((f"{{{name}: ...}}" for name in error["input"]), "...") if error["input"] else "..."
            return f"{key} must be a list, not a {_type(error['input'])}", f"write {key}: [{entry}]"
        case "model_type" | "model_attributes_type" | "mapping_type" | "dict_type":
            model = _model_at(path, root)
            hint = f"its keys are {', '.join(_keys_of(model, vocabulary))}" if model and model is not Step else ""
            if model is Step and written:
                hint = f"an action is a key with its parameters below it: write {written}: {{}}"
            if model is Step and key == "onStorm":
                hint = "one step, without a dash: onStorm: {page: {}}"
            what = key or "a document"
            what = f"an entry of {what}" if path and isinstance(path[-1], int) else what
            return f"{what} must be a mapping, not a {_type(error['input'])}", hint
        case "too_short" | "string_too_short":
            return (
                f"{key} must not be empty",
                "give it at least one entry" if kind == "too_short" else "give it a text, or delete it",
            )
    return f"{key}: {error['msg']}", ""


def _type(value: object) -> str:
    names = {bool: "true-or-false", int: "number", float: "number", str: "text", list: "list", dict: "mapping"}
    return names.get(type(value), "value of that type")
