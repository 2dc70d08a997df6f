"""Links of others: shown as they are, or not at all."""

import pytest

from healer.model.link import LONGEST_LINK, MOST_LINKS, safe_link, safe_links

GENERATOR = "http://prometheus:9090/graph?g0.expr=rate%28errors_total%5B5m%5D%29+%3E+0.1&g0.tab=1"


@pytest.mark.parametrize(
    "link",
    [
        GENERATOR,
        "https://git.example.com/ml/healer/-/blob/main/docs/runbooks.md#vllm-hangs",
        "https://grafana.example.com/d/serving?var-namespace=production",
        "http://[fd00::1]:9090/graph",
        "https://runbooks.example.com",
    ],
)
def test_an_address_is_shown_as_it_is(link: str) -> None:
    assert safe_link(link) == link


@pytest.mark.parametrize(
    "text",
    [
        "",
        "docs/runbooks.md#vllm-hangs",
        "javascript:alert(1)",
        "ftp://example.com/",
        "https://user:hunter2@example.com/",
        "https://example.com/?token=hunter2hunter2",
        "https://example.com/|a text of another's",
        "https://example.com/>",
        "https://example.com/\nhttps://example.org/",
        "https://example.com/ and more",
        "https://example.com/?mail=jane.doe@example.com",
        "https://example.com/" + "x" * LONGEST_LINK,
    ],
)
def test_what_is_no_address_or_holds_a_secret_is_left_out(text: str) -> None:
    assert safe_link(text) == ""
    assert safe_links({"runbook": text, "alert": GENERATOR}) == {"alert": GENERATOR}


def test_no_more_are_kept_than_the_definition_of_incidents_allows() -> None:
    assert list(safe_links({str(n): GENERATOR for n in range(MOST_LINKS + 3)})) == [str(n) for n in range(MOST_LINKS)]
