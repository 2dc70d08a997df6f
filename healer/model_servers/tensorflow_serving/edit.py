"""Change the versions and the labels of one model in a models.config, and no other byte.

The spans of the fields say where to edit. The result is parsed again by the protobuf library and compared with the intended one.
"""

import re
from collections.abc import Mapping, Sequence

from google.protobuf import text_format

from healer.model_servers.tensorflow_serving.config import find, read
from healer.model_servers.tensorflow_serving.schema import VersionLabel
from healer.model_servers.tensorflow_serving.spans import Field, Value, fields_of
from healer.model_servers.versions import ConfigError, ConfiguredModel, Policy

_COMMENT = re.compile(r"[ \t\r]*(#[^\n]*)?(?=\n|\Z)")

Edit = tuple[int, int, str]
"""Replace text[start:end] by the new text."""


def change(text: str, name: str, policy: Policy, labels: Mapping[str, int]) -> str:
    """The text with exactly this policy and these labels for one model. Comments stay, except inside a policy that is replaced by
    one of another kind. Raises ConfigError."""
    before = find(text, name)
    after = text if before.policy == policy else _applied(text, _policy(text, _body(text, name), policy))
    for label in sorted({*before.labels, *labels}):
        if before.labels.get(label) != labels.get(label):
            after = _applied(after, _label(after, _body(after, name), label, labels.get(label)))
    _verify(text, after, ConfiguredModel(name, before.base_path, policy, dict(labels)))
    return after


def _verify(text: str, after: str, wanted: ConfiguredModel) -> None:
    """Check the result: this model has the wanted policy and labels, and all else is as before. Raises ConfigError."""
    expected, found = read(text), read(after)
    for message in (expected, found):
        for config in message.model_config_list.config:
            if config.name == wanted.name:
                config.ClearField("model_version_policy")
                config.ClearField("version_labels")
    result = find(after, wanted.name)
    if expected != found or result.policy != wanted.policy or result.labels != wanted.labels:
        raise ConfigError(f"model {wanted.name!r} is written in a way that healer cannot change: change it by hand")


def _body(text: str, name: str) -> Value:
    """The message of that model. The entries of the text are in the order of the parsed ones."""
    names = [config.name for config in read(text).model_config_list.config]
    (outer,) = _values(fields_of(text), "model_config_list")
    return _values(outer.fields or [], "config")[names.index(name)]


def _values(fields: Sequence[Field], name: str) -> list[Value]:
    return [value for field in fields if field.name == name for value in field.values]


