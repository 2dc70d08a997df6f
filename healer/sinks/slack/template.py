"""A template of users for the message in Slack: text with gaps such as `{{ cause }}`, checked when it is loaded.

The first paragraph is the headline, each further one a section. A paragraph of which every gap stays empty is left out. What
fills a gap is escaped and short enough for Slack; buttons and what healer must say follow the template.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

GAPS = (
    *("icon", "cause", "verdict", "now", "workload", "namespace", "cluster", "severity", "lasted", "mode", "rule", "incident"),
    *("description", "asked", "next", "steps", "sick", "links"),
)
"""The gaps that there are."""
_GAP = re.compile(r"\{\{ *([a-z_]+) *\}\}")
_SIZES = (500, 200, 50)
"""Characters of what fills a gap; the largest with which a paragraph is short enough."""
_PARAGRAPH, _OWN, _MOST_GAPS, _MOST_PARAGRAPHS = 1100, 600, 10, 10
"""Characters of a filled paragraph, of its own text; gaps in it; sections of a message."""

Fill = Callable[[int], Mapping[str, str]]
"""What fills the gaps, at most so many characters each."""


@dataclass(frozen=True, slots=True)
class SlackTemplate:
    """A template that was checked."""

    headline: str
    sections: tuple[str, ...]

    def fill(self, plain: Fill, escaped: Fill) -> tuple[str, list[str]]:
        """The headline, which Slack takes as it is, and the sections."""
        filled = (_filled(section, escaped) for section in self.sections)
        return " ".join(_filled(self.headline, plain).split()), [text for text in filled if text]


def load_template(path: Path) -> SlackTemplate:
    """The template of a file. Raises ValueError, which says where, what, and what to do."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the template {path} cannot be read: {type(error).__name__}") from error
    for number, line in enumerate(text.splitlines(), 1):
        for gap in _GAP.findall(line):
            if gap not in GAPS:
                raise ValueError(f"{path}:{number}: there is no {{{{ {gap} }}}}; there are {', '.join(GAPS)}")
        if "{{" in _GAP.sub("", line):
            raise ValueError(f"{path}:{number}: a gap is written {{{{ name }}}}, in small letters and on one line")
    paragraphs = [each.strip() for each in re.split(r"\n\s*\n", text) if each.strip()]
    if not 1 <= len(paragraphs) <= 1 + _MOST_PARAGRAPHS:
        raise ValueError(f"{path}: it has a headline and at most {_MOST_PARAGRAPHS} paragraphs, with empty lines between")
    for paragraph in paragraphs:
        number = 1 + text[: text.index(paragraph)].count("\n")
        if len(_GAP.sub("", paragraph)) > _OWN or len(_GAP.findall(paragraph)) > _MOST_GAPS:
            raise ValueError(f"{path}:{number}: a paragraph has at most {_OWN} characters and {_MOST_GAPS} gaps: split it")
    return SlackTemplate(paragraphs[0], tuple(paragraphs[1:]))


def _filled(text: str, fill: Fill) -> str:
    """The text with its gaps filled; empty when all of them are."""
    filled = ""
    for size in _SIZES:
        values = fill(size)
        gaps = _GAP.findall(text)
        if gaps and not any(values[gap] for gap in gaps):
            return ""
        filled = _GAP.sub(lambda gap, values=values: values[gap[1]], text)  # type: ignore[misc]
        if len(filled) <= _PARAGRAPH:
            break
    return filled
