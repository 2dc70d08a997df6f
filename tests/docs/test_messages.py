"""The list of messages is read as a whole: their form is checked here, their words by people."""

import re
import sys
from pathlib import Path

import pytest

from tests.docs.messages import MANNERED, Message, messages, page


def wrong(message: Message) -> str:
    """What is wrong with the form of a message; "" when nothing is."""
    if MANNERED.search(message.text):
        return "mannered"
    if message.kind == "help":
        return ""
    if "  " in message.text.strip():
        return "two spaces"
    if message.kind in ("reason", "outcome") and message.text.endswith("."):
        return "a full stop: it goes on in a line of a history"
    if message.code and not re.fullmatch(r"([A-Z][a-z]+)+", message.code):
        return "a code that is not one CamelCase word"
    return ""


def test_messages_keep_the_form() -> None:
    found = list(messages())
    sys.stdout.write(page())  # `pytest -s` shows it
    assert len({message.kind for message in found}) >= 8
    assert [(message.place, why) for message in found if (why := wrong(message))] == []


def test_a_message_of_another_form_would_be_found() -> None:
    said = [("", "what for else is gone"), ("", "two  spaces"), ("NotReady", "it ends."), ("not_ready", "well")]
    assert [bool(wrong(Message("x.py:1", "reason", *each))) for each in said] == [True] * 4


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("text = f'{pod} is gone'\nReason('PodGone', text)", ("reason", "PodGone", "{pod} is gone")),
        ("def f():\n  text = 'it ends.'\n  return Outcome(kind, 'Ended', text)", ("outcome", "Ended", "it ends.")),
        ("fault('no name', 'give it one')", ("hint", "", "give it one")),
        ("HINTS = {'is_archived': 'name another channel'}", ("text", "", "name another channel")),
        ("def f():\n  return [f'Slack is not in {channel}']", ("text", "", "Slack is not in {channel}")),
        ("SlackRefusal(code, 'invite the app')", ("text", "", "invite the app")),
    ],
)
def test_a_message_is_found_wherever_it_stands(tmp_path: Path, code: str, found: tuple[str, str, str]) -> None:
    """Under a name, in a table, in a list, and given by position."""
    (tmp_path / "file.py").write_text(code + "\n", "utf-8")
    assert found in [each[1:] for each in messages(tmp_path)]


def test_a_docstring_is_no_message(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text('X = 1\n"""The number of pods."""\n', "utf-8")
    assert list(messages(tmp_path)) == []
