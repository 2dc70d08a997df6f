"""The lines of the audit: written whatever the level of the log is, with secrets left out."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from healer.daemon.audit import Audit
from healer.model.incident import State
from healer.model.temporary import End
from tests.support.incidents import bare

INCIDENT = bare(State.WAITING, mode="approve")


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
    Audit("pod-1").taken_back(INCIDENT, "scale", End.TAKEN_BACK, "3 replicas again")
    (line,) = lines(stream)
    assert (line["logger"], line["what"], line["outcome"]) == ("healer.audit", "take back scale", str(End.TAKEN_BACK))
    assert "pod-1" in line["who"]
    assert line["workload"] == {"kind": "Deployment", "namespace": "production", "name": "tfs", "uid": "u1"}


def test_an_approval_that_nothing_waited_for_is_no_approval(stream: io.StringIO) -> None:
    Audit("pod-1").approved(INCIDENT, "alice", INCIDENT)
    Audit("pod-1").approved(INCIDENT, "alice", None)
    assert [(line["who"], line["outcome"]) for line in lines(stream)] == [("alice", "refused"), ("alice", "done")]


def test_a_secret_in_a_text_is_left_out(stream: io.StringIO) -> None:
    Audit("pod-1").taken_back(INCIDENT, "scale", End.LEFT_ALONE, "refused: Authorization: Bearer abcdefghijklmnopqrstuvwx")
    assert "abcdefghijklmnopqrstuvwx" not in stream.getvalue()


def test_none_is_written_where_none_are_wanted(stream: io.StringIO) -> None:
    Audit("pod-1", on=False).undone(INCIDENT, "alice")
    assert stream.getvalue() == ""