def _applied(text: str, edits: Sequence[Edit]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


# the policy


def _policy(text: str, body: Value, policy: Policy) -> list[Edit]:
    fields = [field for field in body.fields or [] if field.name == "model_version_policy"]
    if not fields:
        return [_inserted(text, body, None, f"model_version_policy {{ {_choice(policy)} }}")]
    value = fields[0].values[0]
    if not value.fields:
        return [_inserted(text, value, None, _choice(policy))]
    choice = value.fields[0]
    if choice.name == policy.choice == "specific":
        return _versions(text, choice.values[0], policy.versions)
    if choice.name == policy.choice == "latest":
        return [_scalar(text, choice.values[0], "num_versions", policy.count)]
    return [(choice.start, choice.end, _choice(policy))]


def _choice(policy: Policy) -> str:
    match policy.choice:
        case "latest":
            return f"latest {{ num_versions: {policy.count} }}"
        case "all":
            return "all {}"
        case "specific":
            return "specific { " + "".join(f"versions: {version} " for version in policy.versions) + "}"


def _versions(text: str, body: Value, wanted: Sequence[int]) -> list[Edit]:
    """Keep versions that stay. Replace versions that go by versions that come; delete or add the rest."""
    fields = [field for field in body.fields or [] if field.name == "versions"]
    kept: set[int] = set()
    going: list[tuple[Field, int]] = []
    for field in fields:
        for index, value in enumerate(field.values):
            version = _number(text, value)
            if version in wanted and version not in kept:
                kept.add(version)
            else:
                going.append((field, index))
    coming = [version for version in wanted if version not in kept]
    edits: list[Edit] = []
    for (field, index), version in zip(going, coming, strict=False):
        edits.append((field.values[index].start, field.values[index].end, str(version)))
    for field in fields:
        edits += _deleted(text, field, [index for owner, index in going[len(coming) :] if owner is field])
    if rest := coming[len(going) :]:
        last = fields[-1] if fields else None
        edits += [_added(text, body, last, "versions", rest)]
    return edits


def _added(text: str, body: Value, last: Field | None, name: str, versions: Sequence[int]) -> Edit:
    if last is not None and last.bracketed and last.values:
        at = last.values[-1].end
        return at, at, "".join(f", {version}" for version in versions)
    return _inserted(text, body, last, *(f"{name}: {version}" for version in versions))


# the labels


def _label(text: str, body: Value, label: str, version: int | None) -> list[Edit]:
    fields = [field for field in body.fields or [] if field.name == "version_labels"]
    ours = {id(field): [i for i, value in enumerate(field.values) if _key(text, value) == label] for field in fields}
    if version is None:
        return [edit for field in fields for edit in _deleted(text, field, ours[id(field)])]
    if edits := [_scalar(text, field.values[index], "value", version) for field in fields for index in ours[id(field)]]:
        return edits
    last = fields[-1] if fields else None
    entry = f'{{ key: "{label}" value: {version} }}'
    if last is not None and last.bracketed and last.values:
        return [(last.values[-1].end, last.values[-1].end, f", {entry}")]
    policies = [field for field in body.fields or [] if field.name == "model_version_policy"]
    return [_inserted(text, body, last or (policies[-1] if policies else None), f"version_labels {entry}")]


def _number(text: str, value: Value) -> int:
    """A version as TensorFlow Serving reads it: a leading 0 makes a number octal. The text was parsed before."""
    message = VersionLabel()
    text_format.Parse(f"value: {text[value.start : value.end]}", message)
    return int(message.value)


def _key(text: str, entry: Value) -> str:
    message = VersionLabel()
    text_format.Parse(text[entry.start + 1 : entry.end - 1], message)
    return str(message.key)


# pieces of text


def _scalar(text: str, body: Value, name: str, value: int) -> Edit:
    """Set a number field of a message; add the field when it is missing."""
    for field in body.fields or []:
        if field.name == name:
            return field.values[0].start, field.values[0].end, str(value)
    return _inserted(text, body, None, f"{name}: {value}")


def _deleted(text: str, field: Field, indices: Sequence[int]) -> list[Edit]:
    """Delete some of a field's values. A field that is no list goes as a whole, with its line when that is left empty."""
    if not indices:
        return []
    if field.bracketed:
        return _deleted_entries(field, indices)
    start, end = field.start, field.full_end
    line = text.rfind("\n", 0, start) + 1
    if not text[line:start].strip():
        rest = re.compile(r"[ \t\r]*\n").match(text, end)
        return [(line, rest.end(), "")] if rest else [(start, end, "")]
    return [(len(text[:start].rstrip(" \t")), end, "")]


def _deleted_entries(field: Field, indices: Sequence[int]) -> list[Edit]:
    """Delete entries of a list, each with the comma behind it; those at the end of the list with the comma before them."""
    edits: list[Edit] = []
    last = len(field.values) - 1
    tail = next((i for i in range(last, -1, -1) if i not in indices), -1) + 1
    for index in indices:
        value = field.values[index]
        edits.append((value.start, value.end, ""))
        comma = index - 1 if index >= tail else index
        if 0 <= comma < len(field.commas):
            edits.append((field.commas[comma], field.commas[comma] + 1, ""))
    return edits


def _inserted(text: str, body: Value, after: Field | None, *new: str) -> Edit:
    """Insert fields in a message, behind `after` or at its end, with the layout of the field before."""
    anchor = after or (body.fields[-1] if body.fields else None)
    newline = "\r\n" if "\r\n" in text else "\n"
    if anchor is None:
        return _first(text, body, newline, new)
    indent = _indent(text, anchor.start)
    rest = _COMMENT.match(text, anchor.full_end)
    if indent is None or rest is None:
        return anchor.full_end, anchor.full_end, "".join(f" {field}" for field in new)
    at = len(text[: rest.end()].rstrip("\r")) if newline == "\r\n" else rest.end()
    return at, at, "".join(f"{newline}{indent}{field}" for field in new)


def _first(text: str, body: Value, newline: str, new: Sequence[str]) -> Edit:
    """Insert fields in a message that has none: at its end, behind its comments."""
    closing = body.end - 1
    indent = _indent(text, closing)
    if indent is None or "\n" not in text[body.start : closing]:
        return closing, closing, "".join(f"{'' if text[closing - 1].isspace() else ' '}{field} " for field in new)
    at = closing - len(indent)
    return at, at, "".join(f"{indent}  {field}{newline}" for field in new)


def _indent(text: str, at: int) -> str | None:
    """The indent of a position, when only white space is before it on its line; else None."""
    before = text[text.rfind("\n", 0, at) + 1 : at]
    return before if not before.strip() else None
