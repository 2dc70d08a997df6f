"""docs/rules.md says what the code does."""

from pathlib import Path

from healer.daemon.rulefiles import vocabulary
from healer.rules.loading import load
from tests.unit.rules.actions import VOCABULARY

PAGE = Path(__file__).parents[3] / "docs" / "rules.md"


def test_the_example_that_is_explained_line_by_line_is_a_rule() -> None:
    text = PAGE.read_text(encoding="utf-8")
    example = text.split("```yaml\n")[1].split("```")[0]
    rules, problems = load(example, "docs/rules.md", VOCABULARY)
    assert problems == []
    assert [rule.name for rule in rules] == ["tensorflow-serving/crash-loop"]


def test_every_example_on_the_page_is_right() -> None:
    examples = [part.split("```")[0] for part in PAGE.read_text(encoding="utf-8").split("```yaml\n")[1:]]
    whole = [example for example in examples if "kind: RuleSet" in example]
    assert len(whole) > 1
    for example in whole:
        rules, problems = load(example, "docs/rules.md", vocabulary())
        assert problems == []
        assert rules
