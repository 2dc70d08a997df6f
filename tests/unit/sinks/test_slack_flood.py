"""Of many incidents at once people get some messages and one that counts the rest; what needs a human is never among the rest."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from healer.model.incident import Incident, State
from healer.model.target import Target
from healer.sinks.memory import ProcessMemory
from healer.sinks.slack.flood import Flood, Floods, stand_in
from healer.sinks.slack.message import SlackForm
from tests.support.slack import FakeSlack, Misbehaviour, Posted
from tests.unit.sinks.incidents import incident, then
from tests.unit.sinks.story import CHANNEL, Bench, healed


def new(slack: FakeSlack, token_file: Path, memory: ProcessMemory | None = None, **more: Any) -> Bench:
    options: dict[str, Any] = {"fold_after": 3, "fold_every": 0.0}
    return Bench(slack, token_file, memory, **(options | more))


def shared(slack: FakeSlack) -> list[Posted]:
    return [message for message in slack.messages[CHANNEL] if message.text.startswith(":ocean:")]


def said(message: Posted) -> str:
    return "\n".join(str(block.get("text", block.get("elements", ""))) for block in message.blocks)


async def test_further_incidents_share_a_message_that_counts_them(slack: FakeSlack, token_file: Path) -> None:
    bench = new(slack, token_file)
    async with bench.running():
        for number in range(10):
            bench.sink.tell(incident(f"incident-{number}"))
        assert await bench.sink.flush(10)
        (message,) = shared(slack)
        assert message.text == ":ocean: 7 more incidents in a short time: 7 not over, 0 over"
        assert said(message).count("deployment/tensorflow-serving in production") == 7
        for number in range(10):
            bench.sink.tell(healed(f"incident-{number}")[-1])
        assert await bench.sink.flush(10)
    assert shared(slack) == [message]
    assert message.text == ":ocean: 7 more incidents in a short time: all are over"
    assert message.replies == []
    assert len(slack.messages[CHANNEL]) == 4


async def test_what_needs_a_human_is_never_folded(slack: FakeSlack, token_file: Path) -> None:
    """Neither one that is new, nor one that was folded before; and that one is listed there no more."""
    bench = new(slack, token_file)
    async with bench.running():
        for number in range(5):
            bench.sink.tell(incident(f"incident-{number}"))
        assert await bench.sink.flush(10)
        bench.sink.tell(then(incident("new"), State.ESCALATED, "spent"))
        bench.sink.tell(then(incident("incident-4"), State.ESCALATED, "spent"))
        bench.sink.tell(then(incident("storm"), State.WAITING, "held by the storm: a human is needed", code="Storm"))
        assert await bench.sink.flush(10)
        bench.sink.tell(incident("incident-5"))
        assert await bench.sink.flush(10)
    own = [
        message
        for message in slack.messages[CHANNEL]
        if message.metadata["event_payload"]["incident"] in ("new", "incident-4", "storm")
    ]
    assert [[reply.broadcast for reply in message.replies] for message in own] == [[False, True]] * 3
    (message,) = shared(slack)
    assert message.text == ":ocean: 2 more incidents in a short time: 2 not over, 0 over"


async def test_slowly_each_has_its_own(slack: FakeSlack, token_file: Path) -> None:
    bench = new(slack, token_file, fold_within=1e-9)
    async with bench.running():
        for number in range(10):
            bench.sink.tell(incident(f"incident-{number}"))
        assert await bench.sink.flush(10)
    assert len(slack.messages[CHANNEL]) == 10
    assert shared(slack) == []


async def test_another_channel_counts_for_itself(slack: FakeSlack, token_file: Path) -> None:
    bench = new(slack, token_file)
    async with bench.running():
        for number in range(6):
            bench.sink.tell(incident(f"incident-{number}", notify=("#one" if number % 2 else "#two",)))
        assert await bench.sink.flush(10)
    assert {name: len(messages) for name, messages in slack.messages.items()} == {"#one": 3, "#two": 3}


def test_a_flood_takes_more_while_it_goes_on_and_another_has_a_message_of_its_own() -> None:
    floods = Floods(SlackForm(), 2, 60.0, 100)

    def told(name: str, now: float) -> str | None:
        flood = floods.of(healed(name)[-1], CHANNEL, now, known=False)
        return None if flood is None else flood.incident.id

    assert [told(name, now) for now, name in enumerate("abcd")] == [None, None, "flood-1-c", "flood-1-c"]
    assert told("e", 60.0) == "flood-1-c"
    assert [told("f", 200.0), told("g", 201.0), told("h", 202.0)] == [None, None, "flood-2-h"]


async def test_what_another_process_told_of_goes_on_in_its_thread(slack: FakeSlack, token_file: Path) -> None:
    memory = ProcessMemory()
    first = Bench(slack, token_file, memory)
    async with first.running():
        for number in range(6):
            first.sink.tell(incident(f"incident-{number}"))
        assert await first.sink.flush(10)
    second = new(slack, token_file, memory)
    async with second.running():
        for number in range(6):
            second.sink.resume(healed(f"incident-{number}")[-1])
        assert await second.sink.flush(10)
    assert len(slack.messages[CHANNEL]) == 6
    assert all(": over" in message.text for message in slack.messages[CHANNEL])


async def test_a_shared_message_in_doubt_is_searched_for(slack: FakeSlack, token_file: Path) -> None:
    bench = new(slack, token_file)
    async with bench.running():
        for number in range(3):
            bench.sink.tell(incident(f"incident-{number}"))
        assert await bench.sink.flush(10)
        slack.next(Misbehaviour("lose"))
        bench.sink.tell(incident("incident-3"))
        assert await bench.sink.flush(10)
        bench.sink.tell(incident("incident-4"))
        assert await bench.sink.flush(10)
    assert [message.text for message in shared(slack)] == [":ocean: 2 more incidents in a short time: 2 not over, 0 over"]


async def test_a_shared_message_that_its_channel_refuses_comes_in_the_default_channel(slack: FakeSlack, token_file: Path) -> None:
    bench = new(slack, token_file, reconsider=3600.0)
    async with bench.running():
        for number in range(4):
            bench.sink.tell(incident(f"incident-{number}"))
        assert await bench.sink.flush(10)
        slack.errors[CHANNEL] = "is_archived"
        with capture_logs():
            bench.sink.tell(incident("incident-4"))
            await slack.wait_for(lambda s: len(s.threads("#default")) == 2)
    assert all("told here because" in message.text for message in slack.messages["#default"])


async def test_a_thousand_incidents_are_four_messages_and_few_edits(slack: FakeSlack, token_file: Path) -> None:
    bench = new(slack, token_file, fold_every=0.5)
    async with bench.running():
        for number in range(1000):
            bench.sink.tell(healed(f"incident-{number}")[-1])
        assert await bench.sink.flush(20)
    assert len(slack.messages[CHANNEL]) == 4
    (message,) = shared(slack)
    assert message.text == ":ocean: 997 more incidents in a short time: all are over"
    listed = said(message).count("• ")
    assert listed > 10
    assert f"{997 - listed} more are not listed" in said(message)
    assert len(message.edits) <= 2


def of_tenant(name: str, namespace: str = "pay", *, called: bool = False) -> Incident:
    """An incident of a RuleSet of that namespace."""
    workload = Target("Deployment", namespace, "serving", f"uid-{namespace}")
    mine = replace(incident(name), rule=f"{namespace}/mine/crash-loop", workload=workload)
    return then(mine, State.ESCALATED, "spent") if called else mine


async def test_a_tenants_flood_shares_a_message_of_its_own_and_hides_no_incident_of_others(
    slack: FakeSlack, token_file: Path
) -> None:
    bench = new(slack, token_file, fold_after=8)
    async with bench.running():
        for number in range(200):
            bench.sink.tell(of_tenant(f"flood-{number}"))
        for number in range(8):
            bench.sink.tell(incident(f"ours-{number}"))
        bench.sink.tell(of_tenant("other", "web"))
        assert await bench.sink.flush(20)
    told = [message.metadata["event_payload"]["incident"] for message in slack.messages[CHANNEL]]
    assert [name for name in told if name.startswith("ours")] == [f"ours-{number}" for number in range(8)]
    assert "other" in told
    (message,) = shared(slack)
    assert message.text == ":ocean: 198 more incidents of the RuleSets in pay in a short time: 198 not over, 0 over"
    assert len(told) == 8 + 1 + 2 + 1


async def test_a_tenants_flood_keeps_no_message_of_others_waiting(slack: FakeSlack, token_file: Path) -> None:
    """Each message is a second in Slack: those of one namespace are not sent one after the other while others wait."""
    bench = new(slack, token_file, fold_after=80)
    for number in range(20):
        bench.sink.tell(of_tenant(f"flood-{number}"))
    bench.sink.tell(incident("ours"))
    async with bench.running():
        assert await bench.sink.flush(20)
    told = [message.metadata["event_payload"]["incident"] for message in slack.messages[CHANNEL]]
    assert told.index("ours") <= 1


async def test_of_a_tenant_so_much_that_needs_a_human_has_messages_of_its_own(slack: FakeSlack, token_file: Path) -> None:
    bench = new(slack, token_file, fold_after=4)
    async with bench.running():
        for number in range(20):
            bench.sink.tell(of_tenant(f"flood-{number}", called=True))
        for number in range(6):
            bench.sink.tell(then(incident(f"ours-{number}"), State.ESCALATED, "spent"))
        assert await bench.sink.flush(20)
    told = [message.metadata["event_payload"]["incident"] for message in slack.messages[CHANNEL]]
    assert sum(name.startswith("ours") for name in told) == 6
    assert sum(name.startswith("flood-") for name in told) == 4 + 1 + 1, "calls, one more, and the message that they share"
    (message,) = shared(slack)
    assert "15 not over, 0 over, 15 need a human" in message.text


def test_what_is_not_held_any_more_is_over_only_if_it_was_closed() -> None:
    first = incident("first")
    flood = Flood(CHANNEL, stand_in("flood-1", CHANNEL, first), SlackForm(), kept={})
    flood.take(first, 2)
    flood.take(incident("second"), 2)
    flood.take(incident("third"), 2)
    assert (list(flood.folded), flood.over) == (["second", "third"], 0)
    flood.take(replace(incident("third"), state=State.CLOSED), 2)
    flood.take(incident("fourth"), 2)
    assert (list(flood.folded), flood.over) == (["second", "fourth"], 1)
