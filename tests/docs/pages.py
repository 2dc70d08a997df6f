"""Which pages, and which parts of pages, are made from the code."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from healer.daemon.rulefiles import vocabulary
from healer.rehearsal.testing.schema import RuleTest
from healer.rules import reference
from healer.rules.schema import models_by_path
from tests.docs import chart, definition, house, manifests, metrics, outputs, roles, schemas, settings

ROOT = Path(__file__).parents[2]

WHOLE: Mapping[str, Callable[[], str]] = (
    {"docs/settings.md": settings.page, "docs/files.md": house.files}
    | roles.PAGES
    | chart.PAGES
    | definition.PAGES
    | schemas.PAGES
)
"""The pages, and the manifests, that are made as they are."""

PARTS: Mapping[str, Callable[[], Mapping[str, str]]] = {
    "README.md": outputs.readme,
    "docs/architecture.md": lambda: {"imports": house.drawing(), "rooms": house.table()},
    "docs/manifests.md": manifests.tables,
    "docs/operating.md": lambda: {"metrics": metrics.table(metrics.declared())},
    "docs/rule-tests.md": lambda: {model.__name__: reference.keys_of(model) for _, model in models_by_path(RuleTest)},
    "docs/rules.md": lambda: reference.tables(vocabulary()),
}
"""Of a page the parts that stand between `<!-- made: NAME -->` and `<!-- end -->`, by their names."""

MARKERS = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def pages() -> dict[str, Callable[[], str]]:
    """For each page what makes its text as it should be."""
    return dict(WHOLE) | {page: partial(_with_parts, page) for page in PARTS}


def _with_parts(page: str) -> str:
    return filled((ROOT / page).read_text("utf-8"), PARTS[page]())


def filled(text: str, parts: Mapping[str, str]) -> str:
    """A page with its parts made anew. Raises LookupError for a part without its markers, and for markers without their part."""
    marked = [name for _, name, _ in MARKERS.findall(text)]
    if sorted(marked) != sorted(parts):
        raise LookupError(f"the page has markers for {sorted(marked)}, and these parts are made for it: {sorted(parts)}")
    return MARKERS.sub(lambda found: f"{found[1]}{parts[found[2]]}\n{found[3]}", text)
