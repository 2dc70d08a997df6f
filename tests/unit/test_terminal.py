"""How a log event reads on a terminal."""

from typing import Any

from healer.cli.terminal import TerminalRenderer


def line(*, colours: bool = False, **event: Any) -> str:
    return TerminalRenderer(colours=colours)(None, "", {"timestamp": "2026-11-28T14:05:09.123Z", "level": "info", **event})


INCIDENT: dict[str, Any] = {
    "event": "incident acting",
    "incident": "crash-loop-1",
    "rule": "tensorflow-serving/crash-loop",
    "workload": "deployment/tf",
    "namespace": "production",
    "state": "acting",
    "step": "evict",
    "reason": "Allowed",
    "text": "will evict pod/tf-1",
    "at": 1.0,
}


def test_an_incident_reads_like_the_demos_timeline() -> None:
    assert line(**INCIDENT) == "14:05:09  acting     crash-loop: will evict pod/tf-1  incident=production/crash-loop-1"


def test_any_other_event_is_its_words_and_what_goes_with_them() -> None:
    assert line(event="healer is ready", pods=3, role="leader", empty="") == (
        "14:05:09             healer is ready  pods=3  role=leader"
    )
    assert line(event="a rule cannot work as it is written", level="warning", reason="no pod") == (
        "14:05:09  warn       a rule cannot work as it is written  reason=no pod"
    )


def test_an_event_is_one_line_and_steers_no_terminal() -> None:
    """What containers and people write is quoted in events."""
    said = line(event="odd", text="first\nescalated: all is well\x1b[2J\u202e")
    assert "\n" not in said
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_a_traceback_follows_on_lines_of_its_own() -> None:
    assert line(event="failed", level="critical", exception="Traceback:\n  x").endswith("failed\nTraceback:\n  x")


def test_colour_is_for_terminals() -> None:
    assert "\x1b[" not in line(**INCIDENT)
    assert "\x1b[1;34macting" in line(colours=True, **INCIDENT)
