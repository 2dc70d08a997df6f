"""The pages of docs/ say what is: generated parts are up to date, and what pages name exists."""

import ast
import re
from pathlib import Path

import pytest

from healer.daemon.metrics import Metrics
from tests.docs import house, metrics
from tests.docs.pages import MARKERS, PARTS, ROOT, filled, pages
from tests.unit.journal.incidents import incident

PROSE = sorted(
    path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("rules/*.md")]
)


@pytest.mark.parametrize("page", sorted(pages()))
def test_what_is_made_from_the_code_is_up_to_date(page: str) -> None:
    """Whoever adds a room, an import between rooms, a file, a metric or a setting writes the pages anew."""
    assert pages()[page]() == (ROOT / page).read_text("utf-8"), "run `make docs`"


def test_every_page_with_markers_is_in_the_table() -> None:
    """Nobody writes a part by hand that looks as if it were made."""
    assert {page for page in PROSE if MARKERS.search((ROOT / page).read_text("utf-8"))} == set(PARTS)


def test_a_part_that_has_changed_is_written_anew() -> None:
    page = "before\n<!-- made: part -->\nold\n<!-- end -->\nafter\n"
    written = filled(page, {"part": "new"})
    assert written == page.replace("old", "new")
    assert filled(written, {"part": "new"}) == written


@pytest.mark.parametrize("parts", [{}, {"other": "new"}, {"part": "new", "other": "new"}])
def test_a_part_without_its_place_and_a_place_without_its_part_are_errors(parts: dict[str, str]) -> None:
    with pytest.raises(LookupError, match="part"):
        filled("<!-- made: part -->\nold\n<!-- end -->\n", parts)


def test_the_drawing_has_every_room_and_every_import_by_some_way() -> None:
    """What the drawing leaves out, a way over its arrows implies."""
    lines = [line.strip().partition(" --> ") for line in house.drawing().splitlines() if " --> " in line]
    drawn = {start: set(ends.split(" & ")) for start, _, ends in lines}
    imports = house.imports()
    rooms = {room for layer in house.layers() for room in layer}
    assert set(imports) == rooms
    assert {*drawn, *(end for ends in drawn.values() for end in ends)} == rooms
    graph = {room: drawn.get(room, set()) for room in rooms}
    for room in rooms:
        assert imports[room] <= house.reachable(graph, room), room
        assert graph[room] <= imports[room], "an arrow is an import"


def test_an_arrow_that_others_imply_is_left_out() -> None:
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}
    assert house.reduced(graph) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set()}


def test_every_file_has_its_sentence() -> None:
    """docs/files.md names each file of healer/ once, and a sentence ends."""
    rows = re.findall(r"^\| `([\w./]+)` \| (.*) \|$", house.files(), re.MULTILINE)
    packages = [path for path in house.HOUSE.rglob("*.py") if path.parent != house.HOUSE]
    assert len(rows) == len([path for path in packages if not (path.name == "__init__.py" and path.parent.parent == house.HOUSE)])
    assert [name for name, said in rows if not said.endswith((".", "?", "!"))] == []


def test_the_table_of_metrics_says_what_metrics_has() -> None:
    """Names, types and labels: the table is read from the code, and here the code runs."""
    known = {each.name: each for each in metrics.declared()}
    shown = Metrics()
    shown.incident(incident("x"))
    families = [each for each in shown.registry.collect() if each.name != "healer_build_info"]
    assert len(families) > 15
    for family in families:
        row = known[f"{family.name}{'_total' * (family.type == 'counter')}"]
        assert (row.type, row.meaning) == (family.type, family.documentation)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(row.labels)


def test_no_metric_is_declared_twice() -> None:
    names = [each.name for each in metrics.declared()]
    assert len(names) == len(set(names)) > 25


def test_every_metric_that_an_alert_or_the_dashboard_asks_for_is_in_the_table() -> None:
    folder = ROOT / "deploy" / "healer" / "components" / "prometheus-operator"
    asked = set(
        re.findall(r"healer_\w+", (folder / "alerts.yaml").read_text("utf-8") + (folder / "dashboard.json").read_text("utf-8"))
    )
    suffixes = {f"{each.name}{end}" for each in metrics.declared() for end in ("", "_bucket", "_sum", "_count")}
    assert asked
    assert asked <= suffixes


@pytest.mark.parametrize("page", PROSE)
def test_every_link_leads_somewhere(page: str) -> None:
    """To a file, and to a heading of it where one is named."""
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("https://", "http://")):
            name, _, heading = target.partition("#")
            path = (ROOT / page).parent / name if name else ROOT / page
            assert path.exists(), f"{page} links to {target}"
            assert not heading or heading in _headings(path), f"{page} links to {target}"


def _headings(path: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_what_the_architecture_page_names_exists() -> None:
    """Its files stand in healer/ or at the top, its functions in the code."""
    text = MARKERS.sub("", (ROOT / "docs" / "architecture.md").read_text("utf-8"))
    named = set(re.findall(r"`([\w./-]+/[\w.-]*|[\w-]+\.(?:py|md|toml))`", text))
    assert len(named) > 20
    assert [name for name in named if not (house.HOUSE / name).exists() and not (ROOT / name).exists()] == []
    functions = set(re.findall(r"`([A-Z]\w+\.\w+)`", text))
    assert functions
    assert functions <= {
        f"{node.name}.{inner.name}"
        for path in house.HOUSE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
        for inner in node.body
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
    }
