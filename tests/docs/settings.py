"""The page of all settings, from the sections."""

from collections.abc import Iterator
from typing import Any

from healer.section import Section
from healer.settings import Settings, knobs


def page() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "<!-- made by `make docs` from healer/settings; do not edit -->",
        "",
        "Each knob is an environment variable, or a key of the YAML file given by `healer run --config FILE`;",
        "the environment wins.",
        "A name that is not in this list is an error. A list is written with commas (`one,two`), or as JSON.",
        "A duration is a number of seconds, or written as in rules: `30s`, `1h30m`.",
        "",
    ]
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, Section):
            lines += [f"## {name}", "", (type(field.default).__doc__ or "").strip(), "", *_table(name), ""]
    return "\n".join([*lines, "## Others", "", *_table("")]) + "\n"


def _shown(default: Any) -> str:
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _table(section: str) -> Iterator[str]:
    yield "| variable | key | default | meaning |"
    yield "|---|---|---|---|"
    for variable, key, default, meaning in knobs():
        if key.rpartition(".")[0] == section:
            shown = "(none)" if default is None or default == "" or default == () else f"`{_shown(default)}`"
            yield f"| `{variable}` | `{key}` | {shown} | {' '.join(meaning.split())} |"
