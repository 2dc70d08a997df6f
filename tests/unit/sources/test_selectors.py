"""What an expression selects, however it is written."""

import pytest

from healer.sources.canary.doubt import SeriesSelector, selectors


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ('sum(rate(a{b="c", d=~"5.."}[{{ window }}]))', ['a{b="c", d=~"5.."}']),
        ("{{ deployment }}:errors{code!~'2..',}", ["{{ deployment }}:errors{code!~'2..'}"]),
        ('a{x="}{", y=`"`} - b{z="\\"}"} # c{d="e"}', ['a{x="}{", y=`"`}', 'b{z="\\"}"}']),
        ('{__name__=~"a|b", pod=~"{{ pods }}"}', ['{__name__=~"a|b", pod=~"{{ pods }}"}']),
        ('sum by (pod) (errors) or vector(0) or "{}"', []),
        ("a{} + a {b='c'}", ["a{}", "a{b='c'}"]),
    ],
)
def test_the_selectors_of_an_expression(template: str, found: list[str]) -> None:
    assert list(map(str, selectors(template))) == found


def test_what_names_the_side_is_told_from_what_chooses_among_its_series() -> None:
    (found,) = selectors('a{namespace="{{ namespace }}", pod=~"{{ pods }}", code=~"5..", gone="", __name__="a"}')
    assert isinstance(found, SeriesSelector)
    assert found.chosen == ["code"], "an empty value asks for no label"
    assert found.of_side('code!=""') == 'a{namespace="{{ namespace }}", pod=~"{{ pods }}", __name__="a", code!=""}'
