"""What is posted keeps Slack's limits whatever an incident says, and says nothing that Slack would obey."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from healer.actions.base import Undoable
from healer.actions.registry import ACTIONS
from healer.model.incident import Background, Entry, Incident, Reason, SickTarget, State, Symptom
from healer.model.target import Target
from healer.sinks.site import Site
from healer.sinks.slack.message import UNDOABLE, Message, SlackForm, clip, render
from healer.sinks.slack.reply import reply
from tests.support.slack import _problem
from tests.unit.sinks.incidents import POD, incident, then


def texts(message: Message) -> list[str]:
    found = [message.text]
    for block in message.blocks:
        found += [text["text"] for text in [block["text"]] if "text" in block] if "text" in block else []
        found += [text["text"] for text in block.get("fields", []) + block.get("elements", [])]
    return found


def steps(snapshot: Incident) -> list[str]:
    (section,) = [text for text in texts(render(snapshot)) if text.startswith("*Steps*")]
    return [line.split(" ")[0] for line in section.splitlines()[1:]]


def test_the_ladder_shows_how_far_it_was_climbed() -> None:
    story = incident()
    assert steps(story) == [":white_small_square:", ":white_small_square:"]
    story = then(story, State.ACTING, "evicting")
    assert steps(story) == [":wrench:", ":white_small_square:"]
    story = then(story, State.VERIFYING, "rolled back", step=1)
    assert steps(story) == [":x:", ":hourglass_flowing_sand:"]
    assert steps(then(story, State.ESCALATED, "spent", step=1)) == [":x:", ":x:"]
    story = then(story, State.HEALED, "well", step=1)
    assert steps(story) == [":x:", ":white_check_mark:"]
    assert steps(then(story, State.CLOSED, "over", step=1)) == [":x:", ":white_check_mark:"]
    assert steps(then(incident(), State.CLOSED, "gone by itself")) == [":heavy_minus_sign:", ":white_small_square:"]


def test_the_message_says_what_is_needed() -> None:
    story = then(incident(), State.ESCALATED, "the ladder is spent")
    message = render(story, "", SlackForm(Site(cluster="prod-eu-1")))
    said = "\n".join(texts(message))
    for part in (
        ":rotating_light: CrashLoopBackOff: back-off 5m0s on pod/tensorflow-serving-7b5b8c9d4-xyz12",
        "*Workload*\ndeployment/tensorflow-serving",
        "*Namespace*\nproduction",
        "*Cluster*\nprod-eu-1",
        "*Severity*\n:red_circle: critical",
        "*Lasts*\n1 s so far, since <!date^1000^{time_secs}|00:16:40Z>",
        "*Now* a human is needed: the ladder is spent",
        "`healer explain incident/crash-loop-1 -n production`",
        "`healer pause deployment/tensorflow-serving -n production`",
        "crash-loop-1 · rule tensorflow-serving/crash-loop",
    ):
        assert part in said
    assert texts(message)[1].startswith(":rotating_light: CrashLoopBackOff"), "the headline is the cause"
    assert "changes nothing" not in said
    assert "changes nothing" in "\n".join(texts(render(replace(story, mode="observe"))))


def test_the_story_is_in_the_thread_alone() -> None:
    story = then(then(incident(), State.ACTING, "nothing speaks against it: will evict"), State.VERIFYING, "evicted")
    said = "\n".join(texts(render(story)))
    assert "will evict" not in said
    assert "for 2 min" not in said


def test_undo_is_offered_where_something_can_be_undone() -> None:
    assert {name for name, action in ACTIONS.items() if isinstance(action, Undoable)} == UNDOABLE
    evicted = replace(then(incident(), State.ACTING, "will evict"), acted_at=(1001.0,))
    assert "healer undo" not in str(render(evicted).blocks)
    rolled = then(then(evicted, State.OPEN, "did not help", step=1), State.ACTING, "will roll back", step=1)
    assert "healer undo incident/crash-loop-1 -n production" in str(render(rolled).blocks)


def test_what_is_sick_alike_stands_on_one_line() -> None:
    sick = SickTarget(POD, {"k": Symptom("pod", "CrashLoopBackOff", "1", 990.0)}, 990.0, "CrashLoopBackOff: back-off 5m0s")
    others = {str(n): replace(sick, target=Target("Pod", "production", f"pod-{n}", str(n)), since=991.0) for n in (1, 2)}
    story = replace(incident(), targets={**incident().targets, **others})
    (section,) = [text for text in texts(render(story)) if text.startswith("*Sick*")]
    assert section.splitlines()[1:] == [f"• pod/{POD.name}, pod/pod-1, pod/pod-2: CrashLoopBackOff: back-off 5m0s"]
    assert f"on pod/{POD.name} and 2 more" in render(story).text


words = st.text(alphabet="ab&<>!@#|*_` \n\t😀;", min_size=1, max_size=5000)
moments = st.floats(0, 4e9)


@given(words, words, words, st.integers(1, 60), moments)
@example("<" * 5000, "&" * 5000, "x" * 253, 60, 4e9)
@example("x" * 5000, "x" * 5000, "x" * 253, 60, 4e9)
def test_slack_takes_whatever_an_incident_says(reason: str, what: str, name: str, many: int, at: float) -> None:
    told = Reason("Because", reason)
    story = replace(
        incident(),
        workload=Target("Deployment", "n" * 63, name[:253], "d"),
        rule=f"tensorflow-serving/{name[:253]}",
        reason=told,
        history=tuple(Entry(at, State.WAITING, told, 0) for _ in range(many)),
        steps=tuple(f"step {number}" for number in range(many)),
        targets={
            str(number): SickTarget(
                Target("Pod", "n", name[:253], str(number)), {"k": Symptom("pod", "CrashLoopBackOff", "1", 990.0)}, at, what
            )
            for number in range(many)
        },
    )
    message = render(story)
    assert _problem({"text": message.text, "blocks": list(message.blocks)}) == ""
    assert len(reply(story.history[0], story, 0)) < 3000
    header, *rest = texts(message)[1:]
    assert len(header) <= 150
    for text in rest:
        assert "<" not in text.replace("<!date^", "")  # no mention, no link: nothing that Slack would obey


@pytest.mark.parametrize(
    ("text", "limit", "clipped"),
    [
        ("a<b&c>d", 99, "a&lt;b&amp;c&gt;d"),
        ("<!channel> & all", 99, "&lt;!channel&gt; &amp; all"),
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
        ("abc<<<<", 6, "abc…"),
        ("abc<<<<", 8, "abc&lt;…"),
        ("abc<d<", 8, "abc&lt;…"),
    ],
)
def test_clipping_never_cuts_an_escape(text: str, limit: int, clipped: str) -> None:
    assert clip(text, limit) == clipped


def test_the_message_says_what_the_rule_asked_and_where_to_read_on() -> None:
    """Links are those of the alert and of the settings; in mrkdwn an & of a link is escaped."""
    background = Background(
        "Evict: a hung engine never recovers.", "rate(x[5m]) < 1", {"alert": "http://prometheus:9090/graph?a=1&b=2"}
    )
    site = Site(cluster="prod-eu-1", page="https://healer.example.com")
    said = "\n".join(texts(render(replace(incident("slow-1"), background=background), "", SlackForm(site))))
    assert "*Cluster*\nprod-eu-1" in said
    assert "*Why this answer* Evict: a hung engine never recovers." in said
    assert "*Asked* `rate(x[5m]) &lt; 1`" in said
    assert "<http://prometheus:9090/graph?a=1&amp;b=2|alert>" in said
    assert "<https://healer.example.com/#/incidents/production/slow-1|page>" in said
    assert "Why this answer" not in "\n".join(texts(render(incident())))


def test_links_that_are_too_long_for_one_element_are_left_out_whole() -> None:
    """An ordinary link to Grafana has a thousand characters: with two of them Slack would refuse the whole message."""
    long = "https://example.com/?" + "x" * 1_900
    told = replace(
        incident("slow-1"), background=Background(links={"alert": long, "dashboard": long, "runbook": "https://r.example.com"})
    )
    site = Site(page="https://healer.example.com")
    message = render(told, "", SlackForm(site))
    (links,) = [text for text in texts(message) if "|runbook>" in text]
    assert links.startswith("<https://healer.example.com/#/incidents/production/slow-1|page> · <https://r.example.com|runbook>")
    assert (f"<{long}|dashboard>" in links, "|alert>" in links) == (True, False)
    assert len(links) <= 3000
