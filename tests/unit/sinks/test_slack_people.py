"""The sink reaches people: escalations are shown in the channel with a mention, and nobody is buried in what is long past."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from healer.model.incident import State
from healer.sinks.slack.settings import SlackSettings
from tests.support.slack import FakeSlack, Misbehaviour
from tests.unit.sinks.incidents import incident, then
from tests.unit.sinks.story import CHANNEL, Bench, healed, lines


async def test_an_escalation_is_shown_in_the_channel_with_its_mention(slack: FakeSlack, token_file: Path) -> None:
    bench = Bench(slack, token_file, mention="here, S0123456789")
    async with bench.running():
        bench.sink.tell(then(then(incident(), State.ACTING, "will evict"), State.ESCALATED, "the ladder is spent"))
        assert await bench.sink.flush(10)
    (message,) = slack.messages[CHANNEL]
    assert [reply.broadcast for reply in message.replies] == [False, True]
    assert message.replies[1].text.startswith("<!here> <!subteam^S0123456789> ")
    assert "<!" not in message.text, "only what is new rings"


@pytest.mark.parametrize(("away", "told"), [(3600.0, 6), (0.001, 2)])
async def test_after_a_long_absence_the_end_is_told(slack: FakeSlack, token_file: Path, away: float, told: int) -> None:
    """After a short one, all of it."""
    bench = Bench(slack, token_file, away=away)
    slack.next(*[Misbehaviour("cut")] * 3)
    async with bench.running():
        bench.sink.tell(healed()[-1])
        assert await bench.sink.flush(10)
    said = lines(slack.threads(CHANNEL)[0])
    assert len(said) == told
    assert said[-1] == "*Over* (evict): cooldown over"


@pytest.mark.parametrize(
    ("written", "mentions"),
    [("", ""), ("@here", "<!here>"), ("U0123456789,S0123456789", "<@U0123456789> <!subteam^S0123456789>")],
)
def test_whom_an_escalation_mentions(written: str, mentions: str) -> None:
    assert SlackSettings(mention=written).mentions == mentions


def test_a_mention_of_nobody_is_refused() -> None:
    with pytest.raises(ValidationError, match="'ann' is nobody: write here, channel, a user's ID"):
        SlackSettings(mention="here,ann")
