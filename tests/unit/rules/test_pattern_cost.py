"""What a pattern may cost, by its text: never less than what it stands for."""

import pytest

from healer.rules.pattern_cost import pattern_cost


def cost(pattern: str) -> float:
    return pattern_cost(pattern, 1000)


@pytest.mark.parametrize(
    ("short", "written_out"),
    [
        (".{50}", "." * 50),
        ("(a.){20}", "a." * 20),
        ("((a.){5}){4}", "a." * 20),
        ("(?:a.){2,20}", "a." * 20),
        ("(?P<name>a.){20,}", "a." * 20),
        (r"(?:x.{30}\Q)\E){3}", "x" + "." * 30),
        (r"\Q.*\E.{50}", "." * 50),
        ("[a-z]{9}", "[a-z]" * 9),
        ("[]a]{9}", "[]a]" * 9),
        ("[[:alpha:]x]{9}", "[[:alpha:]x]" * 9),
        (r"[^\]]{9}", r"[^\]]" * 9),
        (r"(a|\)|b){9}", r"a|\)|b" * 9),
    ],
)
def test_a_repetition_costs_what_it_costs_when_it_is_written_out(short: str, written_out: str) -> None:
    assert cost(short) >= cost(written_out)


@pytest.mark.parametrize("dear", [r"\pL", r"\p{Greek}", r"\PN", r"[\pL]", r"[^x\pN]"])
def test_a_class_of_unicode_is_dear(dear: str) -> None:
    assert cost(dear) > 20 * cost("[a-z]")


def test_plain_text_is_cheap_and_grows_with_its_length_alone() -> None:
    assert cost("(out of memory|no space left)") < cost("(out.of.memory|no.space.left)") < cost("(o.t.o. .e.o.y|n. .p.c. .e.t)")
    assert pattern_cost("out of memory", 1000) == pattern_cost("out of memory", 1_000_000)


def test_what_folds_costs_more() -> None:
    assert cost("(?i)sk") > cost("sk")
    assert cost("(?s-m:a)(?Ui:sk)") > cost("ask")
    assert cost("(?i)(out of memory|no room)") < 3 * cost("(out of memory|no room)"), "its flags are no repetition"


@pytest.mark.parametrize(
    "odd", ["", ")", "((", "[", "{9}", "a{", "*", "\\", "\\Q", "(?", "a{99999999999}", "(?P<", "[[:", "|" * 9]
)
def test_what_is_no_pattern_has_a_cost_too(odd: str) -> None:
    """The library says what is wrong with it."""
    assert cost(odd) > 0
