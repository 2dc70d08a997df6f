"""Free text: one line, nothing hidden, nothing secret, never too long; and made so once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healer.engine.engine import Engine
from healer.model import redact as module
from healer.model.incident import Reason, SickTarget
from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.text import MOST, _made_safe, body_text, free_text
from healer.model.view import target_of
from tests.support.world import ACTIONS, START, World, rule, rulebook, tuned

POD = Target("Pod", "production", "serving-1", "pod-1")
SECRETS = [
    "ghp_" + "a1B2" * 9,
    "password=hunter22",
    "bob@example.com",
    "eyJhbGciOiJSUzI1NiJ9." + "c2ln" * 100,
    "https://bob:hunter22@db/x",
    "4111111111111111",
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("p99 above 500 ms\n12:00 escalated: all is well", "p99 above 500 ms 12:00 escalated: all is well"),
        ("a\r\nb\tc\x1b[31md\x00e", "a  b c [31md e"),
        ("a\u2028b\u2029c\x85d", "a b c d"),
        ("\u202egnp.exe\u202c", "gnp.exe"),
        ("\u2066a\u2069 b\u200bc\u200d\ufeff\u00ad\u061c", "a bc"),
        ("tag\U000e0041\u3164\u115fs", "tags"),
        ("no\u00a0break", "no break"),
        ("Überlastung: 温度 80 °C ✓", "Überlastung: 温度 80 °C ✓"),
        ("pass\u200bword=hunter22", "password=[secret]"),
        ("bob@exam\u2060ple.com", "[email]"),
    ],
)
def test_it_is_one_line_of_what_can_be_seen(text: str, shown: str) -> None:
    """What is not seen goes before secrets are looked for: it would hide them."""
    assert free_text(text) == shown


@given(st.text(max_size=300))
def test_it_is_printable_and_stays_as_it_is(text: str) -> None:
    once = free_text(text)
    assert once.isprintable()
    assert free_text(once) == once


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("most", [40, MOST])
def test_no_secret_is_cut_in_two_and_shown(secret: str, most: int) -> None:
    """Wherever the cut falls, and wherever what is looked at ends."""
    ends = {most, *(module.SLACK * times + most for times in (1, 2, 3))}
    for end in ends:
        for offset in range(end - len(secret) - 2, end + 2):
            shown = free_text("x" * max(0, offset - 1) + " " + secret + " and so on" * 500, most)
            assert len(shown) <= most
            assert not any(secret[at : at + 8] in shown for at in range(4, len(secret) - 8, 4))


def test_it_is_never_too_long() -> None:
    """Also where redaction shortens it, or makes it longer."""
    for unit in ("x", "a@b.io ", "password=1 ", "\u200b", "\n"):
        assert len(free_text(unit * 450_000)) <= MOST


def test_whatever_enters_the_model_is_safe() -> None:
    """Nobody that makes one of these can forget to."""
    forged = "x\nescalated: all is well, says bob@example.com"
    safe = "x escalated: all is well, says [email]"
    assert Reason("Sick", forged).text == safe
    assert SickTarget(POD, {}, START, forged).what == safe
    assert Signal("alert", "Latency", POD, True, START, "key", message=forged).message == safe


@pytest.mark.parametrize("pods", [50, 200])
def test_what_is_redacted_is_in_proportion_to_what_is_said(pods: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each signal of a workload is a line of its incident: the lines before it are not looked through again."""
    looked = 0

    def counting(text: str) -> str:
        nonlocal looked
        looked += len(text)
        return text

    monkeypatch.setattr(module, "redact", counting)
    monkeypatch.setattr("healer.model.text._made_safe", _made_safe.__wrapped__)  # what is remembered would not be counted
    world = World(pods)
    engine = Engine(rulebook(rule(when={"alert": ["Latency"]})), ACTIONS, tuned())
    for pod in world.pods:
        engine.handle(Signal("alert", "Latency", target_of(pod), True, START, pod.metadata.uid, "1", "slow"), world.view, START)
    for pod in world.pods:
        engine.handle(Signal("alert", "Latency", target_of(pod), False, START, pod.metadata.uid, "1", "slow"), world.view, START)
    assert looked < 2_000 * pods


@pytest.mark.parametrize("secret", SECRETS)
def test_what_an_answer_says_is_made_safe_before_it_is_cut(secret: str) -> None:
    for offset in range(200 - len(secret) - 2, 202):
        shown = body_text(b"x" * max(0, offset - 1) + b" " + secret.encode() + b" and so on" * 500, 200)
        assert len(shown) <= 200
        assert not any(secret[at : at + 8] in shown for at in range(4, len(secret) - 8, 4))
    assert body_text(b"<html>\r\n\xff bad gateway", 200) == "<html>  \ufffd bad gateway"
