"""Which pages, and which parts of pages, are made from the code. A new one is a line in `PARTS`."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from healer import settings
from tests.docs import house, metrics

ROOT = Path(__file__).parents[2]

WHOLE: Mapping[str, Callable[[], str]] = {"docs/settings.md": settings.markdown, "docs/files.md": house.files}
"""The pages that are made as they are."""

PARTS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "docs/architecture.md": {"drawing of the rooms": house.drawing, "table of the rooms": house.table},
    "docs/operating.md": {"table of the metrics": metrics.table},
}
"""Of a page the parts that stand between markers, by their names."""

MARKERS = re.compile(
    r"(?P<begin><!-- made by `make docs`: (?P<name>[\w ]+) -->\n).*?(?P<end><!-- end of (?P=name) -->\n)", re.DOTALL
)


def pages() -> dict[str, Callable[[], str]]:
    """For each page what makes its text as it should be."""
    return dict(WHOLE) | {page: partial(_with_parts, page) for page in PARTS}


def _with_parts(page: str) -> str:
    return filled((ROOT / page).read_text("utf-8"), PARTS[page])


def filled(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """A page with its parts made anew. Raises LookupError for a part without markers, or markers without a part."""
    marked = [found["name"] for found in MARKERS.finditer(text)]
    if sorted(marked) != sorted(parts):
        raise LookupError(f"the page has markers for {sorted(marked)}, and PARTS for {sorted(parts)}")
    return MARKERS.sub(lambda found: f"{found['begin']}\n{parts[found['name']]()}\n\n{found['end']}", text)
