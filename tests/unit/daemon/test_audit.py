"""The lines of the audit: written whatever the level of the log is, with secrets left out."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import structlog

from healer.actions.evict import Evict
from healer.actions.scale import ScaleWorkload
from healer.actions.shared.standing import StandingChange
from healer.daemon.audit import Audit
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Act
from healer.model.incident import Reason, SickTarget, State, Symptom
from healer.model.target import Target
from healer.model.temporary import End, TemporaryChange
from tests.support.incidents import bare

ROOT = Path(__file__).parents[3]
POD = Target("Pod", "production", "tfs-1", "p1")
SICK = SickTarget(POD, {"p1/CrashLoopBackOff": Symptom("pod", "CrashLoopBackOff", "1", 1.0)}, 1.0, "CrashLoopBackOff for 40 s")
INCIDENT = bare(State.WAITING, mode="approve", targets={POD.uid: SICK}, acting_on=POD)
HEALED = replace(INCIDENT, state=State.HEALED)
SCALED = StandingChange(HEALED, "scale", ScaleWorkload(), "replicas", TemporaryChange("3", "5", "0"))
DONE = Outcome(OutcomeKind.DONE, "Evicted", "pod/tfs-1 is evicted")
ACT = Act(INCIDENT, 0, 1, "evict", Evict.spec.params(), POD, dry_run=False, min_ready=0, seen_at=1.0)


def everything(audit: Audit) -> None:
    """One line of each kind."""
    audit.acted(ACT, DONE, {"ready": 2, "desired": 3}, {"ready": 2, "desired": 3})
    audit.found_done(INCIDENT, Reason("FoundDone", "healer was away: the action took effect"), {"ready": 3, "desired": 3})
    audit.approved(INCIDENT, "alice", replace(INCIDENT, state=State.ACTING))
    audit.undone(HEALED, "alice", HEALED)
    audit.taken_back(SCALED, End.TAKEN_BACK, "taken back: replicas of deployment/tfs: 5 -> 3")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """The log, which takes errors only."""
    written = io.StringIO()
    structlog.configure(
        logger_factory=structlog.WriteLoggerFactory(written),
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
    )
    yield written
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_written_whatever_the_level_is(stream: io.StringIO) -> None:
    Audit("pod-1").taken_back(SCALED, End.TAKEN_BACK, "3 replicas again")
    (line,) = lines(stream)
    assert (line["logger"], line["what"], line["outcome"]) == ("healer.audit", "take back scale", str(End.TAKEN_BACK))
    assert "pod-1" in line["who"]
    assert line["workload"] == {"kind": "Deployment", "namespace": "production", "name": "tfs", "uid": "u1"}


def test_an_approval_that_nothing_waited_for_is_no_approval(stream: io.StringIO) -> None:
    Audit("pod-1").approved(INCIDENT, "alice", INCIDENT)
    Audit("pod-1").approved(INCIDENT, "alice", None)
    assert [(line["who"], line["outcome"]) for line in lines(stream)] == [("alice", "refused"), ("alice", "done")]


def test_a_secret_in_a_text_is_left_out(stream: io.StringIO) -> None:
    Audit("pod-1").taken_back(SCALED, End.LEFT_ALONE, "refused: Authorization: Bearer abcdefghijklmnopqrstuvwx")
    assert "abcdefghijklmnopqrstuvwx" not in stream.getvalue()


def test_none_is_written_where_none_are_wanted(stream: io.StringIO) -> None:
    Audit("pod-1", on=False).undone(INCIDENT, "alice", INCIDENT)
    assert stream.getvalue() == ""


def test_every_line_says_who_what_why_before_after_and_the_outcome(stream: io.StringIO) -> None:
    everything(Audit("healer-0"))
    for line in lines(stream):
        assert line.keys() >= {"who", "what", "why", "before", "after", "outcome", "incident", "workload", "timestamp"}, line
        assert line["why"] in ("CrashLoopBackOff for 40 s", "the incident is healed")


def test_what_was_left_alone_has_no_after(stream: io.StringIO) -> None:
    Audit("healer-0").taken_back(SCALED, End.LEFT_ALONE, "somebody has changed it since")
    (line,) = lines(stream)
    assert (line["before"], line["after"], line["outcome"]) == ({"replicas": "5"}, {}, "LeftAlone")


def test_the_documentation_shows_each_line_as_it_is(stream: io.StringIO) -> None:
    """docs/operating.md has an example of each kind, in this order."""
    everything(Audit("healer-0"))
    whose = f"healer {version('healer')}"
    same = {"timestamp": "2026-01-01T00:00:00Z"}
    written = [line | same | {"who": line["who"].replace(whose, "healer 0.1.0")} for line in lines(stream)]
    text = (ROOT / "docs/operating.md").read_text("utf-8")
    shown = [json.loads(line) for line in text.splitlines() if line.startswith('    {"what": ')]
    assert shown == written
