"""docs/article.md answers every section of the article, and names only what there is; so does the README of deploy/serving."""

import re
from pathlib import Path

import pytest
from typer.main import get_group

from healer.cli import app
from tests.deploy.rendered import OVERLAYS, SERVING
from tests.docs.pages import ROOT

ARTICLE = ROOT / "docs" / "article.md"
SECTIONS = ["2.1", "2.2", "2.3", "3.1", "3.2", "3.3", "4.1", "4.2", "5.1", "5.2", "6.1", "6.2", "6.3", "7.1", "7.2", "8.1", "8.2"]
SECTIONS += ["9.1", "9.2", "9.3"]
"""Those of the article that show how something is done."""


def test_every_section_has_a_row() -> None:
    rows = re.findall(r"^\| ([\d., ]+) \|", ARTICLE.read_text("utf-8"), re.MULTILINE)
    assert sorted({*SECTIONS} - {each for row in rows for each in row.split(", ")}) == []


@pytest.mark.parametrize("page", [ARTICLE, SERVING / "README.md", ROOT / "docs" / "manifests.md"])
def test_every_path_and_verb_that_is_named_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    paths = set(re.findall(r"(?<![\w/.])((?:deploy|healer|rules|tests)/[\w./-]*\w)", text))
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    verbs = set(re.findall(r"^ {4}healer ([a-z]+)|`healer ([a-z]+)", text, re.MULTILINE))
    assert {either or other for either, other in verbs} <= get_group(app).commands.keys()


def test_every_overlay_is_in_the_table_and_every_component_in_an_overlay() -> None:
    named = re.findall(r"^\| `overlays/([\w-]+)` \|", (SERVING / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(named) == OVERLAYS
    used = "".join(path.read_text("utf-8") for path in SERVING.glob("overlays/*/kustomization.yaml"))
    for path in SERVING.glob("components/*/kustomization.yaml"):
        assert f"components/{path.parent.name}" in used
