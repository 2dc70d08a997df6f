"""The thread tells a stranger what broke, what healer did, why, and whether it is over; each thing once."""

from dataclasses import replace

from healer.model.incident import Incident, State
from healer.sinks.site import Site
from healer.sinks.slack.message import Message, SlackForm, render
from healer.sinks.slack.reply import replies
from tests.support.world import START, Drill, World, Yaml, rule, rulebook
from tests.unit.engine.incidents.test_canaries import WHEN
from tests.unit.sinks.incidents import incident, then

FORM = SlackForm(Site(cluster="prod-eu-1"), "<!here>")
CRASH = "CrashLoopBackOff: container serving crashed 6 times, last exit 1 (Error)"
NUDGE: Yaml = {"nudge": {}, "verify": {"within": "5m", "stable": "1m"}}
EVICT: Yaml = {"evict": {}, "verify": {"within": "5m", "stable": "1m"}}


def told(story: Incident, missed: float = 0.0) -> list[Message]:
    """All replies, when everything is told at once."""
    found: list[Message] = []
    entries = story.history
    while entries:
        message, lines = replies(entries, story, FORM, missed)
        found.append(message)
        entries = entries[len(lines) :]
    return found


def lines(messages: list[Message]) -> list[str]:
    """Their lines without times."""
    return [line.rpartition("> ")[2] for message in messages for line in message.text.split("\n")]


def headline(story: Incident) -> str:
    return str(render(story, "", FORM).blocks[0]["text"]["text"])


def test_a_crash_loop() -> None:
    d = Drill(rulebook(rule()), World(3))
    d.world.crash("serving-1")
    d.answer()
    d.wait(20)
    d.world.replace("serving-1")
    d.wait(3600)
    assert headline(d.incident) == f":white_check_mark: {CRASH} on pod/serving-1"
    assert lines(told(d.incident)) == [
        f"*Seen*: pod/serving-1 is sick: {CRASH}",
        "*Acts* (evict): nothing speaks against it: will evict pod/serving-1",
        "*Done* (evict): evict pod/serving-1: done",
        "*No longer sick*: pod/serving-1; no signal is left",
        "*Healed* (evict): deployment/serving is at its desired ready count and no signal is left, stable for 1 m",
        "*Over* (evict): stayed healed for the whole cooldown",
    ]


def test_an_escalation_is_a_message_of_its_own_that_reaches_people() -> None:
    d = Drill(rulebook(rule(heal=[EVICT, NUDGE])), World(3))
    d.world.crash("serving-1")
    d.answer()
    d.wait(400)
    d.answer()
    d.wait(400)
    *before, alarm = told(d.incident)
    assert not any(message.broadcast or "<!here>" in message.text for message in before)
    assert lines(before)[3:] == [
        "*Goes on* (nudge): step 1 (evict) did not help: still sick: pod/serving-1; next is nudge",
        "*Acts* (nudge): nothing speaks against it: will nudge pod/serving-1",
        "*Done* (nudge): nudge pod/serving-1: done",
    ]
    assert alarm.broadcast
    assert alarm.text.startswith("<!here> ")
    said, following = alarm.text.split("\n")
    assert said.endswith("*A human is needed* (nudge): no step is left after nudge: still sick: pod/serving-1")
    assert following == f"Next: `healer explain incident/{d.incident.id} -n production`"
    assert headline(d.incident).startswith(":rotating_light: CrashLoopBackOff")


def test_an_escalation_that_is_over_when_it_is_told_calls_nobody() -> None:
    story = then(then(incident(), State.ESCALATED, "the ladder is spent"), State.CLOSED, "all signals are gone")
    messages = told(story)
    assert not any(message.broadcast or "<!here>" in message.text for message in messages)
    assert "*A human is needed* (evict): the ladder is spent" in lines(messages)


def test_what_an_escalated_incident_goes_on_to_say_calls_nobody_again() -> None:
    story = then(then(incident(), State.ESCALATED, "the ladder is spent"), State.ESCALATED, "pod/b is sick too")
    assert [message.broadcast for message in told(story)] == [False, True, False]


def test_a_storm() -> None:
    d = Drill(rulebook(rule()), World(4))
    d.world.pause("deployment")
    for number in (1, 2, 3):
        d.world.crash(f"serving-{number}")
    d.world.pause("deployment", "")
    d.wait(900)
    assert headline(d.incident) == f":rotating_light: 3 of 4 pods are sick at once, more than 50%: {CRASH}"
    assert "healer is on it" not in str(render(d.incident).blocks)
    *_, alarm = told(d.incident)
    assert (alarm.broadcast, alarm.text.startswith("<!here> ")) == (True, True)
    *told_of, following = lines(told(d.incident))
    assert following.startswith("Next: `healer explain")
    assert "*Seen*: pod/serving-3 is sick too: CrashLoopBackOff" in told_of
    called = "*A human is needed* (evict): 3 of 4 pods are sick at once, more than 50%: pods are not treated one by one"
    assert told_of[-1].startswith(called)


def test_a_canary_that_lost_its_traffic_is_a_release_that_failed() -> None:
    d = Drill(
        rulebook(rule("bad-canary", when=WHEN, heal=[{"shiftTraffic": {"to": 0}, "verify": {"within": "2m", "stable": "10s"}}])),
        World(),
    )
    d.world.other("stable")
    d.judged("BadCanary", d.world.workload)
    d.answer()
    d.wait(5)
    d.judged("BadCanary", d.world.workload, firing=False)
    d.wait(10)
    assert headline(d.incident).startswith(":no_entry: BadCanary")
    said = lines(told(d.incident))
    assert said[-1].startswith("*Taken off, the release failed* (shiftTraffic): deployment/stable is at its desired ready count")
    whole = f"{said}{render(d.incident, '', FORM)}"
    assert "*Now* taken off, the release failed: " in whole
    assert "Healed" not in whole
    assert "white_check_mark: B" not in whole
    d.wait(3600)
    assert d.incident.state is State.CLOSED
    assert headline(d.incident).startswith(":no_entry: BadCanary")


def test_who_must_approve_is_called_in_the_thread() -> None:
    d = Drill(rulebook(rule(mode="approve")), World(4))
    d.world.crash("serving-1")
    *_, asks = told(d.incident)
    assert asks.text.startswith("<!here> ")
    assert not asks.broadcast
    assert "*Waits* (evict): a human must approve within 1 h to evict pod/serving-1" in asks.text
    assert "*Next* `healer approve incident/" in str(render(d.incident).blocks)


def test_no_symptom_is_told_twice() -> None:
    d = Drill(rulebook(rule(heal=[EVICT, NUDGE])), World(3))
    d.world.crash("serving-1")
    d.answer()
    d.wait(400)
    d.answer()
    d.wait(400)
    assert "\n".join(message.text for message in told(d.incident)).count(CRASH) == 1


def test_after_slack_was_away_for_long_the_end_is_told_and_no_replay() -> None:
    story = incident()
    for number in range(40):
        story = then(story, State.WAITING, f"line {number}")
    story = then(story, State.HEALED, "3 of 3 ready")
    away, end = told(story, story.changed_at)
    assert "41 lines were added that are not repeated here: `healer explain incident/crash-loop-1 -n production`" in away.text
    assert lines([end]) == ["*Healed* (evict): 3 of 3 ready"]
    since = told(story, story.history[20].at)
    assert lines(since)[1:] == lines(told(story))[21:], "what came afterwards is told whole"
    assert len(lines(told(replace(story, history=story.history[:2]), START))) == 2, "a single line is no replay"
