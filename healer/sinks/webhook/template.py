"""Templates of bodies: YAML with gaps such as `{{ headline }}`, checked when it is loaded, filled for an incident.

A gap is filled inside a text of the body, so that nothing of an incident can change the body's form. A member that is one gap
alone and stays empty takes its entry of a list with it: a fact without a value is left out.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from healer.model.incident import Incident
from healer.section import Section
from healer.sinks.site import Site
from healer.sinks.words import SHORT, Tone, clip, milestone, neutral, story, tone, words

SHIPPED = Path(__file__).parent / "templates"
_GAP = re.compile(r"\{\{ *([a-z_]+) *\}\}")
_LONE = re.compile(r"\{\{ *([a-z_]+) *\}\}\Z")
_MOST_LINKS = 1000
"""The most characters of all links together in a text."""
_ALWAYS = (
    *("headline", "milestone", "verdict", "done", "command", "lasted", "severity", "tone", "colour", "icon", "mode", "state"),
    *("workload", "rule", "incident", "opened"),
)
_SOMETIMES = (
    *("cause", "reason", "story", "namespace", "cluster", "description", "asked"),
    *("links", "page", "runbook", "dashboard", "alert"),
)
"""Gaps that may stay empty."""
GAPS = frozenset((*_ALWAYS, *_SOMETIMES))
"""The gaps that there are."""
Signing = Literal["standard", "dingtalk", "feishu"]


class TemplateFile(Section):
    """A template as its file has it."""

    tells: Literal["milestones", "changes"] = "milestones"
    """milestones: a message when it opens, asks, is escalated, healed, closed; changes: one for each line of the history."""
    sign: Signing = "standard"
    """How messages are signed, where there is a secret."""
    taken: dict[str, str | int | bool] = {}  # noqa: RUF012 - pydantic copies it
    """Members of an answer 2xx and their values when the message was taken; none: every 2xx says so."""
    again: dict[str, list[str | int]] = {}  # noqa: RUF012
    """Members of another answer and those of their values that say: try again later."""
    colours: dict[Tone, str] = {tone: tone.value for tone in Tone}  # noqa: RUF012
    """What `{{ colour }}` is: for urgent, warning, good and info."""
    lines: int = Field(10, ge=0, le=20)
    """The most lines of the history in `{{ story }}`."""
    most: int = Field(16_000, ge=1000)
    """The most bytes of a body; texts are cut shorter until it fits."""
    escape: Literal["chat", "none"] = "chat"
    """chat: texts make no link, no mention and no tag; none: as they are."""
    body: dict[str, Any]
    """What is posted, with gaps."""


class BodyTemplate:
    """A template that was checked."""

    def __init__(self, file: TemplateFile) -> None:
        self.file = file

    def body(self, incident: Incident, site: Site) -> dict[str, Any]:
        """The body for an incident, of at most `most` bytes where that can be."""
        filled: dict[str, Any] = {}
        for size in (SHORT, SHORT // 2, SHORT // 4, SHORT // 8):
            filled = _fill(self.file.body, self._values(incident, site, size)) or {}
            if len(json.dumps(filled, ensure_ascii=False).encode()) <= self.file.most:
                break
        return filled

    def _values(self, incident: Incident, site: Site, size: int) -> dict[str, str]:
        said = words(incident, site, size)
        texts = {
            "headline": said.headline,
            "milestone": milestone(incident).value,
            "verdict": said.verdict,
            "cause": said.cause,
            "reason": said.reason,
            "done": clip(said.done, size),
            "command": said.command,
            "lasted": said.lasted,
            "severity": incident.severity,
            "mode": incident.mode,
            "state": incident.state.value,
            "workload": str(incident.workload),
            "namespace": incident.workload.namespace,
            "cluster": site.cluster,
            "rule": incident.rule,
            "incident": incident.id,
            "opened": datetime.fromtimestamp(incident.opened_at, UTC).isoformat(timespec="seconds"),
            "description": clip(incident.background.description, size),
            "asked": clip(incident.background.asks, size),
            "story": "\n".join(clip(line, size) for line in story(incident)[-self.file.lines :] if self.file.lines),
        }
        if self.file.escape == "chat":
            texts = {name: neutral(text) for name, text in texts.items()}
        colour = tone(incident)
        own = {"tone": colour.value, "colour": self.file.colours[colour], "icon": colour.icon}
        links = {name: said.links.get(name, "") for name in ("page", "runbook", "dashboard", "alert")}
        return texts | own | links | {"links": "" if size < SHORT // 4 else _joined(said.links)}


def load(name: str) -> BodyTemplate:
    """The shipped template of that name, or that of a file. Raises ValueError, which says where, what, and what to do."""
    path = SHIPPED / f"{name}.yaml"
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = Path(name)
    elif not path.is_file():
        known = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.yaml")))
        raise ValueError(f"there is no template {name!r}; there are json, {known}, or the path of a file")
    try:
        text = path.read_text("utf-8")
        file = TemplateFile.model_validate(yaml.safe_load(text))
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the template {path} cannot be read: {type(error).__name__}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"the template {path} is no YAML: {error}") from error
    except ValidationError as error:
        faults = [(each["loc"], each["msg"]) for each in error.errors()]
    else:
        faults = list(_wrong(file.body, ("body",), in_list=False))
        if missing := sorted(set(Tone) - file.colours.keys()):
            faults.append((("colours",), f"{missing[0].value} is missing"))
        if not faults:
            return BodyTemplate(file)
    said = "; ".join(f"line {_line(text, where)}: {_dotted(where)}: {what}" for where, what in faults)
    raise ValueError(f"the template {path}: {said}")


_Place = tuple[int | str, ...]


def _line(text: str, where: _Place) -> int:
    """The line of a place in a file, from 1; of a key that is missing, that of what it is missing from."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 1
    for part in where:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _dotted(where: _Place) -> str:
    """`body.facts[0].name`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).removeprefix(".") or "it"


def _wrong(value: Any, where: _Place, *, in_list: bool) -> Iterator[tuple[_Place, str]]:
    if isinstance(value, str):
        for gap in _GAP.findall(value):
            if gap not in GAPS:
                yield where, f"there is no {{{{ {gap} }}}}; there are {', '.join(sorted(GAPS))}"
        if "{{" in _GAP.sub("", value):
            yield where, "a gap is written {{ name }}, in small letters"
        lone = _LONE.match(value)
        if lone is not None and lone[1] in _SOMETIMES and not in_list:
            yield where, f"{{{{ {lone[1]} }}}} may be empty: put it into an entry of a list, which is left out then"
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                yield where, f"the key {key!r} is no text: put it in quotes"
            yield from _wrong(inner, (*where, str(key)), in_list=in_list)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _wrong(inner, (*where, index), in_list=True)
    elif value is not None and not isinstance(value, bool | int | float):
        yield where, f"{type(value).__name__} has no form in JSON: put it in quotes"


def _fill(value: Any, values: Mapping[str, str]) -> Any:
    """The value with its gaps filled; None for one that is left out. A null of the template stays."""
    if isinstance(value, str):
        lone = _LONE.match(value)
        if lone is not None and not values[lone[1]]:
            return None
        return _GAP.sub(lambda gap: values[gap[1]], value)
    if isinstance(value, dict):
        filled = {key: _fill(inner, values) for key, inner in value.items()}
        return None if any(filled[key] is None and value[key] is not None for key in value) else filled
    if isinstance(value, list):
        kept = [(each, _fill(each, values)) for each in value]
        return [filled for each, filled in kept if filled is not None or each is None]
    return value


def _joined(links: Mapping[str, str]) -> str:
    """The links in Markdown, as many of the first as there is room for."""
    room, shown = _MOST_LINKS, []
    for name, link in links.items():
        room -= len(link)
        if room >= 0:
            shown.append(f"[{name}]({link.replace('(', '%28').replace(')', '%29')})")
    return " · ".join(shown)
