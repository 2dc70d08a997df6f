"""The list of messages is read as a whole: their form is checked here, their words by people."""

import re
import sys
from pathlib import Path

from tests.docs.messages import MANNERED, Message, messages, page


def wrong(message: Message) -> str:
    """What is wrong with the form of a message; "" when nothing is."""
    if MANNERED.search(message.text):
        return "mannered"
    if message.kind == "help":
        return ""
    if "  " in message.text:
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


def test_a_text_that_is_given_a_name_first_is_found(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("text = f'{pod} is gone'\nReason('PodGone', text)\n", "utf-8")
    assert [each[1:] for each in messages(tmp_path)] == [("text", "", "{pod} is gone")]
