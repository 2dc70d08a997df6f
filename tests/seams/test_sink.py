"""The seam of sinks: one of the tests' own, added from one file, has its settings, its addresses, and what is addressed to it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from healer.daemon.reach import delivery_problems
from healer.daemon.rulefiles import vocabulary
from healer.lab import Lab
from healer.model.incident import State
from healer.rules.loading import load
from healer.rules.reference import tables
from healer.settings import SettingsError, compose, load_settings
from healer.sinks.registry import SINKS
from tests.docs import settings as settings_page
from tests.integration.world import pods, rule, ruleset, serve
from tests.seams.house import house
from tests.seams.letters import LETTERS
from tests.support.slack import TOKEN, FakeSlack

pytestmark = pytest.mark.slow

ADDRESSES = [f"{sink.addresses.example} ({sink.addresses.meaning})" for sink in SINKS.values() if sink.addresses is not None]
"""Those of the sinks of healer, as messages list them."""
HOME = "#home"
"""Slack's default channel."""


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The one line that the registry needs."""
    with monkeypatch.context() as registry:
        registry.setitem(SINKS, "letter", LETTERS)
        compose()
        yield
    compose()


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as slack:
        yield slack


@pytest.mark.parametrize(
    ("notify", "letters", "channels"),
    [
        (["letter:ml-team"], {"ml-team"}, set()),
        (["#ml"], set(), {"#ml"}),
        (["letter:ml-team", "#ml", "letter:sre"], {"ml-team", "sre"}, {"#ml"}),
        ([], set(), {HOME}),
    ],
)
async def test_a_healed_incident_is_told_where_the_rule_says_and_nowhere_else(
    notify: list[str], letters: set[str], channels: set[str], lab: Lab, slack: FakeSlack, tmp_path: Path
) -> None:
    """Of two sinks each gets its own addresses, without the kind; the default channel is for rules that name nobody."""
    post, token = tmp_path / "post", tmp_path / "token"
    post.mkdir()
    token.write_text(TOKEN, "utf-8")
    await serve(lab)
    told = rule("crash-loop", when={"pod": ["CrashLoopBackOff"], "for": "300ms"}, notify=notify)
    options: dict[str, Any] = {"letter": {"folder": post}, "slack": {"token_file": token, "channel": HOME, "base_url": slack.url}}
    async with house(lab, tmp_path, told, **options) as healer:
        await lab.behave("production", min(pods(lab)), "crash")
        healed = await healer.told.until(State.HEALED)
    assert healed.notify == tuple(notify), "the journal has the addresses as the rule writes them"
    written = {path.name: path.read_text("utf-8") for path in post.iterdir()}
    assert written.keys() == letters
    assert all("\nhealed: " in text for text in written.values())
    assert slack.messages.keys() == channels


@pytest.mark.parametrize("where", ["      notify: [{}]\n", "      onStorm:\n        page:\n          channels: [{}]\n"])
@pytest.mark.parametrize(
    ("address", "message", "hint"),
    [
        (
            "nokind:x",
            "'nokind:x' is not an address: no sink has addresses of the kind 'nokind'",
            f"there are {', '.join(ADDRESSES)}, letter:ml-team (who a letter is for)",
        ),
        ("letter:ML", "'letter:ML' is not a name on a letter", "write small letters and '-': letter:ml-team"),
        ("ml", "'ml' is not a channel", 'write "#ml", in quotes (a bare # begins a comment), or a Slack ID such as C0123456789'),
    ],
)
def test_a_wrong_address_is_an_error_with_its_line(where: str, address: str, message: str, hint: str) -> None:
    """In `notify` and in the channels of a page."""
    text = RULE + where.format(address)
    _, (problem,) = load(text, "f.yaml", vocabulary())
    line = 1 + text[: text.index(f"[{address}]")].count("\n")
    assert (problem.file, problem.line, problem.message, problem.hint) == ("f.yaml", line, message, hint)


RULE = """\
apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: serving}
spec:
  scope: {namespaces: [production]}
  rules:
    - name: crash-loop
      when: {pod: [CrashLoopBackOff]}
      heal: [evict: {}]
"""


def test_its_settings_are_a_section_and_its_addresses_are_in_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment, with the errors of all settings, and on the pages."""
    monkeypatch.setenv("HEALER_LETTER__FOLDER", "/var/post")
    assert load_settings().sinks["letter"] == LETTERS.settings(folder=Path("/var/post"))
    monkeypatch.setenv("HEALER_LETTER__FOLDR", "/var/post")
    with pytest.raises(SettingsError, match="did you mean HEALER_LETTER__FOLDER"):
        load_settings()
    assert "| `HEALER_LETTER__FOLDER` | `letter.folder` | (none) | Where letters are put." in settings_page.page()
    assert "| `letter:ml-team` | who a letter is for |" in tables(vocabulary())["addresses"]


def test_a_rule_that_names_a_sink_which_is_not_set_up_is_said() -> None:
    """Also when another one is."""
    rules, problems = load(ruleset(rule("slow", when={"alert": ["Slow"]}, notify=["letter:ml-team"])), "f.yaml", vocabulary())
    assert problems == []
    said = "rules name letter:ml-team, and the sink letter is not set up: nobody is told there; set HEALER_LETTER__FOLDER"
    assert list(delivery_problems(rules, load_settings().sinks, reach_people=True)) == [said]
