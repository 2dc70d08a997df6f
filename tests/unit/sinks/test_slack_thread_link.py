"""Where the thread of an incident is, for the page: what Slack itself says of the message."""

from pathlib import Path

import aiohttp
from prometheus_client import CollectorRegistry

from healer.sinks.base import SinkMeters
from healer.sinks.group import Member, Sinks
from healer.sinks.memory import ProcessMemory
from tests.support.slack import FakeSlack
from tests.unit.sinks.incidents import incident
from tests.unit.sinks.story import CHANNEL, Bench


async def permalink(slack: FakeSlack) -> str:
    """What Slack answers of the only message."""
    (message,) = slack.messages[CHANNEL]
    asked = {"channel": f"C-{CHANNEL}", "message_ts": message.ts}
    headers = {"Authorization": f"Bearer {slack.token}"}
    async with aiohttp.ClientSession() as http, http.post(f"{slack.url}chat.getPermalink", data=asked, headers=headers) as answer:
        return str((await answer.json())["permalink"])


async def test_the_link_of_a_thread_is_the_permalink_of_its_message(slack: FakeSlack, token_file: Path) -> None:
    memory = ProcessMemory()
    bench = Bench(slack, token_file, memory)
    async with bench.running():
        bench.sink.tell(incident())
        assert await bench.sink.flush(10)
        assert bench.sink.thread_link(incident()) == "", "Slack has not said yet which workspace it is"
        await bench.sink.check([CHANNEL])
        assert bench.sink.thread_link(incident()) == await permalink(slack)
        assert bench.sink.thread_link(incident("never-told")) == ""
    assert [method for method, _ in slack.calls].count("chat.getPermalink") == 1, "the test's own: healer asks for none"


async def test_another_process_knows_the_thread_by_what_was_kept(slack: FakeSlack, token_file: Path) -> None:
    memory = ProcessMemory()
    first, then = Bench(slack, token_file, memory), Bench(slack, token_file, memory)
    async with first.running():
        first.sink.tell(incident())
        assert await first.sink.flush(10)
    await then.sink.check([CHANNEL])
    every = Sinks([Member(then.sink, "")], SinkMeters(CollectorRegistry()))
    assert every.thread_link(incident()) == "", "a list of a thousand asks no memory"
    assert every.thread_link(incident(), recall=True) == await permalink(slack)
    assert every.thread_link(incident(notify=("pagerduty:ml-oncall",)), recall=True) == ""
