"""A message of users: its gaps are checked when it is loaded, filled with what makes no mention, and short enough for Slack."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from healer.model.incident import Background, State
from healer.sinks.site import Site
from healer.sinks.slack.message import SlackForm, render
from healer.sinks.slack.template import GAPS, load_template
from tests.support.slack import FakeSlack, _problem
from tests.unit.sinks.incidents import incident, then
from tests.unit.sinks.story import CHANNEL, Bench

DOCUMENTED = Path(__file__).parents[3] / "docs/slack.md"
EXAMPLE = """{{ icon }} {{cluster}}: {{ cause }}

*{{ workload }}* in {{ namespace }}:
{{ now }}

Why: {{ description }} {{ asked }}

On call: <!subteam^S0123456789> {{ links }}
"""


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "message.txt"
    path.write_text(text)
    return path


def test_gaps_are_filled_and_paragraphs_without_values_left_out(tmp_path: Path) -> None:
    form = SlackForm(
        Site(cluster="prod-eu-1", page="https://healer.example.com"), template=load_template(file(tmp_path, EXAMPLE))
    )
    story = then(incident(), State.WAITING, "<!channel> a rollout & more")
    head, *sections, name = [str(block.get("text", block.get("elements"))) for block in render(story, "", form).blocks]
    assert ":double_vertical_bar: prod-eu-1: CrashLoopBackOff: back-off 5m0s on pod/" in head
    assert "healer is on it: &lt;!channel&gt; a rollout &amp; more" in sections[0]
    assert len(sections) == 2, "nothing is known of why"
    assert "<!subteam^S0123456789> <https://healer.example.com/#/incidents/production/crash-loop-1|page>" in sections[1]
    assert "crash-loop-1" in name
    told = replace(story, background=Background(description="Evict: it never recovers."))
    assert "Why: Evict: it never recovers. " in str(render(told, "", form).blocks)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{ cause }}\n\n{{ reasn }}\n", r"message.txt:3: there is no {{ reasn }}; there are icon, cause, "),
        ("{{ cause }}\n{{ Cause }}\n", r"message.txt:2: a gap is written {{ name }}"),
        ("\n \n", "a headline and at most 10 paragraphs"),
        ("a\n\n" * 12, "a headline and at most 10 paragraphs"),
        ("head\n\n" + "{{ rule }}" * 11, "message.txt:3: a paragraph has at most 600 characters and 10 gaps"),
        ("x" * 601, "message.txt:1: a paragraph has at most"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem).replace(r"\ ", " ")):
        load_template(file(tmp_path, text))


async def test_a_file_that_is_not_there_is_said(slack: FakeSlack, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none.txt cannot be read: FileNotFoundError"):
        Bench(slack, tmp_path, template_file=tmp_path / "none.txt")


def test_the_longest_message_is_within_slacks_limits(tmp_path: Path) -> None:
    paragraph = "x" * 600 + "".join(f"{{{{ {gap} }}}}" for gap in ("now", "description", "asked", "sick", "cause") * 2)
    form = SlackForm(template=load_template(file(tmp_path, "\n\n".join([paragraph] * 11))), buttons=True)
    story = then(replace(incident(), background=Background("<" * 1000, "&" * 1000)), State.WAITING, "<" * 1000)
    message = render(story, "n" * 500, form)
    assert _problem({"text": message.text, "blocks": list(message.blocks)}) == ""


def test_the_documented_example_and_list_are_right(tmp_path: Path) -> None:
    text = DOCUMENTED.read_text("utf-8")
    blocks = [found for found in re.findall(r"((?:^    .*\n|^\n)+)", text, re.MULTILINE) if "{{ icon }}" in found]
    example = "\n".join(line.strip() for line in blocks[0].splitlines())
    assert len(load_template(file(tmp_path, example)).sections) == 2
    listed = text.partition("The gaps are ")[2].partition("What fills")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == set(GAPS)


async def test_the_sink_posts_it(slack: FakeSlack, token_file: Path, tmp_path: Path) -> None:
    bench = Bench(slack, token_file, template_file=file(tmp_path, "{{ severity }}: {{ cause }}"))
    async with bench.running():
        bench.sink.tell(incident())
        assert await bench.sink.flush(10)
    assert slack.messages[CHANNEL][0].blocks[0]["text"]["text"].startswith("critical: CrashLoopBackOff: back-off")
